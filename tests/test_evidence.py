"""Evidence against numpy's and scipy's own formulas, on sweeps whose numbers are known."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import NAN, Values, made_up
from scipy import stats

from neuronlab import evidence, measures
from neuronlab.errors import ConfigError
from neuronlab.evidence import Evidence, Observed
from neuronlab.results import Results
from neuronlab.statistics import Estimate

LEVEL = 0.9
GRID: dict[str, Sequence[Any]] = {
    "activation": ["relu", "silu"],
    "data": ["sine", "blobs"],
    "optimizer.lr": [0.01, 0.1, 1.0],
    "seed": range(8),
}
SHAPE = tuple(map(len, GRID.values()))
RNG = np.random.default_rng(0)
VAL, TEST = (np.exp(RNG.normal(size=SHAPE)) for _ in range(2))


def table(
    grid: Mapping[str, Sequence[Any]] = GRID,
    diverged: np.ndarray | None = None,
    **metrics: np.ndarray,
) -> Results:
    """A sweep whose metrics are given as arrays, an axis per swept key."""

    def row(values: Values, _: np.random.Generator) -> dict[str, Any]:
        place = tuple(list(grid[key]).index(values[key]) for key in grid)
        lost = diverged is not None and bool(diverged[place])
        numbers = {tag.replace("_", "/"): array[place] for tag, array in metrics.items()}
        return {**numbers, "state": "diverged" if lost else "completed"}

    return made_up(grid, row)


def known() -> Results:
    return table(val_loss=VAL, test_loss=TEST)


def of_t(values: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and Student's interval, as scipy has it."""
    low, high = stats.t.interval(level, len(values) - 1, values.mean(), stats.sem(values))
    return values.mean(), low, high


def ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def observed(asked: Evidence, results: Results, level: float = LEVEL) -> Observed:
    return asked(results, level)


def approx(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


def by_seed(values: np.ndarray) -> np.ndarray:
    """The mean over all axes but the last, that of seeds."""
    return values.mean(axis=tuple(range(values.ndim - 1)))


# --- mean ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.9, 0.99])
def test_mean_is_over_seeds(level: float) -> None:
    found = observed(evidence.mean("val/loss"), known(), level)
    assert ends(found.estimate) == approx(of_t(by_seed(VAL), level))
    assert (found.estimate.n, found.lost, found.percent) == (8, 0, False)
    assert found.detail == "96 runs"


def test_runs_of_a_seed_are_no_evidence_of_their_own() -> None:
    """The interval is that of eight seeds, however many rates each of them was trained at."""
    same = np.broadcast_to(VAL[:, :, :1], SHAPE)
    many, one = table(val_loss=same), table({**GRID, "optimizer.lr": [0.01]}, val_loss=same)
    estimates = [observed(evidence.mean("val/loss"), results).estimate for results in (many, one)]
    assert ends(estimates[0]) == approx(ends(estimates[1]))


def test_geometric_mean() -> None:
    found = observed(evidence.mean("val/loss", geometric=True), known())
    assert ends(found.estimate) == approx([math.exp(v) for v in of_t(by_seed(np.log(VAL)))])
    assert found.estimate.value == approx(stats.gmean(VAL, axis=None))


def test_a_measure_is_averaged_as_a_metric() -> None:
    named = observed(evidence.mean("val/loss"), known())
    assert observed(evidence.mean(lambda results: results.runs["val/loss"]), known()) == named


# Which runs → the axes of the arrays that they are.
WHERE: list[tuple[dict[str, Any] | None, tuple[Any, ...]]] = [
    (None, ()),
    ({}, ()),
    ({"activation": "silu"}, (slice(1, 2),)),
    ({"optimizer.lr": 0.1}, (..., slice(1, 2), slice(None))),
    ({"optimizer.lr": 1}, (..., slice(2, 3), slice(None))),  # 1 is 1.0
    ({"optimizer.lr": [0.01, 1.0]}, (..., [0, 2], slice(None))),
    ({"data": ["sine", "blobs"], "activation": "relu"}, (slice(0, 1),)),
    ({"data": "blobs", "optimizer.lr": 0.01}, (slice(None), 1, 0)),
    ({"seed": [2, 3, 4]}, (..., slice(2, 5))),
]


@pytest.mark.parametrize(("where", "place"), WHERE)
def test_where_names_the_runs(where: dict[str, Any] | None, place: tuple[Any, ...]) -> None:
    chosen = VAL[place]
    found = observed(evidence.mean("val/loss", where), known())
    assert ends(found.estimate) == approx(of_t(by_seed(chosen)))
    assert found.detail == f"{chosen.size} runs"


def test_only_takes_the_runs_of_which_a_measure_holds() -> None:
    found = observed(
        evidence.mean("test/loss", only=lambda results: results.runs["val/loss"] < 1), known()
    )
    masked = np.where(VAL < 1, TEST, np.nan)
    expected = np.array([np.nanmean(masked[..., seed]) for seed in range(8)])
    assert ends(found.estimate) == approx(of_t(expected))
    assert found.detail == f"{(VAL < 1).sum()} runs"


def test_where_comes_before_only() -> None:
    """A measure may look into what runs have left: it is not asked about others."""
    asked = []

    def holds(results: Results) -> pd.Series:
        asked.append(len(results.runs))
        return pd.Series(True, index=results.runs.index)

    state = np.zeros(SHAPE)
    results = table(val_loss=VAL, diverged=state)
    results.runs.loc[results.runs["seed"] == 0, "state"] = "failed"
    results.runs.loc[results.runs["seed"] == 1, "state"] = "unfinished"
    observed(evidence.mean("val/loss", {"activation": "relu"}, only=holds), results)
    assert asked == [36]


def test_runs_without_a_number_are_lost() -> None:
    """What a run recorded before it diverged is no result, finite or not."""
    diverged = np.zeros(SHAPE, dtype=bool)
    diverged[0, 0, 2, :3] = True
    missing = VAL.copy()
    missing[1, 1, 0, 5] = NAN
    found = observed(evidence.mean("val/loss"), table(val_loss=missing, diverged=diverged))
    kept = np.where(diverged | np.isnan(missing), np.nan, VAL)
    expected = np.array([np.nanmean(kept[..., seed]) for seed in range(8)])
    assert ends(found.estimate) == approx(of_t(expected))
    assert found.lost == 4


def test_what_a_measure_says_of_a_diverged_run_counts() -> None:
    diverged = np.zeros(SHAPE, dtype=bool)
    diverged[..., 2, :4] = True
    found = observed(evidence.mean(measures.diverged()), table(val_loss=VAL, diverged=diverged))
    assert ends(found.estimate) == approx(of_t(by_seed(diverged.astype(float))))
    assert found.lost == 0


def test_a_geometric_mean_has_no_place_for_zero() -> None:
    zero = VAL.copy()
    zero[0, 0, 0, 0] = 0.0
    zero[0, 0, 0, 1] = np.inf
    found = observed(evidence.mean("val/loss", geometric=True), table(val_loss=zero))
    assert found.lost == 2
    assert math.isfinite(found.estimate.high)


def test_nothing_but_diverged_runs_gives_no_number() -> None:
    results = table(val_loss=VAL, diverged=np.ones(SHAPE, dtype=bool))
    found = observed(evidence.mean("val/loss"), results)
    assert (found.estimate.n, found.lost) == (0, 96)
    assert math.isnan(found.estimate.value)


def test_without_seeds_each_run_counts() -> None:
    grid = {"activation": ["relu", "silu", "tanh"], "optimizer.lr": [0.1, 1.0]}
    found = observed(evidence.mean("val/loss"), table(grid, val_loss=VAL.ravel()[:6].reshape(3, 2)))
    assert ends(found.estimate) == approx(of_t(VAL.ravel()[:6]))


def test_two_seeds_that_disagree_by_orders_of_magnitude() -> None:
    results = table({"seed": [0, 1]}, val_loss=np.array([1e-200, 1e200]))
    estimate = observed(evidence.mean("val/loss", geometric=True), results, 0.99).estimate
    assert (estimate.value, estimate.low, estimate.high) == (approx(1), 0, math.inf)


# --- share ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("successes", [0, 1, 5, 8])
def test_share_is_exact_where_the_runs_of_a_seed_agree(successes: int) -> None:
    holds = np.broadcast_to(np.arange(8) < successes, SHAPE).astype(float)
    found = observed(evidence.share("val/loss"), table(val_loss=holds))
    tail = (1 - LEVEL) / 2  # Clopper–Pearson by quantiles of the beta distribution
    low = stats.beta.ppf(tail, successes, 9 - successes) if successes else 0.0
    high = stats.beta.ppf(1 - tail, successes + 1, 8 - successes) if successes < 8 else 1.0
    assert ends(found.estimate) == approx((successes / 8, low, high))
    assert (found.estimate.n, found.percent) == (8, True)
    assert found.detail == f"{successes * 12} of 96 runs"


def test_share_is_a_mean_over_seeds_where_they_do_not() -> None:
    holds = (VAL < 1).astype(float)
    found = observed(evidence.share("val/loss"), table(val_loss=holds))
    assert ends(found.estimate) == approx(of_t(by_seed(holds)))
    assert found.estimate.n == 8


def test_share_counts_what_it_lost() -> None:
    holds = np.ones(SHAPE)
    holds[0, 0, 0, :2] = NAN
    found = observed(evidence.share("val/loss"), table(val_loss=holds))
    assert (found.lost, found.detail) == (2, "94 of 94 runs")
    everything = observed(evidence.share("val/loss"), table(val_loss=np.full(SHAPE, NAN)))
    assert (everything.lost, everything.estimate.n) == (96, 0)


# --- paired --------------------------------------------------------------------------------------

RELU_TO_SILU = np.log(TEST[1] / TEST[0])  # [data, lr, seed]
EXPECTED = {
    "relative": np.expm1(of_t(by_seed(RELU_TO_SILU))),
    "ratio": np.exp(of_t(by_seed(RELU_TO_SILU))),
    "difference": np.array(of_t(by_seed(TEST[1] - TEST[0]))),
}


@pytest.mark.parametrize("effect", EXPECTED)
def test_paired(effect: Any) -> None:
    asked = evidence.paired("activation", "silu", "relu", effect=effect)
    found = observed(asked, known())
    assert ends(found.estimate) == approx(EXPECTED[effect])
    assert (found.estimate.n, found.lost) == (8, 0)
    assert found.percent is (effect == "relative")
    effects = by_seed(TEST[1] - TEST[0]) if effect == "difference" else by_seed(RELU_TO_SILU)
    p = stats.wilcoxon(by_seed(RELU_TO_SILU), method="exact").pvalue
    wins = (TEST[1] < TEST[0]).mean()
    assert found.detail == f"48 pairs, silu lower in {100 * wins:.0f} %, Wilcoxon p = {p:.2g}"
    assert np.sign(effects.mean()) == np.sign(found.estimate.value - (effect == "ratio"))


def test_pairs_are_equal_in_all_other_keys() -> None:
    """Shuffled rows are paired as those in order."""
    results = known()
    shuffled = dataclasses.replace(results, runs=results.runs.sample(frac=1, random_state=0))
    asked = evidence.paired("activation", "silu", "relu")
    assert ends(observed(asked, shuffled).estimate) == approx(EXPECTED["relative"])


def test_numbers_are_paired_too() -> None:
    asked = evidence.paired("optimizer.lr", 0.01, 1, "val/loss", where={"data": "sine"})
    logs = np.log(VAL[:, 0, 0] / VAL[:, 0, 2])
    assert ends(observed(asked, known()).estimate) == approx(np.expm1(of_t(by_seed(logs))))


def test_higher_is_better_turns_who_wins() -> None:
    asked = evidence.paired("activation", "silu", "relu", higher_is_better=True)
    assert (
        f"silu higher in {100 * (TEST[1] > TEST[0]).mean():.0f} %"
        in observed(asked, known()).detail
    )


def test_tuned_is_chosen_by_validation() -> None:
    asked = evidence.paired("activation", "silu", "relu", tuned="optimizer.lr")
    chosen = VAL.mean(axis=-1).argmin(axis=-1)  # [activation, data]: the rate of each setting
    tests = np.array([[TEST[a, d, chosen[a, d]] for d in range(2)] for a in range(2)])
    found = observed(asked, known())
    expected = np.expm1(of_t(by_seed(np.log(tests[1] / tests[0]))))
    assert ends(found.estimate) == approx(expected)
    assert found.detail.startswith("16 pairs")


def test_tuned_never_takes_what_diverged() -> None:
    best = VAL.mean(axis=-1).argmin(axis=-1)
    diverged = np.zeros(SHAPE, dtype=bool)
    for a in range(2):
        for d in range(2):
            diverged[a, d, best[a, d], 0] = True  # one seed is enough
    asked = evidence.paired("activation", "silu", "relu", tuned="optimizer.lr")
    means = np.where(diverged.any(axis=-1), np.inf, VAL.mean(axis=-1))
    tests = [[TEST[a, d, means[a, d].argmin()] for d in range(2)] for a in range(2)]
    found = observed(asked, table(val_loss=VAL, test_loss=TEST, diverged=diverged))
    assert ends(found.estimate) == approx(
        np.expm1(of_t(by_seed(np.log(np.array(tests[1]) / np.array(tests[0])))))
    )
    assert found.lost == 0


def test_pairs_with_diverged_runs_are_counted() -> None:
    diverged = np.zeros(SHAPE, dtype=bool)
    diverged[0, :, 2, :] = True  # relu at the largest rate
    diverged[1, 0, 2, :3] = True  # silu likewise, on sine and three seeds
    asked = evidence.paired("activation", "silu", "relu")
    found = observed(asked, table(test_loss=TEST, diverged=diverged))
    kept = RELU_TO_SILU[:, :2]
    assert ends(found.estimate) == approx(np.expm1(of_t(by_seed(kept))))
    assert found.detail.endswith("; diverged: 3 of silu, 16 of relu")
    assert found.lost == 19


def test_a_measure_that_speaks_of_diverged_runs_is_paired_with_them() -> None:
    """The share of runs that are lost must not leave out those that are."""
    diverged = np.zeros(SHAPE, dtype=bool)
    diverged[0, :, 2, :] = True
    diverged[1, 0, 2, :3] = True
    asked = evidence.paired("activation", "silu", "relu", measures.diverged(), effect="difference")
    found = observed(asked, table(test_loss=TEST, diverged=diverged))
    expected = by_seed(diverged[1].astype(float) - diverged[0])
    assert ends(found.estimate) == approx(of_t(expected))
    assert (found.lost, found.estimate.n) == (0, 8)


# --- best ----------------------------------------------------------------------------------------


def test_best_is_chosen_seed_by_seed() -> None:
    found = observed(evidence.best("optimizer.lr", where={"activation": "relu"}), known())
    flat = VAL[0].transpose(2, 1, 0).reshape(8, -1)  # [seed, lr · data]
    rates = np.repeat(GRID["optimizer.lr"], 2)[flat.argmin(axis=1)]
    assert ends(found.estimate) == approx(10 ** np.array(of_t(np.log10(rates))))
    at_edge = (rates != 0.1).sum()
    assert (
        found.detail == f"48 runs, 3 values from 0.01 to 1; {at_edge} of 8 at the edge of the grid"
    )


def test_best_by_another_metric() -> None:
    found = observed(evidence.best("optimizer.lr", "test/loss", {"data": "sine"}), known())
    flat = TEST[:, 0].transpose(2, 1, 0).reshape(8, -1)
    rates = np.repeat(GRID["optimizer.lr"], 2)[flat.argmin(axis=1)]
    assert found.estimate.value == approx(stats.gmean(rates))


def test_a_diverged_run_is_never_the_best() -> None:
    grid = {"optimizer.lr": [0.01, 0.1, 1.0], "seed": range(4)}
    values = np.array([[3.0, 3, 3, 3], [2, 2, 2, 2], [1, 1, 1, NAN]])
    diverged = np.zeros((3, 4), dtype=bool)
    diverged[2] = True  # though three of them recorded the lowest loss before
    found = observed(evidence.best("optimizer.lr"), table(grid, diverged, val_loss=values))
    assert ends(found.estimate) == approx((0.1, 0.1, 0.1))
    assert (found.lost, found.estimate.n) == (0, 4)
    diverged[:, 0] = True
    found = observed(evidence.best("optimizer.lr"), table(grid, diverged, val_loss=values))
    assert (found.lost, found.estimate.n) == (1, 3)
    diverged[:] = True
    found = observed(evidence.best("optimizer.lr"), table(grid, diverged, val_loss=values))
    assert (found.lost, found.estimate.n) == (4, 0)


def test_without_seeds_there_is_one_best() -> None:
    values = np.array([3.0, 1.0, 2.0])
    results = table({"optimizer.lr": [0.01, 0.1, 1.0]}, val_loss=values)
    estimate = observed(evidence.best("optimizer.lr"), results).estimate
    assert ends(estimate) == approx((0.1, NAN, NAN))
    assert estimate.n == 1


# --- edge ----------------------------------------------------------------------------------------

RATES = [0.001, 0.01, 0.1, 1.0, 10.0]  # a step is × 10


def holds_from(firsts: Sequence[float]) -> np.ndarray:
    """1 from a rate on, for each seed [lr, seed]."""
    return (np.array(RATES)[:, None] >= np.array(firsts)).astype(float)


def edge_of(firsts: Sequence[float], theory: Sequence[float]) -> Observed:
    grid = {"optimizer.lr": RATES, "seed": range(len(firsts))}
    expected = np.broadcast_to(theory, (len(RATES), len(firsts)))
    results = table(grid, val_loss=holds_from(firsts), test_loss=expected)
    asked = evidence.edge(
        "optimizer.lr",
        lambda results: results.runs["val/loss"],
        lambda results: results.runs["test/loss"],
    )
    return observed(asked, results)


def test_edge_is_measured_in_steps_of_the_grid() -> None:
    found = edge_of([0.1, 0.1, 1.0, 0.01], [0.1, 0.05, 0.1, 0.1])
    steps = np.log10(np.array([0.1, 0.1, 1.0, 0.01]) / [0.1, 0.05, 0.1, 0.1])
    assert ends(found.estimate) == approx(of_t(steps))
    measured = stats.gmean([0.1, 0.1, 1.0, 0.01])
    start = f"measured {measured:.3g}, theory 0.0875, a step is × 10; 20 runs"
    assert (found.detail, found.lost) == (start, 0)


def test_seeds_that_never_reach_the_edge_are_lost() -> None:
    found = edge_of([0.1, 0.1, 100.0, 0.1], [0.1] * 4)
    assert (found.lost, found.estimate.n) == (1, 3)
    assert ends(found.estimate) == approx((0, 0, 0))
    found = edge_of([100.0] * 4, [0.1] * 4)
    assert (found.lost, found.estimate.n) == (4, 0)


def test_an_edge_without_theory_is_none() -> None:
    found = edge_of([0.1, 0.1, 0.1], [NAN, 0.1, 0.1])
    assert (found.lost, found.estimate.n) == (1, 2)


def test_without_seeds_there_is_one_edge() -> None:
    values = holds_from([0.1])[:, 0]
    results = table({"optimizer.lr": RATES}, val_loss=values, test_loss=np.full(5, 0.01))
    asked = evidence.edge(
        "optimizer.lr",
        lambda results: results.runs["val/loss"],
        lambda results: results.runs["test/loss"],
    )
    assert ends(observed(asked, results).estimate) == approx((1, NAN, NAN))


# --- spread --------------------------------------------------------------------------------------


def test_spread_is_of_the_logarithm_over_the_grid() -> None:
    asked = evidence.spread("activation", "silu", "relu", where={"data": "sine"})
    found = observed(asked, known())
    deviations = np.log10(VAL[:, 0]).std(axis=1, ddof=1)  # [activation, seed]
    expected = 10 ** np.array(of_t(np.log10(deviations[1] / deviations[0]))) - 1
    assert ends(found.estimate) == approx(expected)
    assert (found.estimate.n, found.percent) == (8, True)
    by = [10 ** deviations[i].mean() for i in (1, 0)]
    assert found.detail == (
        f"over 3 values of optimizer.lr, val/loss spreads by a factor of {by[0]:.3g} under silu, "
        f"{by[1]:.3g} under relu; 48 runs"
    )


def test_a_diverged_run_is_the_worst_of_its_seed() -> None:
    grid = {key: GRID[key] for key in ("activation", "optimizer.lr", "seed")}
    diverged = np.zeros((2, 3, 8), dtype=bool)
    diverged[0, 2] = True
    diverged[1, 0, :2] = True
    values = VAL[:, 0]
    found = observed(
        evidence.spread("activation", "silu", "relu"), table(grid, diverged, val_loss=values)
    )
    worst = np.where(diverged, -np.inf, values).max(axis=(0, 1))  # of both activations
    deviations = np.log10(np.where(diverged, worst, values)).std(axis=1, ddof=1)
    expected = 10 ** np.array(of_t(np.log10(deviations[1] / deviations[0]))) - 1
    assert ends(found.estimate) == approx(expected)


def test_spread_takes_the_two_values_alone() -> None:
    asked = evidence.spread("activation", "silu", "relu", where={"data": "sine"})
    more = {**GRID, "activation": ["relu", "silu", "tanh"]}
    third = np.concatenate([VAL, 1e6 * VAL[:1]])
    diverged = np.zeros(third.shape, dtype=bool)
    diverged[0, 0, 0, 0] = True  # its worst is not that of tanh
    with_third = observed(asked, table(more, diverged, val_loss=third))
    without = observed(asked, table(GRID, diverged[:2], val_loss=VAL))
    assert with_third == without


# --- what cannot be observed ---------------------------------------------------------------------

SILU = ("activation", "silu", "relu")
LOST = measures.diverged()
NEAREST = "val/los: no such metric of these runs; did you mean val/loss?"
NOT_SWEPT = "must be one of activation, data, optimizer.lr, seed"
REFUSALS: list[tuple[Evidence, str]] = [
    (evidence.mean("val/los"), NEAREST),
    (evidence.share("val/los"), NEAREST),
    (evidence.paired(*SILU, "val/los"), NEAREST),
    (evidence.best("optimizer.lr", "val/los"), NEAREST),
    (evidence.spread(*SILU, metric="val/los"), NEAREST),
    (evidence.mean("val/loss", {"lr": 0.1}), f"where.lr: is not swept; {NOT_SWEPT}"),
    (evidence.best("lr"), f"lr: is not swept; {NOT_SWEPT}"),
    (evidence.edge("lr", LOST, LOST), f"lr: is not swept; {NOT_SWEPT}"),
    (evidence.spread("model", "a", "b"), f"model: is not swept; {NOT_SWEPT}"),
    (evidence.spread(*SILU, over="lr"), f"lr: is not swept; {NOT_SWEPT}"),
    (evidence.paired(*SILU, tuned="lr"), f"lr: is not swept; {NOT_SWEPT}"),
    (evidence.paired("model", "a", "b"), "model: no such swept key"),
    (evidence.paired("activation", "silu", "rel"), "did you mean relu?"),
    (evidence.mean("val/loss", {"activation": "tanh"}), "fits: activation=tanh"),
    (evidence.mean("val/loss", {"optimizer.lr": [5, 6]}), r"fits: optimizer.lr=\[5,6\]"),
    (evidence.mean("val/loss", only=lambda r: r.runs["val/loss"] < 0), "no run that is over fits$"),
    (evidence.paired(*SILU, where={"activation": "silu"}), "activation: no such swept key"),
    (
        evidence.edge("optimizer.lr", LOST, LOST, {"optimizer.lr": 1}),
        "optimizer.lr: has one value",
    ),
    (evidence.spread(*SILU, where={"optimizer.lr": 1, "data": "sine"}), "too few values of opt"),
    (evidence.spread("activation", "silu", "tanh"), "too few values of optimizer.lr"),
    (evidence.best("activation"), "could not convert"),
]


@pytest.mark.parametrize(("asked", "message"), REFUSALS)
def test_what_cannot_be_observed_is_said(asked: Evidence, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        observed(asked, known())


def test_a_logarithm_needs_values_above_zero() -> None:
    values = VAL.copy()
    values[0, 0, 0, 0] = 0
    with pytest.raises(ConfigError, match="val/loss: has values that are not above 0"):
        observed(evidence.spread(*SILU), table(val_loss=values))


def test_only_runs_that_are_over_count() -> None:
    results = known()
    states = np.where(results.runs["seed"] < 3, "unfinished", "completed")
    states[results.runs["seed"] == 3] = "failed"
    results = dataclasses.replace(results, runs=results.runs.assign(state=states))
    found = observed(evidence.mean("val/loss"), results)
    assert ends(found.estimate) == approx(of_t(by_seed(VAL[..., 4:])))
