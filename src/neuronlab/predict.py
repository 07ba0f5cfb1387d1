"""Asking a trained network from the command line.

Letters: B rows, D features.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neuronlab.answers import answers, answers_table
from neuronlab.checks import check_targets
from neuronlab.errors import ConfigError, nearest, show, unknown
from neuronlab.folders import newest_run
from neuronlab.learner import Learner, load_checkpoint
from neuronlab.records import CHECKPOINT, read_status
from neuronlab.terminal import console

KEYS = ("run", "inputs", "inputs_csv", "format", "outputs")
FORMATS = ("table", "json", "csv")


def predict(config: Mapping[str, Any]) -> None:
    """Prints the answers of a run's network to the inputs that the configuration gives.

    Args:
        config: `conf/predict.yaml`, resolved to plain values.

    Raises:
        ConfigError: If the run has no readable checkpoint, or the inputs do not fit it.
    """
    problems = [unknown(key, KEYS, "key") for key in config if key not in KEYS]
    if config["format"] not in FORMATS:
        problems.append(f"format={show(config['format'])}: must be one of {', '.join(FORMATS)}")
    if problems:
        raise ConfigError(*problems)
    folder = _folder(config)
    learner = load_learner(folder)
    inputs = _inputs(config, learner.hparams["features"])
    given = answers(learner, inputs)
    rows = zip(inputs.tolist(), given, strict=True)
    named = [dict(zip(learner.hparams["features"], x, strict=True)) | y for x, y in rows]
    if config["format"] == "json":
        print(json.dumps(named, indent=2))
    elif config["format"] == "csv":
        writer = csv.DictWriter(sys.stdout, list(named[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(named)
    else:
        console.print(f"run {folder}", soft_wrap=True, markup=False)
        console.print(answers_table(learner, inputs, given))


def load_learner(folder: Path) -> Learner:
    """The learner of a run, as its last checkpoint has it.

    Args:
        folder: The run's folder.

    Raises:
        ConfigError: If there is no readable checkpoint, it names what is not allowed to be built,
            or the run diverged, so that its network has nothing to say.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        raise ConfigError(f"run={folder}: no checkpoint there; a run's folder has {CHECKPOINT}")
    checkpoint = load_checkpoint(path, f"run={folder}: {CHECKPOINT}")
    check_targets(checkpoint["hyper_parameters"])
    status = read_status(folder) or {}
    if status.get("state") == "diverged":
        step = status.get("diverged_at_step")
        raise ConfigError(f"run={folder}: diverged at step {step}; its network has no answers")
    try:
        # As `load_from_checkpoint`, which reads the file again and looks through the whole stack.
        learner = Learner(**checkpoint["hyper_parameters"])
        learner.on_load_checkpoint(checkpoint)
        learner.load_state_dict(checkpoint["state_dict"])
    except Exception as error:  # weights that do not fit the network, or a network that isn't one
        text = " ".join(str(error).split())
        raise ConfigError(f"run={folder}: {CHECKPOINT}: damaged ({text[:200]})") from error
    return learner


def _folder(config: Mapping[str, Any]) -> Path:
    if config["run"] is not None:
        folder = Path(str(config["run"]))
        if folder.parts[-2:] == CHECKPOINT.parts:  # the checkpoint itself was named
            folder = folder.parents[1]
        if not folder.is_dir():
            raise ConfigError(f"run={folder}: no such folder; must be the folder of a run")
        return folder
    newest = newest_run(Path(config["outputs"]))
    if newest is None:
        raise ConfigError(f"run=null: no run below {config['outputs']} yet; train one, or name one")
    return newest


def _inputs(config: Mapping[str, Any], features: Sequence[str]) -> Tensor:
    """The rows to ask about [B, D]."""
    plural = "s" if len(features) > 1 else ""
    wanted = f"rows of {len(features)} number{plural}: {', '.join(features)}"
    if (config["inputs"] is None) == (config["inputs_csv"] is None):
        example = show([[1] * len(features)])
        raise ConfigError(f"inputs: give either 'inputs={example}' or inputs_csv=FILE, {wanted}")
    if config["inputs"] is not None:
        name, rows = "inputs", config["inputs"]
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise ConfigError(f"inputs={show(rows)}: must be {wanted}, as [[…],[…]]")
    else:
        name = f"inputs_csv={config['inputs_csv']}"
        rows = _read_csv(Path(str(config["inputs_csv"])), features)
    if not rows:
        raise ConfigError(f"{name}: no rows; must be {wanted}")
    for index, row in enumerate(rows, start=1):
        if len(row) != len(features):
            raise ConfigError(f"{name}: row {index} has {len(row)} numbers; must be {wanted}")
    return torch.tensor(
        [[_number(value, name, index) for value in row] for index, row in enumerate(rows, start=1)],
        dtype=torch.float64,
    )


def _number(value: object, name: str, row: int) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        converted = float(value)  # type: ignore[arg-type] # what isn't a number raises
        if not math.isfinite(converted):
            raise ValueError
    except (TypeError, ValueError):
        raise ConfigError(
            f"{name}: row {row} holds {show(value)}; must be finite numbers only"
        ) from None
    return converted


def _read_csv(path: Path, features: Sequence[str]) -> list[list[str]]:
    """The rows of a file; columns are found by name where its first line has names."""
    name = f"inputs_csv={path}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{name}: is not a CSV file in UTF-8 ({error})") from error
    if not rows or any(_is_number(value) for value in rows[0]):
        return rows
    header = [column.strip() for column in rows[0]]
    for feature in features:
        if feature not in header:
            near = nearest(feature, header)
            hint = f" (did you mean {near}?)" if near else ""
            raise ConfigError(f"{name}: has no column {feature}{hint}; it has {', '.join(header)}")
    places = [header.index(feature) for feature in features]
    for index, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise ConfigError(
                f"{name}: row {index} has {len(row)} values; must be {len(header)} as the header"
            )
    return [[row[place] for place in places] for row in rows[1:]]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
