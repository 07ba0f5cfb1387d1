"""The lessons' claims on a page: each verdict with its numbers and the plot that shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronlab.claims import UNANSWERED, Finding, Judgement, Verdict, in_words, region
from neuronlab.report.page import Section, part, slug, table
from neuronlab.report.panel import COLORS, Panel, blank, faded
from neuronlab.results import Results

WORDS: Mapping[Verdict, str] = {
    "supported": "every interval lies where the claim says",
    "refuted": "a whole interval lies outside of what the claim says",
    "not settled": "an interval reaches over the edge of what the claim says, or runs are missing",
}
REGION = COLORS[2]
ROW = 96  # pixels per number


Judged = tuple[str, Judgement, Results]  # a claim's name, what was found, the runs it is from


def verdict_sections(judged: Sequence[Judged]) -> list[Section]:
    """The sections of a page's verdicts; none where there are no claims.

    Args:
        judged: The claims, in order.
    """
    if not judged:
        return []
    rows = [
        [
            part("link", f"#{slug(judgement.claim.statement)}", judgement.claim.statement),
            judgement.claim.source,
            part("badge", judgement.verdict, slug(judgement.verdict)),
            finding.problem or f"{_unbroken(in_words(finding.observed))}, n = {_count(finding)}",
            finding.test.what,
        ]
        for _, judgement, _ in judged
        for finding in [telling(judgement)]
    ]
    text = (
        "A claim says where a number must lie. Its verdict comes from the runs alone: "
        + "; ".join(f"{verdict}: {words}" for verdict, words in WORDS.items())
        + "."
    )
    above = Section(
        "What the lessons claim",
        text,
        html=table(["claim", "source", "verdict", "found", "what it is"], rows, 5),
    )
    return [above, *(_section(*one) for one in judged)]


def telling(judgement: Judgement) -> Finding:
    """The finding that a verdict rests on: the first that has the same."""
    fitting = [one for one in judgement.findings if one.verdict == judgement.verdict]
    return (fitting or judgement.findings)[0]


def _section(name: str, judgement: Judgement, results: Results) -> Section:
    claim = judgement.claim
    badge = part("badge", judgement.verdict, slug(judgement.verdict))
    rows = [
        [
            finding.test.what,
            _unbroken(region(finding.test, finding.observed.percent)) or "for comparison",
            finding.problem or _unbroken(in_words(finding.observed)),
            _count(finding),
            part("badge", finding.verdict, slug(finding.verdict)) if finding.verdict else "",
            finding.observed.detail + _lost(finding),
        ]
        for finding in judgement.findings
    ]
    columns = ["number", "claimed", "found (interval)", "n", "verdict", "behind it"]
    html = part(
        "verdict", badge, claim.source, f"{claim.level:.3%}".rstrip("0%").rstrip(".") + " %"
    )
    panels = [panel for panel in [numbers(name, judgement)] if panel is not None]
    text = ""
    if claim.figure is not None:
        try:
            drawn = claim.figure(results)
        except UNANSWERED as error:  # as its tests: what the runs lack is no reason for no page
            drawn, text = [], f"No figure: {error}"
        panels += [
            Panel(f"{name}_{one.name}", one.title, one.figure, one.data, one.note) for one in drawn
        ]
    return Section(claim.statement, text, panels, html + table(columns, rows, 6), level=3)


def _unbroken(text: str) -> str:
    """A text of which no line ends between a number and its unit."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _count(finding: Finding) -> str:
    return f"{finding.observed.estimate.n:,}"


def _lost(finding: Finding) -> str:
    return f"; {finding.observed.lost} without a number" if finding.observed.lost else ""


def numbers(name: str, judgement: Judgement) -> Panel | None:
    """Each number of a claim with its interval, over the region in which it is claimed to lie."""
    found = [f for f in judgement.findings if not math.isnan(f.observed.estimate.value)]
    if not found:
        return None
    height = 70 + ROW * len(found)
    # Half of each row is for its number's name and the axis of the row above.
    gap = ROW / 1.8 / (height - 70) if len(found) > 1 else 0
    figure = make_subplots(rows=len(found), cols=1, vertical_spacing=gap)
    margin = {"l": 24, "r": 24, "t": 30, "b": 40}
    figure.update_layout(blank(height=height, margin=margin).layout, showlegend=False)
    for row, finding in enumerate(found, start=1):
        _draw(figure, row, finding)
    data = pd.DataFrame(
        [
            {
                "number": finding.test.what,
                "at least": finding.test.low,
                "at most": finding.test.high,
                "found": finding.observed.estimate.value,
                "low": finding.observed.estimate.low,
                "high": finding.observed.estimate.high,
                "n": finding.observed.estimate.n,
                "method": finding.observed.estimate.method,
                "verdict": finding.verdict or "",
            }
            for finding in found
        ]
    )
    title = f"{judgement.verdict.capitalize()}: each number beside where the claim has it"
    note = "Points are what was found, bars their intervals; the green region is what is claimed."
    return Panel(f"{name}_numbers", title, figure, data, note)


def _draw(figure: go.Figure, row: int, finding: Finding) -> None:
    test, estimate = finding.test, finding.observed.estimate
    scale = 100 if finding.observed.percent else 1
    value, low, high = (scale * v for v in (estimate.value, estimate.low, estimate.high))
    edges = [scale * v for v in (test.low, test.high) if math.isfinite(v)]
    shown = [v for v in (value, low, high, *edges) if math.isfinite(v)]
    span = (max(shown) - min(shown)) or abs(value) or 1.0
    left, right = min(shown) - 0.25 * span, max(shown) + 0.25 * span
    whole = math.isfinite(low) and math.isfinite(high)
    figure.add_scatter(
        x=[value],
        y=[0],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
        }
        if whole
        else None,
        mode="markers",
        marker={"size": 10, "color": COLORS[0]},
        hovertemplate=f"{in_words(finding.observed)}<br>n = {estimate.n}<extra></extra>",
        row=row,
        col=1,
    )
    if test.decides:  # after the point: plotly draws none in an empty plot
        figure.add_vrect(
            x0=max(left, scale * test.low),
            x1=min(right, scale * test.high),
            fillcolor=faded(REGION, 0.2),
            layer="below",
            line_width=0,
            row=row,
            col=1,
        )
    figure.update_xaxes(
        range=[left, right], ticksuffix=" %" if finding.observed.percent else "", row=row, col=1
    )
    figure.update_yaxes(visible=False, range=[-1, 1], row=row, col=1)
    axis = "" if row == 1 else str(row)
    figure.add_annotation(
        text=test.what,
        x=0,
        y=1,
        xref=f"x{axis} domain",
        yref=f"y{axis} domain",
        xanchor="left",
        yanchor="bottom",
        showarrow=False,
    )
