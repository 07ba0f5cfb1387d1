"""The loss over every two swept keys, as colors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from neuronlab.errors import counted
from neuronlab.report.comparisons import safe, short_value
from neuronlab.report.overview import shown
from neuronlab.report.panel import DIVERGED, SCALE, Panel, blank
from neuronlab.results import Results
from neuronlab.statistics import COMPLETED, summarize
from neuronlab.terminal import number

LOSS, REPORTED, TRAIN = "val/loss", "test/loss", "train/loss"
FAR = 1e3  # times the loss at the start: beyond, figures only tell that a loss is there
WRITTEN = 150  # cells up to which each has its number in it
DECADES = 2  # from so many on, colors are even in the logarithm


class Pair(NamedTuple):
    """Two keys, and the best setting of each cell.

    Attributes:
        x: The key of the horizontal axis.
        y: That of the vertical one.
        columns: Values of x, in order.
        rows: Values of y, in order.
        cells: A row per cell, as `summarize`, with `column` and `row`.
    """

    x: str
    y: str
    columns: list[Any]
    rows: list[Any]
    cells: pd.DataFrame


def heat_maps(results: Results) -> list[Panel]:
    """The mean final `val/loss` over every two swept keys.

    Where other keys are swept as well, each cell shows the setting of these that has the lowest
    mean `val/loss` in it; one of which a run diverged comes after all others.

    Args:
        results: Runs of one task.

    Returns:
        The panel `heat_map`; none where fewer than two keys make a setting, or no run is over.
    """
    keys = list(results.setting_keys)
    if len(keys) < 2 or LOSS not in results.runs:
        return []
    table = with_test(results.runs, keys)
    table = table[table["runs"] > 0]
    pairs = [_pair(table, *two) for two in itertools.combinations(keys, 2)]
    pairs = [pair for pair in pairs if len(pair.cells)]
    if not pairs:
        return []
    start = start_loss(results)
    figure = _figure(pairs, keys, FAR * start if start > 0 else math.inf)
    data = pd.concat([_data(pair, keys) for pair in pairs], ignore_index=True)
    return [Panel("heat_map", _title(table, keys), figure, data, _note(table, keys))]


def ordered(values: pd.Series) -> list[Any]:
    """The distinct values of a swept key: numbers ascending, lists by length, others as they come.

    Args:
        values: A column of `Results.runs`.
    """
    return sorted(values.drop_duplicates(), key=_place)  # stable: equal places as they come


def _place(value: object) -> tuple[float, tuple[float, ...]]:
    text = str(value)
    try:
        numbers = tuple(float(item) for item in text.strip("[]").split(",") if item.strip())
    except ValueError:
        return math.inf, ()
    return len(numbers) if "[" in text else 0, numbers


def start_loss(results: Results) -> float:
    """About where training starts: the median `train/loss` of the first epoch; NaN if unknown.

    Runs that diverged do not count, if there are others.

    Args:
        results: Runs of one task.
    """
    if TRAIN not in results.curves:
        return math.nan
    first = results.curves.drop_duplicates("run").set_index("run")[TRAIN].dropna()
    completed = first[results.runs["state"].reindex(first.index) == COMPLETED]
    return float((first if completed.empty else completed).median()) if len(first) else math.nan


def log_axis(low: float, high: float) -> dict[str, Any]:
    """The settings of a logarithmic axis over a range, with labels that fit.

    Args:
        low: Above 0.
        high: Above `low`.
    """
    decades = np.log10(high / low)
    every = "D1" if decades < 0.5 else "D2" if decades < 2.2 else int(np.ceil(decades / 8))
    plain = low >= 1e-4 and high <= 1e5
    return {
        "type": "log",
        "dtick": every,
        "tickformat": ".4~g" if decades < 2.2 else "",  # else plotly shortens 0.05 to 5
        "exponentformat": "none" if plain else "power",
        "range": [float(np.log10(low)), float(np.log10(high))],
    }


def color_ticks(low: float, high: float) -> dict[str, Any]:
    """The ticks of a color bar over logarithms to the base 10, labeled with the numbers themselves.

    Args:
        low: The smallest logarithm.
        high: The largest.
    """
    step = max(1, int(np.ceil((high - low) / 6)))
    powers = np.arange(np.ceil(low), np.floor(high) + 1, step)
    texts = [f"{10.0**power:g}" if -4 < power < 5 else f"1e{power:.0f}" for power in powers]
    if len(powers) < 2:
        powers = np.linspace(low, high, 3)
        texts = [f"{10.0**power:.2g}" for power in powers]
    return {"tickvals": powers.tolist(), "ticktext": texts}


def _pair(table: pd.DataFrame, first: str, second: str) -> Pair:
    """The best setting of each cell; the key with more values lies on the horizontal axis."""
    sizes = table[first].nunique(), table[second].nunique()
    x, y = (first, second) if sizes[0] > sizes[1] else (second, first)
    order = np.lexsort([table["mean"], table["diverged"] > 0])
    cells = table.iloc[order].drop_duplicates([x, y])
    columns, rows = ordered(table[x]), ordered(table[y])
    places = {
        "column": cells[x].map({value: place for place, value in enumerate(columns)}),
        "row": cells[y].map({value: place for place, value in enumerate(rows)}),
    }
    cells = cells.assign(**places).sort_values(["row", "column"])
    return Pair(x, y, columns, rows, cells)


def _figure(pairs: Sequence[Pair], keys: Sequence[str], limit: float) -> go.Figure:
    height = 150 + min(640, max(180, 44 * max(len(pair.rows) for pair in pairs)))
    margin = {"l": 64, "r": 16, "t": 52 if len(pairs) > 1 else 16, "b": 56}
    figure = blank(height, margin=margin, showlegend=False)
    for place, pair in enumerate(pairs):
        figure.add_trace(_colors(pair, keys, limit).update(visible=place == 0))
        figure.add_trace(_crosses(pair, keys).update(visible=place == 0))
    figure.update_xaxes(_axis(pairs[0].x, pairs[0].columns))
    figure.update_yaxes(_axis(pairs[0].y, pairs[0].rows))
    if len(pairs) > 1:
        add_menu(figure, _buttons(pairs))
    return figure


def add_menu(figure: go.Figure, buttons: Sequence[dict[str, Any]], **settings: Any) -> None:
    """Puts a menu above a figure, and plotly's own buttons where they do not lie over it.

    Args:
        figure: A figure with a margin of 44 pixels at the top, or more.
        buttons: As plotly has them.
        settings: Further settings of the menu.
    """
    place = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 7}}
    menu = {"buttons": list(buttons), **place, **settings}
    figure.update_layout(updatemenus=[menu], modebar={"orientation": "v"})


def _buttons(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    buttons = []
    for place, pair in enumerate(pairs):
        axes = {"xaxis": _axis(pair.x, pair.columns), "yaxis": _axis(pair.y, pair.rows)}
        layout = {
            f"{axis}.{name}": value
            for axis, settings in axes.items()
            for name, value in settings.items()
        }
        visible = [other == place for other in range(len(pairs)) for _ in range(2)]
        label = safe(f"{pair.y} by {pair.x}")
        buttons.append({"label": label, "method": "update", "args": [{"visible": visible}, layout]})
    return buttons


def _axis(key: str, values: Sequence[Any]) -> dict[str, Any]:
    step = -(-len(values) // 24)  # of many values every other one, or fewer, has a label
    return {
        "title.text": safe(key),
        "tickvals": list(range(0, len(values), step)),
        "ticktext": [safe(short_value(value)) for value in values[::step]],
        "range": [-0.5, len(values) - 0.5],
        "showgrid": False,
        "zeroline": False,
    }


def _grid(pair: Pair, values: Sequence[Any], empty: Any, kind: type) -> NDArray[Any]:
    grid: NDArray[Any] = np.full((len(pair.rows), len(pair.columns)), empty, dtype=kind)
    grid[pair.cells["row"], pair.cells["column"]] = values
    return grid


def _colors(pair: Pair, keys: Sequence[str], limit: float) -> go.Heatmap:
    cells = pair.cells
    means = _grid(pair, cells["mean"], np.nan, float)
    finite = means[np.isfinite(means)]
    log = bool(finite.size) and finite.min() > 0 and np.ptp(np.log10(finite)) > DECADES
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    # enormous losses of runs that all but diverged are as dark as those at the limit
    high = max(low, min(high, limit))
    title = {"text": LOSS, "side": "right", "font": {"size": 12}}
    bar: dict[str, Any] = {"thickness": 12, "title": title}
    if log:
        means, low, high = np.log10(means), float(np.log10(low)), float(np.log10(high))
        bar |= color_ticks(low, high)
        bar["title"]["text"] += " (log scale)"
    texts = [_text(row) for row in cells.to_dict("records")] if len(cells) <= WRITTEN else ""
    return go.Heatmap(
        z=means.astype(np.float32),
        zmin=low,
        zmax=high if high > low else low + 1,
        showscale=bool(high > low),
        colorscale=SCALE,
        reversescale=True,
        colorbar=bar,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        text=_grid(pair, texts, "", object),
        texttemplate="%{text}",
        hovertext=_grid(pair, _hover(pair, keys), "", object),
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _crosses(pair: Pair, keys: Sequence[str]) -> go.Scatter:
    """Cells without a color, since all their runs diverged."""
    gone = (pair.cells["mean"].isna() & (pair.cells["diverged"] > 0)).to_numpy()
    few = len(pair.columns) <= 6
    return go.Scatter(
        x=pair.cells["column"][gone],
        y=pair.cells["row"][gone],
        mode="markers+text" if few else "markers",
        marker={"symbol": "x-thin-open", "size": 9, "color": DIVERGED, "line": {"width": 2}},
        text="diverged",
        textposition="bottom center",
        hovertext=np.array(_hover(pair, keys), dtype=object)[gone],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _text(row: dict[Any, Any]) -> str:
    if np.isnan(row["mean"]):
        return ""
    lost = f"<br>✕ {row['diverged']}/{row['runs']}" if row["diverged"] else ""
    digits = "#.3g" if 1e-3 <= abs(row["mean"]) < 1e5 else ".1e"
    return f"{row['mean']:{digits}}".rstrip(".") + lost


def _hover(pair: Pair, keys: Sequence[str]) -> list[str]:
    rest = [key for key in keys if key not in (pair.x, pair.y)]
    texts = []
    for row in pair.cells.to_dict("records"):
        where = [safe(f"{key} {shown(row[key])}") for key in (pair.y, pair.x)]
        texts.append("<br>".join(where + facts(row, rest)))
    return texts


def facts(row: Mapping[Any, Any], rest: Sequence[str]) -> list[str]:
    """What a row of `summarize` tells of a setting, line by line, for a figure.

    Args:
        row: The row, with the mean of `test/loss` as `test`.
        rest: The keys by whose values the setting was chosen.
    """
    lines = []
    if not np.isnan(row["mean"]):
        lines.append(f"{LOSS} {number(row['mean'])}, mean of {counted(row['n'], 'run')}")
        if not np.isnan(row["low"]):
            lines.append(f"95 % interval {number(row['low'])} to {number(row['high'])}")
    if not np.isnan(row["test"]):
        lines.append(f"{REPORTED} {number(row['test'])}")
    if rest:
        chosen = ", ".join(f"{key} {shown(row[key])}" for key in rest)
        lines.append(safe(f"best of the rest: {chosen}"))
    if row["diverged"]:
        lines.append(f"{row['diverged']} of {counted(row['runs'], 'run')} diverged")
    return lines


def with_test(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The settings by their `val/loss`, with the mean of `test/loss` as `test`; see `summarize`."""
    table = summarize(runs, keys, LOSS)
    return table.assign(
        test=summarize(runs, keys, REPORTED)["mean"] if REPORTED in runs else np.nan
    )


def _data(pair: Pair, keys: Sequence[str]) -> pd.DataFrame:
    cells = pair.cells
    data = pd.DataFrame(
        {
            "x_key": pair.x,
            "y_key": pair.y,
            **{key: cells[key] for key in keys},
            **{f"{LOSS} {end}": cells[end] for end in ("mean", "low", "high")},
            "n": cells["n"],
            f"{REPORTED} mean": cells["test"],
            "runs": cells["runs"],
            "diverged": cells["diverged"],
        }
    )
    return data if data[f"{REPORTED} mean"].notna().any() else data.drop(columns=f"{REPORTED} mean")


def _title(table: pd.DataFrame, keys: Sequence[str]) -> str:
    best = table.iloc[np.lexsort([table["mean"], table["diverged"] > 0])[0]]
    if np.isnan(best["mean"]):
        return "All runs diverged"
    where = ", ".join(f"{key}={shown(best[key])}" for key in keys)
    return f"The lowest mean {LOSS}, {number(best['mean'])}, is at {where}"


def _note(table: pd.DataFrame, keys: Sequence[str]) -> str:
    notes = [f"Colors are the mean {LOSS} over seeds after the last epoch: the darker, the worse."]
    if len(keys) > 2:
        notes.append(
            "The menu chooses two keys. Of the others each cell has the best setting, chosen by "
            f"{LOSS}, which flatters it a little; {REPORTED}, in the hover text, had no part in it."
        )
    if table["diverged"].any():
        notes.append(
            "✕ 3/10: so many runs diverged, and the number is the mean of the others; a lone ✕: "
            "all diverged."
        )
    return " ".join(notes)
