"""The data module: a table split, its features computed, standardized, served as whole batches.

Letters: B batch rows, n data rows, C columns, D features, K outputs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from neuronlab.datasets import Table
from neuronlab.errors import ArgumentError, counted, require, some
from neuronlab.features import Features, learn_columns
from neuronlab.scaling import Scaling
from neuronlab.seeds import generator

SPLITS = ("train", "val", "test")
ALL = "all"  # what rows are for that are not split
EVALUATION_ROWS = 2**16  # rows of one validation batch: a bound on memory, above any set here


@dataclass(frozen=True)
class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Rows of one split as the network sees them, looked up by a whole batch of indices.

    Attributes:
        x: Features [n, D].
        y: Targets [n, K], or class indices [n].
        truth: E[y | x] [n, K] in the same units, or None.
    """

    x: Tensor
    y: Tensor
    truth: Tensor | None

    def __len__(self) -> int:
        """The number of rows n."""
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [B] → features [B, D] and targets [B, K] or [B]."""
        return self.x.index_select(0, rows), self.y.index_select(0, rows)


class BatchOrder(Sampler[Tensor]):
    """Shuffled batches of indices; the order in epoch e is a pure function of (seed, e).

    So a resumed run goes on as if it had never stopped, and a run in a population sees the batches
    that it would have seen alone.
    """

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        """Takes n, B and the seed; the last batch holds what is left over."""
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """The number of batches."""
        return math.ceil(self.rows / self.batch_size)

    def order(self) -> Tensor:
        """The rows of the epoch [n], in order."""
        return torch.randperm(self.rows, generator=generator(self.seed, "order", self.epoch))

    def __iter__(self) -> Iterator[Tensor]:
        """The batches of the epoch, each a tensor of indices [B]."""
        # A generator, since Lightning opens the iterator of a resumed run before it sets the epoch.
        yield from torch.split(self.order(), self.batch_size)


class DataModule(pl.LightningDataModule):
    """Makes a table and serves it: split, standardized, in whole batches."""

    def __init__(
        self,
        make: Callable[[Generator], Table],
        *,
        seed: int = 0,
        order_seed: int = 0,
        batch_size: int | None = None,
        split: list[float] | None = None,
        features: list[str] | None = None,
        standardize: bool = False,
    ) -> None:
        """Makes the table at once, since its shape decides that of the network.

        Args:
            make: A function of `neuronlab.datasets` with its numbers bound.
            seed: What the table and its split are drawn from.
            order_seed: What the order of batches is drawn from.
            batch_size: B, or None for all training rows at once.
            split: The fractions of rows to train on, to validate on and to test on; None uses all
                rows for each, for sets too small to split. A table that says itself which rows are
                for what is taken at its word.
            features: What the network sees of the columns, see `neuronlab.features.Features`; None
                for the columns as they are.
            standardize: Whether to bring features, and targets of regression, to mean 0 and
                deviation 1, with statistics of the training rows alone.

        Raises:
            ValueError: If a split would be empty, a batch larger than the training rows, or a
                feature does not exist or is not finite.
        """
        super().__init__()
        table = make(generator(seed, "data"))
        self.table = table
        self.parts = dict(table.parts or _split(len(table.x), split, seed))
        columns, self.x = learn_columns(table, self.parts["train"])
        self.features = Features(columns, features)
        seen = self.features(self.x)  # [n, D]
        self.scaling = Scaling(seen.shape[1], table.out_features)
        if standardize:
            self.scaling.fit_inputs(seen[self.parts["train"]])
            if table.task == "regression":
                self.scaling.fit_targets(table.y[self.parts["train"]])
        self.rows = {name: self._rows(seen, part) for name, part in self.parts.items()}
        trained = len(self.rows["train"])
        allowed = f"1 to {trained} (the training rows), or null for all of them at once"
        batch_size = trained if batch_size is None else batch_size
        require(1 <= batch_size <= trained, "batch_size", batch_size, allowed)
        self.order = BatchOrder(trained, batch_size, order_seed)

    def reordered(self, order_seed: int) -> DataModule:
        """The same rows, served in another order."""
        other = copy.copy(self)
        other.order = BatchOrder(self.order.rows, self.order.batch_size, order_seed)
        return other

    def kinds_of_rows(self) -> dict[str, str]:
        """The splits by what their rows are for: themselves, or once all of them for everything."""
        whole = self.parts["train"] is self.parts["val"]
        return {ALL: "train"} if whole else {split: split for split in SPLITS}

    def notes(self) -> list[str]:
        """What a user should know of the data before a network learns from them, a line each."""
        notes = list(self.table.notes)
        for name, texts in self.table.categories.items():
            index = self.table.columns.index(name)
            unseen = self.x[:, index] == -1
            if unseen.any():
                codes = sorted(set(self.table.x[unseen, index].long().tolist()))
                found = some([texts[code] for code in codes])
                rows = counted(int(unseen.sum()), "row")
                notes.append(f"{name}: no training row has {found}; taken as none, in {rows}")
        learned = set(self.table.y[self.parts["train"]].flatten().tolist())
        unlearned = [name for k, name in enumerate(self.table.classes) if k not in learned]
        if unlearned:
            notes.append(
                f"{self.table.target}: no training row is {some(unlearned)}, so it is not learned"
            )
        return notes

    def _rows(self, seen: Tensor, part: Tensor) -> Rows:
        """What a split is of what the network sees of all rows [n, D]."""
        x, y = self.scaling.inputs(seen[part]).float(), self.table.y[part]
        finite = x.sum().isfinite() or x.isfinite().all(dim=0)  # a sum is cheap, and may overflow
        if not finite.all():
            name = self.features.names[int((~finite).long().argmax())]
            raise ArgumentError(
                f"features: {name} must be a finite number in every row, and is not"
            )
        truth = None if self.table.truth is None else self.table.truth[part]
        if self.table.task == "regression":
            y = self.scaling.targets(y).float()
            truth = None if truth is None else self.scaling.targets(truth).float()
        return Rows(x, y, truth)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches in the epoch's order."""
        return loader(self.rows["train"], self.order)

    def val_dataloader(self) -> DataLoader[Any]:
        """All validation rows, in as few batches as fit."""
        return _in_order(self.rows["val"])

    def test_dataloader(self) -> DataLoader[Any]:
        """All test rows, in as few batches as fit."""
        return _in_order(self.rows["test"])


def _split(rows: int, fractions: list[float] | None, seed: int) -> dict[str, Tensor]:
    """The rows of each split, drawn at random without overlap; all rows for each without one."""
    if fractions is None:
        return dict.fromkeys(SPLITS, torch.arange(rows))
    valid = len(fractions) == len(SPLITS) and min(fractions) > 0 and sum(fractions) <= 1 + 1e-9
    require(valid, "split", fractions, "three fractions above 0 that sum to 1 at most, or null")
    sizes = [round(fraction * rows) for fraction in fractions]
    # Rounded one by one, three parts of a whole may leave a row over or ask for one too many.
    sizes[0] = min(rows, round(sum(fractions) * rows)) - sum(sizes[1:])
    allowed = f"large enough for one row each of {rows}, or null"
    require(min(sizes) >= 1, "split", fractions, allowed)
    order = torch.randperm(rows, generator=generator(seed, "split"))
    return dict(zip(SPLITS, torch.split(order[: sum(sizes)], sizes), strict=True))


def _in_order(rows: Rows) -> DataLoader[Any]:
    batches = torch.split(torch.arange(len(rows)), EVALUATION_ROWS)
    return loader(rows, batches)  # a tuple of index tensors is a sampler


def loader(rows: Dataset[Any], batches: Any) -> DataLoader[Any]:
    """Serves a data set by whole batches of indices, as a sampler yields them."""
    # batch_size=None: the sampler's tensors go to the data set as they are. The loader draws a
    # number for worker processes, which it doesn't have; its generator keeps the global one clean.
    return DataLoader(rows, batch_size=None, sampler=batches, generator=torch.Generator())
