"""One job of a sweep as plain values, and what can be wrong with it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher

Overrides = tuple[str, ...]


class Texts(Mapping[str, str]):
    """File names and their texts, kept as pieces that the jobs of a sweep share."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Mapping[str, tuple[str, ...]]) -> None:
        """Takes the pieces of each text."""
        self._pieces = pieces

    def __getitem__(self, name: str) -> str:
        """The text of a file."""
        return "".join(self._pieces[name])

    def __iter__(self) -> Iterator[str]:
        """The names of the files."""
        return iter(self._pieces)

    def __len__(self) -> int:
        """The number of files."""
        return len(self._pieces)


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a sweep. Jobs share equal parts, so nothing in it may be changed.

    Attributes:
        number: `hydra.job.num`.
        overrides: The overrides of the task, as overrides.yaml lists them.
        options: The option of each configuration group.
        config: The task's configuration, resolved to plain values.
        folder: Its output directory.
        output_subdir: Where in its folder Hydra's files go, or None.
        files: Their names and texts, as Hydra would write them.
    """

    number: int
    overrides: Overrides
    options: Mapping[str, str | None]
    config: dict[str, Any]
    folder: Path
    output_subdir: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def save(self) -> None:
        """Writes config.yaml, hydra.yaml and overrides.yaml where Hydra would."""
        if self.output_subdir is None:
            return
        folder = self.folder / self.output_subdir
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            with open(folder / name, "w", encoding="utf-8") as file:
                file.write(text)


class SweepError(HydraException):
    """A sweep that cannot run, in one line."""


class BadJobsError(HydraException):
    """Jobs of a sweep that cannot run.

    Attributes:
        errors: The overrides of every such job, with what is wrong.
        total: How many jobs the sweep has.
        common: The overrides that all jobs share.
        composed: The jobs that could be composed, where that is what others could not.
    """

    def __init__(
        self,
        errors: Sequence[tuple[Overrides, Exception]],
        total: int,
        common: frozenset[str] = frozenset(),
        composed: Sequence[Job] = (),
    ) -> None:
        """Takes what is wrong, for how many jobs, the overrides that all share, and the rest."""
        self.composed = list(composed)
        self.errors = list(errors)
        self.total = total
        self.common = common
        shown = [f"  {self.label(job)}: {error}" for job, error in self.errors[:20]]
        more = [f"  and {len(self.errors) - 20} more"] if len(self.errors) > 20 else []
        summary = f"{len({job for job, _ in self.errors})} of {total} jobs cannot run:"
        super().__init__("\n".join([summary, *shown, *more]))

    def label(self, overrides: Overrides) -> str:
        """The overrides of a job that tell it from others."""
        own = [override for override in overrides if override not in self.common]
        return " ".join(own or overrides) or "no overrides"


class JobLauncher(Launcher):
    """A launcher that can take jobs that a sweeper has composed already."""

    @property
    @abstractmethod
    def takes_jobs(self) -> bool:
        """Whether it has use for them."""

    @abstractmethod
    def adopt(self, jobs: Mapping[tuple[Overrides, int], Job]) -> None:
        """Takes composed jobs, by the overrides they were given and their numbers."""
