"""Comparisons, against SciPy and by hand; what never differed is seldom told apart."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_statistics import NAN, Row, approx, ends, nominal, table

from neuronlab.comparison import Comparison, compare, compare_all
from neuronlab.statistics import holm, mean_interval

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


def test_an_unknown_metric_is_an_error() -> None:
    runs = over_seeds((1.0, 2.0))
    with pytest.raises(ValueError, match=r"^n: no such metric"):
        compare(runs, KEYS, "activation", "a", "b", "n")


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
