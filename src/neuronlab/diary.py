"""A diary of training a small network: every weight, prediction and gradient, epoch by epoch.

Letters: n data rows, E epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor

from neuronlab.callbacks import CheckedCallback, folder_of
from neuronlab.data import DataModule
from neuronlab.errors import require
from neuronlab.learner import Learner, eval_mode
from neuronlab.records import csv_lines, read_metrics, replace
from neuronlab.terminal import console, table

GRADIENT = "gradient "  # what precedes a weight's name where its gradient is meant
COLUMN_WIDTH = 10  # of a number in the printed table
MAX_NUMBERS = 500  # a larger network has no diary that anybody reads


class Diary(CheckedCallback):
    """Writes `diary.csv` (lesson 003): a row per epoch, as things stood at its first step.

    A row holds every weight and bias before the step, the predictions that they make for the first
    training rows beside the targets, the loss of the batch, and every gradient. With full batches
    that is all there is to know of an epoch.
    """

    def __init__(self, rows: int = 4) -> None:
        """Takes how many training rows to follow."""
        require(rows >= 1, "rows", rows, "a whole number ≥ 1")
        self.rows = rows
        self.entries: list[dict[str, float]] = []

    def check(self, learner: Learner) -> None:
        """Refuses a network that is too large for a diary."""
        count = sum(parameter.numel() for parameter in learner.parameters())
        if count > MAX_NUMBERS:
            raise ValueError(f"a network of {count} weights is too large; allowed: {MAX_NUMBERS}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps what an earlier part of the same run has written."""
        path = _path(trainer)
        earlier = read_metrics(path) if path and trainer.current_epoch else []
        self.entries = [row for row in earlier if row["epoch"] < trainer.current_epoch]
        if path is not None and self.entries:
            replace(path, csv_lines(self.entries, list(self.entries[0]), header=True))

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Keeps the loss of the batch, which Lightning has divided where it accumulates."""
        self._loss = loss.detach() * trainer.accumulate_grad_batches

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Notes weights, predictions and gradients of the epoch's first step."""
        if self.entries and self.entries[-1]["epoch"] == trainer.current_epoch:
            return
        assert isinstance(pl_module, Learner)
        named = dict(pl_module.net.named_parameters())
        entry: dict[str, float] = {"epoch": trainer.current_epoch}
        for name, parameter in named.items():
            entry.update(numbers(name, parameter))
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, DataModule)
        train = data.rows["train"]
        with eval_mode(pl_module), torch.no_grad():
            prediction = pl_module.net(train.x[: self.rows].to(pl_module.scaling.input_mean))
        entry.update(numbers("prediction", prediction.squeeze(-1)))
        entry.update(numbers("target", train.y[: self.rows].squeeze(-1)))
        entry["loss"] = self._loss.item()
        for name, parameter in named.items():
            if parameter.grad is not None:
                entry.update(numbers(f"{GRADIENT}{name}", parameter.grad))
        self.entries.append(entry)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the epoch down, so that a run that is stopped keeps its diary."""
        path = _path(trainer)
        if path is not None:
            columns, is_first = list(self.entries[0]), len(self.entries) == 1
            with path.open("a", newline="") as file:
                file.write(csv_lines(self.entries[-1:], columns, header=is_first))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the diary."""
        self._print()

    def _print(self) -> None:
        """Epochs as columns, as many as fit: a network has more numbers than a terminal columns."""
        names = [name for name in self.entries[0] if all(name in e for e in self.entries)][1:]
        gradients = [name for name in names if name.startswith(GRADIENT)]
        for title, chosen in (
            ("diary: before each step", [name for name in names if name not in gradients]),
            ("diary: gradients", gradients),
        ):
            labels = [name.removeprefix(GRADIENT) for name in chosen]
            columns = max(2, (console.width - max(map(len, labels)) - 4) // COLUMN_WIDTH)
            shown = self.entries[:: -(-len(self.entries) // columns)]
            made = table(title, "epoch", *(str(int(entry["epoch"])) for entry in shown))
            for name, label in zip(chosen, labels, strict=True):
                made.add_row(label, *(f"{entry[name]:.4f}" for entry in shown))
            console.print(made)


def _path(trainer: pl.Trainer) -> Path | None:
    folder = folder_of(trainer)
    return None if folder is None else folder / "diary.csv"


def numbers(name: str, values: Tensor) -> Iterator[tuple[str, float]]:
    """Each number of a tensor with its indices, as `layer1.weight[0][2]`."""
    if values.dim() == 0:
        yield name, values.item()
        return
    for index, part in enumerate(values):
        yield from numbers(f"{name}[{index}]", part)
