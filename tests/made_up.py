"""Sweeps that never ran, for the tests of what is said about sweeps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from conftest import Config

from neuronlab.build import build
from neuronlab.data import DataModule
from neuronlab.learner import Learner
from neuronlab.records import CHECKPOINT
from neuronlab.results import Results

NAN = math.nan
Values = Mapping[str, Any]
Row = Callable[[Values, np.random.Generator], Mapping[str, Any]]


def made_up(
    grid: Mapping[str, Sequence[object]], row: Row, place: Path = Path("made-up")
) -> Results:
    """A sweep over all combinations of values, as `read_results` would have it.

    Args:
        grid: The swept keys with their values.
        row: What a run comes to, from its swept values and noise of its own: numbers are final
            metrics, a list is a curve, whose last value is the final metric; `state`, where it is
            not completed.
        place: The sweep's folder.
    """
    rows: dict[str, dict[str, Any]] = {}
    curves: list[dict[str, Any]] = []
    for index, values in enumerate(itertools.product(*grid.values())):
        swept = dict(zip(grid, values, strict=True))
        left = {"state": "completed", **row(swept, np.random.default_rng(index))}
        several = {tag: value for tag, value in left.items() if isinstance(value, list)}
        run, final = name_of(place, swept), {tag: value[-1] for tag, value in several.items()}
        rows[run] = {**swept, "task": "made up", **left, **final}
        for epoch, at in enumerate(zip(*several.values(), strict=True)):
            numbers = dict(zip(several, at, strict=True))
            curves.append({"run": run, "epoch": epoch, "step": epoch + 1, **numbers})
    keys = tuple(key for key, values in grid.items() if len(values) > 1)
    runs = pd.DataFrame(list(rows.values()), index=pd.Index(rows, name="run"))
    runs = runs.drop(columns=[key for key in grid if key not in keys])
    table = pd.DataFrame(curves) if curves else pd.DataFrame({"run": [], "epoch": [], "step": []})
    return Results((place,), runs, table, keys, {})


def name_of(place: Path, swept: Values) -> str:
    """The folder of a made-up run."""
    return str(place / ",".join(f"{key}={value}" for key, value in swept.items()))


def leave_network(folder: Path | str, learner: Learner) -> None:
    """Leaves the checkpoint of a run."""
    given = {"hyper_parameters": dict(learner.hparams), "global_step": 0}
    path = Path(folder) / CHECKPOINT
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": learner.state_dict(), **given}, path)


def untrained(config: Config) -> tuple[DataModule, Learner]:
    """The data of a run, and its learner as it begins."""
    data, learner = build(config)
    learner.scaling.load_state_dict(data.scaling.state_dict())
    return data, learner.requires_grad_(False)


def seeded(config: Config, seed: int, **data: object) -> Config:
    """A configuration with another seed, and other values of its data."""
    seeds = {"seed": int(seed), "order_seed": int(seed)}
    return {**config, "seed": int(seed), "data": {**config["data"], **seeds, **data}}
