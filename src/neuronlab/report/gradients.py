"""How strongly the loss pulls at each layer: gradient norms over epochs, and over depth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from neuronlab.measures import depth, first, gradient_norm
from neuronlab.report.comparisons import safe, short_value
from neuronlab.report.curves import (
    LOSS,
    add_curves,
    choose_settings,
    curve_data,
    epoch_axis,
    epochs_of,
    legend_room,
    numbered,
    setting_labels,
    thinned,
)
from neuronlab.report.heatmap import add_menu, color_ticks, log_axis
from neuronlab.report.lines import over
from neuronlab.report.panel import SCALE, Panel, blank
from neuronlab.results import Results
from neuronlab.statistics import rank
from neuronlab.terminal import number

PREFIX = "gradient_norm/"
FIRST = f"{PREFIX}layer1.weight"
HIDDEN = "model.hidden"
LAYERS = "hidden layers"
TOTAL = "norm of the whole gradient"
MAPS = 12  # settings to choose from
COLUMNS = 50  # epochs of a map
DECADES = 12  # of the color scale at most
BEYOND = 3  # decades above the first epochs' that colors still tell apart
LAYER = re.compile(r"layer(\d+)\.weight")


class Map(NamedTuple):
    """The gradient norms of a setting, by parameter and epoch.

    Attributes:
        label: The setting.
        parameters: The rows.
        epochs: The columns.
        logs: Means over runs of log₁₀ [parameters, epochs]; NaN where no run has one above 0.
        counts: Runs behind them, likewise.
    """

    label: str
    parameters: list[str]
    epochs: NDArray[np.int64]
    logs: NDArray[np.float64]
    counts: NDArray[np.int64]


def gradient_norms(results: Results) -> list[Panel]:
    """Norms of gradients by layer and epoch, of the whole gradient, and of the first layer's.

    Means are geometric, since norms differ by orders of magnitude; norms of 0 are left out.

    Args:
        results: Runs of one task.

    Returns:
        The panels `gradient_layers`, `gradient_total`, and where depth is swept `gradient_depth`;
        none where no run has recorded gradients.
    """
    columns = [name for name in results.curves if name.startswith(PREFIX)]
    if not columns or LOSS not in results.runs or not (results.curves[columns] > 0).any(axis=None):
        return []
    return [_layers(results, columns), _total(results), *_depth(results)]


def _layers(results: Results, columns: Sequence[str]) -> Panel:
    keys = list(results.setting_keys)
    table = _settings(results, keys)
    labels, common = setting_labels(table, keys)
    parameters = _parameters(columns)
    place = results.curves["run"].map(numbered(results, table)["setting"])
    maps = [
        _map(results.curves[place == setting], label, parameters)
        for setting, label in enumerate(labels)
    ]
    maps = [one for one in maps if one.parameters]
    data = pd.concat([_table(one) for one in maps], ignore_index=True)
    rows = "layers, the input's on top" if LAYER.fullmatch(parameters[0]) else "parameters"
    notes = [f"Rows are {rows}; colors are the gradient's norm, the geometric mean over seeds."]
    if len(maps) > 1:
        notes.append(f"The menu chooses a setting: {_choice(results, len(maps))}.")
    if common:
        notes.append(f"All of these: {common}.")
    return Panel("gradient_layers", _layers_title(maps), _heat(maps), data, " ".join(notes))


def _choice(results: Results, count: int) -> str:
    settings = len(results.runs[list(results.setting_keys)].drop_duplicates())
    if count == settings:
        return f"all are there, the best by {LOSS} first"
    return f"{count} of {settings} are there, the best by {LOSS} and the best of each option"


def _settings(results: Results, keys: Sequence[str]) -> pd.DataFrame:
    """The best settings, the best one of each option among them, best first."""
    ranked = rank(results.runs, keys, LOSS, ())
    ranked = ranked[ranked["runs"] > 0].reset_index(drop=True)
    options = [key for key in keys if not pd.api.types.is_numeric_dtype(ranked[key])]
    options.sort(key=lambda key: int(ranked[key].nunique()))
    firsts = [place for key in options for place in ranked.index[~ranked[key].duplicated()]]
    chosen = list(dict.fromkeys([0, *firsts, *ranked.index]))[:MAPS]
    return ranked.iloc[sorted(chosen)]


def _parameters(columns: Sequence[str]) -> list[str]:
    """The weights of layers from the first on; all parameters where layers have no numbers."""
    names = [column.removeprefix(PREFIX) for column in columns]
    numbers = {name: int(found[1]) for name in names if (found := LAYER.fullmatch(name))}
    return sorted(numbers, key=numbers.__getitem__) or names


def _map(curves: pd.DataFrame, label: str, parameters: Sequence[str]) -> Map:
    norms = curves[[PREFIX + name for name in parameters]].set_axis(list(parameters), axis=1)
    norms = norms.dropna(axis=1, how="all")  # layers that this setting does not have
    logs = np.log10(norms.where(norms > 0)).groupby(curves["epoch"])
    means, counts = logs.mean(), logs.count()
    places = thinned(len(means), COLUMNS)
    return Map(
        label,
        list(norms),
        means.index.to_numpy()[places],
        means.to_numpy()[places].T,
        counts.to_numpy()[places].T,
    )


def _table(one: Map) -> pd.DataFrame:
    rows, columns = one.logs.shape
    return pd.DataFrame(
        {
            "setting": one.label,
            "parameter": np.repeat(one.parameters, columns),
            "epoch": np.tile(one.epochs, rows),
            "gradient norm": 10 ** one.logs.ravel(),
            "n": one.counts.ravel(),
        }
    )


def _heat(maps: Sequence[Map]) -> go.Figure:
    several = len(maps) > 1
    most = max(len(one.parameters) for one in maps)
    margin = {"l": 64, "r": 16, "t": 52 if several else 16, "b": 56}
    figure = blank(140 + 36 * max(4, most), margin=margin, showlegend=False)
    low, high = _color_range(maps)
    bar = {
        "thickness": 12,
        "title": {"text": "norm (log scale)", "side": "right", "font": {"size": 12}},
    }
    axis = {
        "colorscale": SCALE,
        "cmin": low,
        "cmax": high,
        "colorbar": bar | color_ticks(low, high),
    }
    figure.update_layout(coloraxis=axis)
    for place, one in enumerate(maps):
        figure.add_heatmap(
            x=one.epochs,
            y=one.parameters,
            z=one.logs.astype(np.float32),
            customdata=(10**one.logs).clip(max=1e30).astype(np.float32),
            coloraxis="coloraxis",
            visible=place == 0,
            ygap=1,
            hoverongaps=False,
            hovertemplate="%{y}, epoch %{x}<br>gradient norm %{customdata:.4~g}<extra></extra>",
        )
    last = max(one.epochs[-1] for one in maps)
    figure.update_xaxes(
        title="epoch", showgrid=False, zeroline=False, dtick=1 if last < 8 else None
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    if several:
        buttons = [
            {
                "label": safe(one.label),
                "method": "restyle",
                "args": [{"visible": [other is one for other in maps]}],
            }
            for one in maps
        ]
        add_menu(figure, buttons)
    return figure


def _color_range(maps: Sequence[Map]) -> tuple[float, float]:
    """Decades that colors tell apart, the same for all settings; explosions would use them up."""
    logs = np.concatenate([one.logs.ravel() for one in maps])
    logs = logs[np.isfinite(logs)]
    begin = np.concatenate([one.logs[:, 0] for one in maps])
    begin = begin[np.isfinite(begin)]
    high = min(logs.max(), begin.max() + BEYOND) if begin.size else logs.max()
    low = max(logs.min(), high - DECADES)
    return float(low), float(max(high, low + 0.1))


def _layers_title(maps: Sequence[Map]) -> str:
    best = maps[0]
    who = f"{best.label}: the" if len(maps) > 1 else "The"
    texts = []
    for row in dict.fromkeys((0, len(best.logs) - 1)):
        begin, end = (number(float(10**log)) for log in best.logs[row, [0, -1]])
        texts.append(f"in {best.parameters[row]} from {begin} to {end}")
    return f"{who} gradient's norm goes {', '.join(texts)}"


def _total(results: Results) -> Panel:
    drawn = choose_settings(results)
    norms = gradient_norm(results)
    curves = results.curves[["run", "epoch", "step"]]
    rows = epochs_of(curves.assign(**{TOTAL: np.log10(norms.where(norms > 0))}), drawn, TOTAL)
    with np.errstate(over="ignore"):  # intervals of two runs may be absurd
        rows = rows.assign(**{end: 10 ** rows[end] for end in ("mean", "low", "high")})
    begin = rows.groupby("setting")["mean"].first()
    low, high = rows["mean"].min(), min(rows["mean"].max(), 10.0**BEYOND * begin.max())
    low = max(low, high / 10.0**DECADES)
    figure = blank(380 + legend_room(list(drawn.table["label"])))
    add_curves(figure, rows, drawn, floor=low / 1e3)
    wider = max((high / low) ** 0.05, 1.05)
    figure.update_xaxes(epoch_axis(rows["epoch"]))
    figure.update_yaxes(log_axis(low / wider, high * wider), title=f"{TOTAL} (log scale)")
    figure.update_layout(showlegend=len(drawn.table) > 1)
    best = rows[rows["setting"] == rows["setting"].iloc[0]]
    first_, last = best["mean"].iloc[0], best["mean"].iloc[-1]
    who = f"{best['label'].iloc[0]}: t" if len(drawn.table) > 1 else "T"
    way = "shrinks" if last < first_ else "grows"
    title = f"{who}he {TOTAL} {way} from {number(first_)} to {number(last)}"
    note = "Root of the sum of squares over all parameters, averaged over an epoch's steps each."
    note += " Lines are geometric means over runs"
    note += ", bands their 95 % intervals." if rows["low"].notna().any() else "."
    data = curve_data(drawn, rows, results.setting_keys)
    return Panel("gradient_total", title, figure, data, f"{note} {drawn.note}".strip())


def _depth(results: Results) -> list[Panel]:
    """The first layer's gradient over depth; of further keys, the best setting's values."""
    keys = results.setting_keys
    if HIDDEN not in keys or FIRST not in results.curves:
        return []
    by = "activation" if "activation" in keys else "task"
    others = [key for key in keys if key not in (HIDDEN, by)]
    best = rank(results.runs, keys, LOSS, ()).iloc[0]
    alike = np.logical_and.reduce([results.runs[key] == best[key] for key in others])
    chosen = results.select(pd.Series(alike, index=results.runs.index)) if others else results
    if depth()(chosen).nunique() < 2:
        return []

    def positive(results: Results) -> pd.Series:
        norms = first(FIRST)(results)
        return norms.where(norms > 0)

    name = "gradient norm of the first layer"
    panel = over(depth(), positive, by, LAYERS, name)(chosen)[0]
    if panel.data.empty:
        return []
    panel.figure.update_xaxes(dtick=1)
    panel.figure.update_layout(showlegend=by != "task")
    notes = ["Norms of the first epoch, geometric means over runs with 95 % intervals."]
    if others:
        said = ", ".join(f"{key} {short_value(best[key])}" for key in others)
        notes.append(f"All with {said}, as the best setting has it.")
    note = " ".join(notes)
    return [replace(panel, name="gradient_depth", title=_depth_title(panel.data, by), note=note)]


def _depth_title(data: pd.DataFrame, by: str) -> str:
    """By how much the gradient is weaker in the deepest network than in the shallowest."""
    ends = data[LAYERS].min(), data[LAYERS].max()
    found: dict[str, list[str]] = {}
    for value, rows in data.groupby(by, sort=False):
        means = rows.set_index(LAYERS)["mean"].reindex(ends)
        ratio = means.iloc[0] / means.iloc[1]
        if np.isfinite(ratio):
            times = number(float(f"{max(ratio, 1 / ratio):.2g}"))
            under = f" under {value}" if by != "task" else ""
            found.setdefault("shrinks" if ratio > 1 else "grows", []).append(f"{times}-fold{under}")
    ways = "; ".join(f"{way} {', '.join(each)}" for way, each in found.items())
    depths = f"From {ends[0]:.0f} to {ends[1]:.0f} hidden layers the first layer's gradient"
    return f"{depths} {ways or 'has no norm above 0'}"
