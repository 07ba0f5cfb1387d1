"""What theory knows of a run: optimum, curvature, and noise floor.

Letters: n data rows, D features, K outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuronlab.data import Rows
from neuronlab.datasets import Task
from neuronlab.losses import Loss, mae, mse
from neuronlab.models import Neuron
from neuronlab.scaling import Scaling


class Line(NamedTuple):
    """A linear rule, weights [D] and bias."""

    weights: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Features [n, D] → values [n, 1]."""
        return (x.to(self.weights) @ self.weights + self.bias)[:, None]


def least_squares(x: Tensor, y: Tensor) -> Line:
    """The line with the smallest mean squared error: the optimum of a linear neuron.

    Args:
        x: Features [n, D].
        y: Targets [n, 1].
    """
    solution = torch.linalg.lstsq(_with_ones(x), y.double(), driver="gelsd").solution[:, 0]
    return Line(solution[:-1], solution[-1])


def largest_curvature(x: Tensor) -> float:
    """λmax of the Hessian of a linear neuron's mean squared error, (2/n)·X̃ᵀX̃ with X̃ = [x, 1].

    Full-batch gradient descent on a quadratic contracts in every direction exactly where
    lr < 2/λmax (e.g. Goh, "Why Momentum Really Works", Distill 2017); beyond, it diverges.

    Args:
        x: Features [n, D].
    """
    inputs = _with_ones(x)
    hessian = 2 / len(x) * inputs.T @ inputs  # [D + 1, D + 1]
    return float(torch.linalg.eigvalsh(hessian)[-1])


def noise_floor(loss: Loss, task: Task, rows: Rows) -> float | None:
    """The loss of the rule that made the data, on the same rows.

    No network can be expected to stay below it on rows that it has not trained on: E[y | x] has
    the least expected squared error and cross-entropy, and, where noise is symmetric, the least
    absolute error.

    Args:
        loss: The loss that a network is trained with.
        task: What kind of target the rows have.
        rows: The rows, with their truth.

    Returns:
        The loss, or None where no rule is known.
    """
    if rows.truth is None:
        return None
    output = rows.truth
    if loss is mae and task == "binary":
        output = (output > 0.5).float()  # of two labels, absolute error wants the likelier
    if loss.on == "logit":
        tiny = torch.finfo(output.dtype).tiny
        binary = task == "binary"
        output = torch.logit(output, eps=1e-7) if binary else output.clamp_min(tiny).log()
    return loss(output, rows.y).item()


def is_linear_regression(net: nn.Module, loss: Loss) -> bool:
    """Whether the run is a linear neuron under mean squared error, which theory knows whole."""
    return isinstance(net, Neuron) and isinstance(net.output, nn.Identity) and loss is mse


def raw_line(line: Line, scaling: Scaling) -> Line:
    """A line on standardized features and targets → the same line in the data's own units."""
    mean, rest, std, target_mean, target_std = (
        buffer.double().cpu()
        for buffer in (
            scaling.input_mean,
            scaling.input_rest,
            scaling.input_std,
            scaling.target_mean,
            scaling.target_std,
        )
    )
    weights = line.weights.double() / std * target_std
    bias = line.bias.double() * target_std + target_mean - weights @ (mean + rest)
    return Line(weights, bias[0])


def cosine(a: Tensor, b: Tensor) -> float:
    """How alike two directions [D] are: 1 for the same, 0 at a right angle, −1 for opposite."""
    return F.cosine_similarity(a.double(), b.double(), dim=0).item()


def _with_ones(x: Tensor) -> Tensor:
    """[n, D] → [n, D + 1] with a column of ones for the bias, in float64."""
    return torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
