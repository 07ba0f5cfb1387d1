"""From configuration to objects: the data, and the learner whose shape they decide."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException

from neuronlab import losses
from neuronlab.checks import allowed_keys, resolve_target
from neuronlab.configs import construct, file_digest
from neuronlab.data import DataModule
from neuronlab.datasets import Task
from neuronlab.errors import ArgumentError, ConfigError, show
from neuronlab.learner import Learner

# The output heads that suit each task; the first is what `model.output=null` means.
HEADS: dict[Task, tuple[str, ...]] = {
    "regression": ("identity", "sigmoid"),
    "binary": ("sigmoid",),
    "multiclass": ("softmax",),
}
WORDS: dict[str, str] = {
    "regression": "regression",
    "binary": "pass/fail",
    "multiclass": "several classes",
}
# The keys of a data node that are the module's; the others are its make_* function's.
SETTINGS = allowed_keys({"_target_": "neuronlab.data.DataModule"}, "DataModule").keys() - {"make"}
# What a constructor raises where it refuses its arguments.
REFUSALS = (
    *(ValueError, TypeError, ImportError),
    *(InstantiationException, MisconfigurationException),
)


@contextmanager
def blame(path: str, node: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Turns what a constructor refuses into a line that names the node of the configuration.

    Args:
        path: Where the node stands.
        node: The node, shown where the constructor doesn't say which argument it refuses.

    Raises:
        ConfigError: In place of what a constructor raises where it refuses its arguments.
    """
    try:
        yield
    except REFUSALS as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if isinstance(cause, ArgumentError):
            raise ConfigError(f"{path}.{cause}") from error
        text = " ".join(str(cause or error).split())
        given = [f"{k}={show(v)}" for k, v in (node or {}).items() if k[0] != "_" and v is not None]
        came = f" (given: {', '.join(given)})" if given else ""
        raise ConfigError(f"{path}: {text}{came}") from error


def build(
    config: Mapping[str, Any], made: dict[str, DataModule] | None = None
) -> tuple[DataModule, Learner]:
    """Makes the data and the learner of a checked configuration.

    Args:
        config: The configuration as plain values, checked by `checks.check`.
        made: Data that have been made so far, see `build_data`.

    Raises:
        ConfigError: If a part refuses its values, or the parts do not fit each other.
    """
    _loss(config, "regression")  # the data may take a while to be read
    data = build_data(config["data"], made)
    return data, build_learner(config, data)


def build_learner(config: Mapping[str, Any], data: DataModule) -> Learner:
    """Makes the learner of a checked configuration, for data that have been made.

    Raises:
        ConfigError: If a part refuses its values, or the parts do not fit each other.
    """
    table = data.table
    model = {**config["model"], "output": config["model"].get("output") or HEADS[table.task][0]}
    with blame("model"):
        learner = Learner(
            data=dict(config["data"]),
            model=model,
            loss=_loss(config, table.task),
            optimizer=dict(config["optimizer"]),
            regularization=dict(config["regularization"]),
            seed=config["seed"],
            task=table.task,
            columns=[column.plain() for column in data.features.columns],
            features=list(data.features.names),
            target=table.target,
            classes=list(table.classes),
            out_features=table.out_features,
            file=file_digest(config["data"].get("path")),
        )
    _check_fit(learner, config)
    with blame("optimizer", config["optimizer"]):
        optimizer = learner.configure_optimizers()
    if not isinstance(optimizer, torch.optim.Optimizer):
        target = config["optimizer"]["_target_"]
        raise ConfigError(f"optimizer._target_={target}: must be an optimizer of torch.optim")
    return learner


def _loss(config: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The loss's node, in which `auto` has become what suits the task."""
    node = dict(config["loss"])
    loss = resolve_target(node["_target_"], "loss")
    if loss is losses.auto:
        return {**node, "_target_": f"{losses.__name__}.{losses.auto(task)}"}
    if not hasattr(loss, "tasks"):
        names = ", ".join([*losses.known(), "auto"])
        raise ConfigError(f"loss._target_={node['_target_']}: must be one of {names}")
    return node


def build_data(config: Mapping[str, Any], made: dict[str, DataModule] | None = None) -> DataModule:
    """Makes the data of a node that holds a make_* function's arguments beside the module's own.

    Args:
        config: The `data` node.
        made: What has been made so far, to be added to: data that differ in nothing but the order
            of their batches share their rows.

    Raises:
        ConfigError: If a part refuses its values.
    """
    settings = {key: value for key, value in config.items() if key in SETTINGS}
    arguments = {key: value for key, value in config.items() if key not in SETTINGS}
    order_seed = settings.get("order_seed", 0)
    key = json.dumps({**config, "order_seed": None}, sort_keys=True)
    if made is not None and key in made:
        return made[key].reordered(order_seed)
    with blame("data", config):
        data = DataModule(construct(arguments, _partial_=True), **settings)
    if made is not None:
        made[key] = data
    return data


def _check_fit(learner: Learner, config: Mapping[str, Any]) -> None:
    """Checks that loss, head and data speak of the same kind of target."""
    task = learner.hparams["task"]
    what = f"the data's target {learner.hparams['target']} ({WORDS[task]})"
    name = learner.hparams["loss"]["_target_"].rpartition(".")[2]
    if task not in learner.loss.tasks:
        tasks = " or ".join(WORDS[fit] for fit in learner.loss.tasks)
        suits = ", ".join(losses.known(task))
        raise ConfigError(f"loss={name}: is for {tasks} and does not fit {what}; allowed: {suits}")
    output = learner.hparams["model"]["output"]
    if output not in HEADS[task]:
        allowed = " or ".join(HEADS[task])
        raise ConfigError(f"model.output={output}: does not fit {what}; allowed: {allowed}")
