"""Lines with intervals: a number over another, a line per value of a swept key."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from neuronlab import statistics
from neuronlab.measures import Measure, values_of
from neuronlab.report.panel import Panel, blank, color, faded, symbol
from neuronlab.results import Results

Draw = Callable[[Results], list[Panel]]


def over(
    x: str | Measure, y: str | Measure, by: str, x_name: str, y_name: str, log_y: bool = True
) -> Draw:
    """The mean of a number per run over another, with 95 % intervals over seeds.

    Args:
        x: A swept key or a measure, on the horizontal axis.
        y: A metric or a measure, on the vertical axis.
        by: The swept key that has a line per value.
        x_name: What the horizontal axis is called.
        y_name: What the vertical axis is called.
        log_y: Whether the vertical axis is logarithmic; means are geometric then.
    """

    def draw(results: Results) -> list[Panel]:
        values = values_of(results, y).astype(float)
        runs = results.runs.assign(x=values_of(results, x), y=np.log10(values) if log_y else values)
        table = statistics.summarize(runs, [by, "x"], "y").dropna(subset="mean")
        data = pd.DataFrame({by: table[by], x_name: table["x"]})
        for column in ("mean", "low", "high"):
            data[column] = 10 ** table[column] if log_y else table[column]
        data[["n", "diverged"]] = table[["n", "diverged"]]
        title = f"{y_name.capitalize()} over {x_name}, by {by}"
        return [Panel("lines", title, _figure(data, by, x_name, y_name, log_y), data, NOTE)]

    return draw


def over_epochs(y: Measure, by: str, y_name: str, log_y: bool = True) -> Draw:
    """The mean of a number in each epoch, with 95 % intervals over seeds.

    Args:
        y: A measure that gives a number for each row of `curves`.
        by: The swept key that has a line per value.
        y_name: What the vertical axis is called.
        log_y: Whether the vertical axis is logarithmic; means are geometric then.
    """

    def draw(results: Results) -> list[Panel]:
        values = y(results).astype(float)
        curves = results.curves.assign(y=np.log10(values) if log_y else values)
        table = statistics.bands(curves, results.runs, [by], "y").dropna(subset="mean")
        data = pd.DataFrame({by: table[by], "epoch": table["epoch"]})
        for column in ("mean", "low", "high"):
            data[column] = 10 ** table[column] if log_y else table[column]
        data["n"] = table["n"]
        title = f"{y_name.capitalize()} over epochs, by {by}"
        return [Panel("lines", title, _figure(data, by, "epoch", y_name, log_y), data, NOTE)]

    return draw


NOTE = "Lines are means over seeds, bands their 95 % intervals."


def _figure(data: pd.DataFrame, by: str, x: str, y_name: str, log_y: bool) -> go.Figure:
    figure = blank(height=420)
    few = data[x].nunique() <= 30
    for index, (value, rows) in enumerate(data.groupby(by, sort=False)):
        rows = rows.sort_values(x)
        whole = rows.dropna(subset=["low", "high"])
        edge = pd.concat([whole["high"], whole["low"][::-1]])
        figure.add_scatter(
            x=pd.concat([whole[x], whole[x][::-1]]),
            y=edge,
            fill="toself",
            fillcolor=faded(color(index), 0.2),
            line_width=0,
            hoverinfo="skip",
            showlegend=False,
            legendgroup=str(value),
            mode="lines",
        )
        figure.add_scatter(
            x=rows[x],
            y=rows["mean"],
            name=str(value),
            legendgroup=str(value),
            mode="lines+markers" if few else "lines",
            line_color=color(index),
            marker_symbol=symbol(index),
            customdata=rows[["low", "high", "n"]],
            hovertemplate=f"{by} {value}<br>{x} %{{x}}<br>%{{y:.4g}} "
            "(%{customdata[0]:.3g} to %{customdata[1]:.3g}, n = %{customdata[2]})<extra></extra>",
        )
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=f"{y_name} (log scale)" if log_y else y_name)
    if log_y:
        figure.update_yaxes(
            type="log", exponentformat="power", dtick=1 if _decades(data) > 1.5 else None
        )
    figure.update_layout(legend_title_text=by)
    return figure


def _decades(data: pd.DataFrame) -> float:
    return float(np.log10(data["mean"].max() / data["mean"].min()))
