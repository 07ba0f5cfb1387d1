"""The data of many members as one: equal tables kept once, each member's batches its own.

Letters: N members, U different tables among them, B batch rows, n data rows, D features,
K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from neuronlab.data import EVALUATION_ROWS, SPLITS, BatchOrder, DataModule, loader
from neuronlab.scaling import Scaling


class StackedRows(Dataset[tuple[Tensor, Tensor]]):
    """Rows of one split of U tables, looked up for N members at once.

    Attributes:
        x: Features [U, n, D].
        y: Targets [U, n, K], or class indices [U, n].
        table_of: Which table each member learns from [N].
    """

    def __init__(self, x: Tensor, y: Tensor, table_of: Tensor) -> None:
        """Takes the tables and whose they are."""
        self.x, self.y, self.table_of = x, y, table_of

    def __len__(self) -> int:
        """The number of rows n."""
        return self.x.shape[1]

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Features and targets of a batch, with a leading axis over members.

        Args:
            rows: Indices that all members share [B], or each member's own [N, B].

        Returns:
            Features [N, B, D] and targets [N, B, K] or [N, B]; without the leading axis where all
            members have the same table and the same indices.
        """
        rows = rows.to(self.x.device)
        tables = self.x.shape[0]
        if rows.dim() == 1 and tables == 1:
            return self.x[0].index_select(0, rows), self.y[0].index_select(0, rows)
        if rows.dim() == 1:
            rows = rows.expand(len(self.table_of), -1)
        # One index_select over all tables' rows is several times faster than x[table, rows].
        flat = (rows + self.table_of[:, None] * len(self)).reshape(-1)  # [N·B]
        x, y = (
            values.flatten(0, 1).index_select(0, flat).view(*rows.shape, *values.shape[2:])
            for values in (self.x, self.y)
        )
        return x, y

    def to(self, device: torch.device) -> StackedRows:
        """The same rows on a device."""
        return StackedRows(*(v.to(device) for v in (self.x, self.y, self.table_of)))


class StackedOrder(Sampler[Tensor]):
    """Every member's own order of batches, the one that it would have alone."""

    def __init__(self, orders: Sequence[BatchOrder], shared: bool) -> None:
        """Takes N orders; `shared` where all members learn from one table."""
        self.first = orders[0]
        different = {order.seed: order for order in orders}
        self.different = list(different.values())
        places = {seed: place for place, seed in enumerate(different)}
        self.order_of = torch.tensor([places[order.seed] for order in orders])  # [N]
        self.shared = shared and len(different) == 1

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        for order in self.different:
            order.set_epoch(epoch)

    def __len__(self) -> int:
        """The number of batches."""
        return len(self.first)

    def __iter__(self) -> Iterator[Tensor]:
        """The batches of the epoch: indices [B] where all members have the same, else [N, B]."""
        orders = torch.stack([order.order() for order in self.different])
        rows = orders[0] if self.shared else orders.index_select(0, self.order_of)
        yield from torch.split(rows, self.first.batch_size, dim=-1)


class StackedData(pl.LightningDataModule):
    """The data modules of N members as one."""

    def __init__(self, members: Sequence[DataModule], device: torch.device) -> None:
        """Stacks tables of equal shape.

        Args:
            members: N data modules; those of members with equal data share their `rows`.
            device: Where the tables are kept.
        """
        super().__init__()
        different = {id(member.rows): member for member in members}
        places = {key: place for place, key in enumerate(different)}
        table_of = torch.tensor([places[id(member.rows)] for member in members])
        self.rows = {
            split: StackedRows(
                torch.stack([one.rows[split].x for one in different.values()]),
                torch.stack([one.rows[split].y for one in different.values()]),
                table_of,
            ).to(device)
            for split in SPLITS
        }
        self.scaling = stack_scaling([member.scaling for member in members])
        self.order = StackedOrder([m.order for m in members], shared=len(different) == 1)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches in each member's own order."""
        return loader(self.rows["train"], self.order)

    def val_dataloader(self) -> DataLoader[Any]:
        """All validation rows, a bounded number of them at once."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """All test rows, likewise."""
        return self._in_order("test")

    def _in_order(self, split: str) -> DataLoader[Any]:
        rows = self.rows[split]
        at_once = max(1, EVALUATION_ROWS // len(rows.table_of))
        return loader(rows, torch.split(torch.arange(len(rows)), at_once))


def stack_scaling(members: Sequence[Scaling]) -> Scaling:
    """The scalings of N members as one, to be broadcast against values [N, B, D or K]."""
    stacked = Scaling(1, 1)
    for name, _ in members[0].named_buffers():
        values = torch.stack([getattr(member, name) for member in members])
        setattr(stacked, name, values[:, None])  # [N, 1, D or K]
    return stacked
