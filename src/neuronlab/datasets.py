"""The data sets: one pure function each, from a generator and numbers to tensors.

Letters: n data rows, C columns, K outputs.

A function draws from its generator alone, so its rows depend on nothing else. It also returns the
`truth`, the target's expectation given the columns, where it knows it: the loss of the truth is
the noise floor, which no network can be expected to pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor

from neuronlab.errors import require

Task = Literal["regression", "binary", "multiclass"]

# Lesson 004: the weights of its worked forward pass, and of its restaurant.
STUDENT_WEIGHTS = (0.5, 0.3, 0.4, 0.2)
RESTAURANT_WEIGHTS = (0.9, 0.6, 0.3, 0.8)


@dataclass(frozen=True)
class Table:
    """Rows to learn from.

    Attributes:
        x: Numbers [n, C]; of a column of text, which of its categories each row has, and NaN where
            a value is missing.
        y: Targets: [n, K], or class indices [n] where the task is multiclass.
        task: What kind of target it is.
        columns: C names.
        target: The target's name.
        truth: E[y | x] per row [n, K], or None where there is no rule.
        weights: The rule's weights [C] where it is linear in the columns, else None.
        bias: The rule's bias, beside `weights`.
        classes: Names of the classes, where there are any; of pass/fail the one for 0 comes first.
        categories: The texts of each column of text, by its name.
        fill: Whether what is missing is to be filled, with what training rows have on the mean.
        parts: The rows of each split, where the data themselves say so.
        numbers: Of each row its number in a file, from 1 [n]; None where they are counted through.
        notes: What a user should know of how the table was read, a line each.
    """

    x: Tensor
    y: Tensor
    task: Task
    columns: tuple[str, ...]
    target: str
    truth: Tensor | None = None
    weights: tuple[float, ...] | None = None
    bias: float | None = None
    classes: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fill: bool = False
    parts: Mapping[str, Tensor] | None = None
    numbers: Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def out_features(self) -> int:
        """K: one output per class, or per target column."""
        return len(self.classes) if self.task == "multiclass" else self.y.shape[1]

    @property
    def labels(self) -> tuple[str, ...]:
        """What 0, 1, … stand for where the target is no number."""
        return self.classes or (f"not {self.target}", self.target)

    @property
    def can_be_drawn(self) -> bool:
        """Whether a fit can be drawn: over one number (if values or a chance), or over two."""
        if self.categories or len(self.columns) > 2:
            return False
        return len(self.columns) == 2 or self.task != "multiclass"


def make_line(
    generator: Generator,
    rows: int = 100,
    low: float = 0.0,
    high: float = 10.0,
    slope: float = 2.0,
    intercept: float = 1.0,
    noise: float = 0.5,
) -> Table:
    """Points around a line, y = slope·x + intercept + noise·ε with ε ~ N(0, 1) (lesson 001)."""
    x = _evenly_spaced(rows, low, high)
    truth = slope * x + intercept
    y = _noisy(truth, noise, generator)
    return Table(x, y, "regression", ("x",), "y", truth, weights=(slope,), bias=intercept)


def make_sine(
    generator: Generator,
    rows: int = 200,
    low: float = -math.pi,
    high: float = math.pi,
    frequency: float = 1.0,
    amplitude: float = 1.0,
    noise: float = 0.1,
) -> Table:
    """Points around a wave, y = amplitude·sin(frequency·x) + noise·ε with ε ~ N(0, 1)."""
    x = _evenly_spaced(rows, low, high)
    truth = amplitude * torch.sin(frequency * x)
    return Table(x, _noisy(truth, noise, generator), "regression", ("x",), "y", truth)


def make_sketches(generator: Generator) -> Table:
    """The two sketches of lesson 003, as color, pressure and tilt; nothing is drawn."""
    x = torch.tensor([[0.5, 0.7, 0.3], [0.9, 0.2, 0.6]])
    y = torch.tensor([[0.8], [0.3]])
    return Table(x, y, "regression", ("color", "pressure", "tilt"), "painting")


def make_houses(generator: Generator, rows: int = 1000, noise: float = 20_000.0) -> Table:
    """Houses and their prices (lesson 004), linear in the columns.

    price = 120 000 + 150·size + 20 000·bedrooms − 1 500·age − 3 000·distance + noise·ε dollars,
    so the lesson's house (2000 square feet, 3 bedrooms, 10 years, 5 miles) costs 450 000.
    Sizes are uniform in 600–3500 square feet, bedrooms in 1–5, ages in 0–60 years, distances in
    0–30 miles.
    """
    _check_rows(rows)
    x = torch.cat(
        [
            _uniform(rows, 600, 3500, generator),
            torch.randint(1, 6, (rows, 1), generator=generator).float(),
            _uniform(rows, 0, 60, generator),
            _uniform(rows, 0, 30, generator),
        ],
        dim=1,
    )
    weights, bias = (150.0, 20_000.0, -1_500.0, -3_000.0), 120_000.0
    truth = _weighted_sum(x, weights) + bias
    columns = ("size", "bedrooms", "age", "distance")
    y = _noisy(truth, noise, generator)
    return Table(x, y, "regression", columns, "price", truth, weights=weights, bias=bias)


def make_one_student(generator: Generator) -> Table:
    """The one student of lesson 000, who studied and slept enough and passed; nothing is drawn."""
    x, y = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0]])
    return Table(x, y, "binary", ("studied", "slept"), "passed")


def make_three_students(generator: Generator) -> Table:
    """The three students of lesson 002, hours studied and slept; nothing is drawn."""
    x = torch.tensor([[5.0, 7.0], [1.0, 2.0], [10.0, 6.0]])
    y = torch.tensor([[1.0], [0.0], [1.0]])
    return Table(x, y, "binary", ("hours_studied", "hours_slept"), "passed")


def make_students(generator: Generator, rows: int = 1250, noise: float = 0.5) -> Table:
    """Students who pass or fail an exam (lesson 004).

    P(passed) = sigmoid((0.5·hours + 0.3·sleep + 0.4·score/10 + 0.2·attendance/10 − 8.6) / noise):
    the lesson's weights, with score and attendance in tens so that each column counts; noise = 0
    leaves a sharp threshold. Hours studied are uniform in 0–10, hours of sleep in 4–10, previous
    scores in 30–100, attendance in 40–100 %. 8.6 is the mean of the sum: half of them pass.
    """
    _check_rows(rows)
    x = torch.cat(
        [
            _uniform(rows, 0, 10, generator),
            _uniform(rows, 4, 10, generator),
            _uniform(rows, 30, 100, generator),
            _uniform(rows, 40, 100, generator),
        ],
        dim=1,
    )
    hours, sleep, score, attendance = STUDENT_WEIGHTS
    weights, bias = (hours, sleep, score / 10, attendance / 10), -8.6
    columns = ("hours_studied", "hours_slept", "previous_score", "attendance")
    return _pass_or_fail(x, weights, bias, noise, generator, columns, "passed")


def make_restaurant(generator: Generator, rows: int = 1000, noise: float = 0.1) -> Table:
    """Restaurants and whether one goes (lesson 004).

    How good each is in food, price, distance and reviews, uniform in 0–1 (1 is best: delicious,
    cheap, near, praised). P(go) = sigmoid((w·x − 1.3) / noise) with the lesson's weights
    w = (0.9, 0.6, 0.3, 0.8); 1.3 is the mean of w·x, so one goes half of the time; noise = 0
    leaves a sharp threshold.
    """
    _check_rows(rows)
    x = torch.rand(rows, 4, generator=generator)
    columns = ("food", "price", "distance", "reviews")
    return _pass_or_fail(x, RESTAURANT_WEIGHTS, -1.3, noise, generator, columns, "go")


def make_blobs(
    generator: Generator, rows: int = 600, classes: int = 3, radius: float = 2.0, noise: float = 0.7
) -> Table:
    """Round clouds, one per class, with centers evenly on a circle of the given radius.

    A point is its center plus noise·ε in both coordinates, ε ~ N(0, 1); classes are equally likely
    and fill the rows in turn.
    """
    _check_rows(rows)
    require(classes >= 2, "classes", classes, "a whole number ≥ 2")
    _check_noise(noise)
    y = torch.arange(rows) % classes
    angles = 2 * math.pi * torch.arange(classes) / classes + math.pi / 2
    centers = radius * torch.stack([angles.cos(), angles.sin()], dim=1)  # [K, 2]
    x = centers[y] + noise * torch.randn(rows, 2, generator=generator)
    truth = None
    if noise > 0:
        # Bayes: with equal priors and one spread, P(class | x) is a softmax of −distance²/2σ².
        squared = (x[:, None] - centers).square().sum(dim=-1)  # [n, K]
        truth = torch.softmax(-squared / (2 * noise**2), dim=1)
    names = tuple(f"blob {index}" for index in range(classes))
    return Table(x, y, "multiclass", ("x1", "x2"), "blob", truth, classes=names)


def _pass_or_fail(
    x: Tensor,
    weights: tuple[float, ...],
    bias: float,
    noise: float,
    generator: Generator,
    columns: tuple[str, ...],
    target: str,
) -> Table:
    """Labels drawn with P(1) = sigmoid((w·x + b) / noise); without noise, 1 where w·x + b > 0."""
    _check_noise(noise)
    score = _weighted_sum(x, weights) + bias
    truth = torch.sigmoid(score / noise) if noise > 0 else (score > 0).float()
    y = (torch.rand(truth.shape, generator=generator) < truth).float()
    return Table(x, y, "binary", columns, target, truth, weights=weights, bias=bias)


def _weighted_sum(x: Tensor, weights: tuple[float, ...]) -> Tensor:
    """x·w: [n, D] → [n, 1]."""
    return x @ torch.tensor(weights)[:, None]


def _evenly_spaced(rows: int, low: float, high: float) -> Tensor:
    """A column of evenly spaced numbers [n, 1]."""
    _check_rows(rows)
    require(low < high, "low", low, f"below high={high}")
    return torch.linspace(low, high, rows)[:, None]


def _uniform(rows: int, low: float, high: float, generator: Generator) -> Tensor:
    """A column of uniform numbers [n, 1]."""
    return low + (high - low) * torch.rand(rows, 1, generator=generator)


def _noisy(truth: Tensor, noise: float, generator: Generator) -> Tensor:
    """Truth + noise·ε, ε ~ N(0, 1): [n, K] → [n, K]."""
    _check_noise(noise)
    return truth + noise * torch.randn(truth.shape, generator=generator)


def _check_rows(rows: int) -> None:
    require(rows >= 1, "rows", rows, "a whole number ≥ 1")


def _check_noise(noise: float) -> None:
    require(0 <= noise < math.inf, "noise", noise, "a number ≥ 0")
