"""The target of a table: numbers, pass or fail, or classes.

Letters: n data rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from neuronlab.cells import TableError, shown
from neuronlab.columns import Column, Decimal, columns_of, kind_of, to_numbers
from neuronlab.datasets import Task
from neuronlab.errors import ArgumentError, require, some

if TYPE_CHECKING:
    import pandas as pd


class Target(NamedTuple):
    """A target as a network learns it.

    Attributes:
        y: Numbers [n, 1], of pass/fail 1 and 0; or class indices [n].
        task: What kind it is.
        classes: What the indices stand for; of pass/fail the one for 0 comes first.
        notes: What to say of it, a line each.
    """

    y: Tensor
    task: Task
    classes: tuple[str, ...]
    notes: list[str]


def read_target(
    cells: pd.Series,
    task: Task | None,
    positive: str | None,
    decimal: Decimal,
    max_categories: int,
) -> Target:
    """The target's values as a network learns them.

    Args:
        cells: Its cells [n], none missing.
        task: What kind it is to be; None to tell by the values.
        positive: Of pass/fail the value that is the pass, if not the larger or the last.
        decimal: The sign before the decimals of a number.
        max_categories: How many classes there may be.

    Raises:
        ArgumentError: If the values are not what the task needs, or there is nothing to learn.
        TableError: If they are partly numbers.
    """
    name = str(cells.name)
    values, texts = _values(cells, task, decimal)  # [n, 1]
    levels, codes, counts = torch.unique(values[:, 0], return_inverse=True, return_counts=True)
    names = texts or tuple(map(_number, levels.tolist()))
    if len(names) == 1:
        problem = f"is {shown(names[0])} in all {len(values)} rows; there is nothing to learn"
        raise ArgumentError(f"target={name}: {problem}")
    kind: Task = task or ("binary" if len(names) == 2 else "multiclass" if texts else "regression")
    given = f"target {name} holds {some(names)}"
    require(kind != "regression" or texts is None, "task", task, f"for classes, since {given}")
    require(kind != "binary" or len(names) == 2, "task", task, f"for other values, since {given}")
    allowed = "null where the target is not pass/fail"
    require(positive is None or kind == "binary", "positive", positive, allowed)
    if kind == "regression":
        notes = [f"regression, from {levels[0]:.6g} to {levels[-1]:.6g}"]
        few = len(names) <= max_categories and counts.min() > 1
        if task is None and few and levels.equal(levels.round()):
            classes = f"data.task=multiclass takes its {len(names)} values as classes"
            notes.append(f"target {name}: whole numbers, taken as regression; {classes}")
        return Target(values, kind, (), notes)
    numbers = "" if texts else "; data.task=regression takes them as numbers"
    _check_classes(name, names, counts.tolist(), max_categories, numbers)
    rows = [f"{label} ({count})" for label, count in zip(names, counts.tolist(), strict=True)]
    if kind == "multiclass":
        return Target(codes, kind, names, [f"{len(names)} classes, {some(rows)}"])
    one = 1 if positive is None else _place(positive, names)
    order = (1 - one, one)
    told = f"pass/fail, {some([rows[place] for place in order])}"
    y = (codes == one).float()[:, None]
    return Target(y, kind, tuple(names[place] for place in order), [told])


def _values(
    cells: pd.Series, task: Task | None, decimal: Decimal
) -> tuple[Tensor, tuple[str, ...] | None]:
    """The target as numbers [n, 1], and what they stand for where it is text."""
    try:
        kind = kind_of(cells, decimal, "data.task=multiclass takes each text as a class")
    except TableError:
        if task in (None, "regression"):
            raise
        kind = "text"
    frame, column = cells.to_frame(), Column(str(cells.name))
    if kind == "text":
        column = columns_of(frame, [column.name], decimal, max_categories=len(frame))[0]
    return to_numbers(frame, [column], decimal)[0], column.categories


def _check_classes(
    target: str, names: Sequence[str], counts: list[int], most: int, remedy: str
) -> None:
    """Raises if there are too many classes, or one of which there is one row."""
    if len(names) > most:
        problem = f"has {len(names)} different values, of which each would be a class"
        more = f"data.max_categories={len(names)} takes them"
        raise ArgumentError(f"target={target}: {problem}; at most {most}, {more}{remedy}")
    single = [name for name, count in zip(names, counts, strict=True) if count == 1]
    if single:
        found = f"{'class' if len(single) == 1 else 'classes'} {some(single)}"
        problem = f"a single row of {found}; each needs one to learn from and one to check"
        raise ArgumentError(f"target={target}: {problem}{remedy}")


def _place(positive: str, names: Sequence[str]) -> int:
    """Which of the two values of a target is meant."""
    alike = [name.lower() == positive.lower() or _same(name, positive) for name in names]
    if positive not in names and not any(alike):
        raise ArgumentError(f"positive={positive}: must be one of the target's, {some(names)}")
    return names.index(positive) if positive in names else alike.index(True)


def _same(*texts: str) -> bool:
    """Whether texts are one number."""
    try:
        return len({float(text) for text in texts}) == 1
    except ValueError:
        return False


def _number(value: float) -> str:
    """A number as the name of a class: 3 rather than 3.0."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
