"""Losses: one function each, on a prediction or on the logit before the output head.

Letters: B batch rows, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor
from torch.nn import functional as F

from neuronlab.datasets import Task


class Loss(Protocol):
    """A loss with what it works on (`on`: logit or prediction) and the tasks that it fits."""

    on: str
    tasks: tuple[str, ...]

    def __call__(self, output: Tensor, target: Tensor, /) -> Tensor:
        """The mean loss over the batch, a scalar."""


Function = TypeVar("Function", bound=Callable[[Tensor, Tensor], Tensor])


def fits(on: str, *tasks: str) -> Callable[[Function], Function]:
    """Marks a loss with what it works on and the tasks that it fits."""

    def mark(function: Function) -> Function:
        function.on = on  # type: ignore[attr-defined] # a function carries its facts with it
        function.tasks = tasks  # type: ignore[attr-defined]
        return function

    return mark


def known(task: str | None = None) -> list[str]:
    """The names of the losses, or of those that fit a task."""
    marked = {name: f.tasks for name, f in globals().items() if hasattr(f, "tasks")}
    return [name for name, tasks in marked.items() if task is None or task in tasks]


def auto(task: Task) -> str:
    """The name of the loss that `loss=auto` stands for, where data show their task when read.

    The negative logarithm of a likelihood: normal, Bernoulli, categorical.
    """
    return {"regression": "mse", "binary": "bce", "multiclass": "cross_entropy"}[task]


@fits("prediction", "regression", "binary")
def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of predictions [B, K] (lessons 001–004)."""
    return F.mse_loss(prediction, target)


@fits("prediction", "regression", "binary")
def mae(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of predictions [B, K]."""
    return F.l1_loss(prediction, target)


@fits("logit", "binary")
def bce(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of logits [B, 1] (lessons 000, 004).

    From the logit, not the probability: log(sigmoid(z)) loses all digits for large |z|.
    """
    return F.binary_cross_entropy_with_logits(logit, target)


@fits("logit", "multiclass")
def cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits [B, K] with class indices [B]."""
    return F.cross_entropy(logit, target)
