"""Measures against the curves that they are taken from."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import NAN, Values, made_up

from neuronlab import measures
from neuronlab.errors import ConfigError
from neuronlab.measures import Measure, values_of
from neuronlab.results import Results

SEEDS = 5
RNG = np.random.default_rng(0)
START, END = RNG.uniform(1, 2, SEEDS), RNG.uniform(0.5, 1.5, SEEDS)
WEIGHT, BIAS = RNG.uniform(0.1, 1, (2, SEEDS, 4))  # norms of gradients over four epochs


def known() -> Results:
    """Two depths, of which only the deeper has a second layer."""

    def row(run: Values, _: np.random.Generator) -> dict[str, Any]:
        seed, deep = run["seed"], run["model.hidden"] != "[8]"
        return {
            "train/loss": [START[seed], 3.0, 3.0, 3.0],
            "val/loss": [3.0, 3.0, 3.0, END[seed]],
            "gradient_norm/layer1.weight": WEIGHT[seed].tolist(),
            "gradient_norm/layer2.weight": BIAS[seed].tolist() if deep else [NAN] * 4,
        }

    return made_up({"model.hidden": ["[8]", "[8,8]"], "seed": range(SEEDS)}, row)


def of(measure: Measure, results: Results | None = None) -> np.ndarray:
    results = known() if results is None else results
    values = measure(results)
    assert values.index.equals(results.runs.index)
    return values.to_numpy(dtype=float)


def twice(values: np.ndarray) -> np.ndarray:
    """Of both depths."""
    return np.tile(values, 2)


NORMS = np.concatenate([WEIGHT, np.hypot(WEIGHT, BIAS)])  # [run, epoch]
FELL = twice(START > END).astype(float)
KNOWN: dict[str, tuple[Measure, np.ndarray]] = {
    "first": (measures.first("train/loss"), twice(START)),
    "first gradient": (measures.first("gradient_norm/layer1.weight"), twice(WEIGHT[:, 0])),
    "fell": (measures.fell(), FELL),
    "fell by other metrics": (measures.fell("train/loss", "val/loss"), np.zeros(2 * SEEDS)),
    "improved": (measures.improved(), FELL),
    "lost": (measures.lost(), 1 - FELL),
    "diverged": (measures.diverged(), np.zeros(2 * SEEDS)),
    "gradient_change": (measures.gradient_change(), NORMS[:, 3] / NORMS[:, 0]),
    "depth": (measures.depth(), np.repeat([1, 2], SEEDS)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_measures_are_those_of_the_curves(name: str) -> None:
    measure, expected = KNOWN[name]
    np.testing.assert_allclose(of(measure), expected)


@pytest.mark.parametrize("name", KNOWN)
def test_measures_keep_to_their_runs(name: str) -> None:
    """Whatever order runs come in, and whichever of them are asked about."""
    measure, expected = KNOWN[name]
    results = known()
    chosen = results.select(results.runs["seed"].isin([1, 3]))
    np.testing.assert_allclose(of(measure, chosen), expected[[1, 3, 6, 8]])
    order = RNG.permutation(len(results.runs))
    shuffled = Results(
        results.folders, results.runs.iloc[order], results.curves, results.keys, results.damaged
    )
    np.testing.assert_allclose(of(measure, shuffled), expected[order])


def test_the_fixture_has_both_outcomes() -> None:
    assert 0 < FELL.sum() < len(FELL)


def test_the_norm_of_the_whole_gradient() -> None:
    results = known()
    for found in (measures.gradient_norm(results), measures.whole_gradient()(results)):
        assert found.index.equals(results.curves.index)
        np.testing.assert_allclose(found, NORMS.ravel())


def test_a_row_without_any_gradient_has_no_norm() -> None:
    results = known()
    deeper = results.curves.drop(columns="gradient_norm/layer1.weight")
    norms = measures.gradient_norm(Results((), results.runs, deeper, results.keys, {}))
    np.testing.assert_allclose(norms, [*[NAN] * (4 * SEEDS), *BIAS.ravel()])


# What a run left → whether its loss fell, and whether it was lost.
OUTCOMES: dict[str, tuple[dict[str, Any], float, float]] = {
    "lower": ({"train/loss": [1.0, 0.5], "val/loss": 0.9}, 1, 0),
    "higher": ({"train/loss": [1.0, 0.5], "val/loss": 1.1}, 0, 1),
    "alike": ({"train/loss": [1.0, 0.5], "val/loss": 1.0}, 0, 1),
    "diverged": ({"train/loss": [1.0, NAN], "val/loss": NAN, "state": "diverged"}, 0, 1),
    # Validated every tenth epoch, say: the newest value is from before it diverged.
    "diverged later": ({"train/loss": [1.0, NAN], "val/loss": 0.9, "state": "diverged"}, 0, 1),
    "diverged at once": ({"val/loss": NAN, "state": "diverged"}, 0, 1),
    "without curves": ({"val/loss": 0.5}, NAN, NAN),
    "without validation": ({"train/loss": [1.0, 0.5], "val/loss": NAN}, NAN, NAN),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_what_became_of_a_run(name: str) -> None:
    other = OUTCOMES["lower"][0]
    results = made_up(
        {"seed": range(2)}, lambda run, rng: OUTCOMES[name][0] if run["seed"] == 0 else other
    )
    _, fell, lost = OUTCOMES[name]
    np.testing.assert_array_equal(of(measures.fell(), results), [fell, 1])
    np.testing.assert_array_equal(of(measures.lost(), results), [lost, 0])
    improved = measures.improved()(results)
    assert improved.dtype == bool
    assert improved.tolist() == [fell == 1, True]
    expected = [float(OUTCOMES[name][0].get("state") == "diverged"), 0]
    np.testing.assert_array_equal(of(measures.diverged(), results), expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("[]", 0), ("[16]", 1), ("[8, 8]", 2), ("[8,8,8,8,8,8,8,8,8,8]", 10)]
)
def test_depth_counts_hidden_layers(text: str, expected: int) -> None:
    results = made_up({"model.hidden": [text, "[1,1,1]"]}, lambda run, rng: {"val/loss": 1.0})
    assert of(measures.depth(), results).tolist() == [expected, 3]


def test_values_by_name() -> None:
    results = known()
    pd.testing.assert_series_equal(values_of(results, "val/loss"), results.runs["val/loss"])
    pd.testing.assert_series_equal(values_of(results, "seed"), results.runs["seed"])
    pd.testing.assert_series_equal(
        values_of(results, measures.lost()), measures.lost()(results), check_names=False
    )


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("val/los", "val/los: no such metric of these runs; did you mean val/loss?"),
        (measures.first("train/los"), "train/los: no such metric of these runs; did you mean"),
        (measures.fell(metric="test/loss"), "test/loss: no such metric"),
        (measures.fell(start="test/loss"), "test/loss: no such metric"),
        (lambda results: measures.depth()(results.select(results.runs["seed"] > 9)), None),
    ],
)
def test_what_is_not_recorded_is_said(measure: str | Measure, message: str | None) -> None:
    if message is None:
        assert values_of(known(), measure).empty
        return
    with pytest.raises(ConfigError, match=message):
        values_of(known(), measure)


def test_depth_must_be_swept() -> None:
    results = made_up({"seed": range(3)}, lambda run, rng: {"val/loss": 1.0})
    with pytest.raises(ConfigError, match=r"model\.hidden: no such metric of these runs"):
        of(measures.depth(), results)
