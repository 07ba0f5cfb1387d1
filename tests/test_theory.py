import numpy as np
import pytest
import torch
from scipy.stats import entropy

from neuronlab.data import DataModule, Rows
from neuronlab.datasets import make_houses, make_line, make_students
from neuronlab.losses import bce, cross_entropy, mae, mse
from neuronlab.theory import Line, cosine, largest_curvature, least_squares, noise_floor, raw_line

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 1))


def test_least_squares_is_numpy_s() -> None:
    line = least_squares(torch.tensor(X), torch.tensor(Y))
    expected, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(50)]), Y[:, 0], rcond=None)
    np.testing.assert_allclose(line.weights, expected[:-1])
    np.testing.assert_allclose(line.bias, expected[-1])


def test_curvature_is_the_largest_second_difference_of_the_loss() -> None:
    design = np.column_stack([X, np.ones(50)])

    def loss(w: np.ndarray) -> float:
        return float(((design @ w - Y[:, 0]) ** 2).mean())

    step = 1e-3
    axes = np.eye(4) * step
    hessian = np.array(
        [[loss(a + b) - loss(a) - loss(b) + loss(np.zeros(4)) for a in axes] for b in axes]
    )
    largest = np.linalg.eigvalsh(hessian / step**2)[-1]
    assert largest_curvature(torch.tensor(X)) == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize(("factor", "converges"), [(0.98, True), (1.02, False)])
def test_gradient_descent_converges_exactly_below_the_bound(factor: float, converges: bool) -> None:
    design = np.column_stack([X, np.ones(50)])
    lr = factor * 2 / largest_curvature(torch.tensor(X))
    w = np.ones(4)
    for _ in range(3000):
        w -= lr * 2 / 50 * design.T @ (design @ w - Y[:, 0])
    best, *_ = np.linalg.lstsq(design, Y[:, 0], rcond=None)
    assert np.allclose(w, best, atol=1e-6) is converges


def test_noise_floor_of_a_line_is_the_variance_of_its_noise() -> None:
    floors = []
    for seed in range(200):
        rows = DataModule(lambda g: make_line(g, rows=100, noise=0.5), seed=seed).rows["train"]
        floors.append(noise_floor(mse, "regression", rows))
    # each is 0.25·χ²(100)/100, of deviation 0.25·√(2/100)
    assert np.mean(floors) == pytest.approx(0.25, abs=4 * 0.25 * np.sqrt(2 / 100 / 200))


def test_noise_floor_of_students_is_the_entropy_of_their_chances() -> None:
    rows = DataModule(lambda g: make_students(g, rows=20_000)).rows["train"]
    p = rows.truth[:, 0].double().numpy()  # type: ignore[index]
    expected = entropy(np.stack([p, 1 - p])).mean()
    assert noise_floor(bce, "binary", rows) == pytest.approx(expected, abs=0.01)


def test_noise_floor_of_classes_is_the_mean_surprise() -> None:
    truth = torch.tensor([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    rows = Rows(torch.zeros(3, 2), torch.tensor([1, 0, 0]), truth)
    expected = -np.log([0.8, 0.5, 1.0]).mean()
    assert noise_floor(cross_entropy, "multiclass", rows) == pytest.approx(expected, abs=1e-6)


def test_no_rule_has_less_absolute_error_than_the_floor() -> None:
    rows = DataModule(lambda g: make_students(g, rows=20_000, noise=2.0)).rows["train"]
    assert rows.truth is not None
    floor = noise_floor(mae, "binary", rows)
    assert floor is not None
    for threshold in (0.3, 0.4, 0.6, 0.7):
        assert floor < mae((rows.truth > threshold).float(), rows.y).item()
    assert floor < mae(rows.truth, rows.y).item()


def test_without_a_rule_there_is_no_floor() -> None:
    assert noise_floor(mse, "regression", Rows(torch.zeros(1, 1), torch.zeros(1, 1), None)) is None


def test_certain_truth_has_a_finite_floor() -> None:
    rows = DataModule(lambda g: make_students(g, noise=0.0)).rows["train"]
    assert noise_floor(bce, "binary", rows) == pytest.approx(0, abs=1e-5)


def test_raw_line_speaks_of_raw_units() -> None:
    data = DataModule(make_houses, standardize=True)
    standardized = least_squares(data.rows["train"].x, data.rows["train"].y)
    raw = raw_line(standardized, data.scaling)
    expected = least_squares(data.table.x, data.table.y)
    np.testing.assert_allclose(raw.weights, expected.weights, rtol=1e-4)
    np.testing.assert_allclose(raw.bias, expected.bias, rtol=1e-4)


def test_line_and_cosine() -> None:
    line = Line(torch.tensor([2.0, 0.0]), torch.tensor(1.0))
    assert line(torch.tensor([[3.0, 5.0]])).tolist() == [[7.0]]
    assert cosine(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0])) == pytest.approx(0.5**0.5)
