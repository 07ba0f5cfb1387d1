"""Means over seeds as TensorBoard runs: beside the curves of 1000 runs, those of 20 settings.

Each setting of a sweep is a run `mean/<setting>`. A mean has the tag of what it is the mean of, so
it lies in the same chart as single runs do. Its interval has tags of its own, in one group that
comes last, and is drawn as a band under Custom Scalars. The mean is in that group once more:
TensorBoard draws no band for a curve that lacks an end anywhere, and complains of every run that
has the curve's tag but no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.util.tensor_util import make_tensor_proto

from neuronlab.events import EventFile
from neuronlab.records import OVER
from neuronlab.results import Results
from neuronlab.statistics import bands
from neuronlab.swept import setting_name

FOLDER = "mean"
GROUP = "with_interval"  # TensorBoard sorts groups by their names
RUNS = f"{GROUP}/runs"  # how many runs a mean is of; fewer after one has diverged
CATEGORY = "Mean and 95 % interval"
Points = dict[int, dict[str, float]]  # step → tag → value


def write_means(results: Results, folder: Path) -> Path | None:
    """Writes the means of all settings with two runs or more, in place of those of an earlier time.

    Args:
        results: The runs of a sweep, with their curves.
        folder: The sweep's folder.

    Returns:
        The folder of the means; None where every setting has a single run.
    """
    place = folder / FOLDER
    remove_means(place)
    over = results.runs[results.runs["state"].isin(OVER)]
    keys = list(results.setting_keys)
    names = [setting_name(keys, values) for values in over[keys].to_numpy().tolist()]
    runs = over.assign(setting=names)
    repeated = runs[runs.duplicated("setting", keep=False)]
    settings = means_of(results.curves, repeated)
    for setting, points in settings.items():
        _write(place / setting, points)
    return place if settings else None


def remove_means(place: Path) -> None:
    """Removes the events of earlier means, and folders that hold nothing else."""
    for file in place.glob("*/events.out.tfevents.*"):
        if not (file.parent / ".hydra").exists():  # a run of that name
            file.unlink()
    for folder in (*place.glob("*/"), place):
        with suppress(OSError):
            folder.rmdir()


def means_of(curves: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Points]:
    """The scalars of each setting.

    Args:
        curves: As `Results.curves`.
        runs: The runs to take, as `Results.runs`, with the column `setting`.
    """
    settings: dict[str, Points] = {}
    for tag in curves.columns.drop(["run", "epoch", "step"]):
        table = bands(curves, runs, ["setting"], tag).dropna(subset="mean")
        has_band = tag == "train/loss" or tag.startswith("val/")
        columns = (table[name].tolist() for name in ("setting", "step", "mean", "low", "high", "n"))
        for setting, step, mean, low, high, n in zip(*columns, strict=True):
            point = settings.setdefault(setting, {}).setdefault(step, {})
            point[tag] = mean
            if tag == "train/loss":
                point[RUNS] = n
            if has_band and n > 1:
                point |= dict(zip(band_tags(tag), (mean, low, high), strict=True))
    return settings


def band_tags(tag: str) -> tuple[str, str, str]:
    """The tags of a mean and the ends of its interval, for the band."""
    return f"{GROUP}/{tag}/mean", f"{GROUP}/{tag}/low", f"{GROUP}/{tag}/high"


def _write(folder: Path, points: Mapping[int, Mapping[str, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    events = EventFile(folder)
    tags = dict.fromkeys(tag for values in points.values() for tag in values)
    banded = [tag for tag in tags if band_tags(tag)[0] in tags]
    events.add(0, [layout_summary(banded)])
    for step, values in sorted(points.items()):
        events.scalars(step, values)
    events.flush()


def layout_summary(tags: Sequence[str]) -> Summary.Value:
    """The layout of Custom Scalars: a chart per tag, with a band per run.

    Each run of means has its layout, so that any of them can be looked at alone. TensorBoard joins
    categories of one title, and leaves out charts that it has already.

    Args:
        tags: What has an interval, in the order in which to show it.
    """
    charts = []
    for tag in reversed(tags):  # TensorBoard shows the last one first
        mean, low, high = band_tags(tag)
        series = layout_pb2.MarginChartContent.Series(value=mean, lower=low, upper=high)
        content = layout_pb2.MarginChartContent(series=[series])
        charts.append(layout_pb2.Chart(title=tag, margin=content))
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title=CATEGORY, chart=charts)])
    return Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        tensor=make_tensor_proto(layout.SerializeToString()),
        metadata=metadata.create_summary_metadata(),
    )
