"""Pictures of what a network has learned, for data with one or two inputs.

Letters: n data rows, C columns, K outputs.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from neuronlab.datasets import Table
from neuronlab.learner import Learner

CURVE_POINTS, GRID_POINTS = 400, 120
LEVELS = 21  # of color; an even number of steps, so that one ends in the middle
EVEN = 2.0  # ranges that differ by less are drawn to one scale
MANY = 1000  # points, which then are small
MARGIN = 0.1  # of the data's range, so that no point lies on the frame
Floats = NDArray[np.floating[Any]]
COLORS = ("#c44e52", "#4c72b0", "#55a868", "#8172b3", "#ccb974", "#64b5cd")  # one per class


def draw_fit(learner: Learner, table: Table, when: str) -> bytes:
    """Draws the data and what the network makes of them.

    One input: the fitted curve over the points. Two: the decision boundary over the classes, or
    the predicted values as a surface in color under the points.

    Args:
        learner: The learner, at any moment of its training.
        table: The data, of one or two columns of numbers.
        when: What the title says of the moment.

    Returns:
        A picture in PNG format.
    """
    buffer = BytesIO()
    with rc_context({"text.parse_math": False}):  # a dollar sign in a name is one
        figure = Figure(figsize=(5.2, 4.0), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(f"{table.target} {when}")
        axes.set_xlabel(table.columns[0])
        if table.x.shape[1] == 1:
            axes.set_ylabel(table.target)
            _draw_curve(axes, learner, table)
        else:
            axes.set_ylabel(table.columns[1])
            _draw_plane(axes, learner, table)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_curve(axes: Axes, learner: Learner, table: Table) -> None:
    x = spread(table.x[:, 0], CURVE_POINTS)
    axes.plot(table.x[:, 0], table.y[:, 0], ".", color="0.55", label="data")
    axes.plot(
        x, predicted(learner, x[:, None])[:, 0], color=COLORS[1], linewidth=2, label="network"
    )
    axes.legend()


def _draw_plane(axes: Axes, learner: Learner, table: Table) -> None:
    first, second = (spread(table.x[:, column], GRID_POINTS) for column in (0, 1))
    values = predicted(learner, torch.cartesian_prod(first, second))  # [G², K]
    if table.task == "multiclass":
        levels = np.arange(table.out_features + 1) - 0.5
        height = values.argmax(axis=1).astype(float)
        colors = [COLORS[index % len(COLORS)] for index in range(table.out_features)]
        axes.contourf(first, second, as_grid(height), levels, colors=colors, alpha=0.3)
    else:
        height, binary = as_grid(values[:, 0]), table.task == "binary"
        low, high = (0.0, 1.0) if binary else _ends(height, table.y.numpy())
        shown = axes.contourf(
            first, second, height, np.linspace(low, high, LEVELS), cmap="RdBu", alpha=0.7
        )
        label = f"P({table.labels[1]})" if binary else table.target
        axes.figure.colorbar(shown, label=label, ticks=np.linspace(low, high, 5))
        if binary and height.min() < 0.5 < height.max():
            axes.contour(first, second, height, [0.5], colors="black", linewidths=1.5)
    size = 24 if len(table.x) < MANY else 10
    look: dict[str, Any] = {"s": size, "edgecolors": "white", "linewidths": size / 48}
    if table.task == "regression":  # in the surface's colors
        look |= {"c": table.y[:, 0], "cmap": "RdBu", "vmin": low, "vmax": high}
        axes.scatter(table.x[:, 0], table.x[:, 1], **(look | {"edgecolors": "0.3"}))
    else:
        for index, name in enumerate(table.labels):
            points = table.x[table.y.flatten().long() == index]
            color = COLORS[index % len(COLORS)]
            axes.scatter(points[:, 0], points[:, 1], color=color, label=name, **look)
        axes.figure.legend(loc="outside lower center", ncols=min(4, len(table.labels)))
    across, up = ((side[-1] - side[0]).item() for side in (first, second))
    if 1 / EVEN < across / up < EVEN:
        axes.set_aspect("equal")


def _ends(height: Floats, values: Floats) -> tuple[float, float]:
    """A range for the colors of a surface and of points; white is 0 where there are both signs."""
    low = float(min(height.min(), values.min()))
    high = float(max(height.max(), values.max()))
    if low < 0 < high:
        return -max(-low, high), max(-low, high)
    return low, high if high > low else low + 1


def spread(values: Tensor, points: int) -> Tensor:
    """Evenly spaced numbers over the range of the values and a margin; NaN is no value."""
    values = values[~values.isnan()]
    low, high = values.min().item(), values.max().item()
    margin = MARGIN * ((high - low) or 1.0)
    return torch.linspace(low - margin, high + margin, points)


def as_grid(values: Floats) -> Floats:
    """[G²] with the first coordinate outermost → [G, G] as matplotlib takes it, rows upward."""
    return values.reshape(GRID_POINTS, GRID_POINTS).T


def predicted(learner: Learner, x: Tensor) -> Floats:
    """Columns [n, C] → predictions in the target's units [n, K]; NaN drawn as nothing."""
    return np.asarray(torch.nan_to_num(learner.ask(x).cpu().float()).numpy())
