"""The user's own table: a file, read as rows to learn from.

Letters: n data rows, C columns.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from neuronlab.cells import Delimiter, TableError, read_cells, shown
from neuronlab.columns import Column, Decimal, columns_of, kind_of, nothing_in, to_numbers
from neuronlab.datasets import Table, Task
from neuronlab.errors import ArgumentError, require, show, unknown

PARTS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
KEPT = 32  # tables that a process keeps, for the jobs of a sweep
LISTED = 10  # values that a line lists


@dataclass(frozen=True)
class Asked:
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
    made = _made(Asked(_state(given["path"]), **hashable))
    if isinstance(made, str):
        raise ArgumentError(made)
    return made


def _state(path: str) -> tuple[str, int, int] | None:
    """By what one sees whether a file is the one that has been read; None where there is none."""
    file = Path(path).expanduser()
    try:
        found = file.stat()
    except OSError:
        return None
    return str(file.resolve()), found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=KEPT)
def _made(asked: Asked) -> Table | str:
    """The table, or what is wrong with it: a sweep need not read a bad table often either."""
    try:
        return _make(asked)
    except TableError as error:
        return f"path={asked.path}: {error}"
    except ArgumentError as error:
        return str(error)


def _make(asked: Asked) -> Table:
    file = Path(asked.path).expanduser()
    cells = read_cells(
        file,
        delimiter=asked.delimiter,
        encoding=asked.encoding,
        rows=asked.rows,
        max_mb=asked.max_mb,
    )
    notes = [f"{file.name}: {note}" for note in cells.attrs["notes"]]
    target, inputs = _chosen(asked, list(cells.columns))
    others = [target] if asked.split_column is None else [target, asked.split_column]
    cells = cells[[*inputs, *others]]
    if len(cells) == 1:
        raise TableError("has one row; two are needed, to learn from and to check what was learned")
    if asked.rows == len(cells):
        notes.append(f"{file.name}: read to row {asked.rows} (data.rows)")
    cells, left_out = _without_missing(cells, others, asked.missing)
    columns = columns_of(
        cells[inputs], asked.categorical or (), asked.decimal, asked.max_categories
    )
    x, _ = to_numbers(cells, columns, asked.decimal)  # [n, C]
    y, task, classes, about = _target(cells[target], asked)
    categories = {c.name: c.categories for c in columns if c.categories is not None}
    counts = {"numbers": len(inputs) - len(categories), "text": len(categories)}
    kinds = [f"{count} of {kind}" for kind, count in counts.items() if count]
    shape = f"{_plural(len(cells), 'row')}, {_plural(len(inputs), 'column')} ({', '.join(kinds)})"
    return Table(
        x,
        y,
        task,
        columns=tuple(inputs),
        target=target,
        classes=classes,
        categories=categories,
        fill=asked.missing == "mean",
        numbers=torch.tensor(cells.index),
        parts=None if asked.split_column is None else _parts(cells[asked.split_column]),
        notes=(
            f"{file.name}: {shape} · target {target}: {about[0]}",
            *notes,
            *left_out,
            *about[1:],
        ),
    )


def _chosen(asked: Asked, names: list[str]) -> tuple[str, list[str]]:
    """The target and the columns to predict it from, if all names that were given exist."""
    target, split = asked.target, asked.split_column
    if target is None:
        raise ArgumentError(f"target=null: must be one of the columns {', '.join(names)}")
    for argument in ("target", "split_column", "columns", "exclude", "categorical"):
        given = getattr(asked, argument)
        several = isinstance(given, tuple)
        for name in given if several else [given] if given is not None else []:
            if name not in names:
                shown_as = f"{argument}={show(given)}" + (f": {name}" if several else "")
                raise ArgumentError(unknown(name, names, "column", shown=shown_as))
        if several and argument != "exclude" and target in given:
            hint = ", of which data.task says what it is" * (argument == "categorical")
            raise ArgumentError(f"{argument}={show(given)}: {target} is the target{hint}")
    require(split != target, "split_column", split, "another column than the target")
    apart = {target, split, *(asked.exclude or ())}
    inputs = [name for name in dict.fromkeys(asked.columns or names) if name not in apart]
    if asked.columns == () or not inputs:
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
    found = ", ".join(f"{name} ({_plural(count, 'row')})" for name, count in counts.items())
    drop = "data.missing=drop leaves such rows out"
    fill = ", data.missing=mean fills in means" if set(counts) - set(others) else ""
    if way == "error":
        raise TableError(f"missing values in {found}", drop + fill)
    bad = (missing if way == "drop" else missing[list(others)]).any(axis=1)
    left, notes = cells[~bad], []
    if bad.any():
        which = found if way == "drop" else ", ".join(n for n in others if n in counts)
        notes.append(f"{_plural(int(bad.sum()), 'row')} left out, with missing values in {which}")
    filled = [name for name in counts if name not in others]
    if way == "mean" and filled:
        share = ", ".join(f"{name} ({counts[name]})" for name in filled)
        notes.append(f"missing values filled in with the mean of training rows: {share}")
    if len(left) < 2:
        problem = f"missing={way}: leaves {len(left)} of {_plural(len(cells), 'row')}"
        raise ArgumentError(f"{problem}, with values missing in {found}")
    return left, notes


def _target(cells: pd.Series, asked: Asked) -> tuple[Tensor, Task, tuple[str, ...], list[str]]:
    """The target's values as a network learns them, what kind they are, and what to say of them."""
    name = str(cells.name)
    values, texts = _values(cells, asked)  # [n, 1]
    levels, codes, counts = torch.unique(values[:, 0], return_inverse=True, return_counts=True)
    names = texts or tuple(map(_number, levels.tolist()))
    if len(names) == 1:
        problem = f"is {shown(names[0])} in all {len(values)} rows; there is nothing to learn"
        raise ArgumentError(f"target={name}: {problem}")
    task: Task = asked.task or (
        "binary" if len(names) == 2 else "multiclass" if texts else "regression"
    )
    given = f"target {name} holds {_listed(names)}"
    require(task != "regression" or texts is None, "task", task, f"for classes, since {given}")
    require(task != "binary" or len(names) == 2, "task", task, f"for other values, since {given}")
    allowed = "null where the target is not pass/fail"
    require(asked.positive is None or task == "binary", "positive", asked.positive, allowed)
    if task == "regression":
        about = [f"regression, from {levels[0]:.6g} to {levels[-1]:.6g}"]
        few = len(names) <= asked.max_categories and counts.min() > 1
        if asked.task is None and few and levels.equal(levels.round()):
            classes = f"data.task=multiclass takes its {len(names)} values as classes"
            about.append(f"target {name}: whole numbers, taken as regression; {classes}")
        return values, task, (), about
    _check_classes(name, names, counts.tolist(), asked.max_categories)
    rows = [f"{label} ({count})" for label, count in zip(names, counts.tolist(), strict=True)]
    if task == "multiclass":
        return codes, task, names, [f"{len(names)} classes, {_listed(rows)}"]
    positive = 1 if asked.positive is None else _place(asked.positive, names)
    y = (codes == positive).float()[:, None]
    order = (1 - positive, positive)
    rows = [rows[place] for place in order]
    return y, task, tuple(names[place] for place in order), [f"pass/fail, {_listed(rows)}"]


def _values(cells: pd.Series, asked: Asked) -> tuple[Tensor, tuple[str, ...] | None]:
    """The target as numbers [n, 1], and what they stand for where it is text."""
    try:
        kind = kind_of(cells, asked.decimal, "data.task=multiclass takes each text as a class")
    except TableError:
        if asked.task in (None, "regression"):
            raise
        kind = "text"
    frame, column = cells.to_frame(), Column(str(cells.name))
    if kind == "text":
        column = columns_of(frame, [column.name], asked.decimal, max_categories=len(frame))[0]
    return to_numbers(frame, [column], asked.decimal)[0], column.categories


def _check_classes(target: str, names: Sequence[str], counts: list[int], most: int) -> None:
    """Raises if there are too many classes, or one of which there is one row."""
    if len(names) > most:
        remedy = f"data.max_categories={len(names)} takes them"
        problem = f"has {len(names)} different values, of which each would be a class"
        raise ArgumentError(f"target={target}: {problem}; at most {most}, {remedy}")
    single = [name for name, count in zip(names, counts, strict=True) if count == 1]
    if single:
        found = f"{'class' if len(single) == 1 else 'classes'} {_listed(single)}"
        problem = f"a single row of {found}; each needs one to learn from and one to check"
        raise ArgumentError(f"target={target}: {problem}")


def _place(positive: str, names: Sequence[str]) -> int:
    """Which of the two values of a target is meant."""
    alike = [name.lower() == positive.lower() or _same(name, positive) for name in names]
    if positive not in names and not any(alike):
        raise ArgumentError(f"positive={positive}: must be one of the target's, {_listed(names)}")
    return names.index(positive) if positive in names else alike.index(True)


def _same(*texts: str) -> bool:
    """Whether texts are one number."""
    try:
        return len({float(text) for text in texts}) == 1
    except ValueError:
        return False


def _parts(cells: pd.Series) -> Mapping[str, Tensor]:
    """The rows of each part, as a column names it for each row."""
    words = cells.map(lambda cell: PARTS.get(str(cell).lower()))
    parts = {part: np.flatnonzero(words == part) for part in dict.fromkeys(PARTS.values())}
    found = _listed([f"{value} ({count})" for value, count in cells.value_counts().items()])
    allowed = f"a column that holds train, val or test, each in some rows; it holds {found}"
    known = words.notna().all() and all(map(len, parts.values()))
    require(bool(known), "split_column", cells.name, allowed)
    return {part: torch.from_numpy(rows) for part, rows in parts.items()}


def _number(value: float) -> str:
    """A number as the name of a class: 3 rather than 3.0."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _listed(values: Sequence[str]) -> str:
    """Values in a line, not too many of them, nor too long."""
    more = f" and {len(values) - LISTED} more" if len(values) > LISTED else ""
    return ", ".join(" ".join(value.split())[:40] for value in values[:LISTED]) + more
