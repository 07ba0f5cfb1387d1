"""Two values of a key compared in runs that are equal in everything else.

The independent unit is a seed, as in `neuronlab.statistics`. A diverged run has lost.

Letters: n units, C matched cells (all other keys equal), V values of the compared key.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from neuronlab.errors import require, unknown
from neuronlab.statistics import (
    COMPLETED,
    DIVERGED,
    NOTHING,
    Estimate,
    Floats,
    Integers,
    finite_values,
    holm,
    mean_interval,
    numbered,
    numbered_settings,
)
from neuronlab.swept import SEEDS


@dataclass(frozen=True)
class Comparison:
    """Two values of a key, over pairs of runs that are equal in all other keys.

    Attributes:
        key: The key.
        a: One of its values.
        b: The other.
        metric: What is compared.
        relative: a/b − 1, so −0.05 where a is 5 % lower: from the mean of log ratios within each
            seed, then over seeds; NaN where a pair has a value that is zero or negative. An end of
            its interval may be infinite.
        difference: The mean of a − b, likewise within each seed first.
        pairs: Matched pairs in which each run has a value or diverged.
        seeds: Independent seeds behind them; if only one, pairs are the units of everything here.
        wins: Share of pairs in which a is better; a tie is half a win, a diverged run loses to one
            that did not, and two diverged ones tie.
        p: Of Wilcoxon's signed-rank test over seeds, two-sided.
        p_holm: The same, corrected for the comparisons that it was made with.
        diverged_a: Diverged runs of a among the pairs.
        diverged_b: Of b, likewise.
    """

    key: str
    a: str
    b: str
    metric: str
    relative: Estimate
    difference: Estimate
    pairs: int
    seeds: int
    wins: float
    p: float
    p_holm: float
    diverged_a: int
    diverged_b: int


def compare(
    runs: pd.DataFrame,
    keys: Sequence[str],
    key: str,
    a: object,
    b: object,
    metric: str,
    *,
    seeds: Sequence[str] = SEEDS,
    higher_is_better: bool = False,
    level: float = 0.95,
) -> Comparison:
    """Whether one value of a key is better than another, all else being equal.

    Each seed gives one number, the mean over its pairs; intervals and test are over these. With n
    seeds p is 2/2ⁿ at least: five are too few for p < 0.05, and ten allow for 25 comparisons.

    A pair with a diverged run has neither ratio nor difference. For the test, it counts as the
    largest effect among all pairs, against the one that diverged (1, if no pair shows any); as none
    if both diverged. Pairs with a run that failed, is not over, or completed without a finite value
    are left out. Of runs that are equal in all keys, the first is paired with the first, and so on.

    Args:
        runs: One row per run, as `Results.runs`.
        keys: All swept keys, seeds included.
        key: The key to compare values of.
        a: One of its values.
        b: Another.
        metric: The final metric to compare.
        seeds: The keys that make a seed, as far as they are among `keys`.
        higher_is_better: Whether the metric is better where it is higher.
        level: Of the intervals.

    Raises:
        ValueError: If there is no such key, value or metric, or no pair.
    """
    cells = _cells(runs, keys, key, metric, seeds)
    first, second = (_column(cells.names, key, value) for value in (a, b))
    require(first != second, "b", b, f"another value of {key} than a")
    found = _compare(cells, first, second, key, metric, higher_is_better, level)
    if not found.pairs:
        raise ValueError(f"{key}={a} and {key}={b}: no two runs that are equal in all other keys")
    return found


def compare_all(
    runs: pd.DataFrame,
    keys: Sequence[str],
    key: str,
    metric: str,
    *,
    seeds: Sequence[str] = SEEDS,
    higher_is_better: bool = False,
    level: float = 0.95,
) -> list[Comparison]:
    """Every two values of a key, with p-values corrected for how many comparisons that makes.

    Takes what `compare` takes. Two values without any pair are in the list, with NaN and 0 pairs.

    Raises:
        ValueError: If there is no such key or metric.
    """
    cells = _cells(runs, keys, key, metric, seeds)
    found = [
        _compare(cells, a, b, key, metric, higher_is_better, level)
        for a, b in itertools.combinations(range(len(cells.names)), 2)
    ]
    corrected = holm([one.p for one in found])
    return [replace(one, p_holm=float(p)) for one, p in zip(found, corrected, strict=True)]


class _Cells(NamedTuple):
    """Runs by everything but one key."""

    names: list[Any]  # the key's values [V], in natural order
    value: Floats  # the metric [C, V]; NaN where a run diverged or is missing
    diverged: NDArray[np.bool_]  # [C, V]
    seed: Integers  # the seed's number [C]


def _cells(
    runs: pd.DataFrame, keys: Sequence[str], key: str, metric: str, seeds: Sequence[str]
) -> _Cells:
    if key not in keys:
        raise ValueError(unknown(key, keys, "swept key"))
    runs = runs[runs[key].notna()]
    column, names = numbered_settings(runs, [key])
    others = [other for other in keys if other != key]
    cell = numbered(runs, others)
    seed = numbered(runs, [other for other in others if other in seeds])
    value = finite_values(runs, metric).where(runs["state"] == COMPLETED).to_numpy()
    diverged = (runs["state"] == DIVERGED).to_numpy()
    counted = diverged | ~np.isnan(value)
    column, cell, seed, value, diverged = (
        each[counted] for each in (column, cell, seed, value, diverged)
    )
    again = pd.Series(cell).groupby([cell, column]).cumcount().to_numpy()  # equal in all keys
    cells, row = np.unique(again * len(runs) + cell, return_inverse=True)
    shape = len(cells), len(names)
    table = _Cells(
        names[key].tolist(), np.full(shape, np.nan), np.full(shape, False), np.zeros_like(cells)
    )
    table.value[row, column], table.diverged[row, column] = value, diverged
    table.seed[row] = seed
    return table


def _column(names: Sequence[Any], key: str, value: Any) -> int:
    """Where a value is among those of a key; numbers may come as texts."""
    for place, name in enumerate(names):
        try:
            same = float(name) == float(value)
        except (TypeError, ValueError):
            same = str(name) == str(value)
        if same:
            return place
    allowed, shown = map(str, names), f"{key}={value}"
    raise ValueError(unknown(str(value), allowed, f"value of {key}", shown=shown))


def _compare(
    cells: _Cells, a: int, b: int, key: str, metric: str, higher_is_better: bool, level: float
) -> Comparison:
    value, diverged = cells.value[:, [a, b]], cells.diverged[:, [a, b]]  # [C, 2]
    paired = (diverged | ~np.isnan(value)).all(axis=1)
    value, diverged, unit = value[paired], diverged[paired], cells.seed[paired]
    seeds = len(np.unique(unit))
    unit = unit if seeds > 1 else np.arange(len(unit))
    finite = ~diverged.any(axis=1)
    difference = value[finite, 0] - value[finite, 1]
    effect, relative = difference, NOTHING
    if (value[finite] > 0).all():
        logs = np.log(value[finite])
        effect = logs[:, 0] - logs[:, 1]
        relative = _exponential(mean_interval(_within(effect, unit[finite]), level))
    sign = 1 if higher_is_better else -1  # of an effect in favor of a
    favor = 1.0 * diverged[:, 1] - diverged[:, 0]
    worst = np.abs(effect).max(initial=0) or 1.0
    tested = sign * worst * favor
    favor[finite], tested[finite] = sign * difference, effect
    p = _signed_rank(_within(tested, unit))
    return Comparison(
        key=key,
        a=str(cells.names[a]),
        b=str(cells.names[b]),
        metric=metric,
        relative=relative,
        difference=mean_interval(_within(difference, unit[finite]), level),
        pairs=len(unit),
        seeds=seeds,
        wins=float((1 + np.sign(favor)).mean() / 2) if len(unit) else np.nan,
        p=p,
        p_holm=p,
        diverged_a=int(diverged[:, 0].sum()),
        diverged_b=int(diverged[:, 1].sum()),
    )


def _within(effects: Floats, unit: Integers) -> Floats:
    """The mean within each unit that has any."""
    _, unit = np.unique(unit, return_inverse=True)
    means: Floats = np.bincount(unit, weights=effects) / np.bincount(unit)
    return means


def _exponential(log: Estimate) -> Estimate:
    """A mean of log ratios as a relative difference."""
    with np.errstate(over="ignore"):  # two seeds that disagree by orders of magnitude: up to ∞
        value, low, high = (float(np.expm1(end)) for end in (log.value, log.low, log.high))
    return replace(log, value=value, low=low, high=high)


def _signed_rank(effects: Floats) -> float:
    """The p-value of Wilcoxon's test, two-sided; zeros keep their ranks (Pratt 1959).

    Exact up to 50 effects, with ties as well: the chances of all sums of positive ranks if each
    sign is a coin's. SciPy gives the same, but would toss all 2ⁿ coins where effects tie.
    """
    if not effects.any():
        return 1.0 if len(effects) else np.nan
    if len(effects) > 50:
        return float(stats.wilcoxon(effects, zero_method="zsplit", method="asymptotic").pvalue)
    doubled = np.rint(2 * stats.rankdata(np.abs(effects))).astype(int)  # ties have halves
    chances: Floats = np.ones(1)  # of each doubled sum
    for rank_ in doubled[effects != 0]:
        heads, tails = np.pad(chances, (rank_, 0)), np.pad(chances, (0, rank_))
        chances = (heads + tails) / 2
    reached = doubled[effects > 0].sum()
    tail = min(chances[: reached + 1].sum(), chances[reached:].sum())
    return float(min(1, 2 * tail))
