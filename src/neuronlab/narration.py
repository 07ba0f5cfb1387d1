"""Callbacks that tell a lesson's story in the terminal while a run trains.

Letters: C columns.
"""

from __future__ import annotations

import lightning.pytorch as pl
import torch

from neuronlab.answers import answers, answers_table
from neuronlab.callbacks import CheckedCallback, Narration
from neuronlab.data import DataModule
from neuronlab.diary import numbers
from neuronlab.errors import require
from neuronlab.learner import Learner, evaluate
from neuronlab.terminal import console, number, table


class PrintLoss(Narration):
    """Prints the training loss every few epochs (lesson 001)."""

    def __init__(self, every_n_epochs: int = 40) -> None:
        """Takes the distance in epochs."""
        require(every_n_epochs >= 1, "every_n_epochs", every_n_epochs, "a whole number ≥ 1")
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints, where it is time."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0:
            loss = trainer.callback_metrics["train/loss"].item()
            console.print(f"epoch {epoch}: loss {loss:.4f}")


class Ask(CheckedCallback, Narration):
    """Asks the network when it has been trained (lesson 002: does [5, 7] pass?)."""

    def __init__(self, inputs: list[list[float]]) -> None:
        """Takes rows of C columns."""
        self.inputs = torch.tensor(inputs)

    def check(self, learner: Learner) -> None:
        """Refuses rows that have not the columns of the data."""
        columns = [column.name for column in learner.features.columns]
        fits = self.inputs.dim() == 2 and self.inputs.shape[1] == len(columns)
        allowed = f"rows of {len(columns)} numbers: {', '.join(columns)}"
        require(fits, "inputs", self.inputs.tolist(), allowed)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints the answers."""
        assert isinstance(pl_module, Learner)
        names = [column.name for column in pl_module.features.columns]
        given = zip(self.inputs.tolist(), answers(pl_module, self.inputs), strict=True)
        rows = [dict(zip(names, row, strict=True)) | answer for row, answer in given]
        console.print(answers_table(rows))


class StepReport(Narration):
    """Prints what a step of gradient descent changes (lesson 000): before, gradient, after."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at how things stand before the first step."""
        self.gradients: dict[str, float] = {}
        self.before = _state(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Keeps the gradients of the first step."""
        if not self.gradients:
            assert isinstance(pl_module, Learner)
            for name, parameter in pl_module.net.named_parameters():
                if parameter.grad is not None:
                    self.gradients.update(numbers(name, parameter.grad))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prints both sides."""
        after = _state(trainer, pl_module)
        steps = "one step" if trainer.global_step == 1 else f"{trainer.global_step} steps"
        made = table(f"{steps} of training", "", "before", "gradient", "after")
        for name, value in self.before.items():
            gradient = number(self.gradients[name]) if name in self.gradients else ""
            made.add_row(name, number(value), gradient, number(after[name]))
        console.print(made)


def _state(trainer: pl.Trainer, learner: pl.LightningModule) -> dict[str, float]:
    """Weights, predictions of the training rows, and their loss, as they stand."""
    assert isinstance(learner, Learner)
    data = trainer.datamodule  # type: ignore[attr-defined] # set by Lightning's data connector
    assert isinstance(data, DataModule)
    rows = data.rows["train"]
    seen: dict[str, float] = {}
    for name, parameter in learner.net.named_parameters():
        seen.update(numbers(name, parameter))
    like = learner.scaling.input_mean  # the run's device and precision
    y = rows.y.to(like) if rows.y.is_floating_point() else rows.y.to(like.device)
    with torch.no_grad():
        loss, prediction = evaluate(learner.net, learner.loss, (rows.x.to(like), y))
    seen.update(numbers("prediction", prediction.squeeze(-1)))
    seen["loss"] = loss.item()
    return seen
