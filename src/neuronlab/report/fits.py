"""What the best and the worst run have learned, drawn beside the data.

Letters: n data rows, D features, K outputs, G places along one side of a plane.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from neuronlab.build import build_data
from neuronlab.data import ALL
from neuronlab.errors import ConfigError, counted
from neuronlab.pictures import CURVE_POINTS, EVEN, GRID_POINTS, Floats, as_grid, predicted, spread
from neuronlab.predict import load_learner
from neuronlab.report.asked import MOST_POINTS, Fit, asked, column_of
from neuronlab.report.overview import shown
from neuronlab.report.panel import DIVERGING, SCALE, Panel, blank, color, faded
from neuronlab.results import Results
from neuronlab.statistics import COMPLETED, DIVERGED
from neuronlab.terminal import number
from neuronlab.theory import noise_floor

BINS = 20  # of a histogram of probabilities
INK = "#14171c"  # on a colored plane, which is light in any theme


def best_and_worst(results: Results) -> list[Panel]:
    """What the runs with the lowest and the highest final `val/loss` make of their data.

    With one feature the curve among the points, with two the plane in color under them; with more,
    predicted values against true ones, or the probabilities that each class was given. A run whose
    checkpoint cannot be read is passed over, and the note says so.

    Args:
        results: Runs of one task.

    Returns:
        The panels `fit_best` and `fit_worst`; one if only one run can be drawn, or none.
    """
    runs = results.runs
    done = runs[runs["state"] == COMPLETED]
    if "val/loss" not in done:
        return []
    done = done[np.isfinite(done["val/loss"])]
    ranked = done.sort_values("val/loss", kind="stable").index
    best, worst = _first_readable(ranked), _first_readable(ranked[::-1])
    if best is None or worst is None:
        return []
    if best.run == worst.run:
        return [_panel(results, best, "fit_best", "The only run with answers")]
    count = f"of {counted(len(done), 'run')}"
    return [
        _panel(results, best, "fit_best", f"The best {count}"),
        _panel(results, worst, "fit_worst", f"The worst {count}"),
    ]


def _first_readable(runs: Iterable[str]) -> Fit | None:
    """The first of some runs that left a network, with its data."""
    passed_over: dict[str, str] = {}
    for run in runs:
        try:
            learner = load_learner(Path(run))
            data = build_data(learner.hparams["data"])
        except ConfigError as error:
            passed_over[run] = str(error)
        else:
            return Fit(run, learner, data, passed_over)
    return None


def _panel(results: Results, fit: Fit, name: str, which: str) -> Panel:
    points = asked(fit)
    figure, how = draw(fit, points)
    row = results.runs.loc[fit.run]
    setting = ", ".join(f"{key}={shown(row[key])}" for key in results.keys)
    losses = [f"{tag} {number(row[tag])}" for tag in ("val/loss", "test/loss") if tag in row]
    title = f"{which}{f', {setting}' if setting else ''}: {_score(row)}{', '.join(losses)}"
    return Panel(name, title, figure, points, " ".join([how, *_remarks(results, fit)]))


def draw(fit: Fit, points: pd.DataFrame) -> tuple[go.Figure, str]:
    """The figure that suits the data, and how to read it.

    Args:
        fit: The network and the data.
        points: The rows with its answers, as `asked` has them.
    """
    task, table = fit.data.table.task, fit.data.table
    if table.can_be_drawn:
        return (_curve if len(table.columns) == 1 else _plane)(fit, points)
    return _against(fit, points) if task == "regression" else _chances(fit, points)


def _score(row: pd.Series) -> str:
    """How good the answers are, in the measure of the task that a reader knows best."""
    right, explained = (float(row.get(f"test/{name}", np.nan)) for name in ("accuracy", "r2"))
    if np.isfinite(right):
        return f"{100 * right:.3g}% of test rows right, "
    return f"R² {number(explained)} on test rows, " if np.isfinite(explained) else ""


def _remarks(results: Results, fit: Fit) -> list[str]:
    """What a figure does not show."""
    remarks = []
    task, rows = fit.data.table.task, fit.data.rows["test"]
    floor = noise_floor(fit.learner.loss, task, rows)
    if floor is not None:
        remarks.append(f"The rule that made the data has a test/loss of {number(round(floor, 6))}.")
    if len(fit.data.rows["train"]) > MOST_POINTS:
        remarks.append(f"Of each kind of rows, {MOST_POINTS} are drawn at most.")
    diverged = int((results.runs["state"] == DIVERGED).sum())
    if diverged:
        have = "has" if diverged == 1 else "have"
        remarks.append(f"{counted(diverged, 'diverged run')} {have} no answers.")
    if fit.passed_over:
        reason = next(iter(fit.passed_over.values()))
        remarks.append(f"Passed over, without a network: {len(fit.passed_over)} ({reason}).")
    return remarks


def _curve(fit: Fit, points: pd.DataFrame) -> tuple[go.Figure, str]:
    """The network's curve among the points, for one feature."""
    table = fit.data.table
    feature = points.columns[1]
    binary = table.task == "binary"
    figure = blank(440)
    looks = {"train": (6, "circle", 5), "val": (4, "diamond", 7), "test": (0, "square", 7)}
    for rows, part in points.groupby("rows", sort=False):
        hue, shape, size = looks.get(rows, (6, "circle", 6))
        name = "data" if rows == ALL else f"{rows} rows"
        marker = {"color": color(hue), "symbol": shape, "size": size, "opacity": 0.8}
        figure.add_scatter(
            x=part[feature],
            y=part[column_of(table.target)],
            mode="markers",
            marker=marker,
            name=name,
        )
    if "rule" in points:
        rule = points.sort_values(feature)
        line = {"color": color(7), "dash": "dash", "width": 2}
        figure.add_scatter(x=rule[feature], y=rule["rule"], mode="lines", line=line, name="rule")
    x = spread(table.x[:, 0], CURVE_POINTS)
    line = {"color": color(1), "width": 3}
    y = predicted(fit.learner, x[:, None])[:, 0]
    figure.add_scatter(x=x.numpy(), y=y, mode="lines", line=line, name="network")
    figure.update_xaxes(title=feature)
    title = f"P({table.labels[1]})" if binary else table.target
    figure.update_yaxes(title=title, range=_near(points[column_of(table.target)].to_numpy(), y))
    dashed = " The dashed line is the rule that made the data." if "rule" in points else ""
    return figure, f"The solid line is what the network answers.{dashed}"


def _plane(fit: Fit, points: pd.DataFrame) -> tuple[go.Figure, str]:
    """The network's answers as colors of the plane under the points, for two features."""
    table = fit.data.table
    first, second = (spread(table.x[:, column], GRID_POINTS) for column in (0, 1))
    values = predicted(fit.learner, torch.cartesian_prod(first, second))  # [G², K]
    figure = blank(520)
    figure.update_layout(legend_itemsizing="constant", margin_t=64)
    plane = {"x": first.numpy(), "y": second.numpy(), "hoverinfo": "skip"}
    bar: dict[str, Any] = {"orientation": "h", "x": 0.5, "y": 1.02, "yanchor": "bottom", "len": 0.6}
    bar |= {"thickness": 10, "title": {"text": table.target, "side": "top"}, "outlinewidth": 0}
    if table.task == "regression":
        shown = {"coloraxis": "coloraxis", "zsmooth": "best"}
        figure.add_heatmap(z=as_grid(values[:, 0]), **shown, **plane)
        figure.update_layout(coloraxis={"colorscale": SCALE, "colorbar": bar})
        marker = {"color": points[column_of(table.target)], "coloraxis": "coloraxis", "size": 7}
        figure.add_scatter(
            x=points.iloc[:, 1], y=points.iloc[:, 2], mode="markers",
            marker=marker | {"line": {"color": INK, "width": 1}}, showlegend=False,
        )  # fmt: skip
        how = "The plane has the color of what the network answers, each point of what it is."
    else:
        if table.task == "binary":
            chance = f"P({table.labels[1]})"
            bar |= {"title": {"text": chance, "side": "top"}, "tickvals": [0, 0.5, 1]}
            look = {"colorscale": DIVERGING, "zmin": 0, "zmax": 1, "opacity": 0.7, "colorbar": bar}
            border = {"coloring": "heatmap", "start": 0.5, "end": 0.5, "size": 1}  # one line
            look |= {"contours": border, "line": {"color": INK, "width": 2}}
            figure.add_contour(z=as_grid(values[:, 0]), showlegend=False, **look, **plane)
            how = f"The plane shows {chance}, the line where it is a half."
        else:
            best = values.argmax(axis=1).astype(np.float32)
            count = len(table.classes)
            stops = [((k + side) / count, color(k)) for k in range(count) for side in (0, 1)]
            look = {"colorscale": stops, "zmin": -0.5, "zmax": count - 0.5, "opacity": 0.3}
            figure.add_heatmap(z=as_grid(best), showscale=False, **look, **plane)
            how = "The plane has the color of the class that the network sees there."
        _add_classes(figure, fit, points)
        how += " Large points were kept for the test, crosses are those that it got wrong."
    figure.update_xaxes(title=table.columns[0], range=[first[0].item(), first[-1].item()])
    figure.update_yaxes(title=table.columns[1], range=[second[0].item(), second[-1].item()])
    width, height = ((side[-1] - side[0]).item() for side in (first, second))
    if 1 / EVEN < width / height < EVEN:
        figure.update_yaxes(scaleanchor="x", constrain="domain")
        figure.update_xaxes(constrain="domain")
    return figure, how


def _add_classes(figure: go.Figure, fit: Fit, points: pd.DataFrame) -> None:
    """Points in the colors of their classes: those of the test large, wrong ones as crosses."""
    for name, hue, part, wrong in _by_class(fit, points):
        tested = part["rows"].isin(["test", ALL])
        marks: dict[str, Any] = {"size": np.where(tested, 8, 4).astype(np.uint8)}
        marks["opacity"] = np.where(tested, 0.95, 0.45).astype(np.float32)
        marks["symbol"] = np.where(tested & wrong, "x", "circle")
        figure.add_scatter(
            x=part.iloc[:, 1], y=part.iloc[:, 2], mode="markers", name=name,
            marker={"color": color(hue), "line": {"color": "white", "width": 0.5}, **marks},
        )  # fmt: skip


def _by_class(fit: Fit, points: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame, pd.Series]]:
    """The points of each class: its name, its color, its rows, and which of them are wrong."""
    table = fit.data.table
    if table.task == "multiclass":
        for hue, name in enumerate(table.classes):
            part = points[points[column_of(table.target)] == name]
            yield name, hue, part, part["prediction"] != name
    else:  # 1 at the blue end of DIVERGING, 0 at the red
        for label, name, hue in ((1, table.labels[1], 0), (0, table.labels[0], 1)):
            part = points[points[column_of(table.target)] == label]
            yield name, hue, part, (part["prediction"] >= 0.5) != bool(label)


def _against(fit: Fit, points: pd.DataFrame) -> tuple[go.Figure, str]:
    """Predicted against true values of the test rows."""
    target = fit.data.table.target
    column = column_of(target)
    test = points[points["rows"].isin(["test", ALL])]
    figure = blank(460)
    ends = [test[column].min(), test[column].max()]
    line = {"color": color(7), "dash": "dash"}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=line, name="right")
    marker = {"color": color(0), "size": 7, "opacity": 0.6}
    name = "data" if (test["rows"] == ALL).all() else "test rows"
    figure.add_scatter(
        x=test[column], y=test["prediction"], mode="markers", marker=marker, name=name
    )
    figure.update_xaxes(title=f"true {target}")
    near = _near(test[column].to_numpy(), test["prediction"].to_numpy())
    figure.update_yaxes(title=f"predicted {target}", range=near)
    return figure, "On the dashed line the network is right."


def _chances(fit: Fit, points: pd.DataFrame) -> tuple[go.Figure, str]:
    """How many test rows of each class were given which probability."""
    table = fit.data.table
    test = points[points["rows"].isin(["test", ALL])]
    binary = table.task == "binary"
    column = "prediction" if binary else "probability"
    edges = np.linspace(0, 1, BINS + 1)
    figure = blank(420, barmode="overlay")
    for name, hue, part, _ in _by_class(fit, test):
        counts, _ = np.histogram(part[column], edges)
        look = {"marker_color": faded(color(hue), 0.6), "name": name, "width": 1 / BINS}
        figure.add_bar(x=(edges[:-1] + edges[1:]) / 2, y=counts, **look)
    figure.update_xaxes(
        title=f"P({table.labels[1]})" if binary else "P(its own class)", range=[0, 1]
    )
    figure.update_yaxes(title="test rows")
    if not binary:
        return figure, "The further to the right, the surer was the network of what is true."
    figure.add_vline(x=0.5, line={"color": color(7), "dash": "dash"})
    return figure, (
        f"Each row at the probability that it was given. The better the network, the further "
        f"right are those that are {table.labels[1]}, and the further left the others; at the "
        "dashed line it changes its answer."
    )


def _near(true: Floats, answers: Floats) -> list[float]:
    """A range for true values and answers, but for answers that are far off."""
    low, high = float(true.min()), float(true.max())
    side = (high - low) or 1.0
    ends = np.clip([answers.min(), answers.max()], low - side, high + side)
    return [min(low, ends[0]) - 0.05 * side, max(high, ends[1]) + 0.05 * side]
