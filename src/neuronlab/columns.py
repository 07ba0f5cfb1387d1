"""The columns of a table as a run takes them: which are numbers and which are text.

Letters: B rows, C columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from neuronlab.cells import NUMBER, TableError, shown
from neuronlab.errors import counted, unknown

if TYPE_CHECKING:
    import pandas as pd

Decimal = Literal["point", "comma"]
Kind = Literal["numbers", "text"]
Array = np.ndarray[Any, np.dtype[np.float64]]

LARGEST = 3e38  # a network computes in 32 bits, which end at 3.4e38
SWAPPED = str.maketrans(",.", ".,")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+", re.ASCII)
PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[^\W\d][\w .-]*", re.ASCII | re.I)
NAMED = 3  # how many unseen categories a note names


@dataclass(frozen=True)
class Column:
    """One column that a network is given.

    Attributes:
        name: Its name.
        categories: The texts that it may hold, or None where it holds numbers.
        fill: What stands for a missing value: a number, or a share of each category; None where no
            value may be missing.
    """

    name: str
    categories: tuple[str, ...] | None = None
    fill: tuple[float, ...] | None = None

    def plain(self) -> dict[str, Any]:
        """Itself as plain values, for a checkpoint."""
        return {
            "name": self.name,
            "categories": None if self.categories is None else list(self.categories),
            "fill": None if self.fill is None else list(self.fill),
        }

    @classmethod
    def of(
        cls, name: str, categories: list[str] | None = None, fill: list[float] | None = None
    ) -> Column:
        """A column from its plain values."""
        parts = (None if values is None else tuple(values) for values in (categories, fill))
        return cls(name, *parts)  # type: ignore[arg-type] # in their order


def kind_of(cells: pd.Series, decimal: Decimal = "point", remedy: str | None = None) -> Kind:
    """Whether a column holds numbers or text.

    Args:
        cells: Its cells [B], as `neuronlab.cells.read_cells` has them.
        decimal: The sign before the decimals of a number.
        remedy: What helps where most cells are numbers and some are not; None for taking them all
            as text.

    Returns:
        Numbers if every cell is one that is not missing, text if fewer than half of them are.

    Raises:
        TableError: If some cells are numbers and some, up to half, are not; if all are numbers with
            the other decimal sign; if none holds a value, or values are neither numbers nor text.
    """
    _check_type(cells)
    known = cells[cells.notna()]
    if not len(known):
        raise nothing_in([str(cells.name)])
    wrong = np.isnan(_numbers(known.to_numpy(), decimal))
    if not wrong.any():
        return "numbers"
    first = f"row {known.index[wrong][0]}, column {cells.name}: {shown(known[wrong].iloc[0])}"
    remedy = remedy or f"data.categorical={listed(cells.name)} takes the column as text"
    other: Decimal = "comma" if decimal == "point" else "point"
    if all(NUMBER.fullmatch(_with_point(text, other)) for text in known):  # ends early at text
        if all(THOUSANDS.fullmatch(text) for text in known[wrong]):
            problem = (
                f"{first} is a number with a sign between thousands, or with a decimal {other}"
            )
            raise TableError(problem, f"leave out the sign, or data.decimal={other}")
        raise TableError(f"{first} is a number with a decimal {other}", f"data.decimal={other}")
    if 2 * wrong.sum() > len(known):
        return "text"
    others = f" ({wrong.sum()} such cells)" if wrong.sum() > 1 else ""
    raise TableError(f"{first} is not a number{others}", remedy)


def columns_of(
    cells: pd.DataFrame,
    categorical: Collection[str] = (),
    decimal: Decimal = "point",
    max_categories: int = 50,
) -> list[Column]:
    """The columns of cells [B, C], of text with all their categories in the alphabet's order.

    Args:
        cells: As `neuronlab.cells.read_cells` has them.
        categorical: Names of columns that are text, whatever they hold.
        decimal: The sign before the decimals of a number.
        max_categories: How many different texts a column may hold.

    Raises:
        TableError: If a column is neither, or has too many different texts.
    """
    columns = []
    for name in cells.columns:
        is_text = name in categorical or kind_of(cells[name], decimal) == "text"
        texts = _texts(cells[name]) if is_text else None
        columns.append(Column(name, texts))
    many = {c.name: len(c.categories or ()) for c in columns}
    many = {name: count for name, count in many.items() if count > max_categories}
    if many:
        counts = ", ".join(f"{name} ({count})" for name, count in many.items())
        raise TableError(
            f"more than {max_categories} different texts in {counts}",
            f"data.exclude={listed(*many)} leaves them out, "
            f"data.max_categories={max(many.values())} takes them",
        )
    return columns


def to_numbers(
    cells: pd.DataFrame, columns: Sequence[Column], decimal: Decimal = "point"
) -> tuple[Tensor, list[str]]:
    """The numbers that cells stand for.

    Args:
        cells: As `neuronlab.cells.read_cells` has them, with at least the columns.
        columns: What is wanted, in this order.
        decimal: The sign before the decimals of a number.

    Returns:
        Numbers [B, C] in 64 bits: of a column of text the place among its categories, −1 for what
        is none of them; NaN where a value is missing. And notes on what is none of them, a line
        per column.

    Raises:
        TableError: If a column is missing, or a cell is no number that a network can take.
    """
    notes, x = [], np.empty((len(cells), len(columns)))
    for place, column in enumerate(columns):
        if column.name not in cells:
            raise TableError(unknown(column.name, cells.columns, "column"))
        own = cells[column.name]
        _check_type(own)
        if column.categories is None:
            x[:, place] = _checked(own, decimal)
            continue
        codes = {text: float(code) for code, text in enumerate(column.categories)}
        x[:, place] = own.map(codes.get).astype(float)
        new = np.isnan(x[:, place]) & own.notna().to_numpy()
        x[new, place] = -1
        if new.any():
            texts = sorted(own[new].unique())
            named = ", ".join(shown(text) for text in texts[:NAMED])
            more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
            rows = counted(int(new.sum()), "row")
            unseen = f"{named}{more} in {rows}, unseen in training: taken as none of them"
            notes.append(f"{column.name}: {unseen}")
    return torch.from_numpy(x), notes


def listed(*names: object) -> str:
    """Names as a list on the command line, in quotes where Hydra would not read them."""
    texts = (str(name) for name in names)
    quoted = (t if PLAIN.fullmatch(t) else "'" + t.replace("'", "\\'") + "'" for t in texts)
    return f"[{','.join(quoted)}]"


def nothing_in(names: Sequence[str]) -> TableError:
    """What to say of columns in which every value is missing."""
    plural = "s" if len(names) > 1 else ""
    return TableError(
        f"no value in column{plural} {', '.join(names)}", f"data.exclude={listed(*names)}"
    )


def _check_type(cells: pd.Series) -> None:
    """Raises if cells are no text, but values of a Parquet file, whose columns hold one type."""
    first = next((cell for cell in cells if cell is not None), "")
    if not isinstance(first, str):
        what = f"values of type {type(first).__name__}, neither numbers nor text"
        raise TableError(f"column {cells.name} holds {what}", f"data.exclude={listed(cells.name)}")


def _texts(cells: pd.Series) -> tuple[str, ...]:
    """The different texts of a column, in the alphabet's order."""
    _check_type(cells)
    return tuple(sorted(cells.dropna().unique()))


def _with_point(text: str, decimal: Decimal) -> str:
    """A number as Python writes it; with a comma asked for, one with a point is none."""
    return text.translate(SWAPPED) if decimal == "comma" else text


def _checked(cells: pd.Series, decimal: Decimal) -> Array:
    """The numbers of cells [B], NaN where one is missing, if a network can take all of them."""
    known = cells.notna().to_numpy()
    numbers = np.full(len(cells), np.nan)
    numbers[known] = _numbers(cells.to_numpy()[known], decimal)
    wrong = np.isnan(numbers) & known | (np.abs(numbers) > LARGEST)
    if wrong.any():
        row, cell, number = cells.index[wrong][0], cells[wrong].iloc[0], numbers[wrong][0]
        problem = "is not a number" if np.isnan(number) else f"is too large, above {LARGEST:g}"
        if np.isinf(number) and "inf" in cell.lower():
            problem = "is not a finite number"
        raise TableError(f"row {row}, column {cells.name}: {shown(cell)} {problem}")
    return numbers


def _numbers(texts: Any, decimal: Decimal) -> Array:
    """The numbers that an array of texts [B] stands for, NaN where one is none."""
    if decimal == "comma":
        texts = np.array([_with_point(text, decimal) for text in texts], dtype=object)
    joined = "".join(texts)
    # Python reads more as numbers than a person does: 1_000, nan, digits of other scripts.
    if joined.isascii() and not any(sign in joined for sign in "_nN"):
        try:
            return np.asarray(texts.astype(float))
        except ValueError:
            pass
    # Texts that are no numbers are few, and repeat.
    read = {text: float(text) if NUMBER.fullmatch(text) else np.nan for text in set(texts)}
    return np.fromiter((read[text] for text in texts), float, len(texts))
