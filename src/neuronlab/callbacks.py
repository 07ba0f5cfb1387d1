"""What happens beside training in any run: histograms, pictures, divergence, progress.

Letters: M numbers in a parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from neuronlab.data import DataModule
from neuronlab.errors import require
from neuronlab.events import histograms
from neuronlab.learner import Learner
from neuronlab.records import Record, RunLogger
from neuronlab.terminal import console, number


def record_of(trainer: pl.Trainer) -> Record | None:
    """The run's record, or None in a run that leaves none, as Lightning's fast dev run."""
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            return logger.record
    return None


def folder_of(trainer: pl.Trainer) -> Path | None:
    """The run's folder, or None in a run that leaves nothing."""
    record = record_of(trainer)
    return None if record is None else record.folder


def is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether the epoch that ends now is the last."""
    steps_done = 0 <= trainer.max_steps <= trainer.global_step
    return trainer.should_stop or steps_done or trainer.current_epoch + 1 == trainer.max_epochs


class CheckedCallback(Callback, ABC):
    """A callback that may refuse a run before anything is trained or written."""

    @abstractmethod
    def check(self, learner: Learner) -> None:
        """Looks at what will be trained.

        Raises:
            ValueError: If the callback cannot work with it.
        """


class Histograms(Callback):
    """Records histograms of each parameter's weights and of its last (clipped) gradient."""

    def __init__(self, every_n_epochs: int = 10) -> None:
        """Takes the distance in epochs; the first and the last epoch are always recorded."""
        require(every_n_epochs >= 1, "every_n_epochs", every_n_epochs, "a whole number ≥ 1")
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Records, where it is time."""
        record = record_of(trainer)
        due = trainer.current_epoch % self.every_n_epochs == 0 or is_last_epoch(trainer)
        if record is None or not due:
            return
        assert isinstance(pl_module, Learner)
        for name, parameter in pl_module.net.named_parameters():
            for kind, values in (("weights", parameter), ("gradients", parameter.grad)):
                if values is not None:
                    (histogram,) = histograms(values.detach().reshape(1, -1))  # [1, M]
                    record.histogram(trainer.global_step, f"{kind}/{name}", histogram)


class StopOnDivergence(Callback):
    """Ends a run whose loss is no longer finite, at the end of the epoch, and keeps the step."""

    def __init__(self) -> None:
        """Starts with nothing seen."""
        self.step: int | None = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Looks at the loss of the step that has just been taken."""
        if self.step is None and isinstance(outputs, Mapping):
            self._look(trainer, outputs["loss"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the validation loss: the last step may have broken what the first did not."""
        if self.step is None and "val/loss" in trainer.callback_metrics:
            self._look(trainer, trainer.callback_metrics["val/loss"])

    def _look(self, trainer: pl.Trainer, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            self.step = trainer.global_step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops after the epoch, so that its row shows where the run went."""
        trainer.should_stop = trainer.should_stop or self.step is not None


class Pictures(Callback):
    """Draws the fit of data with one or two inputs at a few epochs, denser where more happens."""

    def __init__(self, count: int = 5) -> None:
        """Takes how many pictures to spread over the run, the first and the last among them."""
        require(count >= 1, "count", count, "a whole number ≥ 1")
        self.count = count

    def epochs(self, max_epochs: int) -> set[int]:
        """The epochs to draw, evenly spaced in their logarithm."""
        if max_epochs == -1:  # no end in sight: powers of four
            return {4**power - 1 for power in range(self.count)}
        steps = max(1, self.count - 1)
        return {round(max_epochs ** (place / steps)) - 1 for place in range(steps + 1)}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws, where it is time and the data can be drawn."""
        record = record_of(trainer)
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, Learner)
        assert isinstance(data, DataModule)
        drawable = data.table.x.shape[1] <= 2
        if record is None or record.events is None or not drawable:
            return
        if trainer.current_epoch in self.epochs(trainer.max_epochs or -1) or is_last_epoch(trainer):
            from neuronlab.pictures import draw_fit  # matplotlib, for the data that can be drawn

            png = draw_fit(pl_module, data.table, f"after epoch {trainer.current_epoch + 1}")
            record.image(trainer.global_step, "fit", png)


class EpochProgress(ProgressBar):
    """One line for the whole run: epochs done, time left, and the newest loss.

    Lightning's own bars start again at each epoch, of which a small network has hundreds a second.
    """

    def __init__(self) -> None:
        """Starts without a bar."""
        super().__init__()
        self._enabled = True
        self._bar: Progress | None = None

    def disable(self) -> None:
        """Lightning calls this where nothing is to be shown."""
        self._enabled = False

    def enable(self) -> None:
        """Lightning calls this where it is to be shown again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar."""
        if not self._enabled:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[loss]}"),
            console=console,
        )
        total = None if trainer.max_epochs in (None, -1) else trainer.max_epochs
        done = trainer.current_epoch
        self._task = self._bar.add_task("training", total=total, completed=done, loss="")
        self._bar.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Moves the bar on."""
        if self._bar is not None:
            metrics = trainer.callback_metrics
            tag = "val/loss" if "val/loss" in metrics else "train/loss"
            text = f"{tag} {number(metrics[tag].item())}"
            self._bar.update(self._task, completed=trainer.current_epoch + 1, loss=text)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Closes the bar, so that the error stands on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
