"""The learner: a network, its loss, its optimizer and its measures, under Lightning.

Letters: N members, B batch rows, C columns, D features, K outputs, P parameters (tensors, not
numbers).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from neuronlab.columns import Column
from neuronlab.configs import construct
from neuronlab.data import DataModule
from neuronlab.datasets import Task
from neuronlab.errors import ConfigError
from neuronlab.features import Features
from neuronlab.losses import Loss
from neuronlab.metrics import as_measured, make_metrics
from neuronlab.records import CHECKPOINT
from neuronlab.regularization import is_penalized, penalty
from neuronlab.scaling import Scaling
from neuronlab.seeds import derive, generator

Batch = tuple[Tensor, Tensor]
Stacked = tuple[str, Tensor, Tensor | None]  # name, weights [N, …], gradients [N, …]
ROW = "metrics_row"  # the key of a checkpoint that holds the row of metrics.csv of its epoch


def evaluate(net: nn.Module, loss: Loss, batch: Batch) -> tuple[Tensor, Tensor]:
    """Runs a network on a batch.

    Returns:
        The mean loss, a scalar, and the predictions [B, K].
    """
    x, target = batch
    logit = net.logits(x)  # type: ignore[operator] # nn.Module types its attributes as tensors
    prediction = net.output(logit)  # type: ignore[operator]
    return loss(logit if loss.on == "logit" else prediction, target), prediction


def net_maker(
    model: Mapping[str, Any], in_features: int, out_features: int
) -> Callable[[int], nn.Module]:
    """What builds a network of a configuration and draws its weights from a seed.

    Args:
        model: The configuration, with its output head named.
        in_features: D, the number of features.
        out_features: K, the number of outputs.
    """
    make = construct(model, _partial_=True, in_features=in_features, out_features=out_features)
    return lambda seed: make(generator=generator(seed, "weights"))


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Switches random layers (Dropout) off for a while."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def load_checkpoint(path: str | Path, name: str) -> dict[str, Any]:
    """Reads a checkpoint without running anything that it holds.

    Args:
        path: The file.
        name: What to call it in an error.

    Raises:
        ConfigError: If the file is missing, damaged, or no checkpoint of a `Learner`.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        assert {"state_dict", "hyper_parameters", "global_step"} <= checkpoint.keys()
    except FileNotFoundError as error:
        raise ConfigError(f"{name}: no such file; a run leaves {CHECKPOINT}") from error
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise ConfigError(f"{name}: damaged, or no checkpoint of a run") from error
    return cast(dict[str, Any], checkpoint)


class Runs(pl.LightningModule):
    """What callbacks see of the N runs that train here: one, or a population."""

    @abstractmethod
    def stacked(self) -> Iterator[Stacked]:
        """Every parameter and its last (clipped) gradient, with a leading axis over runs."""

    @abstractmethod
    def val_losses(self) -> Tensor:
        """The loss of the newest validation [N]."""

    @abstractmethod
    def last_losses(self) -> list[Tensor]:
        """The newest losses in training and validation, where there are any, [N] each."""

    @abstractmethod
    def one(self, member: int) -> tuple[Learner, DataModule]:
        """One run's learner as it stands, and the data that it learns from."""


def gradient_norms(runs: Runs) -> Tensor:
    """The norm of each parameter's gradient, run by run [P, N]; 0 where there is none."""
    return torch.stack(
        [
            weight.new_zeros(len(weight)) if gradient is None else gradient.flatten(1).norm(dim=1)
            for _, weight, gradient in runs.stacked()
        ]
    )


class Learner(Runs):
    """Trains one network by automatic optimization with a plain `torch.optim` optimizer."""

    def __init__(
        self,
        data: dict[str, Any],
        model: dict[str, Any],
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        regularization: dict[str, float],
        seed: int,
        task: Task,
        columns: list[dict[str, Any]],
        features: list[str],
        target: str,
        classes: list[str],
        out_features: int,
        file: str | None = None,
    ) -> None:
        """Builds the network from configuration and draws its weights.

        Every argument is a plain value, so that the checkpoint holds no code and loads with
        `weights_only=True`.

        Args:
            data: Configuration of the data, so that a checkpoint says what it was trained on.
            model: Configuration of the network, with its output head named.
            loss: Configuration of the loss.
            optimizer: Configuration of the optimizer.
            regularization: The rates `l1` and `l2`, see `neuronlab.regularization`.
            seed: What the initial weights are drawn from.
            task: What kind of target is predicted.
            columns: What each of the C columns holds, as `Column.plain` says it.
            features: D features, as the data module names them.
            target: The target's name.
            classes: Names of the classes, where there are any.
            out_features: K, the number of outputs.
            file: A name for what the file holds that the data were read from, if they were.
        """
        super().__init__()
        self.save_hyperparameters()
        self.net = net_maker(model, len(features), out_features)(seed)
        self.loss: Loss = construct(loss).func  # a partial, since a function isn't to be called
        self.optimizer_config = optimizer
        self.regularization = regularization
        # From what the user listed, not from the names, of which a column may have one as well.
        listed = data.get("features")
        self.features = Features([Column.of(**column) for column in columns], listed)
        self.scaling = Scaling(len(features), out_features)
        self._validated = -1  # the epoch of the newest validation
        self._ended = -1  # the newest epoch that has all its metrics
        self._norms: list[Tensor] = []  # gradient norms [P] of each step of the epoch

    def forward(self, x: Tensor) -> Tensor:
        """Columns [B, C] of any precision → predictions in the target's own units [B, K]."""
        return self.scaling.raw(self.net(self.seen(x)))

    def seen(self, x: Tensor) -> Tensor:
        """Columns [B, C] of any precision → what the network sees of them [B, D], in its own."""
        like = self.scaling.input_mean
        return self.scaling.inputs(self.features(x.to(like.device))).to(like)

    def ask(self, x: Tensor) -> Tensor:
        """As `forward`, for an answer rather than a step: no gradients, no random layers."""
        with eval_mode(self), torch.no_grad():
            prediction: Tensor = self(x)
        return prediction

    def stacked(self) -> Iterator[Stacked]:
        """Parameters and gradients, as a population of one."""
        for name, parameter in self.net.named_parameters():
            gradient = None if parameter.grad is None else parameter.grad[None]
            yield name, parameter.detach()[None], gradient

    def val_losses(self) -> Tensor:
        """The loss of the newest validation [1]."""
        return self.trainer.callback_metrics["val/loss"].reshape(1)

    def last_losses(self) -> list[Tensor]:
        """The newest losses in training and validation [1]."""
        metrics = self.trainer.callback_metrics
        names = ("train/loss", "val/loss")
        return [metrics[name].reshape(1) for name in names if name in metrics]

    def one(self, member: int) -> tuple[Learner, DataModule]:
        """Itself and its data."""
        return self, cast(DataModule, self.trainer.datamodule)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer that the configuration names, over all parameters."""
        make = construct(self.optimizer_config, _partial_=True)
        return cast(torch.optim.Optimizer, make(self.net.parameters()))

    def setup(self, stage: str) -> None:
        """Takes from the data what they decide: the scaling, and which measures make sense."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, DataModule)
        if stage == "fit":
            self.scaling.load_state_dict(data.scaling.state_dict())
        table = data.table
        self.metrics = nn.ModuleDict(
            {
                split: make_metrics(table.task, data.rows[split].y, table.out_features, f"{split}/")
                for split in ("val", "test")
            }
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts the epoch's row into the checkpoint, since Lightning saves before it logs."""
        if self._ended != self.current_epoch:
            return  # no row yet: such a checkpoint gives answers, but no run goes on from it
        values = {tag: value.item() for tag, value in self.trainer.callback_metrics.items()}
        if self._validated != self.current_epoch:  # what is there is of an earlier epoch
            values = {tag: value for tag, value in values.items() if not tag.startswith("val/")}
        place = {"epoch": self.current_epoch, "step": self.trainer.global_step}
        checkpoint[ROW] = place | values

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes on the checkpoint's precision before its weights are copied in."""
        self.to(checkpoint["state_dict"]["scaling.input_mean"].dtype)

    def on_train_epoch_start(self) -> None:
        """Seeds the global generator, which only networks with random layers (Dropout) draw from.

        So they too are a function of seed and epoch; `train_one` gives it back as it was.
        """
        torch.manual_seed(derive(self.hparams["seed"], "training", self.current_epoch))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """What a step makes smaller, a scalar: the loss of a batch, and the penalty on weights.

        Their means over the epoch's rows are `train/loss` and, where there is one, `train/penalty`.
        """
        loss, _ = evaluate(self.net, self.loss, batch)
        how: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": len(batch[0])}
        self.log("train/loss", loss, **how)
        if not is_penalized(self.regularization):
            return loss
        added = penalty(self.net.parameters(), **self.regularization)
        self.log("train/penalty", added, **how)
        return loss + added

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Keeps the norm of each parameter's gradient."""
        self._norms.append(gradient_norms(self)[:, 0])

    def on_validation_model_zero_grad(self) -> None:
        """Keeps the last gradients, which Lightning would drop, for their histograms."""

    def on_train_epoch_end(self) -> None:
        """Logs each parameter's gradient norm, as the mean over the epoch's steps, and the rate."""
        self._ended = self.current_epoch
        norms = torch.stack(self._norms).mean(dim=0)  # [P]
        self._norms.clear()
        names = [f"gradient_norm/{name}" for name, _ in self.net.named_parameters()]
        self.log_dict(dict(zip(names, norms, strict=True)))
        lr = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        self.log("lr", torch.tensor(lr, dtype=torch.float64))  # 0.1, not 0.10000000149

    def on_validation_start(self) -> None:
        """Measures in the run's precision, which Lightning has set by now."""
        self.metrics["val"].set_dtype(self.dtype)  # type: ignore[operator]

    def on_test_start(self) -> None:
        """As before validation."""
        self.metrics["test"].set_dtype(self.dtype)  # type: ignore[operator]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures on validation rows."""
        self._measure("val", batch)

    def on_validation_end(self) -> None:
        """Remembers which epoch the newest validation is of."""
        self._validated = self.current_epoch

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures on test rows."""
        self._measure("test", batch)

    def _measure(self, split: str, batch: Batch) -> None:
        loss, prediction = evaluate(self.net, self.loss, batch)
        self.log(f"{split}/loss", loss, batch_size=len(batch[0]))
        metrics = self.metrics[split]
        task = self.hparams["task"]
        metrics.update(*as_measured(task, self.scaling, prediction, batch[1]))  # type: ignore[operator]
        self.log_dict(metrics)  # type: ignore[arg-type] # Lightning takes a MetricCollection
