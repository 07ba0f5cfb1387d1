"""Which value of a key is better, all else being equal; and how figures name such values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from neuronlab.comparison import Comparison, compare_all
from neuronlab.errors import counted
from neuronlab.report.overview import shown
from neuronlab.report.panel import DIVERGED, SYMBOLS, Panel, blank, color
from neuronlab.results import Results

METRIC = "test/loss"
LR = "optimizer.lr"
VALUES = 8  # of a key, at most: 28 comparisons
NUMBERS = 4  # values of a key that is a number, at most: more are a scale, not a choice
MARKS = 60  # in a figure; with more, only those of all tasks together are drawn
CLEAR = 0.05  # p-values below are called clear
DOUBLE = np.log10(2)  # decades; where a ratio goes beyond, all are drawn as factors
FARTHEST = 6.0  # decades that a ratio is drawn from the middle, at most
ALL = "all tasks"
LISTED = re.compile(r"\[([^],]+)((?:,\1)+)\]")  # [8,8,8]


class Compared(NamedTuple):
    """Comparisons of a key's values in runs of one task, or of all."""

    task: str
    found: list[Comparison]


def paired_comparisons(results: Results) -> list[Panel]:
    """How much the values of each key differ in `test/loss`, seed by seed.

    Keys of up to `VALUES` values are compared, numbers of up to `NUMBERS`, the learning rate never.
    With several tasks there are comparisons within each and over all; runs of different tasks are
    never compared.

    Args:
        results: Runs of one or several tasks.

    Returns:
        A panel `compared_<key>` for each key of which two values have a pair of runs.
    """
    if METRIC not in results.runs:
        return []
    panels = []
    for key in results.setting_keys:
        values = results.runs[key]
        most = NUMBERS if pd.api.types.is_numeric_dtype(values) else VALUES
        if key != LR and 2 <= values.nunique() <= most:
            compared = [one for one in _compared(results, key) if any(c.pairs for c in one.found)]
            if compared:
                panels.append(_panel(key, _better_first(compared)))
    return panels


def value_label(key: str, value: object, keys: Sequence[str] = ()) -> str:
    """A value of a swept key in short: `silu`, `lr 0.01`, `hidden [8]×10`.

    Args:
        key: The key; an option of a group speaks for itself.
        value: Its value.
        keys: All swept keys: one that ends as another does is written out.
    """
    leaf = key.rpartition(".")[2]
    if leaf == key and isinstance(value, str):
        return short_value(value)
    twins = [other for other in keys if other.rpartition(".")[2] == leaf]
    return f"{key if len(twins) > 1 else leaf} {short_value(value)}"


def short_value(value: object) -> str:
    """A value as figures show it: of `[8,8,8]`, `[8]×3`."""
    return LISTED.sub(lambda found: f"[{found[1]}]×{found[0].count(',') + 1}", shown(value))


def safe(text: str) -> str:
    """A text such that a figure shows it as it is: figures read a bit of HTML."""
    return escape(text, quote=False)


def _compared(results: Results, key: str) -> Iterator[Compared]:
    """The comparisons over all runs, then those within each task."""
    runs = results.runs
    within = runs.groupby("task")[key].nunique()
    tasks = [task for task in dict.fromkeys(runs["task"]) if within[task] > 1]
    several = runs["task"].nunique() > 1
    if len(tasks) > 1:  # pairs are equal in the task, too: a key may change the data
        yield Compared(ALL, compare_all(runs, (*results.keys, "task"), key, METRIC))
    for task in tasks:
        own = results.select(runs["task"] == task)
        if own.runs[METRIC].notna().any():
            yield Compared(task if several else "", compare_all(own.runs, own.keys, key, METRIC))


def _better_first(compared: Sequence[Compared]) -> list[Compared]:
    """The same, with pairs turned and sorted: in the first comparisons the better value is first.

    What is first most often comes first.
    """
    turn, first = {}, Counter[str]()
    for c in compared[0].found:
        worse = c.relative.value > 0 or (np.isnan(c.relative.value) and c.diverged_a > c.diverged_b)
        turn[c.a, c.b] = worse
        first[c.b if worse else c.a] += 1

    def place(c: Comparison) -> tuple[int, int]:
        return -first[c.a], -first[c.b]

    turned = [[_turned(c) if turn[c.a, c.b] else c for c in one.found] for one in compared]
    return [
        Compared(one.task, sorted((c for c in found if c.pairs), key=place))
        for one, found in zip(compared, turned, strict=True)
    ]


def _turned(c: Comparison) -> Comparison:
    """A comparison seen from the other side."""
    e, f = c.relative, c.difference
    with np.errstate(divide="ignore"):
        value, low, high = 1 / (1 + np.array([e.value, e.high, e.low])) - 1
    relative = replace(e, value=float(value), low=float(low), high=float(high))
    difference = replace(f, value=-f.value, low=-f.high, high=-f.low)
    sides: dict[str, Any] = {
        "a": c.b,
        "b": c.a,
        "diverged_a": c.diverged_b,
        "diverged_b": c.diverged_a,
    }
    return replace(c, relative=relative, difference=difference, wins=1 - c.wins, **sides)


def _panel(key: str, compared: Sequence[Compared]) -> Panel:
    data = pd.DataFrame([_row(one.task, c) for one in compared for c in one.found])
    if not data["task"].any():
        data = data.drop(columns="task")
    name = "compared_" + re.sub(r"\W+", "_", key)
    drawn = [compared[0]] if sum(len(one.found) for one in compared) > MARKS else list(compared)
    note = _note(drawn, compared)
    return Panel(name, _title(key, compared[0].found), _figure(key, drawn), data, note)


def _row(task: str, found: Comparison) -> dict[str, Any]:
    row: dict[str, Any] = {"task": task, "key": found.key, "a": found.a, "b": found.b}
    for kind, estimate in (("relative", found.relative), ("difference", found.difference)):
        ends = {"": estimate.value, " low": estimate.low, " high": estimate.high}
        row |= {f"{kind}{end}": value for end, value in ends.items()}
    row |= {"method": found.relative.method, "pairs": found.pairs, "seeds": found.seeds}
    row |= {"a better": found.wins, "p": found.p, "p_holm": found.p_holm}
    return row | {"diverged a": found.diverged_a, "diverged b": found.diverged_b}


def _title(key: str, found: Sequence[Comparison]) -> str:
    """What the comparisons say, those over all tasks where there are several."""
    values = list(dict.fromkeys(value for c in found for value in (c.a, c.b)))
    if len(values) == 2:
        return _sentence(found[0])
    wins = dict.fromkeys(values, 0)
    for c in found:
        wins[c.a] += c.p_holm < CLEAR and (_excludes_zero(c) or np.isnan(c.relative.value))
    most = max(wins.values())
    if not most:
        return f"No clear difference in {METRIC} between the {len(values)} values of {key}"
    best = [value_label(key, value) for value in values if wins[value] == most]
    others = len(values) - 1
    has = "has" if len(best) == 1 else "each have"
    fewer = f"all {others}" if most == others else f"{most} of the {others}"
    return f"{', '.join(best)} {has} a clearly lower {METRIC} than {fewer} others"


def _sentence(c: Comparison) -> str:
    a, b = (value_label(c.key, value) for value in (c.a, c.b))
    lost = ""
    if c.diverged_a or c.diverged_b:
        lost = f"; of {counted(c.pairs, 'pair')} {c.diverged_a} diverged under {a}, "
        lost += f"{c.diverged_b} under {b}"
    if np.isnan(c.relative.value):
        return f"{a} and {b} have no pair of runs whose {METRIC} can be compared{lost}"
    value, low, high = _ratio(c)
    if np.isnan(low):
        return f"{a}'s {METRIC} is {_percent(value)} {b}'s in the only pair of runs{lost}"
    if not _excludes_zero(c):
        text = f"No clear difference in {METRIC} between {a} and {b}"
        return f"{text}: {a}'s is {_percent(low, high)} {b}'s (95 % interval){lost}"
    if value < 1 / 3:
        text = f"{b}'s {METRIC} is {1 / value:.3g} times {a}'s"
        return f"{text} (95 % interval {1 / high:.3g} to {1 / low:.3g}){lost}"
    lower, least, most = (f"{100 * (1 - end):.2g}" for end in (value, high, low))
    text = f"{a}'s {METRIC} is {lower} % lower than {b}'s"
    return f"{text} (95 % interval {least} to {most} %){lost}"


def _ratio(c: Comparison) -> tuple[float, float, float]:
    """The loss of a over that of b, with its interval."""
    return 1 + c.relative.value, 1 + c.relative.low, 1 + c.relative.high


def _excludes_zero(c: Comparison) -> bool:
    return c.relative.low > 0 or c.relative.high < 0


def _percent(*ratios: float) -> str:
    """A ratio, or two as a range: `97 % of`, `97 to 103 % of`, `3.1 times`."""
    many = max(ratios) >= 3
    texts = [f"{ratio if many else 100 * ratio:.3g}" for ratio in ratios]
    return f"{' to '.join(texts)} {'times' if many else '% of'}"


def _figure(key: str, drawn: Sequence[Compared]) -> go.Figure:
    pairs = list(dict.fromkeys((c.a, c.b) for one in drawn for c in one.found))
    ratios = np.array([_ratio(c) for one in drawn for c in one.found]).ravel()
    logs = np.log10(ratios[np.isfinite(ratios) & (ratios > 0)]).clip(-FARTHEST, FARTHEST)
    logs = np.append(logs, 0)
    factors = bool(np.abs(logs).max() > DOUBLE)
    rows = len(drawn)
    figure = blank(110 + (14 + 16 * rows) * len(pairs) + 22 * rows, showlegend=rows > 1)
    for index, one in enumerate(drawn):
        upright = [
            pairs.index((c.a, c.b)) + (index - (rows - 1) / 2) * 0.8 / rows for c in one.found
        ]
        _add_marks(figure, one, index, upright, logs if factors else None)
    figure.update_yaxes(
        title=safe(key),
        tickvals=list(range(len(pairs))),
        ticktext=[safe(" vs ".join(map(short_value, pair))) for pair in pairs],
        range=[len(pairs) - 0.4, -0.6],
        zeroline=False,
        showgrid=False,
    )
    figure.update_xaxes(zeroline=True, zerolinewidth=2, tickangle=0)
    if factors:
        title = f"{METRIC}, first over second (log scale)"
        figure.update_xaxes(_factor_ticks(logs.min(), logs.max()), title=title)
    else:
        percents = np.append(100 * (ratios[np.isfinite(ratios)] - 1), 0)
        ends = _padded(percents.min(), percents.max())
        title = f"{METRIC}, first against second"
        figure.update_xaxes(range=ends, title=title, ticksuffix=" %")
    return figure


def _add_marks(
    figure: go.Figure,
    one: Compared,
    index: int,
    upright: Sequence[float],
    logs: NDArray[np.float64] | None,
) -> None:
    """Dots with intervals, and crosses where there is no ratio; `logs` spans an axis of factors."""
    ratios = np.array([_ratio(c) for c in one.found])  # [comparisons, 3]
    places = 100 * (ratios - 1)
    if logs is not None:
        with np.errstate(divide="ignore"):  # an interval may end at 0
            places = np.log10(ratios).clip(logs.min(), logs.max())
    there = ~np.isnan(places[:, 0])
    middle, low, high = np.where(there, places.T, 0)
    mark = SYMBOLS[index % len(SYMBOLS)]
    hues = [color(index) if drawn else DIVERGED for drawn in there]
    figure.add_scatter(
        x=middle,
        y=upright,
        name=safe(one.task),
        mode="markers",
        marker={
            "size": 9,
            "color": hues,
            "symbol": [
                "x" if not drawn else mark if _excludes_zero(c) else f"{mark}-open"
                for c, drawn in zip(one.found, there, strict=True)
            ],
            "line": {"width": 2, "color": hues},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": np.nan_to_num(high - middle),
            "arrayminus": np.nan_to_num(middle - low),
            "color": color(index),
            "thickness": 1.5,
            "width": 3,
        },
        hovertext=[_hover(c, one.task) for c in one.found],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _factor_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks of an axis of logarithms, labeled by what they multiply or divide by."""
    span = high - low
    powers = range(step := int(np.ceil(span / 5)), int(FARTHEST) + 1, step)
    factors = [2, 5] if span < 0.8 else [3, 10] if span < 1.7 else [10**power for power in powers]
    values, texts = [0.0], ["equal"]
    for factor in factors:
        values += [-float(np.log10(factor)), float(np.log10(factor))]
        texts += [f"÷ {factor:,}", f"× {factor:,}"]
    return {"tickvals": values, "ticktext": texts, "range": _padded(low, high)}


def _padded(low: float, high: float) -> list[float]:
    pad = 0.08 * (high - low) or 1.0
    return [float(low - pad), float(high + pad)]


def _hover(c: Comparison, task: str) -> str:
    a, b = (value_label(c.key, value) for value in (c.a, c.b))
    lines = [f"{a} vs {b}" + (f", {task}" if task else "")]
    if np.isnan(c.relative.value):
        lines.append(f"no pair in which both have a {METRIC} above 0")
    else:
        value, low, high = _ratio(c)
        lines.append(f"{METRIC} of {a} is {_percent(value)} {b}'s")
        if not np.isnan(low):
            lines.append(f"95 % interval: {_percent(low, high)} it")
    lines.append(f"{counted(c.pairs, 'pair')} of runs, {counted(c.seeds, 'seed')}")
    lines.append(f"{a} is better in {c.wins:.0%} of pairs")
    lines.append(f"p = {c.p_holm:.2g} (Wilcoxon's test, after Holm's correction)")
    if c.diverged_a or c.diverged_b:
        lines.append(f"diverged: {c.diverged_a} of {a}, {c.diverged_b} of {b}")
    return "<br>".join(map(safe, lines))


def _note(drawn: Sequence[Compared], compared: Sequence[Compared]) -> str:
    notes = [
        f"A pair is two runs that are equal in everything else, the seed included. Dots are means "
        f"over seeds of the ratio of their {METRIC}, bars 95 % intervals. Left of the line the "
        "first of two is better. Filled: the interval does not reach the line."
    ]
    found = [c for one in drawn for c in one.found]
    if any(c.diverged_a or c.diverged_b for c in found):
        notes.append(
            "Pairs of which a run diverged have no ratio; they count in the test and in who is "
            "better, not in the dots. A ✕ has no other pairs."
        )
    if len(drawn) < len(compared):
        notes.append("Drawn are all tasks together; the CSV has each task as well.")
    return " ".join(notes)
