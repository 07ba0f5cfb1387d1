"""The user's own table: a file, read as rows to learn from.

Letters: n data rows, C columns.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from neuronlab.cells import Delimiter, TableError, read_cells
from neuronlab.columns import Decimal, columns_of, nothing_in, to_numbers
from neuronlab.datasets import Table, Task
from neuronlab.errors import ArgumentError, counted, require, show, some, unknown
from neuronlab.targets import read_target

SPLIT_WORDS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
KEPT = 32  # tables that a process keeps, for the jobs of a sweep


@dataclass(frozen=True)
class Request:
    """The arguments of `read_table` as a key of its tables, and what state the file is in."""

    state: tuple[str, int, int] | None  # where it is, when it was written, how many bytes
    path: str
    target: str | None
    columns: tuple[str, ...] | None
    exclude: tuple[str, ...] | None
    categorical: tuple[str, ...] | None
    task: Task | None
    positive: str | None
    missing: Literal["error", "drop", "mean"]
    split_column: str | None
    rows: int | None
    delimiter: Delimiter
    decimal: Decimal
    encoding: str
    max_mb: float
    max_categories: int


def read_table(
    generator: Generator,
    path: str | None = None,
    target: str | None = None,
    columns: list[str] | None = None,
    exclude: list[str] | None = None,
    categorical: list[str] | None = None,
    task: Literal["regression", "binary", "multiclass"] | None = None,
    positive: str | float | bool | None = None,
    missing: Literal["error", "drop", "mean"] = "error",
    split_column: str | None = None,
    rows: int | None = None,
    delimiter: Literal["comma", "semicolon", "tab", "pipe", "space"] = "comma",
    decimal: Literal["point", "comma"] = "point",
    encoding: str = "utf-8",
    max_mb: float = 200.0,
    max_categories: int = 50,
) -> Table:
    """Reads a CSV file with a header, or a Parquet file.

    A file is read once in a process for each set of arguments, as long as it stays as it is: the
    jobs of a sweep share one table.

    Args:
        generator: Not drawn from; data sets that are drawn have the same signature.
        path: The file.
        target: The column to predict.
        columns: The columns to predict from; None for all others.
        exclude: Columns to leave out.
        categorical: Columns of numbers that are names of things, as postal codes.
        task: What kind of target it is; None to tell by its values. Two different values are
            pass/fail, other numbers regression, other texts classes.
        positive: Of pass/fail the value that is the pass; None for the larger number, or the last
            text in the alphabet's order.
        missing: What to do with missing values: refuse the table, drop their rows, or fill in the
            mean of the training rows (of text, the share of each category). A row without a target
            teaches nothing and is dropped in both.
        split_column: A column that says of each row whether it is for train, val or test.
        rows: How many rows to read, from the first; None for all.
        delimiter: What parts the cells of a CSV file.
        decimal: The sign before the decimals of its numbers.
        encoding: What its bytes stand for, by Python's name.
        max_mb: How large a file may be (in 10⁶ bytes) that is read whole.
        max_categories: How many different texts a column may hold.

    Returns:
        The table: x in float64 [n, C]; y in float64 [n, 1] (regression), float32 [n, 1] (pass/fail)
        or int64 [n] (classes).

    Raises:
        ArgumentError: If the file is no table that a network can learn from.
    """
    given = {name: value for name, value in locals().items() if name != "generator"}
    require(path is not None, "path", path, "the path of a CSV or Parquet file")
    require(rows is None or rows >= 1, "rows", rows, "a whole number ≥ 1, or null for all")
    require(max_mb > 0, "max_mb", max_mb, "a number above 0")
    require(max_categories >= 2, "max_categories", max_categories, "a whole number ≥ 2")
    given["positive"] = None if positive is None else show(positive)  # else true would equal 1
    hashable: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
    made = _made(Request(_state(given["path"]), **hashable))
    if isinstance(made, str):
        raise ArgumentError(made)
    return made


def _state(path: str) -> tuple[str, int, int] | None:
    """By what one sees whether a file is the one that has been read; None where there is none."""
    file = Path(os.path.expanduser(path))
    try:
        found = file.stat()
    except OSError:
        return None
    return str(file.resolve()), found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=KEPT)
def _made(request: Request) -> Table | str:
    """The table, or what is wrong with it: a sweep need not read a bad table often either."""
    try:
        return _make(request)
    except TableError as error:
        return f"path={request.path}: {error}"
    except ArgumentError as error:
        return str(error)


def _make(request: Request) -> Table:
    file = Path(os.path.expanduser(request.path))
    cells = read_cells(
        file,
        delimiter=request.delimiter,
        encoding=request.encoding,
        rows=request.rows,
        max_mb=request.max_mb,
    )
    notes = [f"{file.name}: {note}" for note in cells.attrs["notes"]]
    target, inputs = _chosen(request, list(cells.columns))
    others = [target] if request.split_column is None else [target, request.split_column]
    cells = cells[[*inputs, *others]]
    if len(cells) == 1:
        raise TableError("has one row; two are needed, to learn from and to check what was learned")
    if request.rows == len(cells):
        notes.append(f"{file.name}: read to row {request.rows} (data.rows)")
    cells, left_out = _without_missing(cells, others, request.missing)
    columns = columns_of(
        cells[inputs], request.categorical or (), request.decimal, request.max_categories
    )
    x, _ = to_numbers(cells, columns, request.decimal)  # [n, C]
    learned = read_target(
        cells[target], request.task, request.positive, request.decimal, request.max_categories
    )
    categories = {c.name: c.categories for c in columns if c.categories is not None}
    counts = {"numbers": len(inputs) - len(categories), "text": len(categories)}
    kinds = [f"{count} of {kind}" for kind, count in counts.items() if count]
    shape = f"{counted(len(cells), 'row')}, {counted(len(inputs), 'column')} ({', '.join(kinds)})"
    return Table(
        x,
        learned.y,
        learned.task,
        columns=tuple(inputs),
        target=target,
        classes=learned.classes,
        categories=categories,
        fill=request.missing == "mean",
        numbers=torch.tensor(cells.index),
        parts=None if request.split_column is None else _parts(cells[request.split_column]),
        notes=(
            f"{file.name}: {shape} · target {target}: {learned.notes[0]}",
            *notes,
            *left_out,
            *learned.notes[1:],
        ),
    )


def _chosen(request: Request, names: list[str]) -> tuple[str, list[str]]:
    """The target and the columns to predict it from, if all names that were given exist."""
    target, split = request.target, request.split_column
    if target is None:
        raise ArgumentError(f"target=null: must be one of the columns {', '.join(names)}")
    for argument in ("target", "split_column", "columns", "exclude", "categorical"):
        given = getattr(request, argument)
        several = isinstance(given, tuple)
        for name in given if several else [given] if given is not None else []:
            if name not in names:
                shown_as = f"{argument}={show(given)}" + (f": {name}" if several else "")
                raise ArgumentError(unknown(name, names, "column", shown=shown_as))
        if several and argument != "exclude" and target in given:
            hint = ", of which data.task says what it is" * (argument == "categorical")
            raise ArgumentError(f"{argument}={show(given)}: {target} is the target{hint}")
    require(split != target, "split_column", split, "another column than the target")
    apart = {target, split, *(request.exclude or ())}
    inputs = [name for name in dict.fromkeys(request.columns or names) if name not in apart]
    if request.columns == () or not inputs:
        raise TableError(f"no column is left to predict {target} from; it has {', '.join(names)}")
    return target, inputs


def _without_missing(
    cells: pd.DataFrame, others: Sequence[str], way: Literal["error", "drop", "mean"]
) -> tuple[pd.DataFrame, list[str]]:
    """The rows that can be used, and what to say of the others.

    Args:
        cells: Inputs, target, and the column of the split.
        others: The last two, which nothing can be filled in for.
        way: What to do with missing values.
    """
    missing = cells.isna()
    counts = {name: int(count) for name, count in missing.sum().items() if count}
    empty = [name for name, count in counts.items() if count == len(cells)]
    for name in empty:
        if name in others:
            raise TableError(f"column {name} has no value in any row")
    if empty:
        raise nothing_in(empty)
    if not counts:
        return cells, []
    found = ", ".join(f"{name} ({counted(count, 'row')})" for name, count in counts.items())
    drop = "data.missing=drop leaves such rows out"
    fill = ", data.missing=mean fills in means" if set(counts) - set(others) else ""
    if way == "error":
        raise TableError(f"missing values in {found}", drop + fill)
    bad = (missing if way == "drop" else missing[list(others)]).any(axis=1)
    left, notes = cells[~bad], []
    if bad.any():
        which = found if way == "drop" else ", ".join(n for n in others if n in counts)
        notes.append(f"{counted(int(bad.sum()), 'row')} left out, with missing values in {which}")
    filled = [name for name in counts if name not in others]
    if way == "mean" and filled:
        share = ", ".join(f"{name} ({counts[name]})" for name in filled)
        notes.append(f"missing values filled in with the mean of training rows: {share}")
    if len(left) < 2:
        problem = f"missing={way}: leaves {len(left)} of {counted(len(cells), 'row')}"
        raise ArgumentError(f"{problem}, with values missing in {found}")
    return left, notes


def _parts(cells: pd.Series) -> Mapping[str, Tensor]:
    """The rows of each part, as a column names it for each row."""
    words = cells.map(lambda cell: SPLIT_WORDS.get(str(cell).lower()))
    parts = {part: np.flatnonzero(words == part) for part in dict.fromkeys(SPLIT_WORDS.values())}
    found = some([f"{value} ({count})" for value, count in cells.value_counts().items()])
    allowed = f"a column that holds train, val or test, each in some rows; it holds {found}"
    known = words.notna().all() and all(map(len, parts.values()))
    require(bool(known), "split_column", cells.name, allowed)
    return {part: torch.from_numpy(rows) for part, rows in parts.items()}
