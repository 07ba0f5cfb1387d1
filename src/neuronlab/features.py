"""From the columns of a table to what a network sees of them, before they are standardized.

Letters: B rows, C columns, E encoded columns (a column of text is one per category), D features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

import torch
from torch import Tensor

from neuronlab.columns import Column
from neuronlab.datasets import Table
from neuronlab.errors import ArgumentError, nearest, show

WORDS = ("inputs", "squares", "products", "sines")


class Factor(NamedTuple):
    """A factor of a feature: an encoded column, or its sine."""

    place: int
    is_sine: bool


Term = tuple[Factor, ...]  # a feature, as a product


class Features:
    """Computes features: columns, their one-hot categories, products and sines of them.

    The list of features takes what TensorFlow Playground offers, for any columns:

    - a column by its name; one of text stands for all its categories, `city=Paris` for one,
    - `sin x1`, and products of any of these: `x1*x2`, `x1*x1`, `x1*sin x2`, `size*city`,
    - `inputs`: every column; of those that hold numbers, `squares`: each times itself,
      `products`: each pair, `sines`: the sine of each.

    Attributes:
        columns: The C columns.
        names: The names of the D features.
    """

    def __init__(self, columns: Sequence[Column], features: Sequence[str] | None = None) -> None:
        """Takes the columns and the list of features; None for every column.

        Raises:
            ValueError: If a feature names no column, is there twice, or the list is empty.
        """
        self.columns = tuple(columns)
        self._encoded = [name for column in columns for name in _encoded(column)]  # E
        every: list[Term] = [(Factor(place, False),) for place in range(len(self._encoded))]
        terms = every if features is None else [t for text in features for t in self._terms(text)]
        self._terms_of = {self._name(term): term for term in terms}
        self.names = tuple(self._terms_of)
        names = [self._name(term) for term in terms]
        twice = [name for name in self.names if names.count(name) > 1]
        if twice or not names:
            what = f"has {', '.join(twice)} more than once" if twice else "stands for no feature"
            raise ArgumentError(f"features={show(features)}: {what}")

    @property
    def as_they_are(self) -> bool:
        """Whether the features are the columns, all of them numbers, in their order."""
        return self.names == tuple(column.name for column in self.columns)

    def __call__(self, x: Tensor) -> Tensor:
        """Columns [B, C], with NaN where a value is missing → features [B, D].

        A category that is none of the column's, given as −1, is none of its features.
        """
        encoded = self._encode(x)  # [B, E]
        if self.names == tuple(self._encoded):
            return encoded
        features = []
        for term in self._terms_of.values():
            factors = (
                encoded[:, f.place].sin() if f.is_sine else encoded[:, f.place] for f in term
            )
            features.append(math.prod(factors, start=torch.ones_like(x[:, 0])))
        return torch.stack(features, dim=1)

    def _encode(self, x: Tensor) -> Tensor:
        """Fills what is missing and makes one column per category: [B, C] → [B, E]."""
        if all(column.categories is None and column.fill is None for column in self.columns):
            return x
        parts = []
        for column, value in zip(self.columns, torch.split(x, 1, dim=1), strict=True):  # [B, 1]
            part = value
            if column.categories is not None:
                codes = torch.arange(len(column.categories)).to(value)
                part = torch.where(value.isnan(), value, (value == codes).to(value))
            if column.fill is not None:
                part = torch.where(part.isnan(), part.new_tensor(column.fill), part)
            parts.append(part)
        return torch.cat(parts, dim=1)

    def _terms(self, text: str) -> Iterator[Term]:
        """The features that an item of the list stands for."""
        if text in WORDS and not self._places(text):
            numbers = [column.name for column in self.columns if column.categories is None]
            linear = [Factor(self._encoded.index(name), False) for name in numbers]
            terms: dict[str, Iterable[Term]] = {
                "inputs": ((Factor(place, False),) for place in range(len(self._encoded))),
                "squares": ((factor, factor) for factor in linear),
                "products": combinations(linear, 2),
                "sines": ((Factor(factor.place, True),) for factor in linear),
            }
            yield from terms[text]
            return
        whole = self._factors(text)
        parts = [whole] if whole else [self._factors(part.strip()) for part in text.split("*")]
        if not all(parts):
            names = [column.name for column in self.columns]
            near = nearest(text, [*names, *WORDS])
            hint = f" did you mean {near}?" if near else ""
            raise ArgumentError(
                f"features={text}: no such column;{hint} allowed: {', '.join(names)}, "
                f"products as {names[0]}*{names[-1]}, sin {names[0]}, or {', '.join(WORDS)}"
            )
        yield from product(*parts)

    def _factors(self, text: str) -> list[Factor]:
        """What a name or the sine of one stands for; nothing where there is no such column."""
        found = [Factor(place, False) for place in self._places(text)]
        if not found and text.startswith("sin "):
            found = [
                Factor(place, True) for place in self._places(text.removeprefix("sin ").strip())
            ]
        return found

    def _places(self, name: str) -> list[int]:
        """Where a column stands among the encoded ones; one of text in several places."""
        if name in self._encoded:
            return [self._encoded.index(name)]
        wanted = [own for c in self.columns if c.name == name for own in _encoded(c)]
        return [self._encoded.index(own) for own in wanted]

    def _name(self, term: Term) -> str:
        parts = (
            f"sin {self._encoded[f.place]}" if f.is_sine else self._encoded[f.place] for f in term
        )
        return "*".join(parts)


def _encoded(column: Column) -> list[str]:
    if column.categories is None:
        return [column.name]
    return [f"{column.name}={category}" for category in column.categories]


def learn_columns(table: Table, rows: Tensor) -> tuple[list[Column], Tensor]:
    """What the training rows say of a table's columns: the categories that exist, and means.

    A missing value is given the mean of what the network would see: of a column of text that is the
    share of each category.

    Args:
        table: The table.
        rows: The training rows.

    Returns:
        The columns, and the table's rows with their categories numbered anew [n, C], −1 for one
        that no training row has.

    Raises:
        ValueError: If a value is missing and no training row has one to learn from.
    """
    if not table.categories and not table.fill:  # nothing to learn
        return [Column(name) for name in table.columns], table.x
    columns, x = [], table.x.clone()
    for index, name in enumerate(table.columns):
        values = table.x[:, index]
        known = values[rows]
        known = known[~known.isnan()]
        if table.fill and not len(known):
            raise ArgumentError(
                f"missing=mean: column {name} has no value in any training row; exclude it with "
                f"exclude=[{name}]"
            )
        categories, means = None, [known.double().mean().item()]
        if name in table.categories:
            seen, counts = torch.unique(known.long(), return_counts=True)
            categories = tuple(table.categories[name][code] for code in seen.tolist())
            means = (counts / counts.sum().double()).tolist()
            places = torch.full((len(table.categories[name]),), -1).to(values)
            places[seen] = torch.arange(len(seen)).to(values)
            x[:, index] = torch.where(values.isnan(), values, places[values.nan_to_num().long()])
        columns.append(Column(name, categories, tuple(means) if table.fill else None))
    return columns, x
