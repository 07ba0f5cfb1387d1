"""The problems of TensorFlow Playground against its geometry, written anew in NumPy."""

import math
import re

import numpy as np
import pytest
import torch
from conftest import compose_run
from numpy.typing import NDArray
from scipy.stats import chi2, kstest, multivariate_normal

from neuronlab import playground
from neuronlab.build import build, build_data
from neuronlab.datasets import Table
from neuronlab.errors import ArgumentError

MAKERS = {name[5:]: make for name, make in vars(playground).items() if name.startswith("make_")}
NOISES = (0.0, 0.1, 0.5)
ROWS = 4000


def made(name: str, noise: float = 0.0, rows: int = ROWS, seed: int = 0) -> Table:
    table = MAKERS[name](torch.Generator().manual_seed(seed), rows=rows, noise=noise)
    assert isinstance(table, Table)
    return table


def arrays(table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points [n, 2] and targets [n]."""
    return table.x.double().numpy(), table.y[:, 0].double().numpy()


def truth(table: Table) -> NDArray[np.float64]:
    assert table.truth is not None
    return table.truth[:, 0].double().numpy()


def assert_uniform(values: NDArray[np.float64], low: float, high: float) -> None:
    assert values.min() >= low
    assert values.max() <= high
    assert kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


# --- what holds for all of them ------------------------------------------------------------------


def test_there_are_six() -> None:
    assert set(MAKERS) == {"circle", "xor", "gauss", "spiral", "plane", "bumps"}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", MAKERS)
def test_a_table_is_a_pure_function_of_its_generator(name: str, noise: float) -> None:
    before = torch.get_rng_state()
    one, same, other = (made(name, noise, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.y, same.y)
    assert torch.equal(before, torch.get_rng_state())
    drawn = name != "spiral" or noise > 0  # a spiral without noise is a drawing
    assert torch.equal(one.x, other.x) is not drawn


@pytest.mark.parametrize("rows", [1, 2, 7, 500])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("name", MAKERS)
def test_shapes_and_names(name: str, noise: float, rows: int) -> None:
    table = made(name, noise, rows)
    assert table.x.shape == (rows, 2)
    assert table.y.shape == (rows, 1)
    assert table.columns == ("x1", "x2")
    assert table.task == ("regression" if name in ("plane", "bumps") else "binary")
    assert {one.dtype for one in (table.x, table.y)} == {torch.float32}
    known = noise == 0 or name not in ("spiral", "bumps")
    assert (table.truth is not None) is known
    if table.truth is not None:
        assert table.truth.shape == (rows, 1)
        assert table.truth.dtype == torch.float32


@pytest.mark.parametrize("noise", [-0.1, 0.7, 1, math.nan, math.inf])
@pytest.mark.parametrize("name", MAKERS)
def test_noise_is_0_to_50_percent(name: str, noise: float) -> None:
    message = f"noise={noise}: must be a number from 0 to 0.5"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        made(name, noise)


@pytest.mark.parametrize("name", MAKERS)
def test_no_table_without_rows(name: str) -> None:
    with pytest.raises(ArgumentError, match="rows=0: must be a whole number ≥ 1"):
        made(name, rows=0)


@pytest.mark.parametrize("noise", [0.1, 0.5])
@pytest.mark.parametrize("name", ["circle", "xor", "plane", "bumps"])
def test_noise_changes_targets_and_leaves_points(name: str, noise: float) -> None:
    clean, noisy = made(name), made(name, noise)
    assert torch.equal(clean.x, noisy.x)
    assert (clean.y != noisy.y).float().mean() > 0.005


@pytest.mark.parametrize("noise", [0.1, 0.5])
@pytest.mark.parametrize("name", ["gauss", "spiral"])
def test_noise_moves_points_and_leaves_targets(name: str, noise: float) -> None:
    clean, noisy = made(name), made(name, noise)
    assert torch.equal(clean.y, noisy.y)
    assert (clean.x != noisy.x).float().mean() > 0.99


@pytest.mark.parametrize("rows", [500, 501])
@pytest.mark.parametrize("name", ["circle", "gauss", "spiral"])
def test_classes_have_half_of_the_rows_each(name: str, rows: int) -> None:
    assert made(name, rows=rows).y.sum() == (rows + 1) // 2


# --- each one's geometry -------------------------------------------------------------------------


def test_circle() -> None:
    x, y = arrays(made("circle"))
    radius, angle = np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 0], x[:, 1])
    assert_uniform(radius[y == 1], 0, 2.5)
    assert_uniform(radius[y == 0], 3.5, 5 + 1e-6)
    for label in (0, 1):
        assert_uniform(angle[y == label], -np.pi - 1e-6, np.pi + 1e-6)


def test_xor() -> None:
    x, y = arrays(made("xor"))
    np.testing.assert_array_equal(y == 1, (x[:, 0] > 0) == (x[:, 1] > 0))
    for column in x.T:
        assert_uniform(column - 0.3 * np.sign(column), -5, 5)
        assert abs(column).min() >= 0.3
    assert abs(y.mean() - 0.5) < 4 * 0.5 / math.sqrt(ROWS)  # four deviations of a fair coin


@pytest.mark.parametrize(("noise", "variance"), [(0, 0.5), (0.1, 1.2), (0.25, 2.25), (0.5, 4)])
def test_gauss(noise: float, variance: float) -> None:
    x, y = arrays(made("gauss", noise))
    for label, center in ((1, 2), (0, -2)):
        cloud = x[y == label]
        n = len(cloud)
        for column in cloud.T:
            assert abs(column.mean() - center) < 4 * math.sqrt(variance / n)
            low, high = chi2.ppf([1e-4, 1 - 1e-4], n)
            assert low < ((column - center) ** 2).sum() / variance < high
        correlation = np.corrcoef(cloud.T)[0, 1]
        assert abs(correlation) < 4 / math.sqrt(n)  # round


def arm(rows: int, points: int, turned: float) -> NDArray[np.float64]:
    """The first points of an arm [points, 2], as the page draws them."""
    drawn = []
    for i in range(points):
        way = i / (rows / 2)
        r, t = way * 5, 1.75 * way * 2 * math.pi + turned
        drawn.append((r * math.sin(t), r * math.cos(t)))
    return np.array(drawn).reshape(-1, 2)


@pytest.mark.parametrize("rows", [1, 2, 7, 500])
def test_spiral(rows: int) -> None:
    x, y = arrays(made("spiral", rows=rows))
    first, second = arm(rows, (rows + 1) // 2, 0), arm(rows, rows // 2, math.pi)
    np.testing.assert_allclose(x[y == 1], first, atol=1e-5)
    np.testing.assert_allclose(x[y == 0], second, atol=1e-5)


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_spiral_is_blurred_by_noise(noise: float) -> None:
    moved = (made("spiral", noise).x - made("spiral").x).double().numpy()
    for column in moved.T:
        assert_uniform(column, -noise - 1e-6, noise + 1e-6)


def test_plane() -> None:
    table = made("plane")
    x, y = arrays(table)
    for column in x.T:
        assert_uniform(column, -6, 6)
    np.testing.assert_allclose(y, (x[:, 0] + x[:, 1]) / 10, atol=1e-6)
    assert table.weights == (0.1, 0.1)
    assert table.bias == 0


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_plane_under_noise(noise: float) -> None:
    """What noise adds is a tenth of the sum of two uniform numbers."""
    table = made("plane", noise)
    x, y = arrays(table)
    np.testing.assert_allclose(truth(table), (x[:, 0] + x[:, 1]) / 10, atol=1e-6)
    added = y - truth(table)
    variance = 2 * (6 * noise) ** 2 / 3 / 100
    assert abs(added).max() <= 2 * 6 * noise / 10 + 1e-6
    assert abs(added.mean()) < 4 * math.sqrt(variance / ROWS)
    # The kurtosis of a triangle is 2.4, so the variance of the variance is 1.4·variance²/n.
    assert abs((added**2).mean() / variance - 1) < 4 * math.sqrt(1.4 / ROWS)


def bumps_at(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights by brute force: of six cones the one that is farthest from 0."""
    heights = []
    for a, b in points:
        best = 0.0
        for cx, cy, sign in (
            *((-4, 2.5, 1), (0, 2.5, -1), (4, 2.5, 1)),
            *((-4, -2.5, -1), (0, -2.5, 1), (4, -2.5, -1)),
        ):
            height = sign * min(max(1 - math.dist((a, b), (cx, cy)) / 2, 0), 1)
            best = height if abs(height) > abs(best) else best
        heights.append(best)
    return np.array(heights)


def test_bumps() -> None:
    x, y = arrays(made("bumps"))
    for column in x.T:
        assert_uniform(column, -6, 6)
    np.testing.assert_allclose(y, bumps_at(x), atol=1e-6)
    # Most of six cones' feet lies within ±6; 4 standard errors of their share.
    share = 6 * math.pi * 2**2 / 12**2
    assert abs((y != 0).mean() - share) < 4 * math.sqrt(share * (1 - share) / ROWS)
    assert y.max() > 0.95
    assert y.min() < -0.95


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_bumps_under_noise(noise: float) -> None:
    """No cone is steeper than 1/2, and nothing is looked up farther than a square's corner."""
    x, y = arrays(made("bumps", noise))
    error = y - bumps_at(x)
    assert abs(error).max() <= math.sqrt(2) * 6 * noise / 2 + 1e-6
    assert abs(error).max() > 6 * noise / 2  # and it is looked up in corners, too


# --- the truth, by which noise floors are told ----------------------------------------------------


@pytest.mark.parametrize("name", ["circle", "xor", "spiral", "plane", "bumps"])
def test_without_noise_the_targets_are_the_truth(name: str) -> None:
    table = made(name)
    _, y = arrays(table)
    expected = np.array(y)
    if name == "spiral":  # both arms begin in the middle
        expected[(table.x == 0).all(dim=1)] = 0.5
        assert (expected == 0.5).sum() == 2
    np.testing.assert_allclose(truth(table), expected, atol=1e-6)


@pytest.mark.parametrize("noise", NOISES)
def test_gauss_truth_is_bayes_rule(noise: float) -> None:
    table = made("gauss", noise)
    x, _ = arrays(table)
    upper, lower = (
        multivariate_normal([c, c], (0.5 + 7 * noise) * np.eye(2)).logpdf(x) for c in (2, -2)
    )
    np.testing.assert_allclose(truth(table), 1 / (1 + np.exp(lower - upper)), atol=1e-6)
    assert table.weights is not None
    log_odds = x @ table.weights + table.bias
    np.testing.assert_allclose(log_odds, upper - lower, atol=1e-4)


@pytest.mark.parametrize("noise", [0.01, 0.2, 0.5])
def test_circle_truth_is_the_part_of_a_square_in_the_disk(noise: float) -> None:
    """The square is cut into slices, and how much of each lies in the disk is added up."""
    table = made("circle", noise, rows=1000)
    x, _ = arrays(table)
    side, slices = 5 * noise, 4000
    middles = x[:, :1] + side * ((np.arange(slices) + 0.5) / slices * 2 - 1)  # [n, slices]
    half = np.sqrt(np.maximum(2.5**2 - middles**2, 0))
    top = np.minimum(x[:, 1:] + side, half)
    bottom = np.maximum(x[:, 1:] - side, -half)
    share = np.maximum(top - bottom, 0).mean(axis=1) / (2 * side)
    np.testing.assert_allclose(truth(table), share, atol=2e-5)
    assert ((share > 0.01) & (share < 0.99)).sum() > 5  # some squares lie across the border


@pytest.mark.parametrize("noise", [0.01, 0.2, 0.5])
@pytest.mark.parametrize("name", ["circle", "xor"])
def test_truth_is_the_mean_of_many_lookups(name: str, noise: float) -> None:
    table = made(name, noise, rows=300)
    x, _ = arrays(table)
    p, lookups = truth(table), 4000
    place = x[:, None] + 5 * noise * np.random.default_rng(0).uniform(-1, 1, (300, lookups, 2))
    inside = (place**2).sum(axis=2) < 2.5**2
    share = (inside if name == "circle" else place.prod(axis=2) >= 0).mean(axis=1)
    sure = (p < 1e-9) | (p > 1 - 1e-9)
    np.testing.assert_array_equal(share[sure], p[sure].round())
    error = 4.5 * np.sqrt(p * (1 - p) / lookups) + 1 / lookups  # of 300, each as sure as 1 in 10⁵
    assert (abs(share - p) <= error).all()


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("name", ["circle", "xor", "gauss"])
def test_targets_are_drawn_with_the_truth(name: str, noise: float) -> None:
    """Counts within 4 standard errors of the sum of probabilities, in five bins of probability."""
    table = made(name, noise, rows=20_000)
    p, (_, y) = truth(table), arrays(table)
    for low in np.arange(0, 1, 0.2):
        chosen = (p >= low) & (p < low + 0.2 + 1e-9)
        error = math.sqrt((p[chosen] * (1 - p[chosen])).sum())
        assert abs(y[chosen].sum() - p[chosen].sum()) <= 4 * error + 1e-6


@pytest.mark.parametrize("name", ["circle", "xor"])
def test_truth_of_hardly_any_noise(name: str) -> None:
    table = made(name, 1e-9)
    assert torch.equal(table.truth, table.y)  # type: ignore[arg-type]


# --- what they are made for ----------------------------------------------------------------------


def best_line(table: Table) -> float:
    """The accuracy of the best of 360 directions and all thresholds, by brute force."""
    y = table.y[:, 0]
    best = 0.0
    for angle in torch.linspace(0, torch.pi, 360):
        order = (table.x @ torch.stack([angle.cos(), angle.sin()])).argsort()
        sorted_y = y[order]
        right = (1 - sorted_y).cumsum(0) + (y.sum() - sorted_y.cumsum(0))  # 0 below, 1 above
        share = right / len(y)
        best = max(best, share.max().item(), 1 - share.min().item())
    return best


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("circle", 0.5, 0.75), ("xor", 0.5, 0.75), ("spiral", 0.5, 0.75), ("gauss", 0.99, 1)],
)
def test_what_a_straight_line_separates(name: str, low: float, high: float) -> None:
    assert low < best_line(made(name, rows=1000)) <= high


@pytest.mark.parametrize("name", MAKERS)
def test_shipped_as_the_page_opens(name: str) -> None:
    data, learner = build(compose_run(f"data={name}")[0])
    rows = {part: len(served) for part, served in data.rows.items()}
    regression = name in ("plane", "bumps")
    train, other, loss = (600, 300, "mse") if regression else (250, 125, "bce")
    assert rows == {"train": train, "val": other, "test": other}
    assert data.order.batch_size == 10
    assert learner.loss.__name__ == loss


def test_a_run_begins_as_the_page_does() -> None:
    config, _ = compose_run("experiment=playground")
    data = build_data(config["data"])
    assert config["data"]["_target_"] == "neuronlab.playground.make_circle"
    assert (len(data.table.x), len(data.rows["train"]), data.order.batch_size) == (500, 250, 10)
    assert config["model"]["hidden"] == [4, 2]
    assert config["activation"]["_target_"] == "torch.nn.Tanh"
    assert config["optimizer"] == {"_target_": "torch.optim.SGD", "lr": 0.03, "weight_decay": 0.0}
