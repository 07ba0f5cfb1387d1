"""Penalties on weights, added to what training makes smaller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

RATES = ("l1", "l2")


def penalty(parameters: Iterable[Tensor], l1: float | Tensor, l2: float | Tensor) -> Tensor:
    """l1·Σ|w| + l2/2·Σw² over the weights of one network, a scalar.

    As TensorFlow Playground has it: biases, and whatever else has a single dimension, are free, and
    the gradient is l1·sign(w) + l2·w. For SGD that of l2 is its `weight_decay` on weights alone.

    Args:
        parameters: All parameters of the network.
        l1: The rate of the sum of absolute weights (lasso), which makes many of them vanish.
        l2: The rate of half the sum of squared weights (ridge), which keeps all of them small.
    """
    weights = [parameter for parameter in parameters if parameter.dim() > 1]
    absolute = torch.stack([weight.abs().sum() for weight in weights]).sum()
    squared = torch.stack([weight.square().sum() for weight in weights]).sum()
    return l1 * absolute + l2 / 2 * squared


def is_penalized(regularization: Mapping[str, float]) -> bool:
    """Whether any rate is above 0."""
    return any(rate > 0 for rate in regularization.values())
