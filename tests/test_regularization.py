"""Penalties against weight decay of torch.optim, and against steps by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import compose_run
from torch import nn
from torch.nn import functional as F

from neuronlab.build import build
from neuronlab.checks import check
from neuronlab.errors import ConfigError
from neuronlab.records import CHECKPOINT, read_metrics
from neuronlab.regularization import penalty

GIVEN = ("data=sine", "data.rows=40", "data.batch_size=null", "trainer.max_epochs=20", "logger=csv")


def test_the_penalty_is_of_weights_alone() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2)).double()
    weights = np.concatenate([net[i].weight.detach().numpy().ravel() for i in (0, 2)])
    expected = 0.3 * np.abs(weights).sum() + 0.7 / 2 * np.square(weights).sum()
    assert penalty(net.parameters(), 0.3, 0.7).item() == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_that_of_finite_differences() -> None:
    weight = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: penalty([w], 0.3, 0.7), weight)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / CHECKPOINT, weights_only=True)["state_dict"]
    return {name[4:]: value for name, value in state.items() if name.startswith("net.")}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "momentum"])
def test_l2_is_torch_s_weight_decay_on_weights(optimizer: str, train: Callable[..., Path]) -> None:
    overrides = (*GIVEN, f"optimizer={optimizer}", "optimizer.lr=0.05", "trainer.precision=64")
    folder = train(*overrides, "regularization.l2=0.2")
    data, learner = build(compose_run(*overrides)[0])
    net = learner.net.double()
    groups = [
        {"params": [p for p in net.parameters() if (p.dim() > 1) == decays], "weight_decay": rate}
        for decays, rate in ((True, 0.2), (False, 0.0))
    ]
    makers = {
        "sgd": lambda: torch.optim.SGD(groups, lr=0.05),
        "adam": lambda: torch.optim.Adam(groups, lr=0.05),
        "momentum": lambda: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
    }
    theirs = makers[optimizer]()
    x, y = data.rows["train"].x.double(), data.rows["train"].y.double()
    for _ in range(20):
        theirs.zero_grad()
        F.mse_loss(net(x), y).backward()
        theirs.step()
    for name, value in net.named_parameters():
        torch.testing.assert_close(weights_of(folder)[name], value.detach(), rtol=1e-9, atol=1e-12)


def test_l1_pulls_every_weight_by_the_same_amount(train: Callable[..., Path]) -> None:
    overrides = (*GIVEN, "optimizer.lr=0.05", "trainer.precision=64")
    folder = train(*overrides, "regularization.l1=0.1")
    data, learner = build(compose_run(*overrides)[0])
    net = learner.net.double()
    x, y = data.rows["train"].x.double(), data.rows["train"].y.double()
    penalties = []
    for _ in range(20):
        parameters = dict(net.named_parameters())
        loss = F.mse_loss(net(x), y)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        weights = [p for p in parameters.values() if p.dim() > 1]
        penalties.append(0.1 * sum(w.detach().abs().sum().item() for w in weights))
        with torch.no_grad():
            for value, gradient in zip(parameters.values(), gradients, strict=True):
                pull = 0.1 * value.sign() if value.dim() > 1 else 0.0
                value -= 0.05 * (gradient + pull)
    for name, value in net.named_parameters():
        torch.testing.assert_close(weights_of(folder)[name], value.detach(), rtol=1e-9, atol=1e-12)
    rows = read_metrics(folder / "metrics.csv")
    assert [row["train/penalty"] for row in rows] == pytest.approx(penalties, rel=1e-9)
    assert rows[0]["train/loss"] == pytest.approx(
        F.mse_loss(learner_at_start(overrides)(x), y).item(), rel=1e-9
    )  # without the penalty, so that it can be held against val/loss


def learner_at_start(overrides: tuple[str, ...]) -> nn.Module:
    return build(compose_run(*overrides)[0])[1].net.double()


def test_without_a_rate_there_is_no_column(train: Callable[..., Path]) -> None:
    assert "train/penalty" not in read_metrics(train(*GIVEN) / "metrics.csv")[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("regularization.l1=-1", "regularization.l1=-1: must be a number ≥ 0"),
        ("regularization.l2=much", "regularization.l2=much: must be a number ≥ 0"),
        ("+regularization.l3=1", "regularization.l3: no such key;"),
        ("regularization=null", "regularization=null: must be a mapping, with l1 and l2"),
        ("regularization.l2=.inf", "regularization.l2=.inf: must be a number ≥ 0"),
    ],
)
def test_what_is_no_rate(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose_run(override)[0])
    assert message in str(caught.value)
