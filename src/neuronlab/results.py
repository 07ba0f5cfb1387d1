"""What sweeps have left, as two tables: one row per run, and one row per run and epoch.

The runs' own folders are read, not the sweep's `results.csv` (which holds the same): so a sweep
that was killed can be read as well as one that ended, a run alone as well as one of a sweep.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hydra_plugins.neuronlab_population import Job
from neuronlab.checks import check_targets
from neuronlab.curves import read_curves
from neuronlab.errors import ConfigError, nearest, show
from neuronlab.folders import short
from neuronlab.records import read_status
from neuronlab.saved import HYDRA, is_whole, read_config, read_overrides, values_of
from neuronlab.swept import SEEDS, given_values, swept_keys, task_of, without_seeds

MULTIRUN = "multirun.yaml"  # what tells that of a sweep
STATES = ("completed", "diverged", "failed")
OUTCOME = ["state", "diverged_at_step", "error", "seconds"]  # columns before the metrics
NOT_OVER = "is not over: no status.json"


@dataclass(frozen=True)
class Results:
    """Runs of one or several sweeps.

    Attributes:
        folders: The sweeps' folders.
        runs: A row per run; the index, `run`, is its folder. Columns: the swept keys (numbers where
            all values are), `task`, `state`, `diverged_at_step`, `error`, `seconds`, and the final
            metrics, NaN where one is missing or not finite.
        curves: A row per run and epoch: `run`, `epoch`, `step`, and the columns of `metrics.csv`,
            NaN where a value is missing or not finite.
        keys: The swept keys, in which runs differ, seeds among them.
        damaged: What is wrong with runs that could not be read whole, by their folders.
    """

    folders: tuple[Path, ...]
    runs: pd.DataFrame
    curves: pd.DataFrame
    keys: tuple[str, ...]
    damaged: Mapping[str, str]

    @property
    def setting_keys(self) -> tuple[str, ...]:
        """The swept keys that make a setting: all but seeds."""
        return without_seeds(self.keys)

    @property
    def seed_keys(self) -> tuple[str, ...]:
        """The swept keys that repeat a setting."""
        return tuple(key for key in self.keys if key in SEEDS)

    def config(self, run: str) -> dict[str, Any]:
        """The configuration of a run as plain values.

        Raises:
            ConfigError: If it cannot be read, or names what may not be built.
        """
        config = read_config(Path(run))
        check_targets(config)
        return config

    def select(self, chosen: pd.Series) -> Results:
        """Some of the runs; keys in which these do not differ are no longer among `keys`.

        Args:
            chosen: Whether to take each row of `runs`.
        """
        runs = self.runs[chosen]
        curves = self.curves[self.curves["run"].isin(runs.index)]
        keys = tuple(key for key in self.keys if runs[key].nunique(dropna=False) > 1)
        damaged = {run: what for run, what in self.damaged.items() if run in runs.index}
        return replace(self, runs=runs, curves=curves, keys=keys, damaged=damaged)


def find_sweeps(given: str | Sequence[str] | None, outputs: Path) -> list[Path]:
    """The folders that are meant.

    Args:
        given: A folder, a pattern such as `outputs/sweeps/students/*`, or several of either; None
            for the newest sweep. A folder without runs of its own stands for the sweeps below it.
        outputs: Where to look for the newest.

    Raises:
        ConfigError: If one does not exist, or has no runs.
    """
    if given is None:
        sweeps = sorted(_sweeps(outputs), key=lambda path: (path / MULTIRUN).stat().st_mtime)
        if not sweeps:
            raise ConfigError(f"sweep=null: no sweep below {outputs} yet; train one, or name one")
        return sweeps[-1:]
    patterns = [given] if isinstance(given, str) else given
    found = [path for pattern in patterns for path in _matching(pattern)]
    if not found:
        raise ConfigError(f"sweep={show(given)}: must name a folder")
    return list({path.resolve(): path for path in found}.values())


def _matching(pattern: str) -> list[Path]:
    literal = pattern.replace("[", "[[]")  # names of runs have brackets in them
    names = [pattern] if os.path.exists(pattern) else glob.glob(pattern) or glob.glob(literal)
    folders = [Path(name) for name in sorted(names) if os.path.isdir(name)]
    if not folders:
        parent = Path(pattern).parent
        others = [path.name for path in parent.iterdir()] if parent.is_dir() else []
        near = nearest(Path(pattern).name, others)
        hint = f"; did you mean {parent / near}?" if near else ""
        raise ConfigError(f"sweep={pattern}: no such folder; must be the folder of a sweep{hint}")
    found = [sweep for folder in folders for sweep in _sweeps_of(folder)]
    if not found:
        raise ConfigError(f"sweep={pattern}: has no runs; must be the folder of a sweep")
    return found


def _sweeps_of(folder: Path) -> list[Path]:
    """A run, the sweeps at or below a folder, or the folder itself if it holds runs alone."""
    if (folder / HYDRA).exists():
        return [folder]
    alone = [folder] if any(run_folders(folder)) else []
    return sorted(_sweeps(folder)) or alone


def _sweeps(root: Path) -> Iterator[Path]:
    """Folders of sweeps, at or below a folder."""
    for place, folders, files in os.walk(root):
        if MULTIRUN in files:
            yield Path(place)
        if MULTIRUN in files or HYDRA in folders:
            folders.clear()  # a sweep has no sweeps below it, a run nothing


def run_folders(folder: Path) -> Iterator[Path]:
    """The runs at or below a folder, in order of their names."""
    for place, folders, _ in os.walk(folder):
        if HYDRA in folders:
            folders.clear()
            yield Path(place)
        folders.sort()


def read_results(folders: Sequence[Path]) -> Results:
    """Reads all runs of sweeps, those that are not over or damaged included.

    The value of a key that was swept in some of the runs and left alone in others is, of the
    latter, that of their configuration.

    Args:
        folders: The sweeps' folders.

    Raises:
        ConfigError: If there is no run.
    """
    found = {path.resolve(): path for folder in folders for path in run_folders(folder)}
    if not found:
        names = ", ".join(map(str, folders))
        raise ConfigError(f"sweep={names}: has no runs; must be the folder of a sweep")
    paths = {short(path): path for path in found}
    damaged: dict[str, str] = {}
    given = {run: _overrides(path, run, damaged) for run, path in paths.items()}
    whole = [run for run in paths if run not in damaged] or list(paths)
    keys = swept_keys(given[run] for run in whole)
    rows = [values_of(paths[run], one, keys) for run, one in given.items()]
    table = pd.DataFrame(rows, index=list(paths), columns=list(keys)).apply(as_numbers)
    different = table.loc[whole].nunique(dropna=False) > 1  # what was left alone may be the same
    keys = tuple(key for key in keys if different[key])
    table["task"] = _tasks(table, keys, paths)
    for run, path in paths.items():
        if not is_whole(path / HYDRA / "config.yaml"):
            damaged.setdefault(run, f"{HYDRA}/config.yaml cannot be read")
    return _read(tuple(folders), paths, table[[*keys, "task"]], damaged)


def read_jobs(jobs: Sequence[Job], folder: Path, with_curves: bool) -> Results:
    """Reads the runs of a sweep's jobs; those whose folders hold nothing yet are unfinished.

    Args:
        jobs: The jobs.
        folder: The sweep's folder.
        with_curves: Whether to read `curves` as well.

    Returns:
        The runs in order of the jobs; swept values are texts, as the command gave them.
    """
    paths = {short(job.folder): job.folder for job in jobs}
    given = [given_values(job.overrides) for job in jobs]
    keys = swept_keys(given)
    table = pd.DataFrame([{key: one.get(key, "") for key in keys} for one in given], list(paths))
    table["task"] = [task_of(job.config) for job in jobs]
    return _read((folder,), paths, table, {}, with_curves)


def _read(
    folders: tuple[Path, ...],
    paths: Mapping[str, Path],
    table: pd.DataFrame,
    damaged: dict[str, str],
    with_curves: bool = True,
) -> Results:
    """Adds to swept keys and tasks what the runs came to."""
    outcomes = [_outcome(path, run, damaged) for run, path in paths.items()]
    metrics = pd.DataFrame([one.pop("metrics") for one in outcomes], list(paths)).astype(float)
    states = pd.DataFrame(outcomes, list(paths), OUTCOME)
    states = states.astype({"diverged_at_step": float, "seconds": float})
    runs = pd.concat([table, states, metrics.where(np.isfinite(metrics))], axis=1)
    completed = set(runs.index[runs["state"] == "completed"])
    curves = read_curves(paths if with_curves else {}, completed, damaged)
    keys = tuple(key for key in table if key != "task")
    return Results(folders, runs.rename_axis("run"), curves, keys, damaged)


def _overrides(path: Path, run: str, damaged: dict[str, str]) -> dict[str, str]:
    try:
        return read_overrides(path)
    except ConfigError:
        damaged[run] = f"{HYDRA}/overrides.yaml cannot be read"
        return {}


def as_numbers(values: pd.Series) -> pd.Series:
    """A column of texts as numbers, where all of them are; those that are empty count as NaN."""
    try:
        return pd.to_numeric(values)
    except (ValueError, TypeError):
        return values


def _tasks(table: pd.DataFrame, keys: Sequence[str], paths: Mapping[str, Path]) -> list[str]:
    """What each run's loss measures, from one configuration for all runs that have it alike."""
    names = [key for key in keys if not pd.api.types.is_numeric_dtype(table[key])]
    tasks: dict[tuple[str, ...], str] = {}
    told = []
    for (run, path), values in zip(paths.items(), table[names].to_numpy().tolist(), strict=True):
        like = (os.path.dirname(run), *values)
        if like not in tasks:
            with suppress(ConfigError, KeyError, TypeError, AttributeError):  # else the next run
                tasks[like] = task_of(read_config(path))
        told.append(like)
    return [tasks.get(like, "unknown") for like in told]


def _outcome(path: Path, run: str, damaged: dict[str, str]) -> dict[str, Any]:
    """The state of a run and its metrics; of one that left no status that can be read, nothing."""
    try:
        status = read_status(path)
        if status is not None:
            return {
                "state": STATES[STATES.index(status["state"])],
                "diverged_at_step": _number(status.get("diverged_at_step")),
                "error": status.get("error"),
                "seconds": _number(status.get("seconds")),
                "metrics": {tag: _number(value) for tag, value in status["metrics"].items()},
            }
    except (ValueError, TypeError, AttributeError):
        pass  # JSON, but not what runs write
    there = (path / "status.json").exists()
    damaged.setdefault(run, "status.json cannot be read" if there else NOT_OVER)
    return {"state": "unfinished", "error": None, "metrics": {}}  # the rest is NaN


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
