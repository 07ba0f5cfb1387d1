from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import compose_run
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures

from neuronlab.build import build_learner
from neuronlab.columns import Column
from neuronlab.data import DataModule
from neuronlab.datasets import Table
from neuronlab.errors import ArgumentError
from neuronlab.features import Features, learn_columns

TWO = (Column("x1"), Column("x2"))
MIXED = (Column("size"), Column("city", ("Bonn", "Kiel", "Ulm")), Column("age"))
NAN = float("nan")


def rows(columns: int, count: int = 7) -> torch.Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(0)).double()


def test_the_playground_s_seven_features() -> None:
    made = Features(TWO, ["x1", "x2", "x1*x1", "x2*x2", "x1*x2", "sin x1", "sin x2"])
    x = rows(2)
    a, b = x.numpy().T
    expected = np.stack([a, b, a**2, b**2, a * b, np.sin(a), np.sin(b)], axis=1)
    np.testing.assert_allclose(made(x).numpy(), expected, rtol=1e-15)
    words = Features(TWO, ["inputs", "squares", "products", "sines"])
    assert words.names == made.names


@pytest.mark.parametrize("count", [1, 3, 5])
def test_words_are_all_polynomials_of_degree_two(count: int) -> None:
    columns = [Column(f"x{index}") for index in range(count)]
    made = Features(columns, ["inputs", "squares", "products"])
    x = rows(count)
    expected = PolynomialFeatures(degree=2, include_bias=False).fit_transform(x.numpy())
    ours = made(x).numpy()
    assert ours.shape == expected.shape
    np.testing.assert_allclose(np.sort(ours, axis=1), np.sort(expected, axis=1), rtol=1e-14)


def test_a_column_of_text_is_one_feature_per_category() -> None:
    x = torch.tensor([[1.0, 0, 4], [2.0, 2, 5], [3.0, -1, 6]])
    made = Features(MIXED)
    assert made.names == ("size", "city=Bonn", "city=Kiel", "city=Ulm", "age")
    encoder = OneHotEncoder(categories=[["Bonn", "Kiel", "Ulm"]], handle_unknown="ignore")
    texts = np.array([["Bonn"], ["Ulm"], ["Rome"]])
    one_hot = encoder.fit(texts[:2]).transform(texts).toarray()
    assert made(x).tolist() == np.hstack([x[:, :1], one_hot, x[:, 2:]]).tolist()
    crossed = Features(MIXED, ["city", "size*city", "city=Ulm*sin age"])
    assert crossed.names[3:6] == ("size*city=Bonn", "size*city=Kiel", "size*city=Ulm")
    assert crossed(x)[:, 3:6].tolist() == (x[:, :1].numpy() * one_hot).tolist()
    assert crossed(x)[:, 6].tolist() == [0, torch.sin(torch.tensor(5.0)).item(), 0]
    assert Features(MIXED, crossed.names).names == crossed.names  # as a checkpoint has them
    squares = Features(MIXED, ["squares", "products", "sines"])
    assert squares.names == ("size*size", "age*age", "size*age", "sin size", "sin age")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            ["x11"],
            "features=x11: no such column; did you mean x1? allowed: x1, x2, products as x1*x2",
        ),
        (["x1*y"], "features=x1*y: no such column"),
        (["cos x1"], "features=cos x1: no such column"),
        (["square"], "did you mean squares?"),
        (["x1", "inputs"], "features=[x1,inputs]: has x1 more than once"),
        ([], "features=[]: stands for no feature"),
    ],
)
def test_what_is_no_feature(features: list[str], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Features(TWO, features)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_may_be_called_like_a_word() -> None:
    made = Features([Column("squares"), Column("a*b"), Column("sin x")], ["squares", "a*b"])
    assert made(torch.tensor([[2.0, 3, 4]])).tolist() == [[2, 3]]
    assert Features(made.columns, ["sin x"])(torch.tensor([[2.0, 3, 4]])).tolist() == [[4]]


def test_all_columns_are_features_whatever_they_are_called() -> None:
    columns = [Column(name) for name in ("inputs", "squares", "sin inputs", "inputs*squares")]
    x = rows(4)
    assert Features(columns).as_they_are
    assert torch.equal(Features(columns)(x), x)


def test_a_learner_computes_the_features_that_training_saw() -> None:
    """Where a column is called like a feature of another: by its list, not by its name."""
    x = rows(2, 20)
    made = Table(x, x[:, :1], "regression", ("x", "sin x"), "y")
    config, _ = compose_run("data=line", "model.hidden=[3]", "data.features=[sines]")
    data = DataModule(lambda _: made, features=["sines"])
    learner = build_learner(config, data)
    assert torch.equal(learner.seen(x), data.rows["train"].x)
    np.testing.assert_allclose(learner.seen(x), np.sin(x.numpy()), rtol=1e-6)


def test_categories_may_hold_signs() -> None:
    made = Features([Column("size"), Column("city", ("a*b", "sin c"))], ["size*city"])
    assert made.names == ("size*city=a*b", "size*city=sin c")
    with pytest.raises(ArgumentError, match="has city=a more than once"):
        Features([Column("city", ("a", "b")), Column("city=a")])


def table(x: list[list[float]], **more: object) -> Table:
    y = torch.arange(len(x)).float()[:, None]
    return Table(torch.tensor(x).double(), y, "regression", ("a", "b"), "y", **more)  # type: ignore[arg-type]


def test_categories_and_means_are_those_of_training_rows() -> None:
    given = [[1.0, 2], [NAN, 2], [4, 0], [NAN, NAN], [100, 1], [NAN, 0]]
    made = table(given, categories={"b": ("p", "q", "r")}, fill=True)
    columns, x = learn_columns(made, torch.arange(4))
    assert columns == [Column("a", None, (2.5,)), Column("b", ("p", "r"), (1 / 3, 2 / 3))]
    assert x[:, 1].tolist()[:3] + x[:, 1].tolist()[4:] == [1, 1, 0, -1, 0]
    seen = Features(columns)(x)
    training = np.array(given[:4])
    encoder = OneHotEncoder().fit(training[:3, 1:])
    one_hot = np.vstack([encoder.transform(training[:3, 1:]).toarray(), [[NAN, NAN]]])
    filled = SimpleImputer().fit_transform(np.hstack([training[:, :1], one_hot]))
    np.testing.assert_allclose(seen[:4].numpy(), filled)
    assert seen[4].tolist() == [100, 0, 0]
    assert made.x[4, 1] == 1  # the table is shared between runs


def test_a_column_without_a_value_in_training_rows() -> None:
    made = table([[NAN, 1], [NAN, 2], [3, 4]], fill=True)
    with pytest.raises(ArgumentError, match="column a has no value in any training row"):
        learn_columns(made, torch.arange(2))


def test_features_are_standardized_by_training_rows() -> None:
    x = rows(2, 40)
    made = Table(x, x[:, :1] * 3 + 7, "regression", ("x1", "x2"), "y")
    data = DataModule(
        lambda _: made, split=[0.5, 0.25, 0.25], features=["x1", "x1*x2"], standardize=True
    )
    train = data.parts["train"]
    raw = np.stack([x[:, 0], x[:, 0] * x[:, 1]], axis=1)
    expected = (raw - raw[train].mean(axis=0)) / raw[train].std(axis=0)
    for split, part in data.parts.items():
        np.testing.assert_allclose(data.rows[split].x, expected[part], rtol=1e-4, atol=1e-5)


def test_numbers_far_from_zero_keep_what_sets_them_apart() -> None:
    """Seconds since 1970, a day apart: float32 has steps of 128 there."""
    x = 1.7e9 + torch.arange(10).double()[:, None] * 60
    made = Table(x, x, "regression", ("t",), "t")
    data = DataModule(lambda _: made, standardize=True)
    expected = (np.arange(10) - 4.5) / np.arange(10).std()
    np.testing.assert_allclose(data.rows["train"].x[:, 0].numpy(), expected, rtol=1e-4)


def test_features_that_are_not_finite() -> None:
    made = table([[1e30, 1], [2e30, 2], [3e30, 3]])
    with pytest.raises(ArgumentError, match=r"features: a\*a must be a finite number in every row"):
        DataModule(lambda _: made, features=["a*a"])


def test_a_class_without_a_training_row_is_said_aloud() -> None:
    parts = {"train": torch.tensor([0, 1]), "val": torch.tensor([2]), "test": torch.tensor([3])}
    x, y = torch.rand(4, 1), torch.tensor([0, 2, 1, 2])
    made = Table(x, y, "multiclass", ("x",), "kind", classes=("p", "q", "r"), parts=parts)
    assert DataModule(lambda _: made).notes() == [
        "kind: no training row is q, so it is not learned"
    ]


def test_unseen_categories_are_said_aloud() -> None:
    parts = {name: torch.tensor([row]) for row, name in enumerate(("train", "val", "test"))}
    made = table([[1.0, 0], [2, 1], [-1, 2]], categories={"b": ("p", "q", "r")}, parts=parts)
    data = DataModule(lambda _: made)
    assert data.notes() == ["b: no training row has q, r; taken as none, in 2 rows"]
    assert data.rows["test"].x.tolist() == [[-1, 0]]
