"""Which setting is best: chosen on val, reported on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from neuronlab.records import OVER
from neuronlab.report.curves import setting_labels
from neuronlab.report.overview import shown
from neuronlab.report.page import Section, part, table
from neuronlab.report.panel import Panel, blank, color
from neuronlab.results import Results
from neuronlab.statistics import rank
from neuronlab.terminal import number

CHOSEN, REPORTED = "val/loss", "test/loss"
BEST = 20  # settings in the table and the figure; the CSV holds all
WIDE = 20  # from this ratio of losses on, the axis is logarithmic
ROW = 26  # pixels


def ranking(results: Results) -> Section | None:
    """The settings of one task from the best to the worst; None where no run has a loss.

    Args:
        results: Runs of one task.
    """
    keys = list(results.setting_keys)
    runs = results.runs
    if CHOSEN not in runs or not runs["state"].isin(OVER).any():
        return None
    reported = _different([REPORTED, *(tag for tag in runs if tag.startswith("test/"))], runs)
    ranked = rank(runs, keys, CHOSEN, reported)
    columns = ["", *keys, CHOSEN, *reported, "runs", "diverged", "failed"]
    for count in ("diverged", "failed"):  # a column of nothing but zeros says nothing
        if not ranked[count].any():
            columns.remove(count)
    rows = [_row(row, columns) for row in ranked.head(BEST).to_dict("records")]
    html = table(columns, rows, words=1 + len(keys))
    return Section(_title(ranked), _text(ranked, reported), _panels(ranked, keys), html)


def _different(tags: Sequence[str], runs: pd.DataFrame) -> list[str]:
    """Metrics that have values, each once: where the loss is mse, `test/mse` is `test/loss`."""
    kept: list[str] = []
    for tag in dict.fromkeys(tag for tag in tags if tag in runs):
        same = any(np.allclose(runs[tag], runs[other], equal_nan=True) for other in kept)
        if runs[tag].notna().any() and not same:
            kept.append(tag)
    return kept


def _row(row: Mapping[str, Any], columns: Sequence[str]) -> list[object]:
    cells: list[object] = [str(row["rank"])]
    for column in columns[1:]:
        if f"{column} mean" not in row:
            cells.append(shown(row[column]))
            continue
        mean, low, high = (row[f"{column} {end}"] for end in ("mean", "low", "high"))
        if column in (CHOSEN, REPORTED) and not np.isnan(low):
            cells.append(part("interval", signed(mean, 4), signed(low, 3), signed(high, 3)))
        else:
            cells.append("" if np.isnan(mean) else signed(mean, 4))
    return cells


def signed(value: float, digits: int) -> str:
    """A number with all its digits, so that columns align, and a true minus."""
    large = 10**digits <= abs(value) < 1e7
    text = f"{value:,.0f}" if large else f"{value:#.{digits}g}".rstrip(".")
    return text.replace("-", "−")


def _title(ranked: pd.DataFrame) -> str:
    return "The best settings" if len(ranked) > BEST else "The settings, best first"


def _text(ranked: pd.DataFrame, reported: Sequence[str]) -> str:
    some = f"The best {BEST} of {len(ranked)} settings" if len(ranked) > BEST else "Settings"
    text = f"{some}, ordered by their mean {CHOSEN} after the last epoch."
    if reported:
        text += " The test numbers took no part in the choice."
    if (ranked[f"{CHOSEN} n"] > 1).any():
        text += " Small numbers are 95 % intervals of the mean."
    if ranked["diverged"].any():
        text += " A setting of which a run diverged comes after all those of which none did."
    return text


def _panels(ranked: pd.DataFrame, keys: Sequence[str]) -> list[Panel]:
    drawn = ranked.head(BEST)
    drawn = drawn[drawn[f"{CHOSEN} mean"].notna()].reset_index(drop=True)
    if len(drawn) < 2:
        return []
    figure = _figure(drawn, keys)
    note = (
        "Dots are means over seeds, lines their 95 % intervals. Intervals that overlap do not mean "
        "that two settings are equal: comparing them seed by seed sees more."
    )
    if drawn["diverged"].any():
        note += " ✕ 2 behind a setting: two of its runs diverged."
    return [Panel("ranking", _finding(drawn, keys), figure, ranked, note)]


def _finding(drawn: pd.DataFrame, keys: Sequence[str]) -> str:
    """What the figure shows, from its numbers."""
    best = drawn.to_dict("records")[0]
    setting = ", ".join(f"{key}={shown(best[key])}" for key in keys)
    text = f"{setting} has the lowest mean {CHOSEN}: {number(best[f'{CHOSEN} mean'])}"
    overlap = drawn[f"{CHOSEN} low"][1:] <= best[f"{CHOSEN} high"]
    if overlap.any():
        count = int(overlap.sum())
        which = "one other" if count == 1 else f"{count} others"
        text += f"; {which if count < len(overlap) else 'all others'} overlap its interval"
    return text


def _figure(drawn: pd.DataFrame, keys: Sequence[str]) -> go.Figure:
    metrics = [CHOSEN]
    if f"{REPORTED} mean" in drawn and drawn[f"{REPORTED} mean"].notna().any():
        metrics.append(REPORTED)
    means = drawn[[f"{metric} mean" for metric in metrics]].to_numpy()
    log = np.nanmin(means) > 0 and np.nanmax(means) > WIDE * np.nanmin(means)
    figure = blank(ROW * len(drawn) + 110)
    for place, metric in enumerate(metrics):
        mean, low, high = (drawn[f"{metric} {end}"].to_numpy() for end in ("mean", "low", "high"))
        floor = np.nanmin(means) / 3 if log else -np.inf  # what a logarithmic axis cannot show
        count = drawn[f"{metric} n"]
        figure.add_scatter(
            name=metric,
            x=mean,
            y=np.arange(len(drawn)) + (place - (len(metrics) - 1) / 2) * 0.3,
            mode="markers",
            marker={"color": color(place), "symbol": ["circle", "diamond"][place], "size": 8},
            error_x={
                "array": high - mean,
                "arrayminus": mean - np.maximum(low, floor),
                "color": color(place),
                "thickness": 1.5,
                "width": 3,
            },
            customdata=np.column_stack([low, high, count]),
            hovertemplate=f"{metric} %{{x:.4g}}<br>95 % interval %{{customdata[0]:.4g}} to "
            "%{customdata[1]:.4g}<br>%{customdata[2]} runs<extra></extra>",
        )
    axis: dict[str, Any] = {"title": {"text": "mean loss after the last epoch"}}
    if log:
        axis |= {"type": "log", "dtick": 1, "minor": {"ticks": "outside"}}
    figure.update_xaxes(axis)
    labels, common = setting_labels(drawn, keys)
    lost = drawn["diverged"]
    figure.update_yaxes(
        tickvals=np.arange(len(drawn)),
        ticktext=[f"{t}  ✕ {n}" if n else t for t, n in zip(labels, lost, strict=True)],
        range=[len(drawn) - 0.4, -0.6],
        zeroline=False,
        title={"text": common or "setting"},
    )
    return figure
