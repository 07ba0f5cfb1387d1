"""The terminal: one console for everything that a run prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table


def make_console() -> Console:
    """As wide as the terminal; without one rich would assume 80 columns and cut tables.

    It takes text as it is: `[x1]` is a list of features to us, and to rich a mark.
    """
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)


console = make_console()


@contextmanager
def silence() -> Iterator[None]:
    """Keeps runs from printing for a while: of hundreds nobody reads what each has to say."""
    console.quiet = True
    try:
        yield
    finally:
        console.quiet = False


def number(value: object) -> str:
    """A number as a person reads it: four significant digits, no 12-digit tails."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and 1000 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(title: str, *columns: str) -> Table:
    """An empty table: first column text, the others numbers."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right")
    return made
