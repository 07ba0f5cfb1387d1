import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from neuronlab.metrics import make_metrics

RNG = np.random.default_rng(0)


def measure(task, prediction, target, out_features: int = 1) -> dict[str, float]:  # type: ignore[no-untyped-def]
    target = torch.tensor(target)
    metrics = make_metrics(task, target, out_features, "val/")
    metrics.update(torch.tensor(prediction), target)
    return {name: value.item() for name, value in metrics.compute().items()}


def test_regression() -> None:
    y, p = RNG.normal(size=(30, 1)), RNG.normal(size=(30, 1))
    assert measure("regression", p, y) == pytest.approx(
        {
            "val/mse": ((p - y) ** 2).mean(),
            "val/mae": np.abs(p - y).mean(),
            "val/r2": 1 - ((p - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(),
        },
        rel=1e-5,
    )


def test_binary() -> None:
    y, p = RNG.integers(0, 2, size=(40, 1)), RNG.uniform(size=(40, 1))
    yes = p >= 0.5
    hits = (yes & (y == 1)).sum()
    pairs = mannwhitneyu(p[y == 1], p[y == 0]).statistic / ((y == 1).sum() * (y == 0).sum())
    assert measure("binary", p, y) == pytest.approx(
        {
            "val/accuracy": (yes == (y == 1)).mean(),
            "val/f1": 2 * hits / (yes.sum() + (y == 1).sum()),
            "val/auroc": pairs,
        },
        rel=1e-5,
    )


def test_multiclass() -> None:
    p, y = RNG.dirichlet(np.ones(3), size=25), RNG.integers(0, 3, size=25)
    expected = (p.argmax(axis=1) == y).mean()
    assert measure("multiclass", p, y, 3) == pytest.approx({"val/accuracy": expected}, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "prediction", "target", "names"),
    [
        ("regression", [[1.0]], [[2.0]], {"val/mse", "val/mae"}),
        ("binary", [[0.3], [0.6]], [[1], [1]], {"val/accuracy", "val/f1"}),
    ],
)
def test_what_the_rows_cannot_carry_is_left_out(task, prediction, target, names) -> None:  # type: ignore[no-untyped-def]
    assert measure(task, prediction, target).keys() == names
