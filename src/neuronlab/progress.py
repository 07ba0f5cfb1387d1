"""One line for a whole sweep: what is training, how much is done, and the time that is left."""

from __future__ import annotations

from types import TracebackType

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from neuronlab.terminal import make_console


class SweepProgress:
    """A progress bar over the epochs of all runs of a sweep."""

    def __init__(self, work: int) -> None:
        """Takes the number of epochs, added up over runs."""
        self.name = ""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=make_console(),  # its own, to be seen while runs are silenced
        )
        self._task = self._bar.add_task("training", total=work)

    def __enter__(self) -> SweepProgress:
        """Shows the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the bar as it stands."""
        self._bar.stop()

    def advance(self, epochs: int, text: str = "") -> None:
        """Moves on by epochs, added up over runs."""
        self._bar.update(self._task, advance=epochs, description=f"{self.name}{text}")

    def callback(self, members: int) -> Callback:
        """What moves the bar on for a population."""
        return _Advance(self, members)


class _Advance(Callback):
    def __init__(self, progress: SweepProgress, members: int) -> None:
        self.progress, self.members = progress, members

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs
        self.progress.advance(self.members, f" · {self.members} runs · epoch {epoch} of {epochs}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        left = max(0, (trainer.max_epochs or 0) - trainer.current_epoch - 1)
        self.progress.advance(self.members * left)  # where all have diverged
