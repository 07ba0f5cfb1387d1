"""What surrounds a sweep: every job checked before anything trains, and what it came to."""

from __future__ import annotations

import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from hydra_plugins.neuronlab_population import Job
from neuronlab.build import build
from neuronlab.checks import check
from neuronlab.cohorts import cohort_key
from neuronlab.configs import flatten
from neuronlab.errors import ConfigError, SweepFailedError
from neuronlab.folders import program, short
from neuronlab.records import OVER, csv_lines, read_status, replace
from neuronlab.solo import prepare
from neuronlab.terminal import console, number, table

SEEDS = ("seed", "data.seed", "data.order_seed")  # what repeats a setting without changing it
BEST = 10  # settings that the closing table shows
RESULTS = "results.csv"
Setting = tuple[tuple[str, str], ...]  # swept keys with their values


def check_jobs(jobs: Sequence[Job]) -> list[tuple[Job, Exception]]:
    """Checks and builds every job of a sweep; trains and writes nothing.

    Jobs that differ in seeds alone are built once, cohorts get their Trainer and callbacks once.

    Returns:
        The jobs that cannot run, each with what is wrong.
    """
    bad: list[tuple[Job, Exception]] = []
    prepared: dict[str, ConfigError | None] = {}  # by what a cohort shares
    built: dict[str, ConfigError | None] = {}  # by everything but seeds
    for job in jobs:
        try:
            check(job.config)
            _check_record(job.config)
        except ConfigError as error:
            bad.append((job, error))
            continue
        cohort, leaves = cohort_key(job.config), dict(flatten(job.config))
        goes_on = job.config["ckpt_path"] is not None  # a checkpoint, which every number must fit
        if cohort not in prepared or goes_on:
            prepared[cohort] = _refusal(lambda: prepare(job.config, job.folder))  # noqa: B023 # called now
        setting = json.dumps([v for path, v in leaves.items() if path not in SEEDS], default=str)
        if setting not in built:
            built[setting] = _refusal(lambda: build(job.config))  # noqa: B023 # called now
        refusal = built[setting] or prepared[cohort]
        if refusal is not None:
            bad.append((job, refusal))
    return bad


def _refusal(make: Callable[[], object]) -> ConfigError | None:
    """What is refused when a job is built."""
    try:
        make()
    except ConfigError as error:
        return error
    except Exception:  # a run that raises has failed, which is no reason to refuse the others
        return None
    return None


def _check_record(config: Mapping[str, Any]) -> None:
    """Refuses a job that would leave nothing: a sweep could never tell that it is over."""
    if config["trainer"].get("fast_dev_run"):
        raise ConfigError("trainer.fast_dev_run: leaves no records, so it is for runs alone")
    loggers = (config.get("logger") or {}).values()
    if not any(node["_target_"] == "neuronlab.records.RunLogger" for node in loggers):
        raise ConfigError("logger: a sweep needs the records of logger=tensorboard or logger=csv")


@dataclass(frozen=True)
class Outcome:
    """What one run of a sweep came to.

    Attributes:
        run: The run's folder below that of the sweep.
        swept: The values of the keys in which the sweep's jobs differ.
        task: What its loss measures: runs of different tasks cannot be compared.
        state: completed, diverged, failed, or unfinished.
        metrics: The final metrics; None where one is not finite.
        diverged_at_step: The step, where the run diverged.
        error: What was raised, where it failed.
        skipped: Whether it was complete before this sweep began.
    """

    run: str
    swept: Mapping[str, str]
    task: str
    state: str
    metrics: Mapping[str, float | None]
    diverged_at_step: int | None
    error: str | None
    skipped: bool


def close_sweep(jobs: Sequence[Job], folder: Path, seconds: float) -> None:
    """Writes `results.csv`, and prints what the sweep came to.

    Args:
        jobs: All jobs of the sweep.
        folder: The sweep's folder.
        seconds: How long it took.

    Raises:
        SweepFailedError: If runs failed.
    """
    outcomes = read_outcomes(jobs, folder, time.time() - seconds)
    write_results(outcomes, folder)
    print_closing(outcomes, folder, seconds)
    if any(outcome.state == "unfinished" for outcome in outcomes):
        arguments = [a for a in sys.argv if not a.startswith("hydra.sweep.dir=")]
        place = shlex.quote(f"hydra.sweep.dir={short(folder.resolve())}")
        command = shlex.join([short(program("python")), *arguments])
        console.print(f"go on with: {command} {place}", markup=False, soft_wrap=True)
    failed = [outcome for outcome in outcomes if outcome.state not in OVER]
    if failed:  # of a sweep that was stopped, that it was stopped is what counts
        what = failed[0].error or "left no status; can its folder be written?"
        raise SweepFailedError(
            f"{len(failed)} of {len(outcomes)} runs failed, first {failed[0].run}: {what}"
        )


def read_outcomes(jobs: Sequence[Job], folder: Path, started: float) -> list[Outcome]:
    """Reads what each job came to from its `status.json`.

    Args:
        jobs: All jobs of the sweep.
        folder: The sweep's folder.
        started: When this sweep began, in seconds since 1970.
    """
    given = [dict(_split(override) for override in job.overrides) for job in jobs]
    keys = list(dict.fromkeys(key for one in given for key in one))
    keys = [key for key in keys if len({one.get(key) for one in given}) > 1]
    outcomes = []
    for job, one in zip(jobs, given, strict=True):
        status = read_status(job.folder)
        file = job.folder / "status.json"
        seen: dict[str, Any] = status or {"state": "unfinished", "metrics": {}}
        outcomes.append(
            Outcome(
                run=_below(job.folder, folder),
                swept={key: one.get(key, "") for key in keys},
                task=_task(job.config),
                state=seen["state"],
                metrics=seen["metrics"],
                diverged_at_step=seen.get("diverged_at_step"),
                error=seen.get("error"),
                skipped=status is not None and file.stat().st_mtime < started,
            )
        )
    return outcomes


def _task(config: Mapping[str, Any]) -> str:
    """A loss and the data it is of, as `bce of circle`."""
    loss, data = (config[k]["_target_"].rpartition(".")[2] for k in ("loss", "data"))
    scale = ", standardized" if config["data"].get("standardize") else ""
    return f"{loss} of {data.removeprefix('make_')}{scale}"


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _below(folder: Path, parent: Path) -> str:
    try:
        return str(folder.resolve().relative_to(parent.resolve()))
    except ValueError:
        return str(folder)


def write_results(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Writes `results.csv`: a row per run with every swept key, the state, every final metric."""
    keys = list(outcomes[0].swept) if outcomes else []
    tags = list(dict.fromkeys(tag for outcome in outcomes for tag in outcome.metrics))
    columns = ["run", *keys, "state", "diverged_at_step", "error", *tags]
    rows: list[dict[str, Any]] = [
        {
            "run": outcome.run,
            **outcome.swept,
            "state": outcome.state,
            "diverged_at_step": outcome.diverged_at_step,
            "error": outcome.error,
            **outcome.metrics,
        }
        for outcome in outcomes
    ]
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / RESULTS, csv_lines(rows, columns, header=True))


def print_closing(outcomes: Sequence[Outcome], folder: Path, seconds: float) -> None:
    """Prints the best settings, how many runs ended how, and where all is."""
    over = [outcome for outcome in outcomes if outcome.state in OVER]
    tasks = list(dict.fromkeys(outcome.task for outcome in over))
    for task in tasks:
        settings: dict[Setting, list[Outcome]] = {}
        for run in over:
            if run.task == task:
                setting = tuple((k, v) for k, v in run.swept.items() if k not in SEEDS)
                settings.setdefault(setting, []).append(run)
        console.print(settings_table(settings, f": {task}" if len(tasks) > 1 else ""))
    states = ("completed", "diverged", "failed", "unfinished")
    counts = {state: sum(o.state == state for o in outcomes) for state in states}
    skipped = sum(outcome.skipped for outcome in outcomes)
    parts = [
        f"{count} {state}" for state, count in counts.items() if count or state != "unfinished"
    ]
    parts.append(f"{skipped} skipped")
    console.print(f"runs         {', '.join(parts)} · {seconds:.1f} s")
    place = short(folder.resolve())
    command = shlex.join([short(program("tensorboard")), "--logdir", place])
    console.print(f"folder       {place}", soft_wrap=True, markup=False)
    console.print(f"results      {Path(place) / RESULTS}", soft_wrap=True, markup=False)
    console.print(f"TensorBoard  {command}", soft_wrap=True, markup=False)


def settings_table(settings: Mapping[Setting, Sequence[Outcome]], where: str) -> Table:
    """The best settings, by mean `val/loss` of the last epoch over seeds.

    Args:
        settings: The runs of each setting.
        where: What they have in common, for the title.
    """
    ranked = sorted(settings.items(), key=lambda item: _mean(item[1]))
    shown = f"best {BEST} of {len(ranked)} settings" if len(ranked) > BEST else "settings"
    names = [name for name, _ in ranked[0][0]]
    made = table(f"{shown} by mean val/loss of the last epoch{where}", "", *names)
    for column in ("val/loss", "± sd", "runs", "diverged"):
        made.add_column(column, justify="right")
    for rank, (setting, runs) in enumerate(ranked[:BEST], start=1):
        losses = _losses(runs)
        mean = number(statistics.fmean(losses)) if losses else "–"
        spread = number(statistics.stdev(losses)) if len(losses) > 1 else ""
        diverged = sum(run.state == "diverged" for run in runs)
        values = [value for _, value in setting]
        made.add_row(str(rank), *values, mean, spread, str(len(runs)), str(diverged or ""))
    return made


def _losses(runs: Sequence[Outcome]) -> list[float]:
    """The final losses of runs that did not diverge."""
    losses = (run.metrics.get("val/loss") for run in runs if run.state == "completed")
    return [loss for loss in losses if loss is not None]


def _mean(runs: Sequence[Outcome]) -> float:
    """The mean loss of a setting; a diverged run makes it worse than any that has none."""
    losses = _losses(runs)
    return statistics.fmean(losses) if len(losses) == len(runs) else math.inf
