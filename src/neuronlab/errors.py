"""What a user did wrong, said in one line: what came, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ConfigError(ValueError):
    """A configuration that cannot run. Its message is one line per problem."""

    def __init__(self, *problems: str) -> None:
        """Takes one line per problem."""
        super().__init__("\n".join(problems))
        self.problems = problems


class ArgumentError(ValueError):
    """One argument that is not allowed; the message begins with `name=value`."""


class RunFailedError(RuntimeError):
    """A run that raised while training; its cause is what it raised."""


class SweepFailedError(RuntimeError):
    """A sweep of which runs failed; everything else of it stands."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raises unless an argument is allowed.

    The message begins with `name=value`, so that a caller who knows where the argument came from
    can put the path before it: `data.` + `noise=-1: must be …`.

    Args:
        condition: Whether the value is allowed.
        name: The argument's name.
        value: What came.
        allowed: What is allowed, as the end of a sentence that begins with "must be".

    Raises:
        ArgumentError: If the condition does not hold.
    """
    if not condition:
        raise ArgumentError(f"{name}={show(value)}: must be {allowed}")


def show(value: object) -> str:
    """A value as one writes it on the command line, so `null` for None and `true` for True."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(show(item) for item in value) + "]"
    return str(value)


def counted(count: int, what: str) -> str:
    """`1 run`, `2 runs`, `1,200 runs`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def some(values: Sequence[str], most: int = 10) -> str:
    """Values in one line, not too many of them, nor too long."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(" ".join(value.split())[:40] for value in values[:most]) + more


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that looks most like `name`, or None where none is near.

    A dotted name is also compared by its last part, so that `batch_size` finds `data.batch_size`.
    """
    leaf = name.rpartition(".")[2]
    by_leaf: dict[str, list[str]] = {}
    for candidate in valid:
        by_leaf.setdefault(candidate.rpartition(".")[2], []).append(candidate)
    # Names are compared by their last parts: what stands before the dot would make all siblings
    # alike. Of several that end alike, the one whose whole name is nearest is meant.
    found = difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.6)
    if found:
        return difflib.get_close_matches(name, by_leaf[found[0]], n=1, cutoff=0.0)[0]
    return None


def unknown(
    name: str,
    valid: Iterable[str],
    what: str,
    *,
    near: Iterable[str] | None = None,
    shown: str | None = None,
) -> str:
    """The line for a name that does not exist: what came, the nearest valid name, all of them.

    Args:
        name: What came.
        valid: What is allowed.
        what: What kind of thing the name should have named.
        near: Where to look for the nearest name, if not among `valid`.
        shown: How to show what came, if not by the name alone.
    """
    valid = sorted(valid)
    found = nearest(name, valid if near is None else near)
    hint = f" did you mean {found}?" if found is not None else ""
    return f"{shown or name}: no such {what};{hint} allowed: {', '.join(valid)}"
