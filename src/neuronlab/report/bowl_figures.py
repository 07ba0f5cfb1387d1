"""Maps of the loss over two numbers, flat and in 3-D, with a slider over the steps of runs.

Maps are drawn once; only the way, its arrow and its end are drawn anew at a step.

Letters: T steps, G places along one side of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots
from torch import Tensor

from neuronlab.replay import Descent
from neuronlab.report.heatmap import color_ticks
from neuronlab.report.panel import DIVERGED, SCALE, blank

EACH, FRAMES = 15, 40  # the first steps that have a frame each; frames in all
CORNERS_EACH, CORNERS = 40, 90  # likewise of the line of a way
WAY, STAR, DOWN = "#ffffff", "#ffd23f", "#ff5a36"  # seen on all of the scale of colors
RING = {"color": "#14171c", "width": 1}  # around points
ARROW = 0.15  # length, of the side of the map
LIFT = 0.03  # of the way above the surface, of its height
ROW, SCENE_ROW, ABOVE, BELOW = 330, 360, 120, 150  # pixels
TOLD = "%{text}<extra></extra>"
Floats = NDArray[np.floating[Any]]
Marks = Callable[["Bowl"], "Traces"]
Where = Callable[["Bowl", "Map", int], "list[Places]"]
Traces = list[Any]  # of plotly
Places = dict[str, Any]  # x, y and the like of a trace


@dataclass(frozen=True)
class Bowl:
    """A run's way and the loss around it.

    Attributes:
        label: Which run it is.
        verdict: What it did.
        descent: Its steps.
        optimum: The best w and b [2], where it is known.
        losses: The training loss over the map [G, G], b down the rows and w along them.
    """

    label: str
    verdict: str
    descent: Descent
    optimum: Tensor | None
    losses: Floats


@dataclass(frozen=True)
class Map:
    """The part of the plane that is shown.

    Attributes:
        w: Places along the weight [G].
        b: Places along the bias [G].
        rim: The loss at which the bowl is cut off.
    """

    w: Floats
    b: Floats
    rim: float

    def holds(self, points: Floats) -> NDArray[np.bool_]:
        """Which of the points [..., 2] are on the map."""
        low, high = self.corners
        return np.asarray(((low <= points) & (points <= high)).all(axis=-1))

    @property
    def corners(self) -> tuple[Floats, Floats]:
        """The lowest and the highest w and b [2]."""
        return np.array([self.w[0], self.b[0]]), np.array([self.w[-1], self.b[-1]])

    @property
    def side(self) -> Floats:
        """How far the map reaches in w and b [2]."""
        low, high = self.corners
        return high - low


def contours(bowls: Sequence[Bowl], field: Map) -> go.Figure:
    """Maps side by side, with color for height, and the ways through them."""
    figure = _subplots(bowls, field, "xy", ROW)
    for place, bowl in enumerate(bowls):
        heat = go.Contour(
            x=field.w, y=field.b, z=_logs(bowls, field, bowl.losses), coloraxis="coloraxis",
            contours={"coloring": "heatmap"}, ncontours=18, customdata=bowl.losses,
            line={"color": "rgba(255,255,255,0.3)", "width": 1},
            hovertemplate="w %{x:.3g}, b %{y:.3g}<br>loss %{customdata:.4g}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(heat, **_at(place))
        if bowl.optimum is not None:
            figure.add_trace(_star(go.Scatter, "star", 16, bowl.optimum.tolist()), **_at(place))
        below = place + 2 >= len(bowls)
        figure.update_xaxes(title="weight w" if below else None, **_at(place))
        figure.update_yaxes(title="bias b" if place % 2 == 0 else None, **_at(place))
    low, high = field.corners
    figure.update_xaxes(range=[low[0], high[0]], showgrid=False, zeroline=False)
    figure.update_yaxes(range=[low[1], high[1]], showgrid=False, zeroline=False)
    return _animated(figure, bowls, field, _marks, _places)


def surfaces(bowls: Sequence[Bowl], field: Map) -> go.Figure:
    """The same as bowls in 3-D."""
    figure = _subplots(bowls, field, "scene", SCENE_ROW)
    for place, bowl in enumerate(bowls):
        surface = go.Surface(
            x=field.w, y=field.b, z=np.where(bowl.losses <= field.rim, bowl.losses, np.nan),
            surfacecolor=_logs(bowls, field, bowl.losses), coloraxis="coloraxis",
            hovertemplate="w %{x:.3g}, b %{y:.3g}<br>loss %{z:.4g}<extra></extra>",
        )  # fmt: skip
        figure.add_trace(surface, **_at(place))
        if bowl.optimum is not None:
            least = (*bowl.optimum.tolist(), float(bowl.losses.min()) + LIFT * field.rim)
            figure.add_trace(_star(go.Scatter3d, "diamond", 5, least), **_at(place))
    low, high = field.corners
    figure.update_scenes(
        xaxis={"title": "w", "range": [low[0], high[0]], "nticks": 5},
        yaxis={"title": "b", "range": [low[1], high[1]], "nticks": 5},
        zaxis={"title": "loss", "range": [0, field.rim], "nticks": 5},
        camera={"eye": {"x": 0.6, "y": -1.5, "z": 1.3}, "center": {"z": -0.15}},
    )
    return _animated(figure, bowls, field, _marks_in_space, _places_in_space)


def _star(kind: Any, symbol: str, size: float, least: Sequence[float]) -> Any:
    """What marks the least loss."""
    marker = {"symbol": symbol, "size": size, "color": STAR, "line": RING}
    hover = "least loss: w %{x:.4g}, b %{y:.4g}<extra></extra>"
    return kind(_xyz(np.array([least])), mode="markers", marker=marker, hovertemplate=hover)


def _marks(bowl: Bowl) -> Traces:
    """What a map shows of a run: its way, the direction downhill, and where it is."""
    way, down = {"color": WAY, "width": 1.5}, {"color": DOWN, "width": 3}
    tip = {"symbol": "arrow", "size": [0, 14], "angleref": "previous", "color": DOWN}
    dots = {"size": 3, "color": WAY}
    return [
        go.Scatter(mode="lines+markers", line=way, marker=dots, hoverinfo="skip"),
        go.Scatter(mode="lines+markers", line=down, marker=tip, hoverinfo="skip"),
        go.Scatter(mode="markers", cliponaxis=False, name=bowl.label, hovertemplate=TOLD),
    ]


def _places(bowl: Bowl, field: Map, step: int) -> list[Places]:
    """Where these are at a step."""
    low, high = field.corners
    steps = bowl.descent.parameters.double().numpy()
    step = min(step, len(steps) - 1)
    here = steps[step]
    inside = bool(field.holds(here))
    way = np.clip(steps[_corners(len(steps) - 1, step)], low - field.side, high + field.side)
    arrow = np.zeros((0, 2))
    if inside and step < len(bowl.descent.gradients):
        downhill = -bowl.descent.gradients[step].double().numpy()
        length = np.linalg.norm(downhill / field.side)
        arrow = np.stack([here, here + ARROW * downhill / (length or 1)])
    end = _xyz(np.clip(here, low, high)[None])
    told = {"text": [_told(bowl, step)], "marker": _end(inside, 9, "x")}
    return [_xyz(way), _xyz(arrow), end | told]


def _marks_in_space(bowl: Bowl) -> Traces:
    """What a bowl shows of a run: its way and where it is, as far as that is in the bowl."""
    way = {"color": DIVERGED, "width": 5}
    return [
        go.Scatter3d(mode="lines", line=way, hoverinfo="skip"),
        go.Scatter3d(mode="markers", name=bowl.label, hovertemplate=TOLD),
    ]


def _places_in_space(bowl: Bowl, field: Map, step: int) -> list[Places]:
    """Where these are at a step, a little above the surface."""
    steps = bowl.descent.parameters.double().numpy()
    losses = bowl.descent.losses.numpy()
    step = min(step, len(steps) - 1)
    inside = field.holds(steps) & (losses <= field.rim)
    points = np.column_stack([steps, losses + LIFT * field.rim])
    points[~inside] = np.nan
    seen = points[: step + 1][inside[: step + 1]][-1:]
    told = {"text": [_told(bowl, step)], "marker": _end(bool(inside[step]), 5, "cross")}
    return [_xyz(points[_corners(len(steps) - 1, step)]), _xyz(seen) | told]


def _xyz(points: Floats) -> Places:
    """Points [n, 2 or 3] as plotly takes them."""
    return dict(zip("xyz", points.astype(np.float32).T, strict=False))


def _end(inside: bool, size: float, lost: str) -> dict[str, Any]:
    """What stands where a run is, or where it was last seen."""
    symbol, color = ("circle", WAY) if inside else (lost, DIVERGED)
    return {"symbol": symbol, "size": size, "color": color, "line": RING}


def _told(bowl: Bowl, step: int) -> str:
    w, b = bowl.descent.parameters[step].tolist()
    return f"step {step}: w {w:.4g}, b {b:.4g}<br>loss {bowl.descent.losses[step]:.4g}"


def frame_steps(last: int) -> list[int]:
    """The steps that have a frame: each of the first, then ever fewer, and the last."""
    return _thinned(last, EACH, FRAMES)


def _corners(last: int, step: int) -> list[int]:
    """The steps at which the line of a way has a corner, up to one of them."""
    kept = _thinned(last, CORNERS_EACH, CORNERS)
    return [*(corner for corner in kept if corner < step), step]


def _thinned(last: int, each: int, count: int) -> list[int]:
    """Numbers from 0 to `last`: the first all, then some that are even in their logarithm."""
    if last < count:
        return list(range(last + 1))
    later = np.geomspace(each + 1, last, count - each - 1).round().astype(int)
    return [*range(each + 1), *np.unique(later).tolist()]


def _animated(
    figure: go.Figure, bowls: Sequence[Bowl], field: Map, marks: Marks, places: Where
) -> go.Figure:
    """The figure with what moves, shown at the last step, and what moves it.

    Args:
        figure: The figure with all that does not move.
        bowls: What moves in each plot.
        field: The map.
        marks: How what moves looks.
        places: Where it is at a step.
    """

    def all_places(step: int) -> list[Places]:
        return [where for bowl in bowls for where in places(bowl, field, step)]

    steps = frame_steps(max(len(bowl.descent.gradients) for bowl in bowls))
    moving = [(mark, _at(place)) for place, bowl in enumerate(bowls) for mark in marks(bowl)]
    fixed = len(figure.data)
    for (mark, at), where in zip(moving, all_places(steps[-1]), strict=True):
        figure.add_trace(mark.update(where), **at)
    figure.frames = [
        {
            "name": str(step),
            "traces": list(range(fixed, len(figure.data))),
            "data": [
                where | {"type": mark.type}
                for (mark, _), where in zip(moving, all_places(step), strict=True)
            ],
        }
        for step in steps
    ]

    def show(frames: Any, milliseconds: int) -> dict[str, Any]:
        # without redraw, what does not move would vanish
        how = {"frame": {"duration": milliseconds, "redraw": True}, "transition": {"duration": 0}}
        return {"method": "animate", "args": [frames, {"mode": "immediate", **how}]}

    stops = [{"label": str(step), **show([str(step)], 0)} for step in steps]
    slider = {
        "steps": stops, "active": len(steps) - 1, "currentvalue": {"prefix": "step "},
        "x": 0, "len": 1, "xanchor": "left", "y": 0, "yanchor": "top", "pad": {"t": 88, "b": 0},
        "ticklen": 0, "minorticklen": 0, "font": {"size": 11},
    }  # fmt: skip
    buttons = [
        {"label": "▶ play", **show(None, 150)},
        {"label": "❚❚ pause", **show([None], 0)},
    ]
    menu = {
        "type": "buttons", "direction": "left", "showactive": False, "buttons": buttons,
        "x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "pad": {"t": 52, "l": 0},
    }  # fmt: skip
    figure.update_layout(sliders=[slider], updatemenus=[menu])
    return figure


def _subplots(bowls: Sequence[Bowl], field: Map, kind: str, row_height: int) -> go.Figure:
    """Empty plots in rows of two, with one scale of colors above them."""
    columns, rows = min(len(bowls), 2), (len(bowls) + 1) // 2
    height = rows * row_height
    figure = make_subplots(
        rows,
        columns,
        specs=[[{"type": kind}] * columns] * rows,
        subplot_titles=[f"<b>{one.label}</b><br>{_broken(one.verdict)}" for one in bowls],
        horizontal_spacing=0.1 if kind == "xy" else 0.02,
        vertical_spacing=(84 if kind == "xy" else 56) / height if rows > 1 else 0,
        figure=blank(height + ABOVE + BELOW),
    )
    figure.update_annotations(font={"size": 12})
    low, high = _reach(bowls, field)
    bar = {
        "orientation": "h", "x": 0.5, "xanchor": "center", "len": 0.9, "thickness": 10,
        "y": 1, "yref": "container", "yanchor": "top", "ypad": 4, "outlinewidth": 0,
        "title": {"text": "training loss", "side": "bottom", "font": {"size": 12}},
        **color_ticks(low, high),
    }  # fmt: skip
    figure.update_layout(
        showlegend=False,
        margin={"t": ABOVE, "b": BELOW, "l": 56, "r": 12},
        coloraxis={"colorscale": SCALE, "cmin": low, "cmax": high, "colorbar": bar},
    )
    return figure


def _reach(bowls: Sequence[Bowl], field: Map) -> tuple[float, float]:
    """The logarithms of the lowest and the highest loss that has a color."""
    lowest = min(float(bowl.losses.min()) for bowl in bowls)
    return float(np.log10(max(lowest, field.rim * 1e-6))), float(np.log10(field.rim))


def _logs(bowls: Sequence[Bowl], field: Map, losses: Floats) -> Floats:
    low, high = _reach(bowls, field)
    logs: Floats = np.log10(np.clip(losses, 10**low, 10**high)).astype(np.float32)
    return logs


def _broken(text: str) -> str:
    """Over lines as short as a phone is narrow."""
    return text.replace(", ", ",<br>")


def _at(place: int) -> dict[str, int]:
    return {"row": place // 2 + 1, "col": place % 2 + 1}
