import math
from collections.abc import Callable, Iterable, Sequence
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
    Estimate,
    bands,
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
