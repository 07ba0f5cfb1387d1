"""Many runs as few: jobs are sorted into cohorts, and each cohort trains as one population."""

from __future__ import annotations

import functools
import os
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, Checkpoint

from hydra_plugins.neuronlab_population import Job
from neuronlab.build import build, build_data, build_learner
from neuronlab.callbacks import ForMany, ends_of_divergence
from neuronlab.checkpoints import MemberCheckpoints, MemberFiles
from neuronlab.checks import check
from neuronlab.cohorts import cohort_key, in_chunks, most_members, why_alone
from neuronlab.data import DataModule
from neuronlab.errors import ConfigError, RunFailedError, counted
from neuronlab.hparams import Chosen
from neuronlab.learner import Learner, net_maker
from neuronlab.learners import Member, Population
from neuronlab.metrics import metric_names
from neuronlab.progress import SweepProgress
from neuronlab.records import FLUSH_SECONDS, OVER, Record, RecordsLogger, State, read_status
from neuronlab.solo import (
    finished,
    make_callbacks,
    make_trainer,
    objective,
    record_failure,
    train_job,
)
from neuronlab.stack import StackedData
from neuronlab.summary import print_notes
from neuronlab.terminal import console, silence

Result = float | Exception


@dataclass
class Plan:
    """Which jobs train together.

    Attributes:
        cohorts: Jobs that train as one population, with what the first of them is built of.
        alone: Jobs that cannot, each with the reason.
    """

    cohorts: list[tuple[DataModule, Learner, list[Job]]] = field(default_factory=list)
    alone: list[tuple[Job, str]] = field(default_factory=list)


def train_many(jobs: Sequence[Job], max_members: int | None = None) -> list[Result]:
    """Trains jobs, as populations where that can be, and leaves each one's records in its folder.

    What is completed with an equal configuration is not trained again.

    Args:
        jobs: The jobs, their configurations checked.
        max_members: How many train at once at most; None for what memory allows.

    Returns:
        For each job the last epoch's `val/loss`, infinite where it diverged, or what it raised.

    Raises:
        KeyboardInterrupt: If it was stopped by hand; what has finished is kept.
    """
    done = {job.folder: finished(job.config, job.folder) for job in jobs}
    results: dict[Path, Result] = {f: objective(s) for f, s in done.items() if s is not None}
    # Two jobs with one folder are one run: what overrides name is all that they can differ in.
    todo = list({job.folder: job for job in jobs if job.folder not in results}.values())
    if len(todo) < len(done):
        console.print(
            f"{len(done) - len(todo)} of {len(done)} runs are complete: not trained again"
        )
    if not todo:
        return [results[job.folder] for job in jobs]
    plan = make_plan(todo)
    _announce(todo, plan)
    work = sum(job.config["trainer"].get("max_epochs") or 1 for job in todo)
    with SweepProgress(work) as progress:
        for index, (data, learner, cohort) in enumerate(plan.cohorts, start=1):
            progress.name = f"cohort {index} of {len(plan.cohorts)}"
            results |= _train_cohort(data, learner, cohort, max_members, progress)
        for index, (job, _) in enumerate(plan.alone, start=1):
            progress.name = f"alone {index} of {len(plan.alone)}"
            results[job.folder] = _train_alone(job, progress)
    return [results[job.folder] for job in jobs]


def make_plan(jobs: Sequence[Job]) -> Plan:
    """Sorts jobs into cohorts."""
    plan = Plan()
    made: dict[str, DataModule] = {}
    together: dict[str, list[Job]] = {}
    for job in jobs:
        try:
            check(job.config)  # not every sweeper has done so
        except ConfigError as error:
            plan.alone.append((job, str(error)))
        else:
            together.setdefault(cohort_key(job.config), []).append(job)
    for cohort in together.values():
        while cohort:
            try:
                data, learner = build(cohort[0].config, made)
            except Exception as error:  # alone it fails alone
                plan.alone.append((cohort.pop(0), f"{type(error).__name__}: {error}"))
                continue
            reason = why_alone(cohort[0].config, learner)
            if reason is None:
                plan.cohorts.append((data, learner, cohort))
            else:
                plan.alone += [(job, reason) for job in cohort]
            break
    return plan


def _announce(todo: Sequence[Job], plan: Plan) -> None:
    """Says what is about to be trained, and why what trains alone does."""
    before = [read_status(job.folder) for job in todo]
    changed = sum(status is not None and status["state"] in OVER for status in before)
    if changed:
        console.print(f"complete with another configuration, trained again: {changed}")
    cohorts = counted(len(plan.cohorts), "cohort")
    console.print(f"{len(todo)} runs → {cohorts} + {len(plan.alone)} solo")
    print_notes(data for data, _, _ in plan.cohorts)
    for reason, count in Counter(reason for _, reason in plan.alone).items():
        console.print(f"  {count} solo: {reason}", soft_wrap=True)


def _train_cohort(
    data: DataModule,
    template: Learner,
    jobs: Sequence[Job],
    max_members: int | None,
    progress: SweepProgress,
) -> dict[Path, Result]:
    """Trains a cohort in chunks that fit."""
    device = make_trainer(jobs[0].config, Path.cwd(), []).strategy.root_device
    size = 8 if "64" in str(jobs[0].config["trainer"].get("precision", 32)) else 4
    shape = (data.order.batch_size, len(data.table.x), size)
    most = max_members or most_members(template, *shape, device)
    results: dict[Path, Result] = {}
    for chunk in in_chunks(jobs, most):
        alike: dict[Any, list[tuple[Job, Member]]] = {}
        for job, member in _members(chunk, template, results):
            alike.setdefault(_shape(member), []).append((job, member))
        for members in alike.values():
            job, member = members[0]  # the features of one split need not be those of another
            own = build_learner(job.config, member.data)
            results |= _train_chunk(own, members, progress)
    return results


def _members(
    jobs: Sequence[Job], template: Learner, results: dict[Path, Result]
) -> Iterator[tuple[Job, Member]]:
    """Builds each job's data and weights; those that raise are recorded as failed, in `results`.

    Equal data are built once.
    """
    hparams = template.hparams
    make = functools.cache(
        lambda features: net_maker(hparams["model"], features, hparams["out_features"])
    )
    tables: dict[str, Any] = {}
    for job in jobs:
        try:
            job.save()
            data = build_data(job.config["data"], tables)
            net = make(len(data.features.names))(job.config["seed"])
            weights = {name: weight.detach() for name, weight in net.named_parameters()}
        except Exception as error:
            results[job.folder] = _failed(job, error)
        else:
            yield job, Member(job.config, data, weights)


def _failed(job: Job, error: Exception) -> Exception:
    """Records a run that raised, where its folder can be written."""
    try:
        return record_failure(job.config, job.folder, _chosen(job), error)
    except OSError as unwritable:
        return unwritable


def _chosen(job: Job) -> Chosen:
    return Chosen(job.options, job.overrides)


def _shape(member: Member) -> tuple[Any, ...]:
    """What members of one stack must have in common beside their configuration."""
    task = member.data.table.task
    return tuple(
        (one.x.shape, one.y.shape, metric_names(task, one.y)) for one in member.data.rows.values()
    )


def _train_chunk(
    template: Learner, members: Sequence[tuple[Job, Member]], progress: SweepProgress
) -> dict[Path, Result]:
    """Trains members as one population; in halves where memory does not suffice, else alone."""
    try:
        return _fit(template, members, progress)
    except Exception as error:
        lacks_memory = _is_out_of_memory(error)
        reason = "memory does not suffice" if lacks_memory else f"{type(error).__name__}: {error}"
        if not lacks_memory:
            traceback.print_exc()  # most likely a slip of ours: it should be seen
    if lacks_memory and len(members) > 1:
        console.print(f"{reason} for {len(members)} runs at once: two halves are tried")
        half = len(members) // 2
        first = _train_chunk(template, members[:half], progress)
        return first | _train_chunk(template, members[half:], progress)
    console.print(f"{len(members)} runs train alone: {reason}", soft_wrap=True)
    return {job.folder: _train_alone(job, progress) for job, _ in members}


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in text


def _fit(
    template: Learner, members: Sequence[tuple[Job, Member]], progress: SweepProgress
) -> dict[Path, Result]:
    """Trains members as one population and finishes their records."""
    started = time.monotonic()
    jobs = [job for job, _ in members]
    config = jobs[0].config
    (logger,) = config["logger"].values()
    records = [Record(job.folder, tensorboard=logger.get("tensorboard", True)) for job in jobs]
    # A stack of one may take other kernels: it is stacked with itself.
    stacked = [member for _, member in members] * (2 if len(members) == 1 else 1)
    population = Population(template, stacked)
    folder = jobs[0].folder.parent
    trainer = make_trainer(
        {**config, "trainer": {**config["trainer"], "enable_progress_bar": False}},
        folder,
        [*_callbacks(config, template), progress.callback(len(jobs))],
        plugins=[MemberFiles(population)],
    )
    trainer.loggers = [RecordsLogger(folder, records, logger.get("flush_seconds", FLUSH_SECONDS))]
    data = StackedData([member.data for member in stacked], trainer.strategy.root_device)
    try:
        with _one_thread():
            trainer.fit(population, datamodule=data)
            diverged = ends_of_divergence(trainer, population)
            for index in diverged.keys() & set(range(len(records))):  # beside the lone one's twin
                records[index].ended = True  # it is not tested
            trainer.test(population, datamodule=data, verbose=False)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from stop
    seconds = (time.monotonic() - started) / len(jobs)  # a run's share
    results: dict[Path, Result] = {}
    for index, (job, record) in enumerate(zip(jobs, records, strict=True)):
        step = diverged.get(index)
        state: State = "completed" if step is None else "diverged"
        record.finish(state, job.config, _chosen(job), step=step, seconds=seconds)
        results[job.folder] = objective({"state": state, "metrics": record.metrics})
    return results


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps torch to one thread, unless the user has said how many.

    The operations of a population are many and short. Shared between threads they take more time
    of the processor, and on a machine that has other things to do each waits for the last thread.
    """
    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _callbacks(config: Mapping[str, Any], template: Learner) -> list[Callback]:
    """The callbacks of a configuration that a population has: those that only print stay out."""
    callbacks = make_callbacks(config, template)
    kept: list[Callback] = [callback for callback in callbacks if isinstance(callback, ForMany)]
    if any(isinstance(callback, Checkpoint) for callback in callbacks):
        kept.append(MemberCheckpoints())
    return kept


def _train_alone(job: Job, progress: SweepProgress) -> Result:
    """Trains a job as a run alone, whatever becomes of it."""
    trainer = {**job.config["trainer"], "enable_progress_bar": False}
    try:
        job.save()
        with silence():
            return train_job({**job.config, "trainer": trainer}, job.folder, _chosen(job))
    except RunFailedError as error:  # the record says so
        return error
    except Exception as error:
        return _failed(job, error)
    finally:
        progress.advance(job.config["trainer"].get("max_epochs") or 1)
