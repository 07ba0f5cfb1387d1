"""Asking a trained network from the command line.

Letters: B rows, C columns.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from neuronlab.answers import answers, answers_table
from neuronlab.cells import Delimiter, TableError, cell, read_cells
from neuronlab.checks import check_targets
from neuronlab.columns import Decimal, to_numbers
from neuronlab.errors import ConfigError, counted, show, unknown
from neuronlab.folders import newest_run
from neuronlab.learner import Learner, load_checkpoint
from neuronlab.records import CHECKPOINT, read_status
from neuronlab.terminal import console

if TYPE_CHECKING:  # it takes a while to import, and most who load a learner ask no file
    import pandas as pd

KEYS = ("run", "inputs", "inputs_csv", "delimiter", "decimal", "encoding", "format", "outputs")
FORMATS = ("table", "json", "csv")
READING = ("delimiter", "decimal", "encoding")
ALLOWED: dict[str, tuple[str | None, ...]] = {
    "format": FORMATS,
    "delimiter": (*get_args(Delimiter), None),
    "decimal": (*get_args(Decimal), None),
}
WIDE = 8  # columns that a terminal still shows beside the answers


def predict(config: Mapping[str, Any]) -> None:
    """Prints the answers of a run's network to the inputs that the configuration gives.

    Args:
        config: `conf/predict.yaml`, resolved to plain values.

    Raises:
        ConfigError: If the run has no readable checkpoint, or the inputs do not fit it.
    """
    problems = [unknown(key, KEYS, "key") for key in config if key not in KEYS]
    problems += [
        f"{key}={show(config[key])}: must be one of {', '.join(map(show, allowed))}"
        for key, allowed in ALLOWED.items()
        if config[key] not in allowed
    ]
    if problems:
        raise ConfigError(*problems)
    folder = _folder(config)
    learner = load_learner(folder)
    cells, numbers, given = _answered(config, learner)
    if config["format"] == "csv":
        print(cells.join(given).to_csv(index=False, lineterminator="\n"), end="")
        return
    beside = cells.assign(**numbers)
    if config["format"] == "json":
        print(json.dumps(_records(beside.join(given)), indent=2))
        return
    if len(beside.columns) > WIDE:
        beside = beside[[name for name in beside if name == learner.hparams["target"]]]
        beside.insert(0, "#", [str(row) for row in beside.index])
    console.print(f"run {folder}", soft_wrap=True)
    console.print(answers_table(_records(beside.join(given))))


def _answered(
    config: Mapping[str, Any], learner: Learner
) -> tuple[pd.DataFrame, dict[str, list[float]], pd.DataFrame]:
    """The rows asked about as text, the numbers among their columns, and the answers."""
    import pandas as pd

    name, cells, decimal = _inputs(config, learner)
    columns = learner.features.columns
    try:
        x, notes = to_numbers(cells, columns, decimal)
    except TableError as error:
        raise _refused(name, error) from error
    missing = x.isnan() & torch.tensor([column.fill is None for column in columns])  # [B, C]
    known = ~missing.any(dim=1)
    if missing.any():
        row, column = missing.nonzero()[0].tolist()
        line = f"row {cells.index[row]}, column {columns[column].name}: no value"
        if learner.hparams["data"].get("missing") != "drop" or not known.any():
            raise ConfigError(f"{name}: {line}; the network was trained without missing ones")
        rows = counted(int((~known).sum()), "row")
        notes.append(f"no answer where a value is missing: {rows} ({line})")
    for note in notes:
        print(note, file=sys.stderr)
    given = pd.DataFrame(answers(learner, x[known]), index=cells.index[known.numpy()])
    renamed = {answer: _free(answer, cells) for answer in given}
    numeric = {
        column.name: x[:, place].tolist()
        for place, column in enumerate(columns)
        if column.categories is None
    }
    return cells, numeric, given.rename(columns=renamed)


def _free(answer: str, cells: pd.DataFrame) -> str:
    """A name for an answer that no column beside it has."""
    while answer in cells:
        answer = f"predicted {answer}"
    return answer


def _refused(name: str, error: TableError) -> ConfigError:
    """What is wrong with a file, whose settings are keys of their own here."""
    remedy = error.remedy.replace("data.", "")
    return ConfigError(f"{name}: {error.problem}{f'; {remedy}' if remedy else ''}")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings, with None for what is missing."""
    values = frame.astype(object)
    records: list[dict[str, Any]] = values.where(values.notna(), None).to_dict("records")
    return records


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
        text = " ".join(str(error).split())[:160]
        line = f"run={folder}: {CHECKPOINT}: damaged, or of another version ({text})"
        raise ConfigError(line) from error
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


def _inputs(config: Mapping[str, Any], learner: Learner) -> tuple[str, pd.DataFrame, Decimal]:
    """What to ask about: where it comes from, its cells, and how they write decimals."""
    columns = [column.name for column in learner.features.columns]
    only = all(column.categories is None for column in learner.features.columns)
    kind = "number" if only else "value"
    wanted = f"rows of {counted(len(columns), kind)}: {', '.join(columns)}"
    if (config["inputs"] is None) == (config["inputs_csv"] is None):
        example = show([[1] * len(columns)])
        raise ConfigError(f"inputs: give either 'inputs={example}' or inputs_csv=FILE, {wanted}")
    if config["inputs"] is not None:
        return "inputs", _typed(config["inputs"], columns, wanted), "point"
    name = f"inputs_csv={config['inputs_csv']}"
    data = learner.hparams["data"]  # a file is taken to be written as that of the training was
    given: dict[str, Any] = {key: config[key] or data.get(key) for key in READING}
    decimal: Decimal = given.pop("decimal") or "point"
    how = {key: value for key, value in given.items() if value is not None}
    try:
        path = Path(os.path.expanduser(str(config["inputs_csv"])))
        return name, read_cells(path, names=columns, max_mb=math.inf, **how), decimal
    except TableError as error:
        raise _refused(name, error) from error


def _typed(rows: object, columns: Sequence[str], wanted: str) -> pd.DataFrame:
    """Rows from the command line as cells."""
    import pandas as pd

    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ConfigError(f"inputs={show(rows)}: must be {wanted}, as [[…],[…]]")
    if not rows:
        raise ConfigError(f"inputs: no rows; must be {wanted}")
    for index, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ConfigError(f"inputs: row {index} has {len(row)}; must be {wanted}")
    cells = [[cell(show(value)) for value in row] for row in rows]
    return pd.DataFrame(cells, range(1, len(rows) + 1), columns, dtype=object)
