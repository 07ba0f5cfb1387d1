"""Update rules over members against torch.optim, one optimizer per member."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuronlab.optimizers import MemberOptimizer, rule_of

# A row: the class, and what each of the members has. The first member has torch's defaults.
CASES: list[tuple[str, list[dict[str, Any]]]] = [
    ("SGD", [{}, {"lr": 0.3}, {"lr": 0.01, "weight_decay": 0.1}]),
    ("SGD", [{"lr": 0.1}, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.05, "momentum": 0.5}]),
    ("SGD", [{"momentum": 0.9, "dampening": 0.5}, {"dampening": 0.5}, {"momentum": 0.1}]),
    ("SGD", [{"momentum": 0.9, "nesterov": True}, {"momentum": 0.5, "nesterov": True, "lr": 0.2}]),
    ("Adam", [{}, {"lr": 0.1}, {"betas": [0.5, 0.9], "eps": 1e-3}, {"weight_decay": 0.1}]),
    ("Adam", [{"betas": [0.0, 0.999]}, {"betas": [0.9, 0.0]}]),
    ("AdamW", [{}, {"lr": 0.1}, {"weight_decay": 0.0}, {"weight_decay": 0.5, "betas": [0.8, 0.9]}]),
    ("RMSprop", [{}, {"alpha": 0.5}, {"eps": 1e-2, "lr": 0.1}, {"weight_decay": 0.1}]),
    ("RMSprop", [{"momentum": 0.9}, {"momentum": 0.0}, {"lr": 0.001, "momentum": 0.5}]),
    ("RMSprop", [{"centered": True}, {"centered": True, "alpha": 0.9, "momentum": 0.3}]),
    ("Adagrad", [{}, {"lr_decay": 0.1}, {"initial_accumulator_value": 0.5}, {"weight_decay": 0.1}]),
]


def gradients(member: int, shape: tuple[int, ...], steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(member)
    return [torch.randn(*shape, generator=generator) for _ in range(steps)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("name", "members"), CASES)
def test_each_member_takes_the_steps_of_torch(
    name: str, members: list[dict[str, Any]], dtype: torch.dtype
) -> None:
    steps, shapes = 100, [(3, 2), (3,)]
    starts = [
        [torch.ones(shape, dtype=dtype) * (1 + member) for shape in shapes]
        for member in range(len(members))
    ]
    stacked = [nn.Parameter(torch.stack(column)) for column in zip(*starts, strict=True)]
    configs = [{"_target_": f"torch.optim.{name}", **member} for member in members]
    ours = MemberOptimizer(stacked, configs)
    given = [[gradients(m, shape, steps) for shape in shapes] for m in range(len(members))]
    theirs = []
    for start, member in zip(starts, members, strict=True):
        alone = [nn.Parameter(tensor.clone()) for tensor in start]
        theirs.append((alone, getattr(torch.optim, name)(alone, **member)))
    for step in range(steps):
        for place, parameter in enumerate(stacked):
            parameter.grad = torch.stack([member[place][step] for member in given]).to(dtype)
        ours.step()
        for member, (alone, optimizer) in enumerate(theirs):
            for place, parameter in enumerate(alone):
                parameter.grad = given[member][place][step].to(dtype)
            optimizer.step()
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for member, (alone, optimizer) in enumerate(theirs):
        for place, parameter in enumerate(alone):
            ours_now = stacked[place].detach()[member]
            torch.testing.assert_close(ours_now, parameter.detach(), rtol=tolerance, atol=tolerance)
            for key, value in optimizer.state[parameter].items():  # names and values
                if value is not None:
                    kept = ours.state[stacked[place]][key]
                    kept = kept[member] if kept.dim() else kept
                    torch.testing.assert_close(kept, value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("config", "has_rule"),
    [
        ({"_target_": "torch.optim.Adam", "lr": 0.1}, True),
        ({"_target_": "torch.optim.Adam", "amsgrad": True}, False),
        ({"_target_": "torch.optim.SGD", "maximize": True}, False),
        ({"_target_": "torch.optim.NAdam"}, False),
    ],
)
def test_what_a_rule_does_not_know_is_left_to_torch(config: dict[str, Any], has_rule: bool) -> None:
    assert (rule_of(config) is not None) is has_rule
