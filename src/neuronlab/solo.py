"""One run alone, under an ordinary Lightning Trainer: the truth that populations are held to."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.loggers.logger import Logger

from neuronlab.build import blame, build
from neuronlab.callbacks import CheckedCallback, ends_of_divergence, record_of
from neuronlab.checks import check
from neuronlab.configs import config_hash, construct, flatten
from neuronlab.data import DataModule
from neuronlab.errors import ConfigError, RunFailedError, require, show
from neuronlab.hparams import Chosen
from neuronlab.learner import ROW, Learner, load_checkpoint
from neuronlab.records import (
    CHECKPOINT,
    FLUSH_SECONDS,
    OVER,
    Record,
    Row,
    RunLogger,
    State,
    read_status,
)
from neuronlab.summary import print_start, print_summary
from neuronlab.terminal import console

NOISE = (
    ".*does not have many workers.*",  # advice for large data; here a batch is one index_select
    ".*treespec.*is deprecated.*",  # Lightning 2.6 on torch 2.13, nothing that a user could change
    ".*exists and is not empty.*",  # the folder of a run that goes on is meant to have a checkpoint
)


class Interrupted(KeyboardInterrupt):
    """A run that was stopped by hand; the message says how to go on."""


def train_one(config: Mapping[str, Any], folder: Path, chosen: Chosen) -> float:
    """Trains one run and leaves its records in a folder.

    Args:
        config: The configuration, resolved to plain values.
        folder: Where the records go.
        chosen: What was chosen on the command line, for the HParams tab.

    Returns:
        The last epoch's `val/loss`, which is what a search minimizes; infinite where the run
        diverged, NaN where there is none.

    Raises:
        ConfigError: If the configuration cannot run; nothing has been trained then.
        RunFailedError: If the run raised; its records say so.
        Interrupted: If it was stopped by hand.
    """
    data, learner, trainer, resumed = prepare(config, folder)
    if not trainer.fast_dev_run:  # type: ignore[attr-defined] # it has its own dummies
        trainer.loggers = _loggers(config, folder, resumed)
    record = record_of(trainer)
    print_start(learner, data, trainer)
    try:
        with torch.random.fork_rng():  # the learner seeds it anew at each epoch
            trainer.fit(learner, datamodule=data, ckpt_path=config["ckpt_path"], weights_only=True)
        diverged = ends_of_divergence(trainer, learner).get(0)
        if diverged is None:
            trainer.test(learner, datamodule=data, verbose=False)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        checkpoint = folder / CHECKPOINT
        raise Interrupted(str(checkpoint) if checkpoint.exists() else "") from stop
    except Exception as error:
        if record is not None:
            record.finish("failed", config, chosen, error=f"{type(error).__name__}: {error}")
        raise RunFailedError(f"{folder}: {error}") from error
    if record is None:
        console.print("every part ran; this run leaves no records")
        return math.nan
    state: State = "completed" if diverged is None else "diverged"
    record.finish(state, config, chosen, step=diverged)
    print_summary(learner, data, record, diverged)
    return objective({"state": state, "metrics": record.metrics})


def train_job(config: Mapping[str, Any], folder: Path, chosen: Chosen) -> float:
    """Trains one job of a sweep alone: see `train_one`.

    What is complete with an equal configuration stays as it is, and whatever is raised is
    recorded, since a sweep goes on without its failed runs.
    """
    status = finished(config, folder)
    if status is not None:
        return objective(status)
    try:
        return train_one(config, folder, chosen)
    except RunFailedError:
        raise
    except Exception as error:
        raise record_failure(config, folder, chosen, error) from error


def record_failure(
    config: Mapping[str, Any], folder: Path, chosen: Chosen, error: Exception
) -> RunFailedError:
    """Records a run that raised before it had a record; returns what to raise in its place."""
    record = Record(folder, tensorboard=False)
    record.finish("failed", config, chosen, error=f"{type(error).__name__}: {error}")
    return RunFailedError(f"{folder}: {error}")


def finished(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """The `status.json` of a run that is complete with an equal configuration, or None."""
    status = read_status(folder)
    if status is None or status["state"] not in OVER:
        return None
    return status if status["config_hash"] == config_hash(config) else None


def objective(status: Mapping[str, Any]) -> float:
    """What a search minimizes: the last epoch's `val/loss`; infinite where the run diverged.

    The best epoch's would flatter noise.

    Args:
        status: A run's `status.json`.
    """
    loss = status["metrics"].get("val/loss", math.nan)
    return math.inf if status["state"] == "diverged" or loss is None else float(loss)


class Prepared(NamedTuple):
    """A run that is ready to start."""

    data: DataModule
    learner: Learner
    trainer: pl.Trainer
    resumed: Row | None  # the last row so far of a run that goes on


def prepare(config: Mapping[str, Any], folder: Path) -> Prepared:
    """Builds everything that a run needs and leaves nothing behind.

    Args:
        config: The configuration, resolved to plain values.
        folder: Where the records will go.

    Raises:
        ConfigError: If the configuration cannot run.
    """
    check(config)
    _check_loggers(config)
    data, learner = build(config)
    trainer = make_trainer(config, folder, make_callbacks(config, learner))
    resumed = None if config["ckpt_path"] is None else resumed_row(config, learner)
    return Prepared(data, learner, trainer, resumed)


def resumed_row(config: Mapping[str, Any], learner: Learner) -> Row:
    """The last row of the run that goes on, once it is sure to be of this configuration.

    Args:
        config: The configuration, with its `ckpt_path`.
        learner: What the configuration builds.

    Raises:
        ConfigError: If the checkpoint cannot be read, or belongs to another configuration, since
            Lightning would load its optimizer over what the command line asks for.
    """
    path = config["ckpt_path"]
    checkpoint = load_checkpoint(path, f"ckpt_path={path}")
    theirs = dict(flatten(checkpoint["hyper_parameters"]))
    ours = dict(flatten(dict(learner.hparams)))
    problems = [
        f"ckpt_path={path}: was trained with {key}={show(theirs.get(key))}, this command has "
        f"{key}={show(ours.get(key))}; give it the same overrides"
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key) and theirs.get("file") == ours.get("file")
    ]
    if theirs.get("file") != ours.get("file"):
        changed = f"data.path={config['data'].get('path')} holds something else now"
        problems.append(f"ckpt_path={path}: cannot go on: {changed}")
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if ROW not in checkpoint or not progress["is_last_batch"]:
        problems.append(
            f"ckpt_path={path}: was saved within an epoch; a run goes on from the end of one"
        )
    done, step = checkpoint["epoch"] + 1, int(checkpoint["global_step"])
    epochs = config["trainer"].get("max_epochs")
    if epochs is not None and 0 <= epochs <= done:
        problems.append(
            f"trainer.max_epochs={epochs}: must be more than the {done} epochs that "
            f"ckpt_path={path} has trained"
        )
    steps = config["trainer"].get("max_steps", -1)
    if 0 <= steps <= step:
        problems.append(
            f"trainer.max_steps={steps}: must be more than the {step} that ckpt_path={path} took"
        )
    if problems:
        raise ConfigError(*problems)
    row: Row = checkpoint[ROW]
    return row


def make_callbacks(config: Mapping[str, Any], learner: Learner) -> list[Callback]:
    """The callbacks of a configuration, those that look first having looked at the learner."""
    callbacks: list[Callback] = []
    for name, node in (config.get("callbacks") or {}).items():
        with blame(f"callbacks.{name}", node):
            callback = construct(node)
            if isinstance(callback, CheckedCallback):
                callback.check(learner)
            callbacks.append(callback)
    for flag, kind in (("enable_progress_bar", ProgressBar), ("enable_checkpointing", Checkpoint)):
        if config["trainer"].get(flag) is False:  # Lightning refuses the callback with the flag
            callbacks = [callback for callback in callbacks if not isinstance(callback, kind)]
    return callbacks


def make_trainer(
    config: Mapping[str, Any], folder: Path, callbacks: list[Callback], **more: Any
) -> pl.Trainer:
    """The Trainer of a configuration, as yet without loggers, which would leave files.

    Args:
        config: The configuration, resolved to plain values.
        folder: What Lightning takes for its own folder.
        callbacks: Its callbacks.
        more: Further arguments of the Trainer, that a configuration doesn't have.

    Raises:
        ConfigError: If the Trainer refuses its values.
    """
    for pattern in NOISE:
        warnings.filterwarnings("ignore", pattern)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no lines about TPUs
    with blame("trainer", config["trainer"]):
        make = construct(config["trainer"], _partial_=True)
        trainer: pl.Trainer = make(
            callbacks=callbacks, logger=False, default_root_dir=folder, **more
        )
    return trainer


def _check_loggers(config: Mapping[str, Any]) -> None:
    """Checks what the record of a run asks for, which making it would leave files."""
    for name, node in (config.get("logger") or {}).items():
        with blame(f"logger.{name}", node):
            seconds = node.get("flush_seconds", FLUSH_SECONDS)
            require(seconds >= 0, "flush_seconds", seconds, "a number ≥ 0")


def _loggers(config: Mapping[str, Any], folder: Path, resumed: Row | None) -> list[Logger]:
    loggers = []
    for name, node in (config.get("logger") or {}).items():
        with blame(f"logger.{name}", node):
            make = construct(node, _partial_=True)
            own = make.func is RunLogger
            loggers.append(make(folder, resumed=resumed) if own else make(folder))
    return loggers
