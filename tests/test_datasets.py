import math

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import multivariate_normal

from neuronlab import datasets
from neuronlab.datasets import Table

MAKERS = {name: make for name, make in vars(datasets).items() if name.startswith("make_")}


def make(name: str, seed: int = 0, **arguments: float) -> Table:
    table = MAKERS[f"make_{name}"](torch.Generator().manual_seed(seed), **arguments)
    assert isinstance(table, Table)
    return table


@pytest.mark.parametrize("name", MAKERS)
def test_a_table_is_a_pure_function_of_its_generator(name: str) -> None:
    before = torch.get_rng_state()
    tables = [MAKERS[name](torch.Generator().manual_seed(seed)) for seed in (0, 0)]
    assert torch.equal(tables[0].x, tables[1].x)
    assert torch.equal(tables[0].y, tables[1].y)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", MAKERS)
def test_shapes_and_names_agree(name: str) -> None:
    table = MAKERS[name](torch.Generator().manual_seed(0))
    rows, features = table.x.shape
    assert features == len(table.columns)
    assert len(table.y) == rows
    assert table.weights is None or len(table.weights) == features
    if table.task == "multiclass":
        assert set(table.y.tolist()) == set(range(len(table.classes)))
    else:
        assert table.y.shape == (rows, 1)
    if table.truth is not None:
        assert table.truth.shape == (rows, table.out_features)


def test_line_is_lesson_001() -> None:
    table = make("line", noise=0)
    np.testing.assert_allclose(table.x[:, 0], np.linspace(0, 10, 100), rtol=1e-6)
    np.testing.assert_allclose(table.y, 2 * table.x + 1, rtol=1e-6)


@pytest.mark.parametrize(("name", "scale"), [("line", 0.5), ("sine", 0.1), ("houses", 20_000.0)])
def test_noise_is_normal_with_the_given_deviation(name: str, scale: float) -> None:
    table = make(name, rows=4000)
    assert table.truth is not None
    residual = ((table.y - table.truth) / scale).numpy()
    assert abs(residual.mean()) < 4 / math.sqrt(4000)
    assert abs(residual.var() - 1) < 4 * math.sqrt(2 / 4000)


def test_sine_is_a_sine() -> None:
    table = make("sine", noise=0, frequency=2, amplitude=3)
    np.testing.assert_allclose(table.y, 3 * np.sin(2 * table.x.numpy()), atol=1e-6)


def test_the_lesson_s_house_costs_450_000() -> None:
    table = make("houses")
    assert table.weights is not None
    assert np.dot([2000, 3, 10, 5], table.weights) + table.bias == 450_000
    low, high = table.x.min(0).values, table.x.max(0).values
    assert (low >= torch.tensor([600, 1, 0, 0])).all()
    assert (high <= torch.tensor([3500, 5, 60, 30])).all()


def test_students_follow_the_documented_rule() -> None:
    table = make("students", rows=4000, noise=0.7)
    x = table.x.double().numpy()
    score = 0.5 * x[:, 0] + 0.3 * x[:, 1] + 0.4 * x[:, 2] / 10 + 0.2 * x[:, 3] / 10 - 8.6
    np.testing.assert_allclose(table.truth[:, 0], expit(score / 0.7), atol=1e-4)  # type: ignore[index]
    _is_drawn_with(table)
    assert 0.45 < table.y.mean() < 0.55  # half of them pass


def test_restaurant_follows_the_lesson_s_weights() -> None:
    table = make("restaurant", rows=4000, noise=0.2)
    score = table.x.double().numpy() @ [0.9, 0.6, 0.3, 0.8] - 1.3
    np.testing.assert_allclose(table.truth[:, 0], expit(score / 0.2), atol=1e-4)  # type: ignore[index]
    _is_drawn_with(table)


def _is_drawn_with(table: Table) -> None:
    """Counts within 4 standard errors of the sum of probabilities, in five bins of probability."""
    p, y = table.truth[:, 0].double().numpy(), table.y[:, 0].numpy()  # type: ignore[index]
    for low in np.arange(0, 1, 0.2):
        chosen = (p >= low) & (p < low + 0.2)
        error = math.sqrt((p[chosen] * (1 - p[chosen])).sum())
        assert abs(y[chosen].sum() - p[chosen].sum()) < 4 * error


def test_without_noise_the_rule_is_sharp() -> None:
    table = make("students", noise=0)
    assert torch.equal(table.y, table.truth)


def test_blobs_truth_is_bayes_rule() -> None:
    table = make("blobs", noise=0.8, radius=1.5)
    angles = 2 * np.pi * np.arange(3) / 3 + np.pi / 2
    centers = 1.5 * np.column_stack([np.cos(angles), np.sin(angles)])
    density = np.column_stack(
        [multivariate_normal(c, 0.8**2 * np.eye(2)).pdf(table.x.numpy()) for c in centers]
    )
    np.testing.assert_allclose(table.truth, density / density.sum(1, keepdims=True), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("line", {"rows": 0}, "rows=0: must be a whole number ≥ 1"),
        ("line", {"low": 3, "high": 3}, "low=3: must be below high=3"),
        ("line", {"noise": -1}, "noise=-1: must be a number ≥ 0"),
        ("students", {"noise": math.nan}, "noise=nan: must be a number ≥ 0"),
        ("blobs", {"classes": 1}, "classes=1: must be a whole number ≥ 2"),
    ],
)
def test_refusals(name: str, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **arguments)
