import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torchmetrics.functional.classification import binary_auroc

from neuronlab.metrics import auroc, make_metrics, measure_each, metric_names

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


def test_auroc_with_ties_is_that_of_torchmetrics() -> None:
    score = torch.tensor(RNG.integers(0, 5, size=(6, 40)) / 4)
    target = torch.tensor(RNG.integers(0, 2, size=(6, 40)))
    expected = [binary_auroc(s, t) for s, t in zip(score, target, strict=True)]
    torch.testing.assert_close(
        auroc(score, target), torch.stack(expected).double(), rtol=1e-6, atol=0
    )


def test_scores_that_are_no_numbers_rank_nothing() -> None:
    assert auroc(torch.full((1, 4), torch.nan), torch.tensor([[0, 1, 0, 1]])).tolist() == [0.5]


@pytest.mark.parametrize(
    ("task", "outputs"), [("regression", 1), ("regression", 3), ("binary", 1), ("multiclass", 4)]
)
def test_many_at_once_are_as_one_by_one(task, outputs) -> None:  # type: ignore[no-untyped-def]
    """Each member against torchmetrics' own classes, in double precision."""
    members, rows = 5, 30
    prediction = torch.rand(members, rows, outputs, dtype=torch.float64)
    if task == "multiclass":
        target = torch.randint(outputs, (members, rows))
    elif task == "binary":
        target = torch.randint(2, (members, rows, 1))
    else:
        target = torch.rand(members, rows, outputs, dtype=torch.float64)
    found = measure_each(task, metric_names(task, target[0]), prediction, target)
    for member in range(members):
        metrics = make_metrics(task, target[member], outputs, "")
        metrics.set_dtype(torch.float64)
        metrics.update(prediction[member], target[member])
        expected = metrics.compute()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name][member].double(), value.double(), rtol=1e-12, atol=0
            )


def test_a_member_that_diverged_leaves_the_others_alone() -> None:
    prediction, target = torch.rand(2, 30, 1), torch.randint(2, (2, 30, 1))
    names = ("accuracy", "auroc", "f1")
    before = measure_each("binary", names, prediction, target)
    prediction[1] = torch.nan
    after = measure_each("binary", names, prediction, target)
    for name in names:
        assert after[name][0] == before[name][0]
        assert after[name][1].isfinite()
