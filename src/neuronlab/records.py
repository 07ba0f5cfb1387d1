"""What a run leaves behind, through one writer for every way of running.

`Record` writes the files of one run; `RunLogger` makes it a Lightning logger.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from tensorboard.compat.proto.summary_pb2 import HistogramProto

from neuronlab.configs import config_hash
from neuronlab.errors import require
from neuronlab.events import EventFile
from neuronlab.hparams import Chosen, hyperparameters, summaries

State = Literal["completed", "diverged", "failed"]
FLUSH_SECONDS = 2.0  # how far files may lag behind a run
OVER = ("completed", "diverged")  # the states of a run that there is no reason to train again
Row = Mapping[str, float]  # of metrics.csv: epoch, step, and metrics
CHECKPOINT = Path("checkpoints") / "last.ckpt"


class Record:
    """The files of one run: `metrics.csv`, `status.json`, and TensorBoard events.

    Everything is kept in memory until `flush`. `metrics` holds the newest value of every metric.
    """

    def __init__(
        self, folder: Path, *, tensorboard: bool = True, resumed: Row | None = None
    ) -> None:
        """Makes the folder ready: a run begun anew replaces the records of an earlier one.

        Args:
            folder: The run's folder.
            tensorboard: Whether to write events.
            resumed: For a run that goes on: its last row so far, as the checkpoint has it. What
                the folder holds of later steps is dropped.
        """
        self.folder = folder
        self.started = time.monotonic()
        self.ended = False  # whether the run's last epoch is over
        self.metrics: dict[str, float] = {}
        self._rows: list[dict[str, float]] = []  # not yet in metrics.csv
        self._columns: list[str] = []  # of metrics.csv
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "status.json").unlink(missing_ok=True)  # not over until it is over
        if resumed is None:
            for name in ("metrics.csv", "diary.csv", CHECKPOINT):
                (folder / name).unlink(missing_ok=True)
            for file in folder.glob("events.out.tfevents.*"):
                file.unlink()
            self.events = EventFile(folder) if tensorboard else None
            return
        # A run that was killed may have saved its checkpoint and not yet the row of that epoch.
        step = int(resumed["step"])
        written = read_metrics(folder / "metrics.csv")
        rows = [row for row in written if row["step"] <= step and "train/loss" in row]
        if not rows or rows[-1]["step"] < step:
            rows.append(dict(resumed))
        for row in rows:
            self.metrics.update(_values(row))
        self._rows = rows
        self.events = None
        if tensorboard:
            last = _values(rows[-1])
            self.events = EventFile(folder)
            self.events.take_over(step, last)
            self.events.scalars(step, last)
        self.flush()

    def row(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Records an epoch: a row of `metrics.csv`, and a point of every curve."""
        self._rows.append({"epoch": epoch, "step": step, **values})
        self.scalars(step, values)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Records numbers that are no part of an epoch, as those of the test at the end."""
        self.metrics.update(values)
        if self.events:
            self.events.scalars(step, values)

    def histogram(self, step: int, tag: str, histogram: HistogramProto | None) -> None:
        """Records a histogram; None, from numbers without a finite one, leaves nothing."""
        if self.events and histogram is not None:
            self.events.histogram(step, tag, histogram)

    def image(self, step: int, tag: str, png: bytes) -> None:
        """Records a picture in PNG format."""
        if self.events:
            self.events.image(step, tag, png)

    def flush(self) -> None:
        """Brings the files up to date."""
        if self.events:
            self.events.flush()
        if self._rows:
            self._write_rows()

    def finish(
        self,
        state: State,
        config: Mapping[str, Any],
        chosen: Chosen,
        *,
        step: int | None = None,
        error: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Writes what is left, and `status.json` last: where it stands, everything else does.

        Args:
            state: How the run ended.
            config: The run's configuration, resolved; its hash tells whether it is the same run.
            chosen: What was chosen on the command line, for the HParams tab.
            step: The step of the first loss that was not finite, where the run diverged.
            error: What was raised, where the run failed.
            seconds: What the run took, if not the time since the record was begun.
        """
        seconds = time.monotonic() - self.started if seconds is None else seconds
        if self.events:
            measured = [tag for tag in self.metrics if tag.startswith(("val/", "train/", "test/"))]
            parameters = hyperparameters(config, chosen)
            self.events.add(0, summaries(parameters, chosen.keys(), measured))
        self.flush()
        metrics = sorted(self.metrics.items(), key=lambda item: _place(item[0]))
        finite = {tag: v if math.isfinite(v) else None for tag, v in metrics}
        status = {
            "state": state,
            "metrics": finite,  # null where not finite: JSON knows no NaN
            "seconds": round(seconds, 3),
            "diverged_at_step": step,
            "error": error,
            "config_hash": config_hash(config),
        }
        replace(self.folder / "status.json", json.dumps(status, indent=2) + "\n")

    def _write_rows(self) -> None:
        path = self.folder / "metrics.csv"
        found = dict.fromkeys([*self._columns, *(key for row in self._rows for key in row)])
        columns = sorted(found, key=_place)
        if columns == self._columns or not path.exists():
            with path.open("a", newline="") as file:
                file.write(csv_lines(self._rows, columns, header=not self._columns))
        else:  # a metric that first appears now gets its column; earlier rows leave it empty
            earlier = read_metrics(path) if self._columns else []
            replace(path, csv_lines([*earlier, *self._rows], columns, header=True))
        self._rows, self._columns = [], columns


def _values(row: Row) -> dict[str, float]:
    """The metrics of a row."""
    return {tag: value for tag, value in row.items() if tag not in ("epoch", "step")}


# The order of columns, whatever order their values come in.
COLUMNS = ("epoch", "step", "train/loss", "val/loss", "val/", "gradient_norm/", "lr")


def _place(column: str) -> int:
    """Where a column stands; what the list doesn't know comes last."""
    fits = (index for index, prefix in enumerate(COLUMNS) if column.startswith(prefix))
    return next(fits, len(COLUMNS))


class RecordsLogger(Logger):
    """Lightning's way to the records of the runs that train here, brought up to date in time."""

    def __init__(self, folder: Path, records: list[Record], flush_seconds: float) -> None:
        """Takes the records.

        Args:
            folder: What Lightning takes for its own folder.
            records: One per run.
            flush_seconds: How far the files may lag behind the runs.

        Raises:
            ValueError: If `flush_seconds` is negative.
        """
        super().__init__()
        require(flush_seconds >= 0, "flush_seconds", flush_seconds, "a number ≥ 0")
        self.folder, self.records, self.flush_seconds = folder, records, flush_seconds
        self._flushed = time.monotonic()
        self._took = 0.0  # seconds of the newest flush

    @property
    def name(self) -> str:
        """Empty, so that Lightning's checkpoint callback adds no folders of its own."""
        return ""

    @property
    def version(self) -> str:
        """Empty, as `name`."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder."""
        return str(self.folder)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Leaves them to `Record.finish`, which knows the final metrics too."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Leaves metrics to whoever writes to the records."""

    def save(self) -> None:
        """Brings the files up to date, every few seconds; Lightning calls it at each logging."""
        # Thousands of files take a while: no more than a fiftieth of the time goes into it.
        if time.monotonic() - self._flushed >= max(self.flush_seconds, 50 * self._took):
            self.flush()

    def flush(self) -> None:
        """Brings the files up to date now."""
        started = time.monotonic()
        for record in self.records:
            record.flush()
        self._flushed = time.monotonic()
        self._took = self._flushed - started


class RunLogger(RecordsLogger):
    """The record of a run alone: one row per epoch from the metrics that a module logs."""

    def __init__(
        self,
        folder: Path,
        tensorboard: bool = True,
        flush_seconds: float = FLUSH_SECONDS,
        resumed: Row | None = None,
    ) -> None:
        """Opens the record.

        Args:
            folder: The run's folder.
            tensorboard: Whether to write TensorBoard events beside `metrics.csv`.
            flush_seconds: How far the files may lag behind the run.
            resumed: For a run that goes on: its last row so far.

        Raises:
            ValueError: If `flush_seconds` is negative.
        """
        self.record = Record(folder, tensorboard=tensorboard, resumed=resumed)
        super().__init__(folder, [self.record], flush_seconds)
        self._epoch: dict[str, float] = {}  # what has come of the epoch so far

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Takes metrics; those of one epoch come in parts, validation first, and make one row.

        Where there are several validations in an epoch, the row holds the last.
        """
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        assert step is not None
        if epoch is None or any(tag.startswith("test/") for tag in values):
            self.record.scalars(step, values)
            return
        if self._epoch and self._epoch["epoch"] != epoch:
            self._end_epoch()
        # Lightning names an epoch's end by its last step, counted from 0: step + 1 have been taken.
        self._epoch.update(values, epoch=epoch, step=step + 1)
        if "train/loss" in values:  # what Lightning logs last
            self._end_epoch()

    def _end_epoch(self) -> None:
        if self._epoch:
            values, self._epoch = self._epoch, {}
            self.record.row(int(values.pop("epoch")), int(values.pop("step")), values)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Makes the next `save` write: a run that goes on from here must find its epochs so far."""
        self._flushed = -math.inf

    def finalize(self, status: str) -> None:
        """Writes what is left."""
        self._end_epoch()
        self.flush()


def csv_lines(
    rows: Iterable[Mapping[str, float | str]], columns: Sequence[str], header: bool
) -> str:
    """Rows as lines of CSV; a value that a row lacks stays empty, one without a column is left out.

    Args:
        rows: The rows.
        columns: The file's columns, in order.
        header: Whether the columns' names come first.
    """
    file = StringIO(newline="")
    writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`, numbers only; none where there is no file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]  # a killed process may leave half a line
    return [
        {k: int(v) if k in ("epoch", "step") else float(v) for k, v in row.items() if v != ""}
        for row in csv.DictReader(StringIO(whole, newline=""))
    ]


def read_status(folder: Path) -> dict[str, Any] | None:
    """The `status.json` of a run, or None where the run is not over."""
    try:
        status: dict[str, Any] = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        return None
    whole = {"state", "metrics", "config_hash"} <= set(status)
    return status if whole else None


def replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(text, newline="")
    os.replace(draft, path)
