"""Which runs train together, and how many of them at once.

Letters: N members, B batch rows, n data rows, D features, K outputs, H hidden.

A cohort is a set of runs whose configurations are equal once the numbers that may differ between
members are taken out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

from neuronlab.callbacks import ForMany, Narration
from neuronlab.checks import resolve_target
from neuronlab.configs import flatten
from neuronlab.learner import Learner
from neuronlab.learners import Evaluate
from neuronlab.optimizers import rule_of
from neuronlab.regularization import is_penalized

T = TypeVar("T")

# What may differ between members, beside the numbers of an optimizer that has a rule.
VARY = ("seed", "data.seed", "data.order_seed", "data.noise")
# What has no part in how a run trains, so a cohort may be mixed in it.
ASIDE = ("trainer.enable_progress_bar", "trainer.enable_model_summary")

# Optimizers that treat every number of a parameter alone, so that with what no rule of ours knows
# torch's own class can step a whole stack, as long as its members share all their hyperparameters.
ELEMENTWISE = (
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ASGD",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
)
# Flags of the Trainer that a population honors; the rest it leaves to runs alone.
HONORED = {
    "_target_",
    "accelerator",
    "benchmark",
    "check_val_every_n_epoch",
    "deterministic",
    "devices",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "inference_mode",
    "log_every_n_steps",
    "max_epochs",
    "max_steps",
    "num_nodes",
    "num_sanity_val_steps",
    "precision",
}
PRECISIONS = ("32", "32-true", "64", "64-true")

# The only setting of Lightning's checkpoints that a population leaves as a run alone would.
CHECKPOINTS = {
    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
    "filename": "last",
    "enable_version_counter": False,
    "every_n_epochs": 1,
    "save_on_train_epoch_end": True,
}


def cohort_key(config: Mapping[str, Any]) -> str:
    """What the members of a cohort have in common, as text.

    Args:
        config: A configuration, checked and resolved to plain values.
    """
    rule = rule_of(config["optimizer"])
    numbers = {name.partition(".")[0] for name in rule.defaults} if rule else set()
    leaves = {}
    # Whether there is a penalty at all is shared, since it has a column of its own in the records.
    penalized = is_penalized(config["regularization"])
    for path, value in flatten(config):
        free = path in VARY or path.removeprefix("optimizer.") in numbers
        free |= penalized and path.startswith("regularization.")
        if path not in ASIDE:
            leaves[path] = "varies" if free else value
    return json.dumps(leaves, sort_keys=True, default=str)


def why_alone(config: Mapping[str, Any], learner: Learner) -> str | None:
    """Why a run cannot train as a member of a population, or None where it can.

    Args:
        config: Its configuration, checked.
        learner: What the configuration builds.
    """
    if config["ckpt_path"] is not None:
        return "it goes on from a checkpoint"
    trainer = config["trainer"]
    for flag, value in trainer.items():
        if flag not in HONORED and value is not None and value is not False:
            return f"trainer.{flag}={value} is for runs alone"
    if str(trainer.get("precision", 32)) not in PRECISIONS:
        return f"trainer.precision={trainer['precision']} is for runs alone"
    if trainer.get("max_epochs") in (None, -1):
        return "it has no last epoch"
    for name, node in (config.get("callbacks") or {}).items():
        target = resolve_target(node["_target_"], f"callbacks.{name}")
        fits = isinstance(target, type) and issubclass(target, (ForMany, Narration))
        if not fits and dict(node) != CHECKPOINTS:
            return f"callbacks.{name} is for runs alone"
    keeps = any(dict(node) == CHECKPOINTS for node in (config.get("callbacks") or {}).values())
    if not keeps and trainer.get("enable_checkpointing") is not False:
        return "without callbacks.checkpoint Lightning keeps checkpoints of its own choice"
    loggers = [node["_target_"] for node in (config.get("logger") or {}).values()]
    if loggers != ["neuronlab.records.RunLogger"]:
        return "it has other loggers than logger=tensorboard or logger=csv"
    optimizer = config["optimizer"]
    name = optimizer["_target_"].removeprefix("torch.optim.")
    if rule_of(optimizer) is None and name not in ELEMENTWISE:
        return f"{name} does not treat every weight alone"
    return why_not_stacked(learner)


def why_not_stacked(learner: Learner) -> str | None:
    """Why a network cannot be stacked, found by trying it with two of its kind; None if it can."""
    if any(True for _ in learner.net.buffers()):
        return "its network keeps more than weights (buffers)"
    features = len(learner.hparams["features"])
    weights = {
        f"net.{name}": torch.zeros(2, *weight.shape)
        for name, weight in learner.net.named_parameters()
    }
    outputs = learner.hparams["out_features"]
    whole = learner.hparams["task"] == "multiclass"
    y = torch.zeros(2, 2, dtype=torch.long) if whole else torch.zeros(2, 2, outputs)
    evaluate_one = Evaluate(learner.net, learner.loss)

    def one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return torch.func.functional_call(evaluate_one, weights, (x, y))[0]  # type: ignore[no-any-return]

    try:
        torch.vmap(one)(weights, torch.zeros(2, 2, features), y)
    except Exception as error:
        return f"its network cannot be stacked ({' '.join(str(error).split())[:80]})"
    return None


# Activations of one step that a processor's last cache still holds, in bytes; and the share of all
# memory that a stack may take: of all, not of what is free, so that a command always does the same.
CACHE_BYTES, MEMORY_SHARE = 32 * 2**20, 0.25


def most_members(
    learner: Learner, batch_size: int, rows: int, size: int, device: torch.device
) -> int:
    """How many members train at once where the configuration doesn't say.

    A member needs, in numbers of the run's precision: its weights P four times (weight, gradient,
    two averages of Adam), its rows n·(D + K), and the activations of a step, three times (value,
    gradient, and what the backward pass keeps) the B·(D + ΣH + K) that its layers give.

        members = min(cache / step, share · memory / (step + weights + rows + evaluation))

    The first bound is for CPUs alone. Where the estimate is too high, `train_many` tries halves.

    Args:
        learner: Any member's learner.
        batch_size: B, rows of a training step.
        rows: n, rows of the whole table.
        size: Bytes of a number in the run's precision.
        device: Where it trains.

    Returns:
        At least 2.
    """
    features, outputs = len(learner.hparams["features"]), learner.hparams["out_features"]
    parameters = sum(weight.numel() for weight in learner.net.parameters())
    width = features + sum(w.shape[0] for w in learner.net.parameters() if w.dim() > 1)
    step = 3 * batch_size * (width + outputs) * size
    kept = (4 * parameters + rows * (features + outputs) + 2 * rows * (width + outputs)) * size
    fits = int(MEMORY_SHARE * memory_of(device) / (kept + step))
    if device.type == "cpu":
        fits = min(fits, CACHE_BYTES // step)
    return max(2, fits)


def memory_of(device: torch.device) -> int:
    """Bytes that a device has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 8 * 2**30  # Windows says it only to C programs


def in_chunks(members: Sequence[T], most: int) -> list[Sequence[T]]:
    """Cuts a cohort into chunks of nearly equal size, none larger than `most`."""
    count = math.ceil(len(members) / most)
    edges = [round(index * len(members) / count) for index in range(count + 1)]
    return [members[low:high] for low, high in pairwise(edges)]
