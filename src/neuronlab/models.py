"""Neuron and MLP, each written for one network.

Letters: B batch rows, D features, H hidden, K outputs.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuronlab.errors import require

Output = Literal["identity", "sigmoid", "softmax"]


def head(output: str | None, out_features: int) -> nn.Module:
    """The output head: what turns logits [B, K] into predictions [B, K].

    Raises:
        ValueError: If the head is unknown, or softmax has a single output, which it makes 1.
    """
    output = "identity" if output is None else output
    heads = {"identity": nn.Identity(), "sigmoid": nn.Sigmoid(), "softmax": nn.Softmax(dim=-1)}
    require(output in heads, "output", output, f"one of {', '.join(heads)}")
    require(
        output != "softmax" or out_features > 1,
        "output",
        output,
        "identity or sigmoid for one output (softmax of one output is 1 whatever comes in)",
    )
    return heads[output]


class Linear(nn.Linear):
    """`torch.nn.Linear` that draws its weights from a generator, not from the global one."""

    def __init__(self, in_features: int, out_features: int, generator: torch.Generator) -> None:
        """Draws weight [out, in] and bias [out] in the order that torch draws them."""
        super().__init__(in_features, out_features)
        # nn.Linear.reset_parameters: kaiming_uniform_ with a = √5 comes to U(±1/√in) for both.
        bound = 1 / math.sqrt(in_features)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)

    def reset_parameters(self) -> None:
        """Draws nothing where the parent would draw from the global generator."""


class Neuron(nn.Module):
    """One neuron: dot product plus bias, then the output head (lesson 000)."""

    def __init__(
        self,
        in_features: int,
        out_features: int = 1,
        output: Output | None = None,
        init: Literal["normal", "torch"] = "normal",
        *,
        generator: torch.Generator,
    ) -> None:
        """Draws the initial weights.

        Args:
            in_features: D, the number of inputs.
            out_features: 1; a neuron has one output.
            output: The output head; None for none, that is identity.
            init: `normal`: weights ~ N(0, 1), bias 0 (lesson 000); `torch`: as `torch.nn.Linear`
                (lessons 001, 002).
            generator: Where the initial weights are drawn from.

        Raises:
            ValueError: If more than one output is asked for, or a name is unknown.
        """
        super().__init__()
        allowed = "1 for a neuron; model=mlp has more"
        require(out_features == 1, "out_features", out_features, allowed)
        require(init in ("normal", "torch"), "init", init, "normal or torch")
        linear = Linear(in_features, 1, generator)
        if init == "normal":
            nn.init.normal_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)
        self.weight = linear.weight  # [1, D], as torch lays it out
        self.bias = linear.bias  # [1]
        self.output = head(output, 1)

    def logits(self, x: Tensor) -> Tensor:
        """The weighted sum z = w·x + b: [B, D] → [B, 1]."""
        return F.linear(x, self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The prediction: [B, D] → [B, 1]."""
        prediction: Tensor = self.output(self.logits(x))
        return prediction


class MLP(nn.Module):
    """Layers of neurons, with an activation after every hidden layer (lessons 003, 004)."""

    def __init__(
        self,
        in_features: int,
        hidden: list[int],
        out_features: int,
        activation: nn.Module,
        output: Output | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        """Draws the initial weights, as `torch.nn.Linear` does.

        Args:
            in_features: D, the number of inputs.
            hidden: H of each hidden layer; an empty list leaves a linear model.
            out_features: K, the number of outputs.
            activation: What follows each hidden layer; every layer gets its own copy, since some
                activations (PReLU) have parameters.
            output: The output head; None for none, that is identity.
            generator: Where the initial weights are drawn from.

        Raises:
            ValueError: If a size is below 1 or the head is unknown.
        """
        super().__init__()
        whole = all(isinstance(size, int) and size >= 1 for size in hidden)
        require(whole, "hidden", hidden, "a list of whole numbers ≥ 1, one per hidden layer")
        sizes = [in_features, *hidden, out_features]
        for index, (size_in, size_out) in enumerate(pairwise(sizes), start=1):
            self.add_module(f"layer{index}", Linear(size_in, size_out, generator))
            if index <= len(hidden):
                self.add_module(f"activation{index}", copy.deepcopy(activation))
        self.output = head(output, out_features)

    def logits(self, x: Tensor) -> Tensor:
        """The last layer's weighted sums: [B, D] → [B, K]."""
        for name, module in self.named_children():
            if name != "output":
                x = module(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """The prediction: [B, D] → [B, K]."""
        prediction: Tensor = self.output(self.logits(x))
        return prediction
