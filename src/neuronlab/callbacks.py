"""What happens beside training in any run: histograms, pictures, divergence, progress.

Letters: N runs that train together (1 in a run alone), M numbers in a parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from neuronlab.errors import require
from neuronlab.events import histograms
from neuronlab.learner import Learner, Runs
from neuronlab.records import Record, RecordsLogger
from neuronlab.terminal import console, number


def records_of(trainer: pl.Trainer) -> list[Record]:
    """The records of the runs that train here; none where nothing is kept, as in a fast dev run."""
    for logger in trainer.loggers:
        if isinstance(logger, RecordsLogger):
            return logger.records
    return []


def record_of(trainer: pl.Trainer) -> Record | None:
    """The record of a run alone, or None in a run that leaves none."""
    records = records_of(trainer)
    return records[0] if records else None


def folder_of(trainer: pl.Trainer) -> Path | None:
    """The folder of a run alone, or None in a run that leaves nothing."""
    record = record_of(trainer)
    return None if record is None else record.folder


def is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether the epoch that ends now is the last."""
    steps_done = 0 <= trainer.max_steps <= trainer.global_step
    return trainer.should_stop or steps_done or trainer.current_epoch + 1 == trainer.max_epochs


def running(trainer: pl.Trainer) -> Iterator[tuple[int, Record, bool]]:
    """The runs whose epoch ends now: index, record, and whether the epoch is the run's last."""
    last, diverged = is_last_epoch(trainer), diverged_at(trainer)
    for index, record in enumerate(records_of(trainer)):
        if not record.ended:
            yield index, record, last or diverged.get(index) is not None


def diverged_at(trainer: pl.Trainer) -> dict[int, int]:
    """The runs that have diverged, each with the step of the first loss that was not finite."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StopOnDivergence):
            return callback.steps
    return {}


def ends_of_divergence(trainer: pl.Trainer, runs: Runs) -> dict[int, int]:
    """As `diverged_at`, at the end of a fit: whoever's last losses are not finite, has diverged."""
    found = dict(diverged_at(trainer))
    for losses in runs.last_losses():
        for index in (~torch.isfinite(losses)).nonzero().flatten().tolist():
            found.setdefault(index, trainer.global_step)
    return found


class CheckedCallback(Callback, ABC):
    """A callback that may refuse a run before anything is trained or written."""

    @abstractmethod
    def check(self, learner: Learner) -> None:
        """Looks at what will be trained.

        Raises:
            ValueError: If the callback cannot work with it.
        """


class ForMany(Callback):
    """A callback that works on a population as on a run alone."""


class Narration(Callback):
    """A callback that prints and leaves nothing, so that a population does without it."""


class Histograms(ForMany):
    """Records histograms of each parameter's weights and of its last (clipped) gradient."""

    def __init__(self, every_n_epochs: int = 10) -> None:
        """Takes the distance in epochs; the first and the last epoch are always recorded."""
        require(every_n_epochs >= 1, "every_n_epochs", every_n_epochs, "a whole number ≥ 1")
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Records, where it is time."""
        due = trainer.current_epoch % self.every_n_epochs == 0
        chosen = {index: record for index, record, last in running(trainer) if due or last}
        if not chosen:
            return
        assert isinstance(pl_module, Runs)
        for name, weights, gradients in pl_module.stacked():
            for kind, values in (("weights", weights), ("gradients", gradients)):
                if values is None:
                    continue
                found = histograms(values[list(chosen)].flatten(1))  # of [N, M]
                for record, histogram in zip(chosen.values(), found, strict=True):
                    record.histogram(trainer.global_step, f"{kind}/{name}", histogram)


class StopOnDivergence(ForMany):
    """Ends a run whose loss is no longer finite, at the end of the epoch, and keeps the step."""

    def __init__(self) -> None:
        """Starts with nothing seen."""
        self.steps: dict[int, int] = {}  # of the runs that diverged: the step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Looks at the losses of the step that has just been taken."""
        if isinstance(outputs, Mapping):
            self._look(trainer, outputs["losses"] if "losses" in outputs else outputs["loss"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the validation losses: the last step may have broken what the first did not."""
        assert isinstance(pl_module, Runs)
        self._look(trainer, pl_module.val_losses())

    def _look(self, trainer: pl.Trainer, losses: Tensor) -> None:
        finite = torch.isfinite(losses)
        if not finite.all():
            for index in (~finite).reshape(-1).nonzero().flatten().tolist():
                self.steps.setdefault(index, trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops after the epoch, so that its row shows where the runs went."""
        over = len(self.steps) >= max(1, len(records_of(trainer)))
        trainer.should_stop = trainer.should_stop or over


class Pictures(ForMany):
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
        due = trainer.current_epoch in self.epochs(trainer.max_epochs or -1)
        assert isinstance(pl_module, Runs)
        for index, record, last in running(trainer):
            if record.events is None or not (due or last):
                continue
            learner, data = pl_module.one(index)
            if not data.table.can_be_drawn:
                return
            from neuronlab.pictures import draw_fit  # matplotlib, for the data that can be drawn

            png = draw_fit(learner, data.table, f"after epoch {trainer.current_epoch + 1}")
            record.image(trainer.global_step, "fit", png)


class EpochProgress(ProgressBar, Narration):
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
