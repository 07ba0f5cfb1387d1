import copy
import functools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Config, compose_run, make_job, train_together

from neuronlab.build import build
from neuronlab.errors import ConfigError
from neuronlab.records import CHECKPOINT
from neuronlab.replay import losses_at, replay

NEURON = ("data=line", "model=neuron", "model.init=torch", "trainer.max_epochs=6")
DOUBLE = (*NEURON, "trainer.precision=64")


@functools.cache
def composed(*overrides: str) -> Config:
    return compose_run("trainer=cpu", *overrides)[0]


def config_of(*overrides: str) -> Config:
    return copy.deepcopy(composed(*overrides))


def saved(folder: Path) -> torch.Tensor:
    """w and b of a run's checkpoint."""
    state = torch.load(folder / CHECKPOINT, weights_only=True)["state_dict"]
    return torch.stack([value.flatten()[0] for name, value in state.items() if "net." in name])


@pytest.mark.parametrize(
    "overrides",
    [
        NEURON,
        (*NEURON, "optimizer=adam", "optimizer.lr=0.1", "data.batch_size=30", "seed=3"),
        (*NEURON, "loss=mae", "optimizer=momentum", "data.standardize=true"),
        (*NEURON, "+trainer.gradient_clip_val=0.5", "+trainer.max_steps=4"),
        ("data=line", "model.hidden=[]", "trainer.max_epochs=3", "trainer.precision=64"),
    ],
)
def test_a_replay_ends_where_the_run_did(
    train: Callable[..., Path], overrides: tuple[str, ...]
) -> None:
    end = saved(train(*overrides, "callbacks=sweep"))
    parameters = replay(config_of(*overrides)).parameters
    assert parameters.dtype == end.dtype
    assert torch.equal(parameters[-1], end)


def test_a_replay_ends_where_a_member_of_a_population_did(tmp_path: Path) -> None:
    overrides = (*NEURON, "optimizer=adam", "optimizer.lr=0.1", "data.batch_size=30")
    jobs = [make_job(tmp_path / str(seed), *overrides, f"seed={seed}") for seed in (0, 1)]
    train_together(jobs)
    for job in jobs:
        parameters = replay(job.config).parameters
        assert len(parameters) == 1 + 6 * 4
        np.testing.assert_allclose(parameters[-1], saved(job.folder), rtol=1e-6, atol=1e-6)


def design_of(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """[x, 1] and y of the training rows, as the network sees them."""
    data, _ = build(config)
    rows = data.rows["train"]
    x, y = rows.x.double().numpy(), rows.y.double().numpy()
    return np.column_stack([x, np.ones(len(x))]), y[:, 0]


def test_losses_and_gradients_are_those_of_the_mean_squared_error() -> None:
    config = config_of(*DOUBLE, "optimizer=adam", "optimizer.lr=0.1", "data.standardize=true")
    descent = replay(config)
    x, y = design_of(config)
    errors = x @ descent.parameters.numpy().T - y[:, None]  # [n, T + 1]
    np.testing.assert_allclose(descent.losses, (errors**2).mean(axis=0), rtol=1e-12)
    gradients = 2 / len(x) * (x.T @ errors).T
    np.testing.assert_allclose(descent.gradients, gradients[:-1], rtol=1e-10)


def test_gradients_are_the_slopes_of_the_losses() -> None:
    descent = replay(config_of(*DOUBLE, "loss=mae"))
    at, step = descent.parameters[:-1], 1e-6
    sides = torch.eye(2, dtype=torch.float64) * step
    points = torch.stack([at[:, None] + sides, at[:, None] - sides])  # [2, T, 2, 2]
    above, below = losses_at(descent.learner, points, descent.data.rows["train"])
    np.testing.assert_allclose((above - below) / (2 * step), descent.gradients, rtol=1e-6)


def test_gradient_descent_on_a_quadratic_is_a_geometric_series() -> None:
    lr = 0.02
    config = config_of(*DOUBLE, f"optimizer.lr={lr}", "trainer.max_epochs=40")
    steps = replay(config).parameters.numpy()
    x, y = design_of(config)
    best, *_ = np.linalg.lstsq(x, y, rcond=None)
    shrink = np.eye(2) - lr * 2 / len(x) * x.T @ x
    powers = [np.linalg.matrix_power(shrink, t) for t in range(41)]
    np.testing.assert_allclose(steps, best + np.array(powers) @ (steps[0] - best), rtol=1e-9)


def test_losses_come_in_the_shape_of_the_points() -> None:
    data, learner = build(config_of(*NEURON))
    points = torch.zeros(3, 4, 2)
    losses = losses_at(learner, points, data.rows["train"])
    assert losses.shape == (3, 4)
    assert losses.unique().item() == pytest.approx(data.rows["train"].y.square().mean().item())


def test_it_stops_after_the_steps_asked_for() -> None:
    config = config_of(*NEURON)
    whole, part = replay(config), replay(config, most_steps=2)
    assert len(part.gradients) == 2
    assert torch.equal(part.parameters, whole.parameters[:3])


def test_a_run_that_diverges_has_the_steps_that_are_finite() -> None:
    descent = replay(config_of(*NEURON, "optimizer.lr=1e6", "trainer.max_epochs=50"))
    assert 2 < len(descent.parameters) < 50
    assert len(descent.gradients) == len(descent.parameters) - 1
    assert all(part.isfinite().all() for part in (descent.parameters, descent.gradients))


def test_it_is_silent_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = config_of(*NEURON, "experiment=linear_neuron", "trainer.max_epochs=3")
    config["trainer"]["accelerator"] = "gpu"  # where the run was, not where it is replayed
    config["ckpt_path"] = "nowhere"
    monkeypatch.chdir(tmp_path)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    capfd.readouterr()
    replay(config)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data=line", "model.hidden=[2]"], "model=MLP: has 7 numbers; must be 2"),
        (["data=three_students", "model=neuron"], "model=Neuron: has 3 numbers; must be 2"),
        (["data=line", "model=neuron", "data.rows=0"], "data.rows=0: must be"),
    ],
)
def test_other_networks_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replay(config_of(*overrides))
