"""Every shipped option of every group composes, builds and takes a step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CONF, ROOT, compose_run
from scipy.stats import norm
from torch import nn

from neuronlab.build import build
from neuronlab.records import read_metrics, read_status

OPTIONS = sorted(
    (path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.stem[0] != "_"
)
# What an option needs beside itself.
WITH = {
    ("data", "table"): [f"data.path={ROOT}/docs/exam.csv", "data.target=passed"],
    ("loss", "mse"): ["data=line"],
    ("loss", "mae"): ["data=line"],
    ("loss", "cross_entropy"): ["data=blobs"],
}


def test_every_group_has_options() -> None:
    groups = {group for group, _ in OPTIONS}
    assert groups == {
        *("activation", "callbacks", "data", "experiment", "logger", "loss", "model"),
        *("optimizer", "trainer"),
    }


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_takes_a_step(train: Callable[..., Path], group: str, option: str) -> None:
    if (group, option) == ("trainer", "gpu") and not torch.cuda.is_available():
        config, _ = compose_run("trainer=gpu")
        assert config["trainer"]["accelerator"] == "gpu"
        pytest.skip("composes; needs a CUDA device to take a step")
    chosen = [f"{group}={option}", *WITH.get((group, option), [])]
    folder = train(*chosen, "trainer.max_epochs=1")
    status = read_status(folder)
    assert status is not None
    assert status["state"] == "completed"
    (row,) = read_metrics(folder / "metrics.csv")
    assert row["step"] >= 1
    norms = [value for name, value in row.items() if name.startswith("gradient_norm/")]
    assert max(norms) > 0


X = torch.linspace(-4, 4, 41, dtype=torch.float64)
SIGMOID = 1 / (1 + np.exp(-X.numpy()))
FORMULAS = {
    "identity": X.numpy(),
    "relu": np.maximum(X.numpy(), 0),
    "silu": X.numpy() * SIGMOID,
    "sigmoid": SIGMOID,
    "tanh": np.tanh(X.numpy()),
    "gelu": X.numpy() * norm.cdf(X.numpy()),
    "leaky_relu": np.where(X > 0, X, 0.01 * X.numpy()),
    "elu": np.where(X > 0, X, np.exp(X.numpy()) - 1),
    "softplus": np.log1p(np.exp(X.numpy())),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "activation").glob("*")))
def test_an_activation_is_its_formula(name: str) -> None:
    _, learner = build(compose_run(f"activation={name}", "model.hidden=[3]")[0])
    activation = learner.net.activation1
    assert isinstance(activation, nn.Module)
    np.testing.assert_allclose(activation(X), FORMULAS[name], atol=1e-12)
