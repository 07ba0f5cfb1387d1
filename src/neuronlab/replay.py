"""A run of two numbers, trained again step by step.

A run is a pure function of its configuration, so its way to the optimum need not be recorded: it
is walked again, and every step kept.

Letters: n data rows, D features, T steps, P numbers of a network (2 here).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils import parameters_to_vector

from neuronlab.data import DataModule, Rows
from neuronlab.errors import ConfigError
from neuronlab.learner import Learner
from neuronlab.learners import Evaluate
from neuronlab.solo import prepare

MOST_STEPS = 1000
AT_ONCE = 10**7  # predictions that may be in memory at once


@dataclass(frozen=True)
class Descent:
    """Every step of a run whose network has two numbers: a weight w and a bias b.

    Attributes:
        learner: The learner, as the last step left it.
        data: What it learned from.
        parameters: w and b before each step and after the last [T + 1, 2], in the network's own
            (perhaps standardized) units. Where a run diverges, the steps that are finite.
        gradients: The gradient of each step's loss by w and b [T, 2], before any clipping.
        losses: The mean loss of all training rows at each of `parameters` [T + 1], in float64.
    """

    learner: Learner
    data: DataModule
    parameters: Tensor
    gradients: Tensor
    losses: Tensor


def replay(config: Mapping[str, Any], most_steps: int = MOST_STEPS) -> Descent:
    """Trains a run again, on the CPU, without a word and without leaving anything.

    The configuration's callbacks are left out: a run that one of them ended early goes on here,
    unless `most_steps` says how many it took.

    Args:
        config: The run's configuration as plain values.
        most_steps: After how many steps to stop, where the run does not end before.

    Raises:
        ConfigError: If the configuration cannot run, or its network does not have two numbers.
    """
    steps = config["trainer"].get("max_steps", -1)
    trainer_config = {
        **config["trainer"],
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": most_steps if steps < 0 else min(most_steps, steps),
        "limit_val_batches": 0,  # what is not trained on changes no step
        "barebones": True,  # nothing logged, which takes longer than the steps
        "log_every_n_steps": 0,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        **{"num_sanity_val_steps": 0, "detect_anomaly": False, "profiler": None},
        "fast_dev_run": False,
    }
    bare = {"callbacks": {}, "logger": {}, "ckpt_path": None, "trainer": trainer_config}
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Trainer.barebones=True.*")  # that nothing is logged
        data, learner, trainer, _ = prepare({**config, **bare}, Path(folder))
        if count_numbers(learner.net) != 2:
            name, count = type(learner.net).__name__, count_numbers(learner.net)
            raise ConfigError(f"model={name}: has {count} numbers; must be 2, a weight and a bias")
        steps_taken = KeepSteps()
        trainer.callbacks.append(steps_taken)  # type: ignore[attr-defined]
        try:
            with torch.random.fork_rng():  # the learner seeds it anew at each epoch
                trainer.fit(learner, datamodule=data)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from stop
    parameters = torch.stack(steps_taken.parameters)  # [T + 1, 2]
    finite = int(parameters.isfinite().all(dim=1).long().cumprod(dim=0).sum())
    parameters = parameters[:finite]
    gradients = parameters.new_zeros(0, 2)
    if finite > 1:
        gradients = torch.stack(steps_taken.gradients[: finite - 1])  # [T, 2]
    losses = losses_at(learner, parameters.double(), data.rows["train"])
    return Descent(learner, data, parameters, gradients, losses)


def count_numbers(net: nn.Module) -> int:
    """P, how many numbers a network learns."""
    return sum(parameter.numel() for parameter in net.parameters())


def losses_at(learner: Learner, points: Tensor, rows: Rows) -> Tensor:
    """What a network's mean loss would be with other numbers, by its own definition and its loss's.

    Args:
        learner: The network and its loss.
        points: All numbers of the network, in the order of its parameters [..., P].
        rows: The rows to be right about.

    Returns:
        The losses [...], in the points' precision.
    """
    shapes = {f"net.{name}": value.shape for name, value in learner.net.named_parameters()}
    x = rows.x.to(points)
    y = rows.y.to(points) if rows.y.is_floating_point() else rows.y
    evaluate_one = Evaluate(learner.net, learner.loss).eval()

    def one(point: Tensor) -> Tensor:
        parts = torch.split(point, [shape.numel() for shape in shapes.values()])
        named = zip(shapes.items(), parts, strict=True)
        weights = {name: part.view(shape) for (name, shape), part in named}
        loss, _ = functional_call(evaluate_one, weights, (x, y))
        return loss  # type: ignore[no-any-return]

    flat = points.reshape(-1, points.shape[-1])
    losses: Tensor = vmap(one, chunk_size=max(1, AT_ONCE // len(x)))(flat)
    return losses.reshape(points.shape[:-1])


class KeepSteps(Callback):
    """Keeps a network's numbers and gradient at every step, until it has a number left."""

    def __init__(self) -> None:
        """Starts with nothing kept."""
        self.parameters: list[Tensor] = []  # [P] each
        self.gradients: list[Tensor] = []  # [P] each

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Keeps where the step begins, and the gradient there."""
        assert isinstance(pl_module, Learner)
        parameters = list(pl_module.net.parameters())
        self.parameters.append(parameters_to_vector(parameters).detach().clone())
        gradients = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in parameters]
        self.gradients.append(parameters_to_vector(gradients).clone())
        trainer.should_stop = not self.parameters[-1].isfinite().all()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps where the last step has led."""
        assert isinstance(pl_module, Learner)
        self.parameters.append(parameters_to_vector(pl_module.net.parameters()).detach().clone())
