"""Evidence: one number with an interval, which a claim is held against.

`conf/` names a function below as `_target_`; it returns an `Evidence`, which takes all results and
gives what was observed. Seeds are the independent units: runs of one seed share data and initial
weights, so they are averaged first, and intervals are over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuronlab import statistics
from neuronlab.comparison import compare
from neuronlab.errors import ConfigError, show
from neuronlab.measures import Measure, values_of
from neuronlab.records import OVER
from neuronlab.results import Results
from neuronlab.statistics import Estimate

Where = Mapping[str, str | float | Sequence[str | float]]  # swept key → its value, or several


@dataclass(frozen=True)
class Observed:
    """What was observed.

    Attributes:
        estimate: The number, its interval, and how many seeds are behind it.
        detail: What else a reader should know, in words.
        percent: Whether it is a share, to be shown in percent.
        lost: Runs that have no number, as those that diverged.
    """

    estimate: Estimate
    detail: str = ""
    percent: bool = False
    lost: int = 0


class Evidence(Protocol):
    """What a claim is held against."""

    def __call__(self, results: Results, level: float) -> Observed:
        """Observes all runs; `level` is that of the interval."""
        ...


def mean(
    metric: str | Measure,
    where: Where | None = None,
    only: Measure | None = None,
    geometric: bool = False,
) -> Evidence:
    """The mean of a metric over seeds.

    Args:
        metric: A metric or swept key by its name, or a measure.
        where: The runs it is about, by their swept values.
        only: The runs it is about, by a measure that says true or false.
        geometric: Whether it is the geometric mean, as of ratios; a run of which the metric is not
            above 0 has no number then.
    """

    def observe(results: Results, level: float) -> Observed:
        chosen = choose(results, where, only)
        values = _numbers(chosen, metric)
        if geometric:
            values = np.log10(values.where(values > 0))
        estimate = statistics.mean_interval(by_seed(chosen, values.dropna()), level)
        lost = int(values.isna().sum())
        return Observed(_power(estimate) if geometric else estimate, _runs(chosen), lost=lost)

    return observe


def share(
    metric: str | Measure, where: Where | None = None, only: Measure | None = None
) -> Evidence:
    """The share of runs of which something holds.

    Where all runs of a seed agree, the interval is exact (Clopper–Pearson); else it is that of the
    mean over seeds.

    Args:
        metric: A measure that is 1 or 0 in each run.
        where: The runs it is about, by their swept values.
        only: The runs it is about, by a measure that says true or false.
    """

    def observe(results: Results, level: float) -> Observed:
        chosen = choose(results, where, only)
        values = _numbers(chosen, metric)
        lost = int(values.isna().sum())
        values = values.dropna()
        seeds = by_seed(chosen, values)
        if np.isin(seeds, (0, 1)).all():  # all runs of a seed agree: so many seeds, not runs
            estimate = statistics.share_interval(int(seeds.sum()), len(seeds), level)
        else:
            estimate = statistics.mean_interval(seeds, level)
        detail = f"{int(values.sum())} of {len(values)} runs"
        return Observed(estimate, detail, percent=True, lost=lost)

    return observe


def paired(
    key: str,
    a: str | float,
    b: str | float,
    metric: str | Measure = "test/loss",
    effect: Literal["relative", "ratio", "difference"] = "relative",
    higher_is_better: bool = False,
    where: Where | None = None,
    tuned: str | None = None,
) -> Evidence:
    """How a differs from b in runs that are the same in everything else.

    Args:
        key: The swept key that has both values.
        a: One value.
        b: The other.
        metric: A metric or swept key by its name, or a measure.
        effect: ratio: a/b, the geometric mean; relative: a/b − 1; difference: a − b.
        higher_is_better: Which way is better, for the share of pairs that a wins.
        where: The runs it is about, by their swept values.
        tuned: A swept key of which a and b each take the value that suits them best, chosen by
            `val/loss`; None to compare them at every value.
    """

    def observe(results: Results, level: float) -> Observed:
        chosen = choose(results, where, None)
        if tuned is not None:
            chosen = _at_best(chosen, tuned)
        measured = _numbers(chosen, metric)
        # To statistics, a run that diverged has no value; a measure may have one for it.
        state = chosen.runs["state"].where(measured.isna(), "completed")
        compared = compare(
            chosen.runs.assign(measured=measured, state=state),
            [name for name in chosen.keys if name != tuned],
            key,
            a,
            b,
            "measured",
            higher_is_better=higher_is_better,
            level=level,
        )
        word = "higher" if higher_is_better else "lower"
        detail = f"{compared.pairs} pairs, {show(a)} {word} in {100 * compared.wins:.0f} %, "
        detail += f"Wilcoxon p = {compared.p:.2g}"
        if compared.diverged_a or compared.diverged_b:
            detail += f"; diverged: {compared.diverged_a} of {show(a)}, "
            detail += f"{compared.diverged_b} of {show(b)}"
        estimate = compared.difference if effect == "difference" else compared.relative
        if effect == "ratio":
            estimate = _shifted(estimate, 1)
        lost = compared.diverged_a + compared.diverged_b
        return Observed(estimate, detail, percent=effect == "relative", lost=lost)

    return observe


def _at_best(results: Results, tuned: str) -> Results:
    """The runs of each setting at its best value of a key, by mean `val/loss` over seeds."""
    others = [results.runs[key] for key in results.setting_keys if key != tuned]
    losses = _numbers(results, "val/loss").fillna(np.inf)
    means = losses.groupby([*others, _swept(results, tuned)]).transform("mean")
    lowest = means.groupby(others).transform("min") if others else means.min()
    return results.select(means == lowest)


def best(key: str, metric: str = "val/loss", where: Where | None = None) -> Evidence:
    """The value of a swept number with the smallest metric, seed by seed: their geometric mean.

    A run that diverged is never the best.

    Args:
        key: The swept key, a number above 0.
        metric: The metric, in which less is better; chosen on validation rows.
        where: The runs it is about, by their swept values.
    """

    def observe(results: Results, level: float) -> Observed:
        chosen = choose(results, where, None)
        grid, seeds = _swept(chosen, key).astype(float), _seeds(chosen)
        values = _numbers(chosen, metric).dropna()
        lowest = grid[values.groupby(seeds[values.index]).idxmin()]
        logs = statistics.mean_interval(np.log10(lowest), level)
        edges = grid.min(), grid.max()
        at_edge = int(lowest.isin(edges).sum())
        detail = f"{_runs(chosen)}, {grid.nunique()} values from {edges[0]:g} to {edges[1]:g}"
        if at_edge:
            detail += f"; {at_edge} of {len(lowest)} at the edge of the grid"
        return Observed(_power(logs), detail, lost=seeds.nunique() - len(lowest))

    return observe


def edge(key: str, metric: Measure, theory: Measure, where: Where | None = None) -> Evidence:
    """Where a swept number becomes too large, in steps of its grid away from where theory has it.

    Seed by seed: the smallest value of the key at which the measure holds, over theory's, on the
    scale of the grid: 0 is theory's own point, 1 the next value of the grid.

    Args:
        key: The swept key, a grid with equal ratios.
        metric: A measure that is 1 where the value is too large.
        theory: A measure that gives theory's point in units of the key.
        where: The runs it is about, by their swept values.
    """

    def observe(results: Results, level: float) -> Observed:
        chosen = choose(results, where, None)
        values, seeds = _swept(chosen, key).astype(float), _seeds(chosen)
        grid = np.unique(values)
        if len(grid) < 2:
            raise ConfigError(f"{key}: has one value, which is no grid")
        step = np.log(grid[-1] / grid[0]) / (len(grid) - 1)
        beyond = values.where(values_of(chosen, metric) == 1).groupby(seeds).min()
        expected = values_of(chosen, theory).groupby(seeds).first()
        steps = (np.log(beyond / expected) / step).dropna()
        detail = (
            f"measured {np.exp(np.log(beyond).mean()):.3g}, theory {expected.mean():.3g}, "
            f"a step is × {np.exp(step):.3g}; {_runs(chosen)}"
        )
        lost = len(beyond) - len(steps)
        return Observed(statistics.mean_interval(steps, level), detail, lost=lost)

    return observe


def spread(
    key: str,
    a: str,
    b: str,
    over: str = "optimizer.lr",
    metric: str = "val/loss",
    where: Where | None = None,
) -> Evidence:
    """How much a metric depends on a swept number under a, over how much it does under b, less 1.

    Seed by seed: the standard deviation of log₁₀(metric) over the grid. A run that diverged counts
    as the worst of its seed.

    Args:
        key: The swept key that has both values.
        a: One value.
        b: The other.
        over: The swept number.
        metric: A metric above 0 in which less is better.
        where: The runs it is about, by their swept values.
    """

    def observe(results: Results, level: float) -> Observed:
        chosen = choose(results, where, None)
        chosen = chosen.select(_swept(chosen, key).isin([a, b]))
        seeds, grid = _seeds(chosen), _swept(chosen, over).nunique()
        values = _numbers(chosen, metric)
        if (values <= 0).any():
            raise ConfigError(f"{metric}: has values that are not above 0")
        logs = np.log10(values.fillna(values.groupby(seeds).transform("max")))
        spreads = logs.groupby([seeds, chosen.runs[key]]).std().unstack().reindex(columns=[a, b])
        if not (spreads > 0).all(axis=None):
            raise ConfigError(f"{key}={a},{b}: has too few values of {over} in some seed")
        ratios = statistics.mean_interval(np.log10(spreads[a] / spreads[b]).to_numpy(), level)
        means = 10 ** spreads.mean()
        detail = f"over {grid} values of {over}, {metric} spreads by a factor of {means[a]:.3g} "
        detail += f"under {a}, {means[b]:.3g} under {b}; {_runs(chosen)}"
        return Observed(_shifted(_power(ratios), -1), detail, percent=True)

    return observe


def choose(results: Results, where: Where | None, only: Measure | None) -> Results:
    """The runs that are over and that a piece of evidence is about.

    Raises:
        ConfigError: If there are none, or a key is not swept.
    """
    chosen = results.runs["state"].isin(OVER)
    for key, wanted in (where or {}).items():
        values = [wanted] if isinstance(wanted, (str, int, float)) else list(wanted)
        chosen &= _swept(results, key, "where.").isin(values)
    found = results.select(chosen)
    if only is not None and len(found.runs):  # it may look into what only runs that are over have
        found = found.select(only(found).astype(bool))
    if not len(found.runs):
        said = ", ".join(f"{key}={show(value)}" for key, value in (where or {}).items())
        raise ConfigError(f"no run that is over fits{': ' + said if said else ''}")
    return found


def _swept(results: Results, key: str, path: str = "") -> pd.Series:
    """A swept key's value in each run.

    Raises:
        ConfigError: If it is not swept.
    """
    if key not in results.runs:
        raise ConfigError(f"{path}{key}: is not swept; must be one of {', '.join(results.keys)}")
    values: pd.Series = results.runs[key]
    return values


def _numbers(results: Results, metric: str | Measure) -> pd.Series:
    """A number per run, NaN where a run has none that is finite.

    A metric that a run recorded before it diverged is no result of its training; what a measure
    says of such a run is meant.
    """
    values = values_of(results, metric).astype(float)
    values = values.where(np.isfinite(values))
    recorded = isinstance(metric, str) and metric not in results.keys
    return values.where(results.runs["state"] == "completed") if recorded else values


def by_seed(results: Results, values: pd.Series) -> NDArray[np.float64]:
    """The mean of each seed; where no seed is swept, each run is one of its own."""
    means = values.groupby(_seeds(results)[values.index]).mean() if results.seed_keys else values
    return np.asarray(means, dtype=np.float64)


def _seeds(results: Results) -> pd.Series:
    """Which seed each run has, as text; where no seed is swept, all have the same."""
    texts = results.runs[list(results.seed_keys)].astype(str).to_numpy()
    return pd.Series([" ".join(seeds) for seeds in texts], index=results.runs.index, dtype=object)


def _runs(results: Results) -> str:
    return f"{len(results.runs)} runs"


def _power(logs: Estimate) -> Estimate:
    """An estimate of log₁₀ as one of the number itself."""
    with np.errstate(over="ignore"):  # two seeds that disagree by orders of magnitude: up to ∞
        value, low, high = (float(np.power(10.0, end)) for end in (logs.value, logs.low, logs.high))
    return replace(logs, value=value, low=low, high=high)


def _shifted(estimate: Estimate, by: float) -> Estimate:
    return replace(
        estimate, value=estimate.value + by, low=estimate.low + by, high=estimate.high + by
    )
