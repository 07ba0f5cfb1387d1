"""Standardization: what a network sees against what a person sees.

Letters: B batch rows, n data rows, D features, K outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaling(nn.Module):
    """Means and standard deviations of features and targets, kept as buffers with the network.

    Without statistics it changes nothing. As buffers they travel in the checkpoint, so a trained
    network takes raw inputs and answers in the target's own units.
    """

    input_mean: Tensor
    input_rest: Tensor  # what the mean in float64 has beyond that in float32
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        """Starts as the identity on D features and K outputs."""
        super().__init__()
        self.register_buffer("input_mean", torch.zeros(in_features))  # [D]
        self.register_buffer("input_rest", torch.zeros(in_features))  # [D]
        self.register_buffer("input_std", torch.ones(in_features))  # [D]
        self.register_buffer("target_mean", torch.zeros(out_features))  # [K]
        self.register_buffer("target_std", torch.ones(out_features))  # [K]

    def fit_inputs(self, x: Tensor) -> None:
        """Takes the statistics of the features from training rows x [n, D]."""
        mean, self.input_std = mean_and_std(x)
        self.input_mean = mean.float()
        self.input_rest = (mean - self.input_mean).float()

    def fit_targets(self, y: Tensor) -> None:
        """Takes the statistics of the targets from training rows y [n, K]."""
        mean, self.target_std = mean_and_std(y)
        self.target_mean = mean.float()

    def inputs(self, x: Tensor) -> Tensor:
        """Features [B, D] → what the network sees [B, D].

        In the precision of the features: a float64 keeps what sets it apart from a large mean.
        """
        return (x - self.input_mean - self.input_rest) / self.input_std

    def targets(self, y: Tensor) -> Tensor:
        """Raw targets [B, K] → what the network is to predict [B, K]."""
        return (y - self.target_mean) / self.target_std

    def raw(self, prediction: Tensor) -> Tensor:
        """What the network predicts [B, K] → the target's own units [B, K]."""
        return prediction * self.target_std + self.target_mean


def mean_and_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over n, not n − 1) of each feature of values [n, D].

    A constant feature has no scale to divide by; its deviation is given as 1.
    """
    std, mean = torch.std_mean(values, dim=0, unbiased=False)
    constant = (values == values[:1]).all(dim=0)  # where rounding may leave a deviation above 0
    std = torch.where(constant, torch.ones_like(std), std).float()
    return mean, torch.where(std > 0, std, torch.ones_like(std))
