import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr, ndtri

from neuronlab.statistics import (
    FEW,
    RESAMPLES,
    Comparison,
    Estimate,
    bands,
    compare,
    compare_all,
    holm,
    mean_interval,
    rank,
    share_interval,
    summarize,
)

NAN = math.nan
Intervals = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # of rows
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
DRAWS: dict[str, tuple[Draw, float]] = {  # and the true means
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "uniform": (lambda rng, shape: rng.uniform(size=shape), 0.5),
    "gamma(4)": (lambda rng, shape: rng.gamma(4, size=shape), 4.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "lognormal": (lambda rng, shape: rng.lognormal(size=shape), math.exp(0.5)),
}


def ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def approx(expected: Any, **tolerance: float) -> Any:
    return pytest.approx(expected, nan_ok=True, **tolerance)


def nominal(hits: int, n: int, share: float = 0.95, alternative: str = "two-sided") -> bool:
    """Whether a count is within binomial error of a share."""
    return bool(stats.binomtest(hits, n, share, alternative=alternative).pvalue > 0.001)


# --- intervals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("n", [2, 3, 10, FEW - 1])
def test_few_values_have_the_t_interval(n: int, level: float) -> None:
    x = np.random.default_rng(n).gamma(4, size=n)
    found = mean_interval(x, level)
    expected = stats.ttest_1samp(x, 0).confidence_interval(level)
    assert ends(found) == approx((x.mean(), *expected))
    assert ends(found)[1:] == approx(stats.t.interval(level, n - 1, x.mean(), stats.sem(x)))
    assert (found.n, found.method) == (n, "t")


def bca(x: np.ndarray, level: float = 0.95, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """BCa intervals of the means of rows, after Efron and Tibshirani 1993, 14.3.

    Args:
        x: Samples [S, n]; all are resampled alike.
        level: Share of intervals that should hold the true mean.
        seed: Of the resamples.
    """
    n = x.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    off = x - x.mean(axis=1, keepdims=True)
    means = np.sort(off @ weights.T, axis=1)  # [S, RESAMPLES]
    bias = ndtri((means < 0).mean(axis=1))
    acceleration = (off**3).sum(axis=1) / (6 * (off**2).sum(axis=1) ** 1.5)
    found = []
    for z in ndtri([(1 - level) / 2, (1 + level) / 2]):
        share = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        place = (share * (RESAMPLES - 1)).round().astype(int)
        found.append(x.mean(axis=1) + means[np.arange(len(x)), place])
    return found[0], found[1]


@pytest.mark.parametrize("name", DRAWS)
def test_many_values_have_the_bca_interval(name: str) -> None:
    x = DRAWS[name][0](np.random.default_rng(0), (4, FEW))
    for row, low, high in zip(x, *bca(x), strict=True):
        found = mean_interval(row)
        assert (found.n, found.method) == (FEW, "BCa")
        # other resamples, so within a twentieth of the width
        assert ends(found) == approx((row.mean(), low, high), abs=0.05 * (high - low))


def test_bca_is_that_of_scipy() -> None:
    x = np.random.default_rng(3).exponential(size=80)
    options = {"n_resamples": RESAMPLES, "batch": 1000, "rng": np.random.default_rng(0)}
    expected = stats.bootstrap((x,), np.mean, confidence_level=0.9, **options).confidence_interval
    assert ends(mean_interval(x, 0.9)) == approx((x.mean(), *expected), rel=1e-12)
    assert mean_interval(x) == mean_interval(x)  # the same data, the same interval


@pytest.mark.parametrize(
    ("values", "value", "low", "high", "method"),
    [
        ([], NAN, NAN, NAN, "none"),
        ([0.3], 0.3, NAN, NAN, "none"),
        ([0.1] * 3, 0.1, 0.1, 0.1, "t"),
        ([0.1] * FEW, 0.1, 0.1, 0.1, "t"),
        ([0.0] * FEW, 0.0, 0.0, 0.0, "t"),
        ([2e300, 2e300, 2e300], 2e300, 2e300, 2e300, "t"),
    ],
)
def test_values_without_an_interval_or_without_width(values, value, low, high, method) -> None:  # type: ignore[no-untyped-def]
    found = mean_interval(values)
    assert ends(found) == approx((value, low, high), rel=0, abs=0)
    assert (found.n, found.method) == (len(values), method)


@pytest.mark.parametrize("n", [4, FEW])
@pytest.mark.parametrize("scale", [1e-290, 1e300])
def test_neither_huge_nor_tiny_values_matter(n: int, scale: float) -> None:
    x = np.random.default_rng(0).normal(3, 1, size=n)
    expected = [end * scale for end in ends(mean_interval(x))]
    assert ends(mean_interval(x * scale)) == approx(expected, rel=1e-9)


def test_values_that_differ_in_the_last_digit_only() -> None:
    x = np.ones(FEW)
    x[0] += 2.3e-16
    assert ends(mean_interval(x)) == approx((1, 1, 1))


@pytest.mark.parametrize("wrong", [NAN, math.inf])
def test_a_value_that_is_no_number_is_an_error(wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"^values=\[{wrong}\]: must be finite$"):
        mean_interval([1.0, wrong, 2.0])


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_share(level: float) -> None:
    for estimate in (mean_interval, lambda x, level: share_interval(1, 2, level)):
        with pytest.raises(ValueError, match=f"level={level}: must be between 0 and 1"):
            estimate([1.0, 2.0], level)


def rows_of_t(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = stats.ttest_1samp(x, 0, axis=1).confidence_interval(0.95)
    return found.low, found.high


def rows_of_ours(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = [mean_interval(row) for row in x]
    return np.array([one.low for one in found]), np.array([one.high for one in found])


def count_held(make: Intervals, name: str, n: int, samples: int) -> int:
    """How many intervals hold the true mean."""
    draw, mean = DRAWS[name]
    low, high = make(draw(np.random.default_rng(n), (samples, n)))
    return int(((low <= mean) & (mean <= high)).sum())


HOLD = [
    (rows_of_ours, "normal", 3, 1000),
    (rows_of_ours, "normal", 10, 1000),
    (rows_of_ours, "uniform", 10, 1000),
    (rows_of_t, "normal", 2, 10_000),
    (rows_of_t, "normal", 5, 10_000),
    (rows_of_t, "normal", 20, 10_000),
    (rows_of_t, "uniform", 20, 10_000),
    (rows_of_t, "gamma(4)", 30, 2000),
    (bca, "normal", FEW, 1500),
    (bca, "uniform", FEW, 1500),
    (bca, "gamma(4)", FEW, 1500),
]


@pytest.mark.parametrize(("make", "name", "n", "samples"), HOLD)
def test_intervals_hold_the_mean_as_often_as_they_say(
    make: Intervals, name: str, n: int, samples: int
) -> None:
    assert nominal(count_held(make, name, n, samples), samples)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal", "uniform", "gamma(4)"])
@pytest.mark.parametrize("n", [20, FEW])
def test_intervals_hold_the_mean_as_often_as_they_say_as_they_are(name: str, n: int) -> None:
    assert nominal(count_held(rows_of_ours, name, n, 1500), 1500)


@pytest.mark.parametrize(
    ("make", "name", "n", "measured"),  # of 20 000
    [
        (rows_of_t, "exponential", 10, 0.898),
        (rows_of_t, "lognormal", 10, 0.842),
        (rows_of_t, "lognormal", 20, 0.869),
        (bca, "exponential", FEW, 0.934),  # t: 0.933
        (bca, "lognormal", FEW, 0.908),  # t: 0.900
        (bca, "normal", 10, 0.900),  # why few values have t
        (bca, "lognormal", 10, 0.827),  # and no better where t is bad
    ],
)
def test_where_intervals_promise_too_much(
    make: Intervals, name: str, n: int, measured: float
) -> None:
    """Not to be tuned away: few values of heavy skewness seldom show the tail that they have."""
    held = count_held(make, name, n, 1500)
    assert nominal(held, 1500, measured)
    assert held < 0.95 * 1500


# --- shares --------------------------------------------------------------------------------------


def test_share_interval_is_that_of_scipys_example() -> None:
    found = share_interval(7, 50)
    assert ends(found) == approx((0.14, 0.05819170033997342, 0.26739600249700846))
    assert (found.n, found.method) == (50, "Clopper–Pearson")


@pytest.mark.parametrize("n", [1, 2, 10, 59])
def test_all_or_none(n: int) -> None:
    """In closed form: the share at which n of n have a chance of 2.5 %."""
    assert ends(share_interval(0, n)) == approx((0, 0, 1 - 0.025 ** (1 / n)))
    assert ends(share_interval(n, n)) == approx((1, 0.025 ** (1 / n), 1))


def test_no_tries() -> None:
    assert math.isnan(share_interval(0, 0).value)


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2), (0, -1)])
def test_more_than_all_is_an_error(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"successes={successes}: must be from 0 to n={n}"):
        share_interval(successes, n)


@pytest.mark.parametrize("n", [1, 5, 20, 50])
def test_share_intervals_hold_the_share_at_least_as_often_as_they_say(n: int) -> None:
    """Exactly, with the binomial distribution; no simulation."""
    found = [share_interval(k, n) for k in range(n + 1)]
    for share in np.linspace(0, 1, 101):
        chances = stats.binom.pmf(range(n + 1), n, share)
        held = sum(c for c, one in zip(chances, found, strict=True) if one.low <= share <= one.high)
        assert held >= 0.95 - 1e-12


# --- Holm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),  # 3 · 0.01, 2 · 0.02, then not below
        ([0.04, 0.01, 0.03, 0.005], [0.06, 0.03, 0.06, 0.02]),  # any order
        ([0.6, 0.7], [1, 1]),
        ([0.02, NAN, 0.03], [0.04, NAN, 0.04]),  # NaN is no test
        ([NAN], [NAN]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_by_hand(p: list[float], adjusted: list[float]) -> None:
    assert holm(p).tolist() == approx(adjusted)


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.5))
@settings(max_examples=100, deadline=None)
def test_holm_rejects_what_its_steps_reject(p: list[float], alpha: float) -> None:
    """The procedure as Holm tells it: the smallest against α/m, the next against α/(m − 1), …"""
    rejected = set()
    for step, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[place] * (len(p) - step) > alpha:
            break
        rejected.add(place)
    assert set(np.flatnonzero(holm(p) <= alpha)) == rejected


# --- settings ------------------------------------------------------------------------------------

Row = tuple[Any, ...]


def table(names: Sequence[str], rows: Iterable[Row]) -> pd.DataFrame:
    runs = pd.DataFrame(list(rows), columns=list(names))
    return runs.set_index(pd.Index([f"run{i}" for i in range(len(runs))], name="run"))


RUNS = table(
    ["activation", "optimizer.lr", "seed", "state", "val/loss", "test/loss"],
    [
        ("tanh", 0.1, 0, "completed", 1.0, 10.0),
        ("tanh", 0.1, 1, "completed", 3.0, 30.0),
        ("tanh", 0.01, 0, "completed", 1.5, 15.0),
        ("tanh", 0.01, 1, "failed", NAN, NAN),
        ("relu", 0.1, 0, "diverged", 7.0, NAN),  # what is left of it does not count
        ("relu", 0.1, 1, "diverged", NAN, NAN),
        ("relu", 0.01, 0, "completed", 0.5, 5.0),
        ("relu", 0.01, 1, "diverged", NAN, NAN),
        ("relu", 0.01, 2, "unfinished", NAN, NAN),
        ("relu", 0.01, 3, "completed", math.inf, 7.0),  # over, but without a value
    ],
)
BY = ["activation", "optimizer.lr"]


def test_summary() -> None:
    found = summarize(RUNS, BY, "val/loss")
    half = stats.t.ppf(0.975, 1)  # of 1 and 3: the standard error is 1
    expected = table(
        [*BY, "mean", "low", "high", "n", "runs", "diverged", "diverged_share", "failed"],
        [
            ("tanh", 0.01, 1.5, NAN, NAN, 1, 1, 0, 0.0, 1),
            ("tanh", 0.1, 2.0, 2 - half, 2 + half, 2, 2, 0, 0.0, 0),
            ("relu", 0.01, 0.5, NAN, NAN, 1, 3, 1, 1 / 3, 1),
            ("relu", 0.1, NAN, NAN, NAN, 0, 2, 2, 1.0, 0),
        ],
    )
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))


def test_summary_of_all_runs_together() -> None:
    found = summarize(RUNS, [], "val/loss")
    assert len(found) == 1
    assert found.loc[0, ["mean", "n", "runs", "diverged", "failed"]].tolist() == [1.5, 4, 8, 3, 2]


def test_summary_of_no_run() -> None:
    assert summarize(RUNS[:0], [], "val/loss")[["n", "runs", "failed"]].to_numpy().tolist() == [
        [0, 0, 0]
    ]
    assert summarize(RUNS[:0], BY, "val/loss").empty


@pytest.mark.parametrize("n", [7, FEW])
def test_summary_has_the_intervals_of_its_values(n: int) -> None:
    rng = np.random.default_rng(0)
    rows = [(width, i, "completed", rng.gamma(4)) for width in (16, 4) for i in range(n)]
    runs = table(["model.width", "seed", "state", "val/loss"], rows)
    found = summarize(runs, ["model.width"], "val/loss", 0.8)
    assert found["model.width"].tolist() == [4, 16]
    for _, row in found.iterrows():
        values = runs.loc[runs["model.width"] == row["model.width"], "val/loss"]
        assert row[["mean", "low", "high"]].tolist() == approx(ends(mean_interval(values, 0.8)))


def test_settings_with_a_missing_value_are_kept() -> None:
    runs = RUNS.assign(**{"optimizer.lr": RUNS["optimizer.lr"].replace(0.1, NAN)})
    assert summarize(runs, ["optimizer.lr"], "val/loss")["runs"].tolist() == [4, 4]


def test_rank_puts_settings_with_a_diverged_run_last() -> None:
    found = rank(RUNS, BY)
    assert found.columns.tolist() == [
        "rank",
        *BY,
        *(f"val/loss {what}" for what in ("mean", "low", "high", "n")),
        *(f"test/loss {what}" for what in ("mean", "low", "high", "n")),
        *("runs", "diverged", "failed"),
    ]
    short = found[["rank", *BY, "val/loss mean", "test/loss mean", "test/loss n", "diverged"]]
    expected = [
        [1, "tanh", 0.01, 1.5, 15.0, 1, 0],
        [2, "tanh", 0.1, 2.0, 20.0, 2, 0],
        [3, "relu", 0.01, 0.5, 6.0, 2, 1],
        [4, "relu", 0.1, NAN, NAN, 0, 2],
    ]
    for row, values in zip(short.to_numpy().tolist(), expected, strict=True):
        assert row[:2] == values[:2]
        assert row[2:] == approx(values[2:])


def test_rank_where_higher_is_better_and_a_metric_is_missing() -> None:
    runs = RUNS.drop(columns="test/loss").rename(columns={"val/loss": "val/accuracy"})
    found = rank(runs, BY, "val/accuracy", ["val/accuracy", "test/accuracy"], True)
    assert found["val/accuracy mean"].tolist() == approx([2.0, 1.5, 0.5, NAN])
    assert found["test/accuracy n"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "ask",
    [
        lambda: summarize(RUNS, BY, "val/los"),
        lambda: rank(RUNS, BY, "val/los"),
        lambda: compare(RUNS, [*BY, "seed"], "activation", "tanh", "relu", "val/los"),
        lambda: bands(CURVES, RUNS, BY, "val/los"),
    ],
)
def test_an_unknown_metric_is_an_error(ask: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"^val/los: no such metric; did you mean val/loss\?"):
        ask()


# --- bands ---------------------------------------------------------------------------------------

CURVES = pd.DataFrame(
    [
        *(("run0", e, 10 * e, loss) for e, loss in enumerate([4.0, 2.0, 1.0])),
        *(("run1", e, 10 * e, loss) for e, loss in enumerate([8.0, 4.0, 3.0])),
        *(("run2", e, 20 * e, loss) for e, loss in enumerate([5.0, 6.0])),
        *(("run3", e, 20 * e, loss) for e, loss in enumerate([99.0])),  # failed
        *(("run4", e, 10 * e, loss) for e, loss in enumerate([2.0, 9.0, NAN])),
        *(("run5", e, 10 * e, loss) for e, loss in enumerate([4.0, math.inf, NAN])),
        ("another sweep's", 0, 0, 1.0),
    ],
    columns=["run", "epoch", "step", "val/loss"],
)


def test_bands_by_hand() -> None:
    found = bands(CURVES, RUNS, BY, "val/loss")
    expected = [  # values behind each mean
        ("tanh", 0.01, 0, 0, [5.0]),
        ("tanh", 0.01, 1, 20, [6.0]),
        ("tanh", 0.1, 0, 0, [4.0, 8.0]),
        ("tanh", 0.1, 1, 10, [2.0, 4.0]),
        ("tanh", 0.1, 2, 20, [1.0, 3.0]),
        ("relu", 0.1, 0, 0, [2.0, 4.0]),
        ("relu", 0.1, 1, 10, [9.0]),
        ("relu", 0.1, 2, 20, []),
    ]
    assert found.columns.tolist() == [*BY, "epoch", "step", "mean", "low", "high", "n"]
    for row, (*names, values) in zip(found.to_numpy().tolist(), expected, strict=True):
        assert row[:4] == names
        assert row[4:] == approx([*ends(mean_interval(values)), len(values)])


def test_bands_of_all_runs_together() -> None:
    found = bands(CURVES, RUNS, [], "val/loss", 0.5)
    assert found["n"].tolist() == [5, 4, 2]
    assert found["step"].tolist() == [0, 20, 20]
    expected = ends(mean_interval([4.0, 8.0, 5.0, 2.0, 4.0], 0.5))
    assert found.loc[0, ["mean", "low", "high"]].tolist() == approx(expected)


def test_bands_without_curves() -> None:
    assert bands(CURVES[:0], RUNS, BY, "val/loss").empty


# --- comparisons ---------------------------------------------------------------------------------

Loss = float | str | None  # a metric's value, or a state, or no run
Runs = Mapping[tuple[float, int], Loss]  # by learning rate and seed
KEYS = ("activation", "lr", "seed")


def sweep(a: Runs, b: Runs) -> pd.DataFrame:
    """Runs of two activations, by learning rate and seed."""
    rows = [
        (name, lr, seed, *(("completed", loss) if isinstance(loss, float) else (loss, NAN)))
        for name, losses in (("a", a), ("b", b))
        for (lr, seed), loss in losses.items()
        if loss is not None
    ]
    return table([*KEYS, "state", "m"], rows)


def over_seeds(*pairs: tuple[Loss, Loss]) -> pd.DataFrame:
    """Runs of two activations, one pair per seed."""
    a, b = ({(1.0, seed): pair[i] for seed, pair in enumerate(pairs)} for i in range(2))
    return sweep(a, b)


def a_and_b(runs: pd.DataFrame, **options: Any) -> Comparison:
    return compare(runs, KEYS, "activation", "a", "b", "m", **options)


def test_comparison_by_hand() -> None:
    """Two learning rates within each of three seeds; one pair lacks a partner."""
    a = {(0.1, 0): 1.0, (1.0, 0): 4.0, (0.1, 1): 3.0, (1.0, 1): 3.0, (0.1, 2): 2.0, (1.0, 2): 9.0}
    b = {(0.1, 0): 2.0, (1.0, 0): 2.0, (0.1, 1): 2.0, (1.0, 1): 5.0, (0.1, 2): 8.0}
    found = a_and_b(sweep(a, b))
    logs = [(math.log(1 / 2) + math.log(4 / 2)) / 2, math.log(9 / 10) / 2, math.log(2 / 8)]
    assert ends(found.relative) == approx(np.expm1(ends(mean_interval(logs))))
    assert ends(found.difference) == approx(ends(mean_interval([0.5, -0.5, -6.0])))
    assert (found.relative.n, found.relative.method, found.difference.n) == (3, "t", 3)
    assert (found.pairs, found.seeds, found.wins) == (5, 3, 3 / 5)
    assert found.p == 0.5  # effects 0, −, −: both signs alike with a chance of 2/2²
    assert (found.key, found.a, found.b, found.metric) == ("activation", "a", "b", "m")
    assert (found.diverged_a, found.diverged_b, found.p_holm) == (0, 0, found.p)


def test_p_is_that_of_scipys_example() -> None:
    d = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]
    runs = over_seeds(*((math.exp(x / 100), 1.0) for x in d))
    assert a_and_b(runs).p == approx(0.041259765625, rel=1e-12)


@pytest.mark.parametrize(
    "effects",
    [
        [1.0, 2.0, 3.0, -4.0],
        [1.0, 1.0, 1.0, 1.0, 1.0],  # ties: 2/2⁵
        [1.0, 1.0, -1.0, 2.0, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0],
        [-3.0],
        np.random.default_rng(0).normal(1, 1, size=30).tolist(),
    ],
)
def test_p_is_exact_with_ties_as_well(effects: list[float]) -> None:
    """Against SciPy, which counts out all signs where there are ties."""
    runs = over_seeds(*((x, 0.0) for x in effects))
    method = "auto" if len(effects) < 14 else "exact"
    expected = stats.wilcoxon(effects, zero_method="zsplit", method=method).pvalue
    assert a_and_b(runs, seeds=["seed"]).p == approx(expected, rel=1e-12)


def test_many_seeds_have_the_p_of_the_normal_distribution() -> None:
    effects = np.random.default_rng(0).normal(0.2, 1, size=60)
    expected = stats.wilcoxon(effects, method="asymptotic").pvalue
    assert a_and_b(over_seeds(*((x, 0.0) for x in effects))).p == approx(expected)


DIVERGED = "diverged"


@pytest.mark.parametrize(
    ("pairs", "wins", "effects"),  # effects: log ratios as tested
    [
        # as bad as the worst seen, so all four against a
        (
            [(2.0, 1.0), (4.0, 1.0), (DIVERGED, 1.0), (DIVERGED, 1.0)],
            0,
            [math.log(2), math.log(4), math.log(4), math.log(4)],
        ),
        ([(1.0, 8.0), (1.0, DIVERGED)], 1, [-math.log(8), -math.log(8)]),
        ([(1.0, 8.0), (DIVERGED, 1.0)], 0.5, [-math.log(8), math.log(8)]),
        ([(DIVERGED, DIVERGED), (2.0, 1.0)], 0.25, [0, math.log(2)]),  # both diverged: a tie
        ([(DIVERGED, DIVERGED)] * 3, 0.5, [0, 0, 0]),
        ([(DIVERGED, 1.0)] * 6, 0, [1] * 6),  # no effect to compare with
        ([(DIVERGED, 1.0)] * 6 + [(3.0, 3.0)], 0.5 / 7, [1] * 6 + [0]),
    ],
)
@pytest.mark.parametrize("higher_is_better", [False, True])
def test_a_diverged_run_loses(pairs, wins, effects, higher_is_better) -> None:  # type: ignore[no-untyped-def]
    if higher_is_better:  # the same with values the other way round
        pairs = [tuple(1 / x if isinstance(x, float) else x for x in pair) for pair in pairs]
    found = a_and_b(over_seeds(*pairs), higher_is_better=higher_is_better)
    finite = [pair for pair in pairs if DIVERGED not in pair]
    logs = [math.log(a / b) for a, b in finite]
    assert ends(found.relative) == approx(np.expm1(ends(mean_interval(logs))))
    assert ends(found.difference) == approx(ends(mean_interval([a - b for a, b in finite])))
    assert found.wins == approx(wins)
    assert (found.pairs, found.seeds) == (len(pairs), len(pairs))
    assert found.diverged_a == sum(a == DIVERGED for a, _ in pairs)
    assert found.diverged_b == sum(b == DIVERGED for _, b in pairs)
    p = stats.wilcoxon(effects, zero_method="zsplit").pvalue if any(effects) else 1
    assert found.p == approx(p)


def test_a_diverged_run_counts_against_its_seed() -> None:
    """Within a seed, the worst effect of all seeds is averaged with what else the seed shows."""
    a: Runs = {(0.1, 0): 2.0, (1.0, 0): 2.0, (0.1, 1): 0.5, (1.0, 1): DIVERGED, (0.1, 2): 1.0}
    b: Runs = dict.fromkeys(a, 1.0)
    found = a_and_b(sweep(a, b))
    tested = [math.log(2), (-math.log(2) + math.log(2)) / 2, 0]
    assert found.p == approx(stats.wilcoxon(tested, zero_method="zsplit").pvalue)
    measured = mean_interval([math.log(2), -math.log(2), 0])
    assert ends(found.relative) == approx(np.expm1(ends(measured)))


def test_what_a_diverged_run_leaves_does_not_count() -> None:
    runs = over_seeds((1.0, 2.0), (DIVERGED, 2.0), (1.0, 3.0))
    left = runs.assign(m=runs["m"].fillna(1e-9))
    assert a_and_b(left) == a_and_b(runs)


@pytest.mark.parametrize("missing", ["failed", "unfinished", None, math.inf, NAN])
def test_pairs_without_an_outcome_are_left_out(missing: Loss) -> None:
    pairs = [(1.0, 2.0), (2.0, 3.0), (DIVERGED, 1.0)]
    found = a_and_b(over_seeds(*pairs, (missing, 1.0), (1.0, missing), (missing, DIVERGED)))
    assert found == a_and_b(over_seeds(*pairs))
    assert (found.pairs, found.diverged_a, found.diverged_b) == (3, 1, 0)


def test_ties() -> None:
    found = a_and_b(over_seeds(*[(0.5, 0.5)] * 4))
    assert ends(found.relative) == ends(found.difference) == (0, 0, 0)
    assert (found.wins, found.p) == (0.5, 1)


def test_a_single_pair() -> None:
    found = a_and_b(over_seeds((1.0, 4.0)))
    assert ends(found.relative) == approx((-0.75, NAN, NAN))
    assert ends(found.difference) == approx((-3, NAN, NAN))
    assert (found.seeds, found.pairs, found.wins, found.p) == (1, 1, 1, 1)


@pytest.mark.parametrize("keys", [KEYS, KEYS[:2]])
def test_with_one_seed_pairs_are_the_units(keys: Sequence[str]) -> None:
    lrs = (0.1, 0.2, 0.3)
    runs = sweep({(lr, 7): lr for lr in lrs}, {(lr, 7): lr**2 for lr in lrs})
    found = compare(runs, keys, "activation", "a", "b", "m")
    logs = [-math.log(lr) for lr in lrs]
    assert ends(found.relative) == approx(np.expm1(ends(mean_interval(logs))))
    assert (found.seeds, found.pairs, found.relative.n, found.p) == (1, 3, 3, 0.25)


def test_a_seed_is_all_keys_of_seeds() -> None:
    rows = [
        (name, order, seed, "completed", loss * (1 + order + seed))
        for name, loss in (("a", 1.0), ("b", 2.0))
        for order in (0, 1)
        for seed in (0, 1, 2)
    ]
    keys = ("activation", "data.order_seed", "seed")
    runs = table([*keys, "state", "m"], rows)
    assert compare(runs, keys, "activation", "a", "b", "m").seeds == 6
    assert compare(runs, keys, "activation", "a", "b", "m", seeds=["seed"]).seeds == 3
    assert compare(runs, keys, "seed", "0", 2, "m").seeds == 2  # then it is none


def test_a_metric_that_may_be_negative_has_no_ratio() -> None:
    pairs = [(0.5, -0.25), (0.9, 0.5), (-1.0, -2.0), (0.0, 0.5)]
    found = a_and_b(over_seeds(*pairs), higher_is_better=True)
    differences = [a - b for a, b in pairs]
    assert ends(found.relative) == approx((NAN, NAN, NAN))
    assert (found.relative.n, found.relative.method) == (0, "none")
    assert ends(found.difference) == approx(ends(mean_interval(differences)))
    assert found.p == approx(stats.wilcoxon(differences).pvalue)
    assert found.wins == 0.75


def test_higher_may_be_better() -> None:
    runs = over_seeds((0.9, 0.8), (0.7, 0.6), (0.5, 0.6))
    low, high = a_and_b(runs), a_and_b(runs, higher_is_better=True)
    assert (low.wins, high.wins) == approx((1 / 3, 2 / 3))
    assert (low.relative, low.p) == (high.relative, high.p)


def test_seeds_that_disagree_by_orders_of_magnitude() -> None:
    found = a_and_b(over_seeds((1e100, 1e-100), (1e-100, 1e100)))
    assert ends(found.relative) == approx((0, -1, math.inf))


def test_numbers_may_come_as_texts() -> None:
    runs = sweep({(0.001, 0): 1.0, (10.0, 0): 2.0}, {(0.001, 0): 1.0})
    found = compare(runs, KEYS, "lr", "1e-3", 10, "m")
    assert (found.a, found.b, found.pairs) == ("0.001", "10.0", 1)
    assert found.relative.value == approx(-0.5)


def test_runs_that_are_equal_in_all_keys_are_paired_in_order() -> None:
    runs = pd.concat([over_seeds((1.0, 2.0)), over_seeds((3.0, 9.0)), over_seeds((5.0, None))])
    found = a_and_b(runs)
    assert (found.pairs, found.difference.value) == (2, (-1 - 6) / 2)


NO_PAIR = ("c", 1.0, 99, "completed", 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "activatio"}, "activatio: no such swept key; did you mean activation?"),
        ({"a": "A"}, "activation=A: no such value of activation; allowed: a, b, c"),
        ({"b": "a"}, "b=a: must be another value of activation than a"),
        ({"b": "c"}, "activation=a and activation=c: no two runs that are equal in all other keys"),
        ({"level": 2}, "level=2: must be between 0 and 1"),
    ],
)
def test_what_cannot_be_compared(options: dict[str, Any], message: str) -> None:
    runs = pd.concat([over_seeds((1.0, 2.0)), table([*KEYS, "state", "m"], [NO_PAIR])])
    asked = {"key": "activation", "a": "a", "b": "b", "metric": "m"} | options
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        compare(runs, KEYS, **asked)


def test_all_values_are_compared_and_corrected_together() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (name, 1.0, seed, "completed", float(rng.lognormal(i / 2)))
        for i, name in enumerate("dcba")
        for seed in range(8)
    ]
    runs = table([*KEYS, "state", "m"], rows)
    found = compare_all(runs, KEYS, "activation", "m")
    assert [one.a + one.b for one in found] == ["dc", "db", "da", "cb", "ca", "ba"]
    for one in found:
        alone = compare(runs, KEYS, "activation", one.a, one.b, "m")
        assert replace(one, p_holm=alone.p_holm) == alone
    assert [one.p_holm for one in found] == holm([one.p for one in found]).tolist()
    assert len({one.p for one in found}) > 1


def test_values_without_a_pair_are_told() -> None:
    rows = [NO_PAIR, ("f", 1.0, 0, "failed", NAN)]
    runs = pd.concat([over_seeds((1.0, 2.0)), table([*KEYS, "state", "m"], rows)])
    found = {one.a + one.b: one for one in compare_all(runs, KEYS, "activation", "m")}
    assert {names: one.pairs for names, one in found.items()} == {
        **{"ab": 1, "ac": 0, "af": 0},
        **{"bc": 0, "bf": 0, "cf": 0},
    }
    none = found["ac"]
    assert (none.wins, none.p, none.p_holm, none.relative.value) == approx((NAN, NAN, NAN, NAN))
    assert found["ab"].p_holm == found["ab"].p  # what is not tested is not corrected for


def test_numbers_are_compared_in_ascending_order() -> None:
    runs = sweep({(lr, 0): 1.0 for lr in (10.0, 0.1, 1.0)}, {})
    found = compare_all(runs, KEYS, "lr", "m")
    assert [(one.a, one.b) for one in found] == [("0.1", "1.0"), ("0.1", "10.0"), ("1.0", "10.0")]


losses = st.one_of(st.floats(1e-3, 1e3), st.sampled_from([DIVERGED, "failed", None, 1.0, 2.0]))
some_pairs = st.dictionaries(
    st.tuples(st.sampled_from([0.1, 1.0, 10.0]), st.integers(0, 6)), st.tuples(losses, losses)
)


@given(pairs=some_pairs, higher=st.booleans())
@settings(max_examples=40, deadline=None)
def test_either_may_come_first(pairs: dict[tuple[float, int], Row], higher: bool) -> None:
    a, b = ({cell: pair[i] for cell, pair in pairs.items()} for i in range(2))
    extra = {(99.0, 99): 2.0}  # so that there is a pair
    runs = sweep(a | extra, b | extra)
    ab = compare(runs, KEYS, "activation", "a", "b", "m", higher_is_better=higher)
    ba = compare(runs, KEYS, "activation", "b", "a", "m", higher_is_better=higher)
    value, low, high = ends(ab.relative)
    for one, other in zip((value, high, low), ends(ba.relative), strict=True):
        if 1e-9 < 1 + one < 1e9:  # further out, 1 + x has no digits left
            assert other == approx(1 / (1 + one) - 1, rel=1e-6, abs=1e-6)
        else:
            assert math.isnan(one) == math.isnan(other)
    value, low, high = ends(ab.difference)
    assert ends(ba.difference) == approx((-value, -high, -low))
    assert (ba.wins, ba.p) == approx((1 - ab.wins, ab.p))
    assert (ba.pairs, ba.seeds) == (ab.pairs, ab.seeds)
    assert (ba.diverged_a, ba.diverged_b) == (ab.diverged_b, ab.diverged_a)


# --- what never differed -------------------------------------------------------------------------


def same(rng: np.random.Generator, values: int, lrs: int, seeds: int) -> pd.DataFrame:
    """Runs in which the compared key does nothing.

    Runs of a seed are lucky together: by its data, all of them, and by what its weights make of a
    value of the key, those with that value. Learning rates add only noise to that.
    """
    shape = values, lrs, seeds
    log_loss = (
        rng.normal(size=(1, 1, seeds))  # easy and hard data
        + rng.normal(size=(1, lrs, 1))  # good and bad learning rates
        + rng.normal(size=(values, 1, seeds)) / 3
        + rng.normal(size=shape) / 6
    )
    key, lr, seed = (axis.ravel() for axis in np.indices(shape))
    columns = {"activation": key, "lr": lr, "seed": seed, "state": "completed"}
    return pd.DataFrame(columns).assign(m=np.exp(log_loss).ravel())


def verdicts(one: Comparison) -> tuple[bool, bool]:
    """Whether there is a difference, by p and by the relative interval."""
    return one.p_holm < 0.05, not one.relative.low <= 0 <= one.relative.high


def count_verdicts(samples: int, **options: Any) -> tuple[int, int]:
    rng = np.random.default_rng(0)
    runs = (same(rng, 2, 4, 10) for _ in range(samples))
    found = [compare(one, KEYS, "activation", 0, 1, "m", **options) for one in runs]
    by_p, by_interval = np.sum([verdicts(one) for one in found], axis=0)
    return int(by_p), int(by_interval)


def test_what_is_the_same_is_told_apart_no_more_often_than_promised() -> None:
    by_p, by_interval = count_verdicts(400)
    assert nominal(by_interval, 400, 0.05)
    assert nominal(by_p, 400, 0.05, "greater")  # exact, so with ten seeds a bit less often


def test_with_pairs_as_units_it_would_be_far_too_often() -> None:
    """Why seeds are the units: a seed's four learning rates are hardly more evidence than one."""
    by_p, by_interval = count_verdicts(100, seeds=[])
    assert min(by_p, by_interval) > 20


def test_four_values_that_are_the_same() -> None:
    """Any false verdict among six comparisons is as rare as one alone may be."""
    rng = np.random.default_rng(1)
    found = [compare_all(same(rng, 4, 2, 10), KEYS, "activation", "m") for _ in range(200)]
    assert all(len(family) == 6 for family in found)
    corrected = sum(any(one.p_holm < 0.05 for one in family) for family in found)
    uncorrected = sum(any(one.p < 0.05 for one in family) for family in found)
    assert nominal(corrected, 200, 0.05, "greater")
    assert not nominal(uncorrected, 200, 0.05, "greater")


def test_what_differs_is_told_apart() -> None:
    runs = same(np.random.default_rng(0), 2, 4, 10)
    runs.loc[runs["activation"] == 0, "m"] /= 4
    found = compare(runs, KEYS, "activation", 0, 1, "m")
    assert verdicts(found) == (True, True)
    assert found.relative.low <= -0.75 <= found.relative.high
