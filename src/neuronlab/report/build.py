"""From folders to pages: one for each experiment, and a front page where there are several."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from neuronlab.claims import judge, read_claims, verdict_table
from neuronlab.errors import ConfigError, counted, show, unknown
from neuronlab.folders import short
from neuronlab.report.contents import make_sections
from neuronlab.report.overview import duration, ended, headline
from neuronlab.report.page import Section, part, table, write_page
from neuronlab.report.verdicts import Judged, verdict_sections
from neuronlab.results import MULTIRUN, Results, find_sweeps, read_results
from neuronlab.saved import Loader
from neuronlab.terminal import console

KEYS = ("sweep", "output", "outputs")
PAGE = Path("report") / "index.html"
PROBLEMS = 5  # damaged runs that the terminal names


@dataclass(frozen=True)
class Experiment:
    """Sweeps that one page is about.

    Attributes:
        name: The experiment, or `sweep` where none was chosen.
        results: All runs.
        judged: What they say of the claims that the experiment carries.
        page: Where the page is.
    """

    name: str
    results: Results
    judged: Sequence[Judged]
    page: Path


def report(config: Mapping[str, Any]) -> None:
    """Writes the pages of sweeps, and says where they are.

    Args:
        config: `conf/report.yaml`, resolved to plain values.

    Raises:
        ConfigError: If a key or value is not allowed, or there are no runs.
        OSError: If a page cannot be written.
    """
    check_keys(config)
    folders = find_sweeps(config["sweep"], Path(config["outputs"]))
    output = None if config["output"] is None else Path(config["output"])
    together: dict[str, list[Path]] = {}
    for folder in folders:
        together.setdefault(experiment_of(folder), []).append(folder)
    alone = len(together) == 1
    experiments = []
    for name, places in together.items():
        results = read_results(places)
        page = output if alone and output else newest(places) / PAGE
        experiment = Experiment(name, results, judged(places, results), page)
        _write_sweep(experiment)
        experiments.append(experiment)
    if not alone:
        common = os.path.commonpath([folder.resolve() for folder in folders])
        _write_front(experiments, output or Path(common) / PAGE)
    found = in_order(experiments)
    if found:
        console.print()
        console.print(verdict_table([judgement for _, judgement, _ in found]))


def judged(folders: Sequence[Path], results: Results) -> list[Judged]:
    """What sweeps of one experiment say of its claims.

    Claims are read as the last command had them: the sweep's own configuration is written each
    time, also where no run is trained again.

    Args:
        folders: The sweeps.
        results: All their runs.
    """
    try:
        claims = read_claims(_multirun(newest(folders)))
    except ConfigError as error:
        for problem in error.problems:
            _say("no verdicts", problem)
        return []
    return [(name, judge(claim, results), results) for name, claim in claims.items()]


def in_order(experiments: Sequence[Experiment]) -> list[Judged]:
    """The judgements of all experiments, in the order of the lessons."""
    found = [one for experiment in experiments for one in experiment.judged]
    return sorted(found, key=lambda one: re.findall(r"\d+", one[1].claim.source))


def check_keys(config: Mapping[str, Any]) -> None:
    """Raises ConfigError unless keys and values are such as `conf/report.yaml` has them."""
    problems = [unknown(key, KEYS, "key") for key in config if key not in KEYS]
    sweep, output, outputs = (config.get(key) for key in KEYS)
    names = sweep if isinstance(sweep, list) else [sweep or ""]
    if not all(isinstance(one, str) for one in names):
        problems.append(f"sweep={show(sweep)}: must be a folder, a list of folders, or null")
    if output is not None and not str(output).endswith(".html"):
        problems.append(f"output={show(output)}: must be a file that ends in .html, or null")
    if not isinstance(outputs, str):
        problems.append(f"outputs={show(outputs)}: must be a folder")
    if problems:
        raise ConfigError(*problems)


def experiment_of(folder: Path) -> str:
    """The experiment that a sweep was chosen from; `sweep` where it was none."""
    try:
        return str(_multirun(folder)["hydra"]["runtime"]["choices"]["experiment"] or "sweep")
    except (KeyError, TypeError):
        return "sweep"


def _multirun(folder: Path) -> Mapping[str, Any]:
    """The configuration of a sweep as its last command had it; empty where it cannot be read."""
    try:
        node = yaml.load((folder / MULTIRUN).read_text("utf-8"), Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return node if isinstance(node, dict) else {}


def newest(folders: Sequence[Path]) -> Path:
    """The folder of the sweep that began last."""

    def began(folder: Path) -> float:
        file = folder / MULTIRUN
        return (file if file.exists() else folder).stat().st_mtime

    return max(folders, key=began)


def _write_sweep(experiment: Experiment) -> None:
    started = time.monotonic()
    results = experiment.results
    seconds = duration(results.runs["seconds"].sum())
    _say("sweep", f"{experiment.name} · {', '.join(short(path) for path in results.folders)}")
    _say("runs", f"{len(results.runs)}: {ended(results.runs).lower()} · {seconds} of training")
    for run, what in list(results.damaged.items())[:PROBLEMS]:
        _say("damaged", f"{run}: {what}")
    if len(results.damaged) > PROBLEMS:
        _say("", f"and {len(results.damaged) - PROBLEMS} more; the page lists all")
    sections = make_sections(results, verdict_sections(experiment.judged))
    write_page(experiment.page, experiment.name, headline(results), sections)
    _told(experiment.page, started)


def _write_front(experiments: Sequence[Experiment], path: Path) -> None:
    started = time.monotonic()
    rows = [
        (
            part("link", quote(_relative(one.page, path.parent)), one.name),
            f"{len(one.results.runs):,}",
            ended(one.results.runs),
            duration(one.results.runs["seconds"].sum()),
        )
        for one in experiments
    ]
    listed = table(("page", "runs", "ended", "training time"), rows)
    sections = verdict_sections(in_order(experiments))
    runs = sum(len(one.results.runs) for one in experiments)
    write_page(
        path,
        "Experiments",
        f"{counted(len(experiments), 'experiment')}, {counted(runs, 'run')}.",
        [*sections, Section("Pages", html=listed)],
    )
    _told(path, started)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _told(path: Path, started: float) -> None:
    bytes_ = path.stat().st_size
    size = f"{bytes_ / 1e6:.1f} MB" if bytes_ >= 1e5 else f"{bytes_ / 1e3:.0f} kB"
    _say("page", f"{short(path.resolve())} · {size} · {time.monotonic() - started:.1f} s")


def _say(what: str, text: str) -> None:
    console.print(f"{what:<13}{text}", soft_wrap=True)
