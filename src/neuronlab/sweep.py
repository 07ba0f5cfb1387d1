"""What surrounds a sweep: every job checked before anything trains, and what it came to."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from hydra_plugins.neuronlab_population import Job
from neuronlab.build import build
from neuronlab.checks import check
from neuronlab.cohorts import cohort_key
from neuronlab.configs import flatten
from neuronlab.data import DataModule
from neuronlab.errors import ConfigError, SweepFailedError
from neuronlab.folders import program, short
from neuronlab.records import OVER, replace
from neuronlab.solo import prepare
from neuronlab.swept import SEEDS
from neuronlab.terminal import console, number, table

if TYPE_CHECKING:  # pandas and SciPy come in when a sweep closes
    import pandas as pd

    from neuronlab.results import Results

BEST = 10  # settings that the closing table shows
LOSS = "val/loss"  # what ranks them
RESULTS = "results.csv"


def check_jobs(jobs: Sequence[Job]) -> list[tuple[Job, Exception]]:
    """Checks and builds every job of a sweep; trains and writes nothing.

    Jobs that differ in seeds alone are built once, cohorts get their Trainer and callbacks once.

    Returns:
        The jobs that cannot run, each with what is wrong.
    """
    bad: list[tuple[Job, Exception]] = []
    prepared: dict[str, ConfigError | None] = {}  # by what a cohort shares
    built: dict[str, ConfigError | None] = {}  # by everything but seeds
    made: dict[str, DataModule] = {}  # data that settings share
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
            prepared[cohort] = _refusal(lambda: _prepare(job))  # noqa: B023 # called now
        setting = json.dumps([v for path, v in leaves.items() if path not in SEEDS], default=str)
        if setting not in built:
            built[setting] = _refusal(lambda: build(job.config, made))  # noqa: B023 # called now
        refusal = built[setting] or prepared[cohort]
        if refusal is not None:
            bad.append((job, refusal))
    return bad


def _prepare(job: Job) -> None:
    """What a cohort shares: Trainer and callbacks, and the claims that its runs are for."""
    prepare(job.config, job.folder)
    if job.config.get("claims"):
        from neuronlab.claims import read_claims

        read_claims(job.config)


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


def close_sweep(jobs: Sequence[Job], folder: Path, seconds: float) -> None:
    """Writes `results.csv` and the means over seeds, and prints what the sweep came to.

    Args:
        jobs: All jobs of the sweep.
        folder: The sweep's folder.
        seconds: How long it took.

    Raises:
        SweepFailedError: If runs failed.
    """
    from neuronlab.aggregate import write_means
    from neuronlab.results import read_jobs

    began = time.time() - seconds
    events = any(_has_events(job.config) for job in jobs)
    results = read_jobs(jobs, folder, with_curves=events)
    write_results(results.runs, folder)
    means = write_means(results, folder) if events else None
    print_closing(results, folder, seconds, _skipped(results, began), means)
    states = results.runs["state"]
    if any((job.config.get("report") or {}).get("auto") for job in jobs):
        _write_page(folder)
    if (states == "unfinished").any():
        arguments = [a for a in sys.argv if not a.startswith("hydra.sweep.dir=")]
        place = shlex.quote(f"hydra.sweep.dir={short(folder.resolve())}")
        command = shlex.join([short(program("python")), *arguments])
        console.print(f"go on with: {command} {place}", soft_wrap=True)
    failed = results.runs[~states.isin(OVER)]
    if len(failed):  # of a sweep that was stopped, that it was stopped is what counts
        what = failed["error"].iloc[0] or "left no status; can its folder be written?"
        first = _below(Path(failed.index[0]), folder)
        raise SweepFailedError(f"{len(failed)} of {len(states)} runs failed, first {first}: {what}")


def _write_page(folder: Path) -> None:
    """Writes the sweep's page; where it cannot be written, the sweep stands all the same."""
    from neuronlab.report.build import report

    try:
        report({"sweep": str(folder), "output": None, "outputs": str(folder)})
    except (ConfigError, OSError) as error:
        console.print(f"no page: {error}", soft_wrap=True)


def _has_events(config: Mapping[str, Any]) -> bool:
    return any(node.get("tensorboard") for node in (config.get("logger") or {}).values())


def _skipped(results: Results, began: float) -> int:
    """How many runs were over before the sweep began."""
    over = results.runs.index[results.runs["state"] != "unfinished"]
    return sum((Path(run) / "status.json").stat().st_mtime < began for run in over)


def _below(folder: Path, parent: Path) -> str:
    try:
        return str(folder.resolve().relative_to(parent.resolve()))
    except ValueError:
        return str(folder)


def write_results(runs: pd.DataFrame, folder: Path) -> None:
    """Writes `results.csv`: a row per run with every swept key, the state, every final metric.

    Args:
        runs: The runs, as `read_jobs` gives them.
        folder: The sweep's folder.
    """
    written = runs.drop(columns=["task", "seconds"])
    written["diverged_at_step"] = written["diverged_at_step"].astype("Int64")  # as no float
    written.insert(0, "run", [_below(Path(run), folder) for run in runs.index])
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / RESULTS, written.to_csv(index=False, lineterminator="\r\n"))


def print_closing(
    results: Results, folder: Path, seconds: float, skipped: int, means: Path | None
) -> None:
    """Prints the best settings, how many runs ended how, and where all is.

    Args:
        results: All runs of the sweep.
        folder: The sweep's folder.
        seconds: How long it took.
        skipped: How many runs were over before it began.
        means: Where the means over seeds are, if there are any.
    """
    over = results.runs[results.runs["state"].isin(OVER)]
    tasks = over["task"].unique()
    for task in tasks:
        runs = over[over["task"] == task]
        where = f": {task}" if len(tasks) > 1 else ""
        console.print(settings_table(runs, results.setting_keys, where))
    counts = {
        state: int((results.runs["state"] == state).sum())
        for state in ("completed", "diverged", "failed", "unfinished")
    }
    parts = [
        f"{count} {state}" for state, count in counts.items() if count or state != "unfinished"
    ]
    parts.append(f"{skipped} skipped")
    console.print(f"runs         {', '.join(parts)} · {seconds:.1f} s")
    place = short(folder.resolve())
    lines = {"folder": place, "results": str(Path(place) / RESULTS), "TensorBoard": _board(folder)}
    if means is not None:
        lines["means"] = _board(means)
    script = str(Path(sys.argv[0]).with_name("report.py"))
    lines["report"] = shlex.join([short(program("python")), script, f"sweep={place}"])
    for name, line in lines.items():
        console.print(f"{name:<12} {line}", soft_wrap=True)


def _board(folder: Path) -> str:
    """The command that shows a folder in TensorBoard."""
    return shlex.join([short(program("tensorboard")), "--logdir", short(folder.resolve())])


def settings_table(runs: pd.DataFrame, keys: Sequence[str], where: str) -> Table:
    """The best settings, by mean `val/loss` of the last epoch over seeds.

    Args:
        runs: Runs that are over.
        keys: The keys that make a setting.
        where: What the runs have in common, for the title.
    """
    from neuronlab.statistics import rank

    if LOSS not in runs:  # all have diverged before they were validated
        runs = runs.assign(**{LOSS: float("nan")})
    ranked = rank(runs, keys, LOSS, reported=())
    shown = f"best {BEST} of {len(ranked)} settings" if len(ranked) > BEST else "settings"
    made = table(f"{shown} by mean {LOSS} of the last epoch{where}", "", *keys)
    for column in (LOSS, "95 % interval", "runs", "diverged"):
        made.add_column(column, justify="right")
    for _, row in ranked.head(BEST).iterrows():
        mean, low, high = (row[f"{LOSS} {end}"] for end in ("mean", "low", "high"))
        made.add_row(
            str(int(row["rank"])),
            *map(str, row[list(keys)]),
            "–" if math.isnan(mean) else number(mean),
            "" if math.isnan(low) else f"{number(low)} to {number(high)}",
            str(int(row["runs"])),
            str(int(row["diverged"]) or ""),
        )
    return made
