"""Launches the jobs of a sweep: one by one, or all at once by a function that takes many."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import (
    JobReturn,
    JobRuntime,
    JobStatus,
    configure_log,
    filter_overrides,
    run_job,
    setup_globals,
)
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig, open_dict

from hydra_plugins.neuronlab_population._composition import Composer, compose_all
from hydra_plugins.neuronlab_population._jobs import (
    Job,
    JobLauncher,
    Overrides,
    SweepError,
)

log = logging.getLogger(__name__)


# Hydra's scanner knows this module only after it has run, too late for dataclasses with annotations
# as strings: no `from __future__ import annotations` here.
@dataclass
class PopulationLauncherConf:
    """`hydra/launcher=population`.

    Attributes:
        vectorized: The dotted name of a function that takes a sequence of `Job` and returns, for
            each, its return value or the exception that it failed with; null calls the task
            function job by job. `hydra.job.chdir` and `hydra.job.env_set` belong to the task
            function: while many jobs train in one process they have no effect.
        max_members: How many jobs that function may treat as one, given to it as
            `max_members`; null leaves it to the function.
    """

    _target_: str = "hydra_plugins.neuronlab_population.launcher.PopulationLauncher"
    vectorized: str | None = None
    max_members: int | None = None


ConfigStore.instance().store(
    group="hydra/launcher",
    name="population",
    node=PopulationLauncherConf,
    provider="neuronlab_population",
)


class PopulationLauncher(JobLauncher):
    """Launches all jobs in this process."""

    def __init__(self, vectorized: str | None = None, max_members: int | None = None) -> None:
        """Keeps the options; the function is imported when it is needed."""
        self.vectorized = vectorized
        self.options = {} if max_members is None else {"max_members": max_members}
        self._composed: Mapping[tuple[Overrides, int], Job] = {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keeps what Hydra gives.

        Raises:
            SweepError: If `max_members` is below 2.
        """
        most = self.options.get("max_members", 2)
        if most < 2:
            raise SweepError(f"hydra.launcher.max_members={most}: must be a whole number ≥ 2")
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self._composer: Composer | None = None

    @property
    def takes_jobs(self) -> bool:
        """Whether it calls a function that takes many jobs."""
        return self.vectorized is not None

    def adopt(self, jobs: Mapping[tuple[Overrides, int], Job]) -> None:
        """Takes composed jobs, by the overrides they were given and their numbers."""
        self._composed = jobs

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs the jobs.

        Args:
            job_overrides: The overrides of each.
            initial_job_idx: The number of the first.

        Returns:
            What each returned. Those of `vectorized` carry no configurations: thousands of
            them would take gigabytes.

        Raises:
            BadJobsError: If `vectorized` is given and jobs cannot be composed.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        numbered = list(enumerate(map(tuple, job_overrides), start=initial_job_idx))
        if self.vectorized is None:
            log.info(f"Launching {len(numbered)} jobs locally")
            return [self._run(overrides, number) for number, overrides in numbered]
        return self._run_all(self.vectorized, numbered)

    def _run(self, overrides: Overrides, number: int) -> JobReturn:
        log.info(f"\t#{number} : {' '.join(filter_overrides(overrides))}")
        done = run_job(
            task_function=self.task_function,
            config=self._config(overrides, number),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.hydra_context,
        )
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return done

    def _run_all(
        self, vectorized: str, numbered: Sequence[tuple[int, Overrides]]
    ) -> list[JobReturn]:
        missing = [
            (overrides, n) for n, overrides in numbered if (overrides, n) not in self._composed
        ]
        if missing:
            if self._composer is None:
                self._composer = Composer(self.hydra_context.config_loader, self.config)
            composed = compose_all(self._composer.compose, missing)
        else:
            composed = {}
        composed |= {
            (overrides, n): self._composed[overrides, n]
            for n, overrides in numbered
            if (overrides, n) in self._composed
        }
        jobs = [composed[overrides, n] for n, overrides in numbered]
        callbacks = self.hydra_context.callbacks
        starts, ends = self._listens("on_job_start"), self._listens("on_job_end")
        configs = {n: self._config(overrides, n) for n, overrides in numbered if starts or ends}
        if starts:
            for config in configs.values():
                callbacks.on_job_start(config=config, task_function=self.task_function)
        results = get_method(vectorized)(jobs, **self.options)
        name = JobRuntime.instance().get("name")
        returns = []
        for job, result in zip(jobs, results, strict=True):
            failed = isinstance(result, Exception)
            done = JobReturn(
                overrides=list(job.overrides),
                working_dir=str(job.folder),
                task_name=name,
                status=JobStatus.FAILED if failed else JobStatus.COMPLETED,
            )
            done.return_value = result
            returns.append(done)
            if ends:
                callbacks.on_job_end(config=configs[job.number], job_return=done)
        return returns

    def _config(self, overrides: Overrides, number: int) -> DictConfig:
        config: DictConfig = self.hydra_context.config_loader.load_sweep_config(
            self.config, list(overrides)
        )
        with open_dict(config):
            config.hydra.job.id = number
            config.hydra.job.num = number
        return config

    def _listens(self, event: str) -> bool:
        """Whether a callback has its own idea of an event: composing for none would be slow."""
        return any(
            getattr(type(callback), event, None) is not getattr(Callback, event)
            for callback in self.hydra_context.callbacks.callbacks
        )
