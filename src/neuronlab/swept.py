"""What tells the runs of a sweep apart: swept keys, settings, and the seeds that repeat them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neuronlab.configs import INCIDENTAL
from neuronlab.folders import run_name

SEEDS = ("seed", "data.seed", "data.order_seed")  # what repeats a setting without changing it
ALL = "all"  # the name of the setting where only seeds differ


def given_values(overrides: Iterable[str]) -> dict[str, str]:
    """The values of overrides by their keys: `+optimizer.lr=0.1` → `optimizer.lr`: `0.1`."""
    parts = (override.partition("=") for override in overrides)
    return {key.lstrip("+~"): value for key, _, value in parts}


def swept_keys(given: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """The keys in which runs differ, in the order of their commands.

    Keys that change nothing of what a run leaves are not among them.

    Args:
        given: The overrides of each run, by key.
    """
    given = list(given)
    keys = dict.fromkeys(key for one in given for key in one)
    return tuple(
        key
        for key in keys
        if len({one.get(key) for one in given}) > 1 and not f"{key}.".startswith(INCIDENTAL)
    )


def without_seeds(keys: Iterable[str]) -> tuple[str, ...]:
    """The keys that make a setting."""
    return tuple(key for key in keys if key not in SEEDS)


def setting_name(keys: Sequence[str], values: Iterable[object]) -> str:
    """The name of a setting, as a run's folder would be called that has no seed.

    Args:
        keys: The keys that make a setting.
        values: Their values.
    """
    parts = sorted(f"{key}={value}" for key, value in zip(keys, values, strict=True))
    return run_name(",".join(parts)) if parts else ALL


def task_of(config: Mapping[str, Any]) -> str:
    """What a run's loss measures, as `bce of circle`: runs of other tasks are not comparable.

    Of a file it is the target and the file's name; `auto` is what suits them.

    Args:
        config: The run's configuration, as plain values.
    """
    loss, data = (config[k]["_target_"].rpartition(".")[2] for k in ("loss", "data"))
    scale = ", standardized" if config["data"].get("standardize") else ""
    if path := config["data"].get("path"):
        data = f"{config['data'].get('target')} in {Path(path).name}"
    return f"{'loss' if loss == 'auto' else loss} of {data.removeprefix('make_')}{scale}"
