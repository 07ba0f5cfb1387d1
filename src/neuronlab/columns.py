"""The columns of a table as a run takes them: which are numbers and which are text.

Letters: B rows, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass


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
