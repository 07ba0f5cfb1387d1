"""The `metrics.csv` of many runs as one table."""

from __future__ import annotations

from collections.abc import Container, Mapping
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

METRICS = "metrics.csv"


def read_curves(
    paths: Mapping[str, Path], completed: Container[str], damaged: dict[str, str]
) -> pd.DataFrame:
    """Reads the curves of runs.

    Files with the same columns are parsed as one text, since opening a parser takes longer than
    parsing a run.

    Args:
        paths: The runs' folders by their names.
        completed: The runs that must have curves; others may have ended before their first epoch.
        damaged: Takes what is wrong with files that cannot be read whole.

    Returns:
        A row per run and epoch: `run`, `epoch`, `step`, and the columns of the files, NaN where a
        value is missing or not finite.
    """
    bodies: dict[str, dict[str, str]] = {}  # header → run → lines
    for run, path in paths.items():
        try:
            text = (path / METRICS).read_text("utf-8")
        except FileNotFoundError:
            if run in completed:
                damaged.setdefault(run, f"{METRICS} is missing")
            continue
        except (OSError, ValueError):
            damaged.setdefault(run, f"{METRICS} cannot be read")
            continue
        if not text.endswith("\n"):  # a killed process may leave half a line
            damaged.setdefault(run, f"{METRICS} ends within a line")
        header, _, body = text.partition("\n")
        whole = body[: body.rfind("\n") + 1]
        if whole:
            bodies.setdefault(header, {})[run] = whole
    parts = [part for header, some in bodies.items() for part in _parsed(header, some, damaged)]
    if not parts:
        return pd.DataFrame({"run": [], "epoch": [], "step": []})
    place = pd.Series(range(len(paths)), index=list(paths))
    curves = pd.concat(parts, ignore_index=True)
    order = np.lexsort([curves["epoch"], curves["run"].map(place)])
    return curves.iloc[order].reset_index(drop=True)


def _parsed(header: str, bodies: Mapping[str, str], damaged: dict[str, str]) -> list[pd.DataFrame]:
    """Files with one header; those that cannot be parsed are found by halving."""
    try:
        return [_parse(header, bodies)]
    except (ValueError, KeyError):
        runs = list(bodies)
    if len(runs) == 1:
        damaged.setdefault(runs[0], f"{METRICS} is damaged")
        return []
    half = len(runs) // 2
    return [
        part
        for some in (runs[:half], runs[half:])
        for part in _parsed(header, {run: bodies[run] for run in some}, damaged)
    ]


def _parse(header: str, bodies: Mapping[str, str]) -> pd.DataFrame:
    """Files with one header as one table.

    Raises:
        ValueError: If a line is not such as runs write.
        KeyError: If a column is missing.
    """
    text = StringIO("\n".join([header, "".join(bodies.values())]))
    # To the last bit, though it takes twice as long: what has not changed must not seem to.
    table = pd.read_csv(text, dtype=float, float_precision="round_trip")
    rows = [body.count("\n") for body in bodies.values()]
    if len(table) != sum(rows) or not np.isfinite(table[["epoch", "step"]]).all(axis=None):
        raise ValueError("lines are damaged")
    table = table.replace([np.inf, -np.inf], np.nan)
    table.insert(0, "run", np.repeat(np.array(list(bodies), dtype=object), rows))
    return table.astype({"epoch": int, "step": int})
