"""Checkpoints of a population's members, each as a run alone would have written it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from neuronlab.callbacks import running
from neuronlab.learner import ROW
from neuronlab.learners import Population
from neuronlab.optimizers import member_state
from neuronlab.records import CHECKPOINT


class MemberCheckpoints(Checkpoint):
    """Saves each member once, at the end of its last epoch.

    A run alone saves at every epoch, since it can go on from there; a member that was stopped is
    trained again with its population.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves those whose run ends."""
        if any(last for _, _, last in running(trainer)):
            trainer.save_checkpoint(trainer.default_root_dir)  # `MemberFiles` knows the folders


class MemberFiles(CheckpointIO):
    """Writes what Lightning saves of a population as one file per member whose run ends."""

    def __init__(self, population: Population) -> None:
        """Takes the population."""
        self.population = population

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Writes the checkpoints of the members whose run ends, into their own folders."""
        ending = {index: record for index, record, last in running(self.population.trainer) if last}
        for index, own in member_checkpoints(self.population, checkpoint, ending):
            file = ending[index].folder / CHECKPOINT
            file.parent.mkdir(exist_ok=True)
            torch.save(own, file)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Nothing goes on from a population's checkpoint."""
        raise NotImplementedError

    def remove_checkpoint(self, path: Any) -> None:
        """Nothing is removed."""
        raise NotImplementedError


def member_checkpoints(
    population: Population, whole: Mapping[str, Any], members: Iterable[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Cuts a population's checkpoint into those of its members.

    Args:
        population: The population.
        whole: What Lightning would save of it: how far its loops are, for one.
        members: Which to cut out.
    """
    (template,) = population.template
    weights = {f"net.{name}": weight.cpu() for name, weight, _ in population.stacked()}
    optimizer = population.optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    states = [
        {name: value.cpu() for name, value in optimizer.state[weight].items()}
        for weight in population.weights
    ]
    (group,) = template.configure_optimizers().state_dict()["param_groups"]
    place = {"epoch": population.current_epoch, "step": population.trainer.global_step}
    for index in members:
        member = population.members[index]
        chosen = member.config["optimizer"]
        numbers = {key: v for key, v in chosen.items() if key in group}  # lists where torch has
        numbers = {key: tuple(v) if isinstance(v, list) else v for key, v in numbers.items()}
        scaling = member.data.scaling.state_dict()
        state = {name: weight[index] for name, weight in weights.items()}
        state |= {f"scaling.{name}": v.to(population.dtype) for name, v in scaling.items()}
        state, momenta = packed(state, member_state(states, index, chosen))
        yield (
            index,
            {
                **whole,
                "state_dict": state,
                "optimizer_states": [{"state": momenta, "param_groups": [{**group, **numbers}]}],
                "hparams_name": "kwargs",
                "hyper_parameters": {
                    **template.hparams,
                    "data": dict(member.config["data"]),
                    "optimizer": dict(chosen),
                    "regularization": dict(member.config["regularization"]),
                    "seed": member.config["seed"],
                    "columns": [column.plain() for column in member.data.features.columns],
                    "features": list(member.data.features.names),
                },
                ROW: place | population.row(index),
            },
        )


def packed(
    state: Mapping[str, Tensor], momenta: Mapping[int, Mapping[str, Tensor]]
) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]]]:
    """The same tensors as views of one storage, apart from that of other members.

    A view is saved with all of the storage behind it, which here is everybody's; and a file of
    one storage is written several times faster than one of twenty.
    """
    parts = [*state.values(), *(value for each in momenta.values() for value in each.values())]
    dtype = parts[0].dtype
    whole = torch.cat([part.reshape(-1) for part in parts if part.dtype == dtype])
    own = iter(torch.split(whole, [part.numel() for part in parts if part.dtype == dtype]))

    def view(part: Tensor) -> Tensor:
        return next(own).view(part.shape) if part.dtype == dtype else part.clone()

    return (
        {name: view(part) for name, part in state.items()},
        {index: {name: view(part) for name, part in e.items()} for index, e in momenta.items()},
    )
