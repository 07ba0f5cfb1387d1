"""What was run, in words and tables: how much, which grid, what failed, which configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from markupsafe import Markup

from neuronlab.configs import flatten
from neuronlab.errors import ConfigError, counted
from neuronlab.report.page import Section, part, table
from neuronlab.results import Results
from neuronlab.saved import read_config

STATES = ("completed", "diverged", "failed", "unfinished")
WRITTEN = 12  # values of a key that are written out
FOLDED = 10  # rows from which on a list is folded
LOOKED_AT = 6  # values of each key whose configurations are compared
ELSEWHERE = ("claims", "report")  # of a configuration: what the page shows in its own way


def headline(results: Results) -> str:
    """What was swept, how it ended and how long it took, in plain sentences."""
    runs = len(results.runs)
    seconds = f"{duration(results.runs['seconds'].sum())} of training"
    return f"{counted(runs, 'run')}{_made_of(results)}. {ended(results.runs)}; {seconds}."


def _made_of(results: Results) -> str:
    keys = list(results.setting_keys)
    if not keys:
        seeds = len(results.runs)
        return f" of one setting, which differ in {' and '.join(results.keys)}" if seeds > 1 else ""
    sizes = results.runs.groupby(keys, dropna=False).size()
    fewest, most = sizes.min(), sizes.max()
    repeats = "seed" if results.seed_keys else "run"
    each = counted(most, repeats) if fewest == most else f"{fewest} to {most} {repeats}s"
    settings = f"{counted(len(sizes), 'setting')} of {_listed(keys)}"
    return f": {settings}, {each} each"


def ended(runs: pd.DataFrame) -> str:
    """How runs ended, as `470 completed, 10 diverged`."""
    counts = {state: int((runs["state"] == state).sum()) for state in STATES}
    there = [f"{count} {state}" for state, count in counts.items() if count]
    if len(there) == 1 and len(runs) > 1:
        return f"All {there[0].split()[1]}"
    return ", ".join(there)


def duration(seconds: float) -> str:
    """A time as one says it: `0.3 s`, `33 s`, `4 min 5 s`, `2 h 3 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def what_was_run(results: Results) -> Section:
    """The grid, how runs ended, those that failed or are damaged, and the configuration."""
    html = [
        _grid(results),
        _states(results.runs),
        _failed(results.runs),
        _damaged(results.damaged),
        _configuration(results),
    ]
    folders = _listed([str(folder) for folder in results.folders])
    return Section("What was run", f"Read from {folders}.", html=Markup("").join(html))


def _grid(results: Results) -> Markup:
    if not results.keys:
        return Markup("")
    rows = []
    for key in results.keys:
        values = results.runs[key].drop_duplicates().sort_values()
        texts = [shown(value) for value in values]
        if not pd.api.types.is_numeric_dtype(values):
            texts.sort(key=lambda text: (text.count(","), text))  # lists by their length
        if len(texts) > WRITTEN:
            texts = [*texts[:3], "…", *texts[-2:]]
        rows.append((key, ", ".join(texts), str(len(values))))
    return table(("key", "values", "how many"), rows, words=2)


def shown(value: object) -> str:
    """A value of a swept key, as the command had it."""
    return f"{value:.10g}" if isinstance(value, float) else str(value) or "(none)"


def _states(runs: pd.DataFrame) -> Markup:
    there = [state for state in STATES if (runs["state"] == state).any()]
    groups = [(str(task), group) for task, group in runs.groupby("task", sort=False)]
    if len(groups) > 1:
        groups.append(("all", runs))
    rows = [
        (
            task,
            *(f"{(group['state'] == state).sum():,}" for state in there),
            duration(group["seconds"].sum()),
        )
        for task, group in groups
    ]
    return table(("task", *there, "training time"), rows)


def _failed(runs: pd.DataFrame) -> Markup:
    failed = runs[runs["state"] == "failed"]
    rows = [(run, error or "") for run, error in failed["error"].items()]
    return _list(counted(len(rows), "failed run"), ("run", "error"), rows)


def _damaged(damaged: Mapping[str, str]) -> Markup:
    rows = list(damaged.items())
    summary = f"{counted(len(rows), 'run')} that could not be read whole"
    return _list(summary, ("run", "what is wrong"), rows)


def _list(summary: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    if not rows:
        return Markup("")
    made = table(columns, rows, words=len(columns))
    return part("folded", summary, made) if len(rows) > FOLDED else part("below", summary, made)


def _configuration(results: Results) -> Markup:
    """The configuration of one run, with all lines marked in which runs differ."""
    configs = list(_some_configs(results))
    if not configs:
        return Markup("")
    leaves = [dict(flatten(config)) for config in configs]
    paths = dict.fromkeys(path for one in leaves for path in one)
    differ = {path for path in paths if any(one.get(path) != leaves[0].get(path) for one in leaves)}
    lines = list(_lines(configs[0], differ))
    summary = "Configuration" + (" of one run; marked lines differ between runs" if differ else "")
    return part("folded", summary, part("configuration", lines))


def _some_configs(results: Results) -> Iterator[dict[str, Any]]:
    """One run's configuration, and those of runs with other values, a few of each key."""
    runs = results.runs
    chosen = [run for run in runs.index if run not in results.damaged][:1]
    for key in results.keys:
        firsts = runs.index[~runs[key].duplicated()]
        step = max(1, len(firsts) // LOOKED_AT)
        chosen += list(firsts[::step])
    for run in dict.fromkeys(chosen):
        try:
            config = read_config(Path(run))
        except ConfigError:  # of which the list of damaged runs tells
            continue
        yield {key: value for key, value in config.items() if key not in ELSEWHERE}


def _lines(config: Mapping[str, Any], differ: set[str], above: str = "") -> Iterator[Any]:
    """YAML, line by line, each with whether runs differ in it."""
    indent = "  " * above.count(".")
    for key, value in config.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:", False
            yield from _lines(value, differ, f"{path}.")
        else:
            flow = None if isinstance(value, list) else False  # lists on one line
            text = yaml.safe_dump({key: value}, default_flow_style=flow, width=1000)
            for line in text.rstrip("\n").split("\n"):
                yield indent + line, path in differ


GLOSSARY = (
    ("run", "One training of one network, from its first weights to its last epoch."),
    (
        "seed",
        "The number that all chance of a run follows from: first weights, noise of the data, order "
        "of the rows. Another seed repeats the same experiment with other luck. Runs of one seed "
        "share that luck, whatever else they differ in.",
    ),
    ("setting", "One choice of everything that was varied, except seeds."),
    (
        "task",
        "The data and the loss that is measured on them. Losses of different tasks are measured on "
        "different scales, so they are not compared.",
    ),
    ("epoch, step", "An epoch shows every training row once; a step is one change of the weights."),
    (
        "train, val, test",
        "Three parts of the data. The network learns from train; settings are chosen by val; test "
        "is looked at only for what was chosen, so its numbers are not flattered by the choice.",
    ),
    ("loss", "How wrong the network is, as one number: lower is better."),
    (
        "mean",
        "The average over the seeds of a setting. Runs that diverged have no loss to average; they "
        "are counted beside it.",
    ),
    (
        "95 % interval",
        "Where the true mean probably lies. With other seeds the mean would come out a little "
        "different; intervals made this way contain the value that very many seeds would give "
        "in 95 of 100 experiments. Few seeds make wide intervals.",
    ),
    (
        "diverged",
        "The loss grew until it was no longer a number: the steps were too large. A result, not an "
        "accident, and it counts against the setting.",
    ),
    ("failed", "The run stopped with an error."),
    ("unfinished", "The run was stopped, or is still going on."),
    (
        "paired comparison",
        "Two choices are compared seed by seed, everything else being equal. The luck that both "
        "share cancels, so smaller differences become visible.",
    ),
    (
        "gradient norm",
        "How strongly the loss pulls at a group of weights. Near zero, the weights stand still.",
    ),
)


def glossary() -> Section:
    """The page's words, explained."""
    return Section("Words", html=part("glossary", GLOSSARY))
