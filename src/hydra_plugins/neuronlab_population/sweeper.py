"""Sweeps over a grid as Hydra's basic sweeper does, but checks all of it before anything runs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.utils import get_method
from omegaconf import OmegaConf

from hydra_plugins.neuronlab_population._composition import Composer, common, compose_all
from hydra_plugins.neuronlab_population._jobs import (
    BadJobsError,
    Job,
    JobLauncher,
    Overrides,
    SweepError,
)

Grid = list[tuple[Overrides, int]]


# Hydra's scanner knows this module only after it has run, too late for dataclasses with annotations
# as strings: no `from __future__ import annotations` here.
@dataclass
class PopulationSweeperConf:
    """`hydra/sweeper=population`.

    Attributes:
        max_batch_size: How many jobs the launcher gets at once; null for all.
        params: What to sweep over, as on the command line, which overrides it.
        check: The dotted name of a function that takes a sequence of `Job` before anything is
            written, and returns the jobs that cannot run, each with an exception.
        close: The dotted name of a function that ends a sweep, also one that was stopped. It
            takes the jobs, the sweep's folder, and the seconds that it took.
    """

    _target_: str = "hydra_plugins.neuronlab_population.sweeper.PopulationSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    check: str | None = None
    close: str | None = None


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="population",
    node=PopulationSweeperConf,
    provider="neuronlab_population",
)


class PopulationSweeper(BasicSweeper):
    """Hydra's basic sweeper, whose jobs are composed once and may fail without stopping it."""

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        check: str | None = None,
        close: str | None = None,
    ) -> None:
        """Keeps the options; see `PopulationSweeperConf`."""
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.check = check
        self.close = close

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Runs a grid.

        Args:
            arguments: The overrides of the command line.

        Returns:
            What each job of each batch returned.

        Raises:
            BadJobsError: If jobs cannot run; nothing has been written then.
            SweepError: If the sweep cannot: its batch size is wrong, or jobs share a folder.
            Exception: The first one of a job, if no `close` decides about failed ones.
        """
        assert self.config is not None
        assert self.launcher is not None
        size = self.max_batch_size
        if size is not None and size < 1:
            raise SweepError(
                f"hydra.sweeper.max_batch_size={size}: must be a whole number ≥ 1, or null for all"
            )
        started = time.perf_counter()
        # Resolved before jobs are composed, since they take over the time that it names.
        folder = Path(str(self.config.hydra.sweep.dir))
        try:
            grid, jobs = self._composed(self._parsed(arguments))
        except BadJobsError as bad:  # the others may have their faults, too
            raise BadJobsError(
                [*bad.errors, *self._refused(bad.composed)], bad.total, bad.common
            ) from bad
        refused = self._refused(jobs)
        if refused:
            raise BadJobsError(refused, len(jobs), common(job.overrides for job in jobs))

        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        try:
            returns = [
                self.launcher.launch([list(overrides) for overrides, _ in batch], batch[0][1])
                for batch in _batches(grid, size)
            ]
        except BaseException as stop:  # Ctrl-C, too: what is done is worth its table
            try:
                self._end(jobs, folder, started)
            except Exception as second:
                raise stop from second
            raise
        self._end(jobs, folder, started)
        if self.close is None:
            for done in (done for batch in returns for done in batch):
                _ = done.return_value  # raises that of a job that failed, as Hydra's own does
        return returns

    def _refused(self, jobs: list[Job]) -> list[tuple[Overrides, Exception]]:
        if self.check is None:
            return []
        return [(job.overrides, error) for job, error in get_method(self.check)(jobs)]

    def _end(self, jobs: list[Job], folder: Path, started: float) -> None:
        if self.close is not None:
            get_method(self.close)(jobs, folder, time.perf_counter() - started)

    def _parsed(self, arguments: list[str]) -> list[Override]:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides([*self._parse_config(), *arguments])

    def _composed(self, overrides: list[Override]) -> tuple[Grid, list[Job]]:
        """The grid with the overrides of each job, and the jobs where someone asks for them."""
        assert self.config is not None
        assert self.hydra_context is not None
        composer = Composer(self.hydra_context.config_loader, self.config)
        distinct = dict.fromkeys(map(tuple, self.split_arguments(overrides, None)[0]))
        if not distinct:
            given = [o.input_line for o in overrides if o.is_sweep_override()]
            raise SweepError(f"{' '.join(map(str, given))}: leaves no job; a sweep needs a value")
        grid = [(job, number) for number, job in enumerate(distinct)]
        vectorized = isinstance(self.launcher, JobLauncher) and self.launcher.takes_jobs
        wanted = vectorized or self.check is not None or self.close is not None
        while True:
            jobs: dict[tuple[Overrides, int], Job] = {}
            if wanted:
                jobs = compose_all(composer.compose, grid)
                folders = {key: job.folder for key, job in jobs.items()}
            else:  # a task may never look at values that cannot be resolved
                folders = compose_all(composer.folder, grid)
            shared = _shared(folders)
            if shared is None:
                break
            more = self._named(overrides)
            if more is None or more in grid[0][0]:
                one, other, folder = shared
                raise SweepError(
                    f"hydra.sweep.subdir: must differ between jobs; {' '.join(one)} and "
                    f"{' '.join(other)} would both write to {folder}"
                )
            grid = [((*job, more), number) for job, number in grid]
        if vectorized:
            assert isinstance(self.launcher, JobLauncher)
            self.launcher.adopt(jobs)
        return grid, list(jobs.values())

    def _named(self, overrides: list[Override]) -> str | None:
        """The override that lets names of jobs tell keys that are left out of them otherwise."""
        assert self.config is not None
        excluded = list(self.config.hydra.job.config.override_dirname.exclude_keys)
        swept = {override.key_or_group for override in overrides if override.is_sweep_override()}
        if not swept & set(excluded):
            return None
        keys = ",".join(key for key in excluded if key not in swept)
        return f"hydra.job.config.override_dirname.exclude_keys=[{keys}]"


def _batches(grid: Grid, size: int | None) -> Iterator[Grid]:
    step = size or max(len(grid), 1)
    for start in range(0, len(grid), step):
        yield grid[start : start + step]


def _shared(
    folders: Mapping[tuple[Overrides, int], Path],
) -> tuple[Overrides, Overrides, Path] | None:
    """The first two jobs with one folder."""
    owners: dict[Path, Overrides] = {}
    for (overrides, _), folder in folders.items():
        if folder in owners:
            return owners[folder], overrides, folder
        owners[folder] = overrides
    return None
