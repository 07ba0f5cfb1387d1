"""Measures: what a claim counts in each run, beyond the metrics that runs record.

`conf/` names a function below as `_target_`; it returns a `Measure`, which takes all results and
gives one number per run, NaN where a run has none. These read the tables; `neuronlab.probes` has
those that look into networks and data.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd

from neuronlab.errors import ConfigError, unknown
from neuronlab.results import Results


class Measure(Protocol):
    """What gives a number per run, or true and false per run."""

    def __call__(self, results: Results) -> pd.Series:
        """One value per run, with the index of `results.runs`."""
        ...


def values_of(results: Results, metric: str | Measure) -> pd.Series:
    """A metric or a swept key by its name, or what a measure gives; one value per run.

    Raises:
        ConfigError: If the runs have no metric of that name.
    """
    if not isinstance(metric, str):
        return metric(results)
    if metric not in results.runs:
        raise ConfigError(unknown(metric, map(str, results.runs.columns), "metric of these runs"))
    values: pd.Series = results.runs[metric]
    return values


def first(metric: str) -> Measure:
    """A metric of the first epoch; with full batches, gradients there are those before any step.

    Args:
        metric: A column of `metrics.csv`.
    """
    return lambda results: _at(results, _column(results, metric), "first")


def fell(metric: str = "val/loss", start: str = "train/loss") -> Measure:
    """Whether the last epoch ends below the loss that training started from; 1 or 0.

    `train/loss` is measured before each step, so that of the first epoch is where a run began
    (with full batches: exactly). A run that diverged did not fall, whatever it recorded before.

    Args:
        metric: What has to be lower, of the last epoch.
        start: What it has to be lower than, of the first epoch.
    """

    def measure(results: Results) -> pd.Series:
        began = _at(results, _column(results, start), "first")
        ended = values_of(results, metric)
        fallen = (ended < began).astype(float).where(ended.notna() & began.notna())
        return fallen.mask(results.runs["state"] == "diverged", 0.0)

    return measure


def improved() -> Measure:
    """Whether a run ended better than it began, as true or false."""
    fallen = fell()
    return lambda results: fallen(results) == 1


def lost() -> Measure:
    """Whether a run ended worse than it began, or diverged; 1 or 0."""
    fallen = fell()
    return lambda results: 1 - fallen(results)


def diverged() -> Measure:
    """Whether a run diverged; 1 or 0."""
    return lambda results: (results.runs["state"] == "diverged").astype(float)


def gradient_change() -> Measure:
    """The norm of the whole gradient in the last epoch over that in the first."""

    def measure(results: Results) -> pd.Series:
        norms = gradient_norm(results)
        return _at(results, norms, "last") / _at(results, norms, "first")

    return measure


def whole_gradient() -> Measure:
    """The norm of the whole gradient, for each row of `curves` in place of each run."""
    return gradient_norm


def depth() -> Measure:
    """The number of hidden layers, where `model.hidden` is swept."""

    def measure(results: Results) -> pd.Series:
        sizes = values_of(results, "model.hidden").astype(str).str.strip("[] ")
        return sizes.map(lambda text: len(text.split(",")) if text else 0).astype(float)

    return measure


def gradient_norm(results: Results) -> pd.Series:
    """The norm of the whole gradient in each row of `curves`: √Σ‖∂L/∂parameter‖²."""
    columns = [name for name in results.curves if name.startswith("gradient_norm/")]
    squares = results.curves[columns] ** 2
    return np.sqrt(squares.sum(axis=1, min_count=1))


def _column(results: Results, metric: str) -> pd.Series:
    if metric not in results.curves:
        raise ConfigError(unknown(metric, map(str, results.curves.columns), "metric of these runs"))
    column: pd.Series = results.curves[metric]
    return column


def _at(results: Results, column: pd.Series, place: str) -> pd.Series:
    """The first or last value of a column of `curves`, run by run."""
    by_run = column.groupby(results.curves["run"], sort=False)  # rows are in order of epochs
    return (
        by_run.nth(0 if place == "first" else -1)
        .set_axis(results.curves["run"].unique())
        .reindex(results.runs.index)
    )
