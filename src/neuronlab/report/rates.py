"""The final loss over the learning rate: where it is best, and from where on runs diverge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from neuronlab.build import build
from neuronlab.errors import ConfigError
from neuronlab.probes import is_plain_descent
from neuronlab.records import OVER
from neuronlab.report.comparisons import safe, value_label
from neuronlab.report.heatmap import FAR, facts, log_axis, start_loss, with_test
from neuronlab.report.overview import shown
from neuronlab.report.panel import DIVERGED, Panel, blank, color, dash, faded, symbol
from neuronlab.results import Results
from neuronlab.statistics import DIVERGED as LOST
from neuronlab.statistics import summarize
from neuronlab.terminal import number
from neuronlab.theory import is_linear_regression, largest_curvature

LR, LOSS, REPORTED = "optimizer.lr", "val/loss", "test/loss"
FIRST = ("optimizer", "activation")  # keys that have lines before others do
LINES = 8  # at most; the settings of further keys are chosen from
POINTS = 20  # of a straight line
MADE = 20  # data sets of which theory's bound is computed
THEORY = "#808890"  # no series' color, and seen on white and black


class Bound(NamedTuple):
    """2/λmax of the training rows of some runs.

    Attributes:
        values: One per data set.
        full_batch: Whether all these runs take their steps on all rows at once.
    """

    values: list[float]
    full_batch: bool

    @property
    def value(self) -> float:
        """Their geometric mean."""
        return float(np.exp(np.log(self.values).mean()))

    def text(self) -> str:
        """The bound in words."""
        low, high = min(self.values), max(self.values)
        spread = f"{number(low)} to {number(high)} in {len(self.values)} data sets"
        return f"2/λmax = {number(self.value)}" + (f" ({spread})" if high > 1.001 * low else "")


def final_loss_over_lr(results: Results) -> list[Panel]:
    """The mean final `val/loss` over the learning rate, with a line per optimizer.

    Further keys have lines of their own as long as these are `LINES` at most; of the keys that are
    left, each point has the setting with the lowest mean `val/loss`.

    Args:
        results: Runs of one task.

    Returns:
        The panel `learning_rate`; none where the rate is not swept, or no run is over.
    """
    runs = results.runs[results.runs["state"].isin(OVER)]
    if LR not in results.setting_keys or not pd.api.types.is_numeric_dtype(runs[LR]):
        return []
    if LOSS not in runs or runs.empty or (runs[LR] <= 0).any():
        return []
    keys = [key for key in results.setting_keys if key != LR]
    lines = _line_keys(runs, keys)
    rest = [key for key in keys if key not in lines]
    start = start_loss(results)
    top = FAR * start if start > 0 else np.inf
    points = _points(runs, lines, rest)
    points["beyond"] = points["mean"] > top
    shares = (runs["state"] == LOST).groupby(runs[LR]).mean()
    bound = rate_bound(results)
    figure = _figure(points, rest, shares, bound, top)
    title, note = _title(points, shares, bound), _note(points, lines, rest, bound)
    return [Panel("learning_rate", title, figure, _data(points, lines, rest), note)]


def rate_bound(results: Results) -> Bound | None:
    """2/λmax, beyond which full-batch gradient descent on a linear neuron must diverge.

    Args:
        results: Runs of one task.

    Returns:
        The bounds of runs that are plain SGD (no momentum, decay, penalty or clipping) on a linear
        neuron under mean squared error; None where there is no such run.
    """
    runs = results.runs[~results.runs.index.isin(results.damaged)]
    keys, seeds = [key for key in results.setting_keys if key != LR], list(results.seed_keys)
    found: list[tuple[float, bool]] = []
    for _, own in runs.groupby(keys, sort=False) if keys else [((), runs)]:
        for run in own.drop_duplicates(seeds).index if seeds else own.index[:1]:
            bound = _bound_of(results, run) if len(found) < MADE else None
            if bound is None:
                break  # other seeds make other data, but no other network or optimizer
            found.append(bound)
    return Bound([value for value, _ in found], all(full for _, full in found)) if found else None


def _bound_of(results: Results, run: str) -> tuple[float, bool] | None:
    """2/λmax of a run, and whether it takes full batches; None where theory has no bound."""
    try:
        config = results.config(run)
        plain = is_plain_descent(config["optimizer"], config["regularization"])
        if not plain or config["trainer"].get("gradient_clip_val"):
            return None
        data, learner = build(config)
    except (ConfigError, KeyError):  # a folder that is damaged or foreign; the page is about more
        return None
    if not is_linear_regression(learner.net, learner.loss):
        return None
    rows = data.rows["train"].x
    return 2 / largest_curvature(rows), data.order.batch_size == len(rows)


def _line_keys(runs: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """The keys that have a line per value: optimizers first, as long as there are few lines."""
    lines: list[str] = []
    for key in sorted(keys, key=lambda key: FIRST.index(key) if key in FIRST else len(FIRST)):
        if key == FIRST[0] or len(runs[[*lines, key]].drop_duplicates()) <= LINES:
            lines.append(key)
    return lines


def _points(runs: pd.DataFrame, lines: Sequence[str], rest: Sequence[str]) -> pd.DataFrame:
    """A row per line and rate: the best setting of the rest, and how many of all runs diverged."""
    keys = [*lines, LR, *rest]
    table = with_test(runs, keys)
    order = np.lexsort([table["mean"], table["diverged"] > 0])
    points = table.iloc[order].drop_duplicates([*lines, LR]).sort_index()
    whole = summarize(runs, [*lines, LR], LOSS)  # in the same order
    points = points.reset_index(drop=True)
    points["line_runs"], points["line_diverged"] = whole["runs"], whole["diverged"]
    names = [
        ", ".join(value_label(key, row[key], lines) for key in lines) or LOSS
        for row in points.to_dict("records")
    ]
    return points.assign(name=names, line=pd.factorize(np.array(names, dtype=object))[0])


def _figure(
    points: pd.DataFrame, rest: Sequence[str], shares: pd.Series, bound: Bound | None, top: float
) -> go.Figure:
    lines = [own for _, own in points.groupby("line")]
    crossed = [own for own in lines if own["line_diverged"].any()]
    strip = 14 * len(crossed) + 10 if crossed else 0  # pixels above the plot
    figure = blank(400 + strip + 11 * len(lines))
    figure.update_layout(showlegend=len(lines) > 1 or bool(crossed) or bound is not None)
    rates = points[LR]
    wider = max((rates.max() / rates.min()) ** 0.03, 1.05)
    across = log_axis(rates.min() / wider, rates.max() * wider)
    figure.update_xaxes(across, title=f"{LR} (log scale)")
    low, high = _range(points, top)
    part = strip / (300 + strip)
    upright = log_axis(low, high) | {"domain": [0, 1 - part]}
    figure.update_yaxes(upright, title=f"{LOSS} (log scale)")
    _shade(figure, shares)
    for own in lines:
        _add_line(figure, own, rest, low, min(top, high))
    for row, own in enumerate(crossed):
        _add_crosses(figure, own, row, only=len(lines) == 1)
    if crossed:
        figure.update_layout(
            yaxis2={
                "domain": [1 - 0.9 * part, 1],
                "range": [len(crossed) - 0.4, -0.6],
                "showticklabels": False,
                "ticks": "",
                "showline": False,
                "showgrid": False,
                "zeroline": False,
                "fixedrange": True,
            }
        )
    if bound:
        figure.add_scatter(
            x=np.full(POINTS, bound.value),
            y=np.geomspace(low, high, POINTS),  # so that it can be pointed at
            name=f"theory: 2/λmax = {number(bound.value)}",
            mode="lines",
            line={"color": THEORY, "width": 2, "dash": "dash"},
            hovertemplate=f"{bound.text()}<extra></extra>",
        )
    return figure


def _range(points: pd.DataFrame, top: float) -> tuple[float, float]:
    """What the vertical axis shows: all means up to the limit, and as much of their intervals."""
    means = points["mean"][(points["mean"] > 0) & (points["mean"] <= top)]
    if means.empty:
        return (top / 10, top) if np.isfinite(top) else (0.1, 1.0)
    least, most = means.min(), means.max()
    low = max(points["low"].min(), least / 3)  # an interval may reach below zero
    high = min(points["high"].max(), 3 * most, top)
    high = top if points["beyond"].any() else high
    low, high = np.nanmin([low, least]), np.nanmax([high, most])
    wider = max((high / low) ** 0.06, 1.05)
    return float(low / wider), float(high * wider)


def _shade(figure: go.Figure, shares: pd.Series) -> None:
    """Marks the rates at which half of the runs or more diverged, up to halfway to the next."""
    logs = np.log10(shares.index.to_numpy(dtype=float))
    edges = 10 ** np.concatenate([[logs[0] - 1], (logs[1:] + logs[:-1]) / 2, [logs[-1] + 1]])
    for place, share in enumerate(shares):
        if share >= 0.5:
            figure.add_shape(
                type="rect",
                x0=edges[place],
                x1=edges[place + 1],
                y0=0,
                y1=1,
                yref="paper",
                fillcolor=faded(DIVERGED, 0.1),
                line={"width": 0},
                layer="below",
            )


def _add_line(
    figure: go.Figure, own: pd.DataFrame, rest: Sequence[str], low: float, top: float
) -> None:
    line, name = int(own["line"].iloc[0]), safe(own["name"].iloc[0])
    drawn = own["mean"].clip(low, top)
    figure.add_scatter(
        x=own[LR].to_numpy(),
        y=drawn.to_numpy(),
        name=name,
        legendgroup=str(line),
        mode="lines+markers",
        line={"color": color(line), "dash": dash(line)},
        marker={
            "size": np.where(own["beyond"], 11, 7),
            "symbol": np.where(own["beyond"], "triangle-up-open", symbol(line)).tolist(),
        },
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (own["high"].clip(low, top) - drawn).to_numpy(),
            "arrayminus": (drawn - own["low"].clip(low, top)).to_numpy(),
            "color": color(line),
            "thickness": 1.2,
            "width": 2,
        },
        customdata=["<br>".join(facts(row, rest)) for row in own.to_dict("records")],
        hovertemplate=f"{name}, lr %{{x:.4~g}}<br>%{{customdata}}<extra></extra>",
    )


def _add_crosses(figure: go.Figure, own: pd.DataFrame, row: int, *, only: bool) -> None:
    """A cross at each rate at which runs of a line diverged: the more of them, the fuller."""
    line, name = int(own["line"].iloc[0]), safe(own["name"].iloc[0])
    own = own[own["line_diverged"] > 0]
    hue = DIVERGED if only else color(line)
    shares = own["line_diverged"] / own["line_runs"]
    figure.add_scatter(
        x=own[LR].to_numpy(),
        y=np.full(len(own), row),
        yaxis="y2",
        name="diverged",
        legendgroup="diverged" if only else str(line),
        showlegend=only,
        mode="markers",
        marker={
            "symbol": "x",
            "size": 8,
            "color": [faded(hue, 0.25 + 0.75 * share) for share in shares],
        },
        customdata=[
            f"✕ {lost} of {runs} diverged"
            for lost, runs in zip(own["line_diverged"], own["line_runs"], strict=True)
        ],
        hovertemplate=f"{name}, lr %{{x:.4~g}}<br>%{{customdata}}<extra></extra>",
    )


def _data(points: pd.DataFrame, lines: Sequence[str], rest: Sequence[str]) -> pd.DataFrame:
    names = {end: f"{LOSS} {end}" for end in ("mean", "low", "high")}
    names |= {"test": f"{REPORTED} mean", "beyond": "beyond the axis"}
    names |= {"line_runs": "runs of the line", "line_diverged": "diverged of the line"}
    columns = [*lines, LR, *rest, "mean", "low", "high", "n", "test", "beyond", "runs", "diverged"]
    columns += ["line_runs", "line_diverged"]
    return points[columns].dropna(axis=1, how="all").rename(columns=names)


def _title(points: pd.DataFrame, shares: pd.Series, bound: Bound | None) -> str:
    best = points[points["mean"].notna()]
    best = best.iloc[np.lexsort([best["mean"], best["diverged"] > 0])].drop_duplicates("line")
    if best.empty:
        return "All runs diverged, at every learning rate"
    best = best.sort_values(LR, kind="stable")
    rates, names = [shown(rate) for rate in best[LR]], list(best["name"])
    if points["line"].nunique() == 1:
        text = f"lr {rates[0]} ends lowest, at a mean {LOSS} of {number(best['mean'].iloc[0])}"
    elif len(set(rates)) == 1:
        whose = " and ".join(names) if len(best) <= 2 else f"all {len(best)} lines"
        text = f"The best learning rate is {rates[0]} for {whose}"
    elif len(best) <= 3:
        each = [f"{rate} for {name}" for rate, name in zip(rates, names, strict=True)]
        text = f"The best learning rate is {', '.join(each)}"
    else:
        text = f"The best learning rates lie between {rates[0]} ({names[0]}) "
        text += f"and {rates[-1]} ({names[-1]})"
    stable = shares.index[shares < 0.5]
    lost = shares.index[shares.index > (stable.max() if len(stable) else 0)]
    if len(lost):
        text += f"; from {shown(float(lost.min()))} on half of the runs or more diverge"
    return f"{text}; theory's bound is {number(bound.value)}" if bound else text


def _note(
    points: pd.DataFrame, lines: Sequence[str], rest: Sequence[str], bound: Bound | None
) -> str:
    notes = [f"Dots are means over seeds of {LOSS} after the last epoch, bars 95 % intervals."]
    if rest:
        several = "combination" if len(rest) > 1 else "value"
        notes.append(
            f"Each dot has the {several} of {', '.join(rest)} with the lowest mean {LOSS} there, "
            f"which flatters it a little; {REPORTED}, in the hover text, had no part in the choice."
        )
    if points["line_diverged"].any():
        rows = ", in a row and the color of each line," if points["line"].nunique() > 1 else ""
        notes.append(
            f"✕ at the top{rows} are rates at which runs diverged, which have no loss: the more "
            "runs, the fuller. Shaded: half of all runs or more diverged."
        )
    if points["beyond"].any():
        notes.append(
            f"Triangles are means beyond {FAR:,.0f} times the loss at the start, drawn at the edge."
        )
    if bound:
        notes.append(
            "Dashed: 2/λmax, λmax being the largest curvature of the loss; plain gradient descent "
            "on full batches must diverge beyond it (if the sweep is too short for that, the loss "
            "grows)."
        )
        if not bound.full_batch:
            notes.append("Some of these runs take mini-batches, for which it holds only roughly.")
    return " ".join(notes)
