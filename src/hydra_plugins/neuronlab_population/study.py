"""Optuna's sweeper with what sweeps have here: jobs are checked first, and a table closes it.

`hydra/sweeper=optuna` is an option of hydra-optuna-sweeper's. A file of that name cannot extend it,
since Hydra would hold the file against the option's schema; so a callback puts `StudySweeper` in
its place. The package is imported when a study begins: it is an optional dependency.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.neuronlab_population._composition import Composer, common, compose_all
from hydra_plugins.neuronlab_population._jobs import BadJobsError, Job, JobLauncher, SweepError

OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
STUDY = "hydra_plugins.neuronlab_population.study.StudySweeper"
RATE = "hydra.sweeper.max_failure_rate="


class WrapOptuna(Callback):
    """Replaces the sweeper of `hydra/sweeper=optuna`, and no other, by `StudySweeper`."""

    def __init__(
        self, check: str | None = None, close: str | None = None, seed: int | None = None
    ) -> None:
        """Keeps the options.

        Args:
            check: As that of `PopulationSweeperConf`; it gets each batch of trials.
            close: As that of `PopulationSweeperConf`; it gets the jobs of all trials.
            seed: The sampler's, where it takes one, none is given, and no storage keeps the study:
                the same command then asks for the same trials and goes on where it was stopped.
        """
        self.hooks = {"check": check, "close": close}
        self.seed = seed

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Changes the configuration, from which Hydra has not made a sweeper yet."""
        sweeper = config.hydra.sweeper
        if sweeper.get("_target_") != OPTUNA:
            return
        # The sampler is made by `StudySweeper`, so `_recursive_` is off.
        wrapped = {**sweeper, **self.hooks, "_target_": STUDY, "_recursive_": False}
        if wrapped["max_failure_rate"] == 0 and not any(
            line.startswith(RATE) for line in config.hydra.overrides.hydra
        ):
            wrapped["max_failure_rate"] = 1.0  # a failed trial is counted, and the study goes on
        # A study from a storage goes on by itself, and would draw what it has drawn already.
        if sweeper.storage is None and sweeper.sampler.get("seed", 0) is None:
            wrapped["sampler"] = {**sweeper.sampler, "seed": self.seed}
        with open_dict(config):
            config.hydra.sweeper = wrapped


class StudySweeper(Sweeper):
    """Hands a study to hydra-optuna-sweeper, and stands between it and the launcher."""

    def __init__(
        self, sampler: DictConfig, check: str | None = None, close: str | None = None, **study: Any
    ) -> None:
        """Keeps the options.

        Args:
            sampler: What makes Optuna's sampler.
            check: As that of `WrapOptuna`.
            close: As that of `WrapOptuna`.
            **study: What hydra-optuna-sweeper takes.
        """
        self.sampler = sampler
        self.check = check
        self.close = close
        self.study = study

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Makes the sampler, the study and the launcher.

        Raises:
            SweepError: If there would be no trials.
        """
        for key in ("n_trials", "n_jobs"):
            value = self.study[key]
            if not isinstance(value, int) or value < 1:  # Optuna's sweeper would never end
                raise SweepError(f"hydra.sweeper.{key}={value}: must be a whole number ≥ 1")
        # It would tell users of SQLAlchemy's next version; this Optuna has the one that suits it.
        os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")
        import optuna  # only now: it is optional, and takes a while
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper

        optuna.logging.set_verbosity(logging.WARNING)
        self.optuna = OptunaSweeper(sampler=instantiate(self.sampler), **self.study)
        self.optuna.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.config = config
        self._batches = _Batches(
            cast("Launcher", self.optuna.sweeper.launcher),
            Composer(hydra_context.config_loader, config),
            config,
            self.check,
        )
        self.optuna.sweeper.launcher = cast("Launcher", self._batches)

    def sweep(self, arguments: list[str]) -> None:
        """Runs a study.

        Args:
            arguments: The overrides of the command line.

        Raises:
            BadJobsError: If a trial cannot run; it ends the study.
            SweepError: If the trials cannot be told apart, or have no value.
        """
        assert self.config is not None
        started = time.perf_counter()
        # Resolved before jobs are composed, since they take over the time that it names.
        folder = Path(str(self.config.hydra.sweep.dir))
        try:
            self.optuna.sweep(arguments)
        except BaseException as stop:  # Ctrl-C, too: what is done is worth its table
            try:
                self._end(folder, started)
            except Exception as second:
                # Optuna stumbles over failed trials: too many, a grid's last, none that is best.
                bad_command = isinstance(stop, HydraException) or not isinstance(stop, Exception)
                if self._batches.failed and not bad_command:
                    raise  # that trials failed is what to say
                raise stop from second
            raise
        self._end(folder, started)

    def _end(self, folder: Path, started: float) -> None:
        jobs = list(self._batches.jobs.values())
        if self.close is not None and jobs:
            get_method(self.close)(jobs, folder, time.perf_counter() - started)


class _Batches:
    """The launcher as Optuna's sweeper sees it: what it launches is composed and checked first.

    Attributes:
        jobs: The jobs so far, by folder: trials with equal overrides are one job.
        failed: How many trials failed.
    """

    def __init__(
        self, launcher: Launcher, composer: Composer, config: DictConfig, check: str | None
    ) -> None:
        self._launcher = launcher
        self._composer = composer
        self._config = config
        self._check = check
        self.jobs: dict[Path, Job] = {}
        self.failed = 0

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Launches a batch of trials."""
        grid = [(tuple(one), n) for n, one in enumerate(job_overrides, start=initial_job_idx)]
        composed = compose_all(self._composer.compose, grid)
        jobs = list(composed.values())
        refused = get_method(self._check)(jobs) if self._check is not None else []
        if refused:
            own = [(job.overrides, error) for job, error in refused]
            raise BadJobsError(own, len(jobs), common(job.overrides for job in jobs))
        self._adopt(jobs)
        if isinstance(self._launcher, JobLauncher):
            self._launcher.adopt(composed)
        returns = self._launcher.launch(job_overrides, initial_job_idx)
        for overrides, done in zip(job_overrides, returns, strict=True):
            failed = done.status == JobStatus.FAILED
            value = None if failed else done.return_value  # that of a failed job raises
            if isinstance(value, float) and math.isnan(value):
                raise SweepError(f"{' '.join(overrides)}: has no value that a study could compare")
            self.failed += failed
        return returns

    def _adopt(self, jobs: Sequence[Job]) -> None:
        """Notes jobs; the first ones make the sweep's folder."""
        if not self.jobs:
            folder = Path(str(self._config.hydra.sweep.dir))
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self._config, folder / "multirun.yaml")
        for job in jobs:
            other = self.jobs.setdefault(job.folder, job)
            if other.config != job.config:
                raise SweepError(
                    f"hydra.sweep.subdir: must differ between jobs; {' '.join(other.overrides)} "
                    f"and {' '.join(job.overrides)} would both write to {job.folder}"
                )
