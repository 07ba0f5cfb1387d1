"""How the loss falls: a curve over epochs for each setting, with intervals.

The choice of the settings that are drawn, and their short names, serve other figures as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from neuronlab.errors import counted
from neuronlab.report.comparisons import safe, value_label
from neuronlab.report.heatmap import add_menu, log_axis, start_loss
from neuronlab.report.panel import Panel, blank, color, dash, faded
from neuronlab.results import Results
from neuronlab.statistics import bands, rank
from neuronlab.terminal import number

LOSS, TRAIN = "val/loss", "train/loss"
MOST = 10  # settings in a figure; more curves would only cover each other
POINTS = 200  # of a curve; a screen shows no more
FEW = 30  # points up to which each has a marker
FAR = 10  # times the loss at the start: what is beyond is out of the frame
WIDE = 20  # from this ratio of losses on, the axis is logarithmic at first


class Drawn(NamedTuple):
    """The settings that a figure draws.

    Attributes:
        table: A row per setting, best first: the swept keys, `label`, and the columns of `rank`.
        runs: Their runs; `setting` is the row of the table.
        settings: How many settings there are in all.
        note: Which ones are drawn, where not all are, and what they have in common.
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    settings: int
    note: str


def loss_curves(results: Results) -> list[Panel]:
    """The mean loss over epochs of each setting, and the accuracy or R² where there is one.

    Args:
        results: Runs of one task.

    Returns:
        The panels `loss_curves`, and `accuracy_curves` or `r2_curves`; none where no run has a
        `val/loss`.
    """
    if LOSS not in results.runs or LOSS not in results.curves:
        return []
    drawn = choose_settings(results)
    rows = epochs_of(results.curves, drawn, LOSS)
    if rows.empty:
        return []
    train = epochs_of(results.curves, drawn, TRAIN) if TRAIN in results.curves else rows[:0]
    train = train.assign(low=np.nan, high=np.nan)  # drawn without: two bands hide each other
    panels = [_loss_panel(results, drawn, rows, train)]
    for metric in ("val/accuracy", "val/r2"):
        if metric in results.curves and results.curves[metric].notna().any():
            panels.append(_metric_panel(results, drawn, metric))
            break
    return panels


def choose_settings(results: Results) -> Drawn:
    """All settings, or of many the best nine by `val/loss` and the worst that did not diverge.

    Args:
        results: Runs of one task, which have a `val/loss`.
    """
    keys = list(results.setting_keys)
    ranked = rank(results.runs, keys, LOSS, ())
    ranked = ranked[ranked["runs"] > 0].reset_index(drop=True)
    note, count = "", len(ranked)
    if count > MOST:
        calm = ranked.index[(ranked["diverged"] == 0) & ranked[f"{LOSS} mean"].notna()]
        worst = max(calm.max(), MOST - 1) if len(calm) else MOST - 1
        ranked = ranked.iloc[[*range(MOST - 1), worst]].reset_index(drop=True)
        which = f"the {MOST} with the lowest mean {LOSS} after the last epoch"
        if worst in calm:
            which = which.replace(str(MOST), str(MOST - 1), 1)
            which += ", and the worst of which no run diverged"
        note = f"{MOST} of {count} settings: {which}."
    labels, common = setting_labels(ranked, keys)
    if common:
        note += f" All of these: {common}."
    return Drawn(ranked.assign(label=labels), numbered(results, ranked), count, note.strip())


def numbered(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    """The runs of a table's settings, each with the row of its `setting`."""
    keys = list(results.setting_keys)
    runs = results.runs
    if not keys:
        return runs.assign(setting=0)
    places = table[keys].assign(setting=np.arange(len(table)))
    found = runs[keys].merge(places, on=keys, how="left")["setting"].to_numpy()
    return runs.assign(setting=found).dropna(subset="setting").astype({"setting": int})


def setting_labels(table: pd.DataFrame, keys: Sequence[str]) -> tuple[list[str], str]:
    """Short names of settings, from the keys in which they differ, as `silu, lr 0.01`.

    Args:
        table: A row per setting.
        keys: The swept keys.

    Returns:
        The names, and what all have in common.
    """
    differ = [key for key in keys if table[key].nunique(dropna=False) > 1]
    alike = [key for key in keys if key not in differ]
    labels = [
        ", ".join(value_label(key, row[key], keys) for key in differ) or "all runs"
        for row in table.to_dict("records")
    ]
    common = ", ".join(value_label(key, table[key].iloc[0], keys) for key in alike if len(table))
    return labels, common


def epochs_of(curves: pd.DataFrame, drawn: Drawn, metric: str) -> pd.DataFrame:
    """The mean of a metric over epochs, of each setting, thinned to `POINTS` epochs.

    Args:
        curves: As `Results.curves`.
        drawn: The settings.
        metric: A column of `curves`; epochs in which no run has a value are left out.

    Returns:
        `setting`, `label`, `metric`, `epoch`, `mean`, `low`, `high`, `n`.
    """
    table = bands(curves, drawn.runs, ["setting"], metric).dropna(subset="mean")
    kept = [rows.iloc[thinned(len(rows), POINTS)] for _, rows in table.groupby("setting")]
    table = pd.concat(kept, ignore_index=True) if kept else table
    labels = drawn.table["label"].to_numpy(dtype=object)
    table = table.assign(metric=metric, label=labels[table["setting"].astype(int)])
    return table[["setting", "label", "metric", "epoch", "mean", "low", "high", "n"]]


def thinned(count: int, most: int) -> NDArray[np.int64]:
    """At most so many places of so many, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def curve_data(drawn: Drawn, rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """What is drawn as one table, with the swept values in place of labels.

    Args:
        drawn: The settings.
        rows: From `epochs_of`.
        keys: The swept keys.
    """
    settings = drawn.table[list(keys)].iloc[rows["setting"]].reset_index(drop=True)
    rest = rows.drop(columns=["setting", "label"]).reset_index(drop=True)
    return pd.concat([settings, rest], axis=1)


def add_curves(
    figure: go.Figure, rows: pd.DataFrame, drawn: Drawn, *, dotted: bool = False, floor: float = 0
) -> None:
    """Draws a line per setting, with a band behind it where there are intervals.

    Args:
        figure: Where to.
        rows: From `epochs_of`.
        drawn: The settings, for names and colors.
        dotted: Whether this is the lesser of two metrics: dotted, and not in the legend.
        floor: What bands end at, since a logarithmic axis knows nothing below.
    """
    diverged = drawn.table[["diverged", "runs"]].to_numpy()
    for setting, own in rows.groupby("setting"):
        name = safe(own["label"].iloc[0])
        if diverged[setting, 0]:
            name += " (✕ {} of {})".format(*diverged[setting])
        group = str(setting)
        band = own.dropna(subset=["low", "high"])
        if len(band) > 1:
            edge = pd.concat([band["high"], band["low"].clip(lower=floor)[::-1]])
            figure.add_scatter(
                x=pd.concat([band["epoch"], band["epoch"][::-1]]).to_numpy(),
                y=packed(edge),
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=faded(color(setting), 0.15),
                legendgroup=group,
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=own["epoch"].to_numpy(),
            y=packed(own["mean"]),
            name=name,
            mode="lines+markers" if len(own) <= FEW and not dotted else "lines",
            line={
                "color": color(setting),
                "width": 1.5 if dotted else 2,
                "dash": "dot" if dotted else dash(setting),
            },
            marker={"size": 5},
            legendgroup=group,
            showlegend=not dotted,
            customdata=[within(row) for row in own.to_dict("records")],
            hovertemplate=f"{name}<br>epoch %{{x}}: {own['metric'].iloc[0]} %{{y:.4~g}}"
            "<br>%{customdata}<extra></extra>",
        )


def within(row: dict[Any, Any]) -> str:
    """The interval of a mean and what is behind it, in words."""
    runs = f"mean of {counted(row['n'], 'run')}" if row["n"] > 1 else "1 run"
    if not np.isfinite([row["low"], row["high"]]).all():
        return runs
    return f"95 % interval {number(row['low'])} to {number(row['high'])}, {runs}"


def packed(values: pd.Series) -> Any:
    """Numbers as a figure keeps them: in half the bytes, huge ones cut to what these can hold."""
    return values.to_numpy(dtype=float).clip(-1e30, 1e30).astype(np.float32)


def epoch_axis(epochs: pd.Series) -> dict[str, Any]:
    """The settings of an axis of epochs, with none between two of them.

    Args:
        epochs: What is drawn.
    """
    few = {"dtick": 1} if epochs.max() < 8 else {}
    return {"title": "epoch", "rangemode": "tozero", **few}


def legend_room(labels: Sequence[str]) -> int:
    """Pixels that a legend below a figure needs; about what a phone does."""
    return 22 * max(1, sum(max(1, len(label) // 22) for label in labels) // 2)


def _loss_panel(results: Results, drawn: Drawn, rows: pd.DataFrame, train: pd.DataFrame) -> Panel:
    both = pd.concat([rows, train], ignore_index=True)
    start = start_loss(results)
    positive = bool((both["mean"] > 0).all())
    low = float(both["mean"].min())
    high = float(both["mean"].max())
    top = min(high, FAR * start) if start > 0 else high
    figure = _empty(drawn, both["epoch"])
    floor = low / 1e3 if positive else -np.inf
    add_curves(figure, train, drawn, dotted=True, floor=floor)
    add_curves(figure, rows, drawn, floor=floor)
    least = min(0.0, low) if low < 0.3 * high else low
    most = min(high, 2 * start) if start > 0 else high
    pad = 0.04 * (most - least) or 0.05 * abs(most) or 1.0
    linear = {"type": "linear", "range": [least - pad, most + pad], "dtick": None}
    linear |= {"exponentformat": "B", "tickformat": ""}
    if positive and top > low:
        log = log_axis(low / (top / low) ** 0.04, top * (top / low) ** 0.04)
        _switch(figure, linear, log, first=top > WIDE * low)
    else:
        figure.update_yaxes(linear, title="loss")
    notes = [drawn.note]
    notes.append(f"{_lines(rows)}; solid or dashed: {LOSS}, dotted: {TRAIN} of the same setting.")
    if high > top or high > most:
        notes.append("Losses far above that of the start are out of the frame: zoom out for them.")
    if drawn.table["diverged"].any():
        notes.append("✕ 3 of 10: so many runs of a setting diverged; they count while finite.")
    data = curve_data(drawn, both, results.setting_keys)
    title = _loss_title(drawn, rows)
    return Panel("loss_curves", title, figure, data, " ".join(filter(None, notes)))


def _lines(rows: pd.DataFrame) -> str:
    """What lines and bands are."""
    lines = "Lines are means over runs" if (rows["n"] > 1).any() else "Lines are single runs"
    return lines + (", bands their 95 % intervals" if rows["low"].notna().any() else "")


def _switch(figure: go.Figure, linear: dict[str, Any], log: dict[str, Any], *, first: bool) -> None:
    """Buttons for a linear and a logarithmic axis; `first`: whether it begins with the latter."""
    kinds = {"linear": (linear, "loss"), "log": (log, "loss (log scale)")}
    figure.update_yaxes(log if first else linear, title=kinds["log" if first else "linear"][1])
    buttons = [
        {
            "label": label,
            "method": "relayout",
            "args": [
                {f"yaxis.{key}": value for key, value in axis.items()} | {"yaxis.title.text": title}
            ],
        }
        for label, (axis, title) in kinds.items()
    ]
    add_menu(figure, buttons, type="buttons", direction="right", active=int(first))


def _empty(drawn: Drawn, epochs: pd.Series) -> go.Figure:
    room = legend_room(list(drawn.table["label"]))
    figure = blank(400 + room, margin={"l": 64, "r": 16, "t": 44, "b": 56})
    figure.update_xaxes(epoch_axis(epochs))
    if len(drawn.table) == 1:
        figure.update_layout(showlegend=False)
    return figure


def _loss_title(drawn: Drawn, rows: pd.DataFrame) -> str:
    if len(drawn.table) > 1:
        best = drawn.table.iloc[0]
        mean = best[f"{LOSS} mean"]
        if np.isnan(mean):
            return "All runs diverged; their losses up to there"
        epochs = counted(int(rows.loc[rows["setting"] == 0, "epoch"].max()) + 1, "epoch")
        return f"{best['label']} ends lowest, at a mean {LOSS} of {number(mean)} after {epochs}"
    first, last = rows["mean"].iloc[0], rows["mean"].iloc[-1]
    way = "falls" if last < first else "rises" if last > first else "stays"
    begin, end = rows["epoch"].iloc[0], rows["epoch"].iloc[-1]
    return f"{LOSS} {way} from {number(first)} in epoch {begin} to {number(last)} in epoch {end}"


def _metric_panel(results: Results, drawn: Drawn, metric: str) -> Panel:
    rows = epochs_of(results.curves, drawn, metric)
    figure = _empty(drawn, rows["epoch"])
    figure.update_layout(margin_t=16)
    add_curves(figure, rows, drawn, floor=-np.inf)
    least, most = float(rows["mean"].min()), float(rows["mean"].max())
    bottom = max(least, -1.0)
    pad = 0.05 * (most - bottom) or 0.05
    figure.update_yaxes(title=metric, range=[bottom - pad, most + pad])
    notes = [drawn.note, f"{_lines(rows)}."]
    if metric == "val/r2":
        notes.append("R²: 1 is a perfect fit, 0 what guessing the mean would reach.")
    if least < bottom:
        notes.append("Values below −1 are out of the frame.")
    ends = rows.groupby("setting").tail(1)
    best = ends.loc[ends["mean"].idxmax()]
    title = f"{best['label']} ends highest, at a mean {metric} of {number(best['mean'])}"
    if len(drawn.table) == 1:
        title = f"{metric} ends at {number(best['mean'])}"
    name = f"{metric.partition('/')[2]}_curves"
    data = curve_data(drawn, rows, results.setting_keys)
    return Panel(name, title, figure, data, " ".join(filter(None, notes)))
