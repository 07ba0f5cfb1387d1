"""What runs say together: means with intervals, and rankings of settings.

The independent unit is a seed: runs that share one share data and initial weights, and are lucky or
unlucky together. An interval tells where the true mean may be, not where runs are.

Runs that failed or are not over count nowhere but in columns `failed`. Diverged runs are outcomes:
they have no value to average, but are counted and rank last.

Letters: n units, m tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from neuronlab.errors import require, unknown

FEW = 50  # below this many values: Student's t, from there on: BCa; see `mean_interval`
RESAMPLES = 9999
COMPLETED, DIVERGED = "completed", "diverged"  # of `runs["state"]`
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: The number itself; NaN where there is nothing to estimate it from.
        low: The interval's lower end; NaN where n is too small for one.
        high: Its upper end; likewise.
        n: Independent units behind it.
        method: What made the interval: `t`, `BCa`, `Clopper–Pearson` or `none`.
    """

    value: float
    low: float
    high: float
    n: int
    method: str


NOTHING = Estimate(np.nan, np.nan, np.nan, 0, "none")


def mean_interval(values: ArrayLike, level: float = 0.95) -> Estimate:
    """The mean, and where the true mean may be.

    Student's t below `FEW` values; from there on the bootstrap BCa (Efron, "Better bootstrap
    confidence intervals", JASA 1987), always with the same resamples. `FEW` is where BCa has caught
    up with t in the worst of the first four columns, and begins to miss more evenly on both sides.
    Of 20 000 intervals of 95 %, so many held the true mean, in percent, t and BCa:

        n    normal      uniform     gamma(4)    exponential  lognormal(0, 1)
        5    95.0 83.5   93.5 86.4   93.0 82.5   88.6 80.0    82.3 73.9
        10   95.0 90.0   94.6 93.2   93.6 89.6   89.8 87.8    84.2 82.7
        20   94.8 92.7   95.0 94.6   94.1 92.1   92.0 91.1    86.9 87.8
        50   94.8 93.9   95.0 95.0   94.4 93.8   93.3 93.4    90.0 90.8
        100  95.0 94.5   94.8 94.9   95.0 94.6   94.2 94.3    91.5 91.9

    So with few values of heavy skewness both promise too much.

    Args:
        values: One per independent unit [n]. One value has no interval; equal values have one
            without width.
        level: Share of such intervals that should hold the true mean.

    Raises:
        ValueError: If a value is not finite.
    """
    require(0 < level < 1, "level", level, "between 0 and 1")
    x = np.asarray(values, dtype=float).ravel()
    wrong = x[~np.isfinite(x)]
    require(not wrong.size, "values", wrong.tolist(), "finite")
    n = len(x)
    if n == 0:
        return NOTHING
    exponent = np.frexp(np.abs(x).max())[1] - 1
    x = np.ldexp(x, -exponent)  # exact, and powers of huge losses do not overflow
    mean = x[0] if np.ptp(x) == 0 else x.mean()
    low, high, method = np.nan, np.nan, "none"
    if n >= FEW and np.ptp(x) > 0:
        options = {"n_resamples": RESAMPLES, "batch": 1000, "rng": np.random.default_rng(0)}
        data = (x - mean,)  # else what differs in the last digits only would be lost in rounding
        found = stats.bootstrap(data, np.mean, confidence_level=level, method="BCa", **options)
        (low, high), method = mean + np.array(found.confidence_interval), "BCa"
    elif n > 1:
        half = stats.t.ppf((1 + level) / 2, n - 1) * (x - mean).std(ddof=1) / np.sqrt(n)
        low, high, method = mean - half, mean + half, "t"
    value, low, high = (float(np.ldexp(end, exponent)) for end in (mean, low, high))
    return Estimate(value, low, high, n, method)


def share_interval(successes: int, n: int, level: float = 0.95) -> Estimate:
    """A share, and where the true share may be (Clopper–Pearson 1934: exact, rather too wide).

    Args:
        successes: How many of n.
        n: How many independent tries.
        level: Share of such intervals that should hold the true share, at least.

    Raises:
        ValueError: If there are more successes than tries, or fewer than none.
    """
    require(0 < level < 1, "level", level, "between 0 and 1")
    require(0 <= successes <= n, "successes", successes, f"from 0 to n={n}")
    if n == 0:
        return NOTHING
    low, high = stats.binomtest(successes, n).proportion_ci(level, method="exact")
    return Estimate(successes / n, float(low), float(high), n, "Clopper–Pearson")


def holm(p: Sequence[float]) -> Floats:
    """p-values corrected for how many there are, step by step from the smallest (Holm 1979).

    If none of the effects is real, the chance that any corrected p-value is below α is α at most,
    however the tests depend on each other.

    Args:
        p: p-values [m]; NaN stays NaN, and does not count as a test.
    """
    adjusted = np.array(p, dtype=float)
    order = np.argsort(adjusted)[: np.count_nonzero(~np.isnan(adjusted))]  # NaN is sorted last
    steps = np.maximum.accumulate(adjusted[order] * np.arange(len(order), 0, -1))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def summarize(
    runs: pd.DataFrame, by: Sequence[str], metric: str, level: float = 0.95
) -> pd.DataFrame:
    """One row per setting.

    The intervals take runs for independent: they hold where those of a setting differ in seed only.

    Args:
        runs: One row per run, as `Results.runs`.
        by: The keys that make a setting; none for all runs together.
        metric: The final metric to average.
        level: Of the intervals.

    Returns:
        The keys `by` (numbers ascending, anything else in order of first appearance), `mean`,
        `low` and `high` of completed runs, `n` (how many have a finite value), `runs` (completed
        and diverged), `diverged`, `diverged_share`, `failed` (failed or not over).

    Raises:
        ValueError: If there is no such metric.
    """
    require(0 < level < 1, "level", level, "between 0 and 1")
    completed, diverged = runs["state"] == COMPLETED, runs["state"] == DIVERGED
    number, settings = numbered_settings(runs, by)
    grouped = finite_values(runs, metric).where(completed).groupby(number)
    table = _t_intervals(grouped, level).reindex(settings.index)
    for setting in table.index[table["n"] >= FEW]:
        estimate = mean_interval(grouped.get_group(setting).dropna(), level)
        table.loc[setting, ["low", "high"]] = estimate.low, estimate.high
    table["n"] = table["n"].fillna(0).astype(int)
    counts = [number[completed | diverged], number[diverged], number[~(completed | diverged)]]
    over, lost, failed = (np.bincount(one, minlength=len(settings)) for one in counts)
    share = np.divide(lost, over, where=over > 0, out=np.full(len(over), np.nan))
    table = table.assign(runs=over, diverged=lost, diverged_share=share, failed=failed)
    return pd.concat([settings, table], axis=1)


def rank(
    runs: pd.DataFrame,
    by: Sequence[str],
    chosen: str = "val/loss",
    reported: Sequence[str] = ("test/loss",),
    higher_is_better: bool = False,
) -> pd.DataFrame:
    """Settings from the best to the worst; those of which a run diverged come after all others.

    Args:
        runs: One row per run, as `Results.runs`.
        by: The keys that make a setting.
        chosen: The metric whose mean ranks.
        reported: Metrics to show as well; NaN where no run has one.
        higher_is_better: Whether `chosen` is better where it is higher.

    Returns:
        `rank` (from 1), the keys `by`, `<metric> mean`, `low`, `high` and `n` for each metric,
        `runs`, `diverged`, `failed`.

    Raises:
        ValueError: If there is no metric `chosen`.
    """
    absent = {metric: np.nan for metric in reported if metric not in runs and metric != chosen}
    metrics = dict.fromkeys([chosen, *reported])
    tables = {metric: summarize(runs.assign(**absent), by, metric) for metric in metrics}
    parts = [t[["mean", "low", "high", "n"]].add_prefix(f"{m} ") for m, t in tables.items()]
    first = tables[chosen]
    whole = pd.concat([first[list(by)], *parts, first[["runs", "diverged", "failed"]]], axis=1)
    mean = -first["mean"] if higher_is_better else first["mean"]
    order = np.lexsort([mean, first["diverged"] > 0, first["runs"] == 0])  # the last counts most
    whole = whole.iloc[order].reset_index(drop=True)
    whole.insert(0, "rank", np.arange(1, len(whole) + 1))
    return whole


def bands(
    curves: pd.DataFrame, runs: pd.DataFrame, by: Sequence[str], metric: str, level: float = 0.95
) -> pd.DataFrame:
    """The mean over epochs, with t intervals, for each setting.

    A diverged run counts as long as its values are finite; from there on the mean is of the runs
    that remain, and `n` says of how many.

    Args:
        curves: One row per run and epoch, as `Results.curves`.
        runs: The runs to take, as `Results.runs`.
        by: The keys that make a setting.
        metric: A column of `curves`.
        level: Of the intervals.

    Returns:
        The keys `by`, `epoch`, `step` (the largest, if runs differ in it), `mean`, `low`, `high`,
        `n`; settings in the order of `summarize`.

    Raises:
        ValueError: If there is no such metric.
    """
    require(0 < level < 1, "level", level, "between 0 and 1")
    number, settings = numbered_settings(runs, by)
    counted = runs["state"].isin([COMPLETED, DIVERGED])
    setting = curves["run"].map(pd.Series(number, runs.index)[counted])
    table = curves[["epoch", "step"]].assign(value=finite_values(curves, metric), setting=setting)
    grouped = table.dropna(subset="setting").groupby(["setting", "epoch"])
    result = _t_intervals(grouped["value"], level)
    result.insert(0, "step", grouped["step"].max())
    result = result.reset_index()
    names = settings.iloc[result.pop("setting").astype(int)].reset_index(drop=True)
    return pd.concat([names, result], axis=1)


def _t_intervals(grouped: Any, level: float) -> pd.DataFrame:
    """`mean`, `low`, `high` and `n` of each group of values, NaN left out."""
    table = grouped.agg(["mean", "std", "count"])
    n = table["count"].where(table["count"] > 1)
    half = stats.t.ppf((1 + level) / 2, n - 1) * table["std"] / np.sqrt(n)
    ends = {"low": table["mean"] - half, "high": table["mean"] + half, "n": table["count"]}
    return table[["mean"]].assign(**ends)


def finite_values(table: pd.DataFrame, metric: str) -> pd.Series:
    """A metric's column; NaN where it is not finite.

    Raises:
        ValueError: If there is no such column.
    """
    if metric not in table:
        raise ValueError(unknown(metric, table.columns, "metric"))
    return table[metric].where(np.isfinite(table[metric]))


def numbered_settings(runs: pd.DataFrame, by: Sequence[str]) -> tuple[Integers, pd.DataFrame]:
    """The number of each row's setting, and the settings themselves, by number."""
    number = numbered(runs, by)
    _, first = np.unique(number, return_index=True)
    if not by:
        return number, pd.DataFrame(index=range(1))
    return number, runs[list(by)].iloc[first].reset_index(drop=True)


def numbered(runs: pd.DataFrame, by: Sequence[str]) -> Integers:
    """The place of each row's setting in natural order.

    Natural is: numbers ascending, anything else in order of first appearance; NaN is a value.
    """
    number = np.zeros(len(runs), dtype=np.int64)
    for key in by:
        sort = pd.api.types.is_numeric_dtype(runs[key])
        codes, _ = pd.factorize(runs[key], sort=sort, use_na_sentinel=False)
        _, number = np.unique(number * len(runs) + codes, return_inverse=True)
    return number
