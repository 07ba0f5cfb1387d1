"""A population: many networks of one shape, each with its own numbers, trained as one.

Letters: N members, B batch rows, n data rows, D features, K outputs, P parameters (tensors).

The network, its loss and its data are written for one member. Here the weights of N are stacked
along a leading axis, `vmap` runs forward and loss over it, and one backward of the sum of losses
gives each member exactly its own gradient, since none depends on another's weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from neuronlab.callbacks import diverged_at, records_of
from neuronlab.configs import construct
from neuronlab.data import DataModule
from neuronlab.learner import Batch, Learner, Runs, Stacked, evaluate, gradient_norms
from neuronlab.losses import Loss
from neuronlab.metrics import as_measured, measure_each, metric_names
from neuronlab.optimizers import MemberOptimizer, rule_of
from neuronlab.records import RecordsLogger
from neuronlab.regularization import RATES, is_penalized, penalty
from neuronlab.stack import stack_scaling


@dataclass(frozen=True)
class Member:
    """One run of a population.

    Attributes:
        config: Its configuration, resolved to plain values.
        data: Its data; members with equal data share the rows.
        weights: Its initial weights by name.
    """

    config: Mapping[str, Any]
    data: DataModule
    weights: Mapping[str, Tensor]


class Evaluate(nn.Module):
    """A network and its loss as one module, since `functional_call` runs `forward` alone."""

    def __init__(self, net: nn.Module, loss: Loss) -> None:
        """Takes one member's network, whose weights are not used, and the loss."""
        super().__init__()
        self.net = copy.deepcopy(net).to("meta")
        self.loss = loss

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch and its predictions, as `evaluate`."""
        return evaluate(self.net, self.loss, (x, y))


class Population(Runs):
    """Trains N members at once; what it computes for each is what `Learner` computes alone."""

    def __init__(self, template: Learner, members: Sequence[Member]) -> None:
        """Stacks the members' weights.

        Args:
            template: The learner of any member: of what they share, the truth.
            members: Two or more (a stack of one takes other kernels), equal in model, activation,
                loss and shapes.
        """
        super().__init__()
        shared = ("model", "activation", "loss")
        penalized = [is_penalized(member.config["regularization"]) for member in members]
        first = members[0].config
        # Stacking would accept networks of equal shapes with different activations without a word.
        assert all(m.config[key] == first[key] for m in members for key in shared)
        assert len({*penalized}) == 1  # who has no penalty has no record of one
        assert len(members) > 1
        self.members = list(members)
        self.template = (template,)  # in a tuple, so that it is no submodule
        self.names = [name for name, _ in template.net.named_parameters()]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.stack([member.weights[name] for member in members]))
            for name in self.names
        )
        self.scaling = stack_scaling([member.data.scaling for member in members])
        table, rows = members[0].data.table, members[0].data.rows
        self.measures = {
            split: metric_names(table.task, rows[split].y) for split in ("val", "test")
        }
        evaluate_one = Evaluate(template.net, template.loss)

        def one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(evaluate_one, weights, (x, y))  # type: ignore[no-any-return]

        self._one = one
        self._penalized = penalized[0]
        self.values: dict[str, list[float]] = {}  # newest value of every metric, by member

    def evaluate_all(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each member's loss [N] and predictions [N, B, K] on a batch, its own or shared by all."""
        x, y = batch
        weights = {f"net.{name}": w for name, w in zip(self.names, self.weights, strict=True)}
        shared = x.dim() == 2
        axes = (0, None, None) if shared else (0, 0, 0)
        return vmap(self._one, in_dims=axes)(weights, x, y)

    def stacked(self) -> Iterator[Stacked]:
        """Parameters and gradients."""
        for name, weight in zip(self.names, self.weights, strict=True):
            yield name, weight.detach(), weight.grad

    def val_losses(self) -> Tensor:
        """The loss of the newest validation [N]."""
        return self._measured["val/loss"]

    def last_losses(self) -> list[Tensor]:
        """The newest losses in training and validation [N]."""
        return list(self._newest.values())

    def one(self, member: int) -> tuple[Learner, DataModule]:
        """A learner with one member's weights, and the member's data."""
        learner = self.template[0]
        state = {f"net.{name}": weight[member] for name, weight, _ in self.stacked()}
        data = self.members[member].data
        scaling = {f"scaling.{name}": v for name, v in data.scaling.state_dict().items()}
        learner.to(self.dtype).load_state_dict({**state, **scaling})
        learner.features = data.features
        return learner, data

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The members' optimizers as one; a class of torch's own where all numbers are shared."""
        configs = [member.config["optimizer"] for member in self.members]
        if rule_of(configs[0]) is not None:
            return MemberOptimizer(self.weights.parameters(), configs)
        assert all(config == configs[0] for config in configs)
        make = construct(configs[0], _partial_=True)
        return make(self.weights.parameters())  # type: ignore[no-any-return]

    def on_fit_start(self) -> None:
        """Makes room for what is measured, and puts the rates of penalties beside the weights."""
        self._norms = self.weights[0].new_zeros(len(self.names), len(self.members))  # [P, N]
        self._rates = [
            self.weights[0].new_tensor([m.config["regularization"][name] for m in self.members])
            for name in RATES  # [N] each
        ]
        optimizer = self.optimizers()
        if isinstance(optimizer, MemberOptimizer):
            self._lr = optimizer.values["lr"].tolist()
        else:
            self._lr = [float(optimizer.param_groups[0]["lr"])] * len(self.members)  # type: ignore[union-attr]
        self._measured: dict[str, Tensor] = {}  # of the epoch, [N] each
        self._newest: dict[str, Tensor] = {}  # the losses of any epoch, [N] each

    def on_train_epoch_start(self) -> None:
        """Ends the runs that diverged, and starts the epoch's sums anew."""
        for member in diverged_at(self.trainer):
            records_of(self.trainer)[member].ended = True
        self._loss = self._norms.new_zeros(len(self.members))  # [N], times rows
        self._penalty = self._norms.new_zeros(len(self.members))  # [N], likewise
        self._rows, self._steps = 0, 0
        self._norms.zero_()
        self._measured = {}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The sum of what each member makes smaller, its loss and penalty, and each of them [N]."""
        losses, _ = self.evaluate_all(batch)
        rows = batch[0].shape[-2]
        self._loss += losses.detach() * rows
        self._rows += rows
        if self._penalized:
            penalties = vmap(penalty)(list(self.weights), *self._rates)
            self._penalty += penalties.detach() * rows
            losses = losses + penalties
        return {"loss": losses.sum(), "losses": losses.detach()}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Adds up the norm of each parameter's gradient, member by member."""
        self._norms += gradient_norms(self)
        self._steps += 1

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips each member's gradient by its own norm, as `torch.nn.utils.clip_grad_norm_`."""
        if gradient_clip_val is None or gradient_clip_val <= 0:  # as Lightning has it
            return
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(self.weights, gradient_clip_val)
            return
        norm = gradient_norms(self).norm(dim=0)  # [N]
        factor = (gradient_clip_val / (norm + 1e-6)).clamp(max=1.0)
        for weight in self.weights:
            if weight.grad is not None:
                weight.grad *= factor.view(-1, *[1] * (weight.dim() - 1))

    def on_validation_model_zero_grad(self) -> None:
        """Keeps the last gradients, which Lightning would drop, for their histograms."""

    def on_validation_epoch_start(self) -> None:
        """Starts to collect."""
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []  # loss·rows, prediction, target

    def on_test_epoch_start(self) -> None:
        """Starts to collect."""
        self._parts = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects losses and predictions."""
        self._collect(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects losses and predictions."""
        self._collect(batch)

    def _collect(self, batch: Batch) -> None:
        x, y = batch
        losses, prediction = self.evaluate_all(batch)
        if x.dim() == 2:
            y = y.expand(len(self.members), *y.shape)
        self._parts.append((losses * x.shape[-2], prediction, y))

    def on_validation_epoch_end(self) -> None:
        """Measures."""
        self._measured |= self._measure("val")

    def on_test_epoch_end(self) -> None:
        """Measures."""
        self._measured = self._measure("test")

    def _measure(self, split: str) -> dict[str, Tensor]:
        losses, predictions, targets = zip(*self._parts, strict=True)
        prediction, target = torch.cat(predictions, dim=1), torch.cat(targets, dim=1)
        task = self.template[0].hparams["task"]
        measured = as_measured(task, self.scaling, prediction, target)
        found = measure_each(task, self.measures[split], *measured)
        loss = torch.stack(losses).sum(dim=0) / prediction.shape[1]
        return {f"{split}/{name}": value for name, value in {"loss": loss, **found}.items()}

    def on_train_epoch_end(self) -> None:
        """Writes each running member's row."""
        measured = {
            "train/loss": self._loss / self._rows,
            **({"train/penalty": self._penalty / self._rows} if self._penalized else {}),
            **self._measured,
            **{
                f"gradient_norm/{name}": norm / self._steps
                for name, norm in zip(self.names, self._norms, strict=True)
            },
        }
        columns = {tag: values.tolist() for tag, values in measured.items()}
        self.values = {**columns, "lr": self._lr}
        self._newest |= {tag: v for tag, v in measured.items() if tag.endswith("/loss")}
        epoch, step = self.current_epoch, self.trainer.global_step
        for index, record in enumerate(records_of(self.trainer)):
            if not record.ended:
                record.row(epoch, step, self.row(index))
        for logger in self.trainer.loggers:
            if isinstance(logger, RecordsLogger):
                logger.save()

    def on_test_end(self) -> None:
        """Writes the measures of members that have not diverged."""
        self.values = {tag: values.tolist() for tag, values in self._measured.items()}
        for index, record in enumerate(records_of(self.trainer)):
            if not record.ended:
                record.scalars(self.trainer.global_step, self.row(index))

    def row(self, member: int) -> dict[str, float]:
        """The newest values of one member."""
        return {tag: values[member] for tag, values in self.values.items()}
