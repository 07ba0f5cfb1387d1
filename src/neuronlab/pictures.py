"""Pictures of what a network has learned, for data with one or two inputs.

Letters: n data rows, C columns, K outputs.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from neuronlab.datasets import Table
from neuronlab.learner import Learner

CURVE_POINTS, GRID_POINTS = 400, 120
MARGIN = 0.1  # of the data's range, so that no point lies on the frame
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
    buffer = BytesIO()
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
    grid = torch.cartesian_prod(first, second)  # [G², 2]
    values = predicted(learner, grid)  # [G², K]
    if table.task == "multiclass":
        levels = np.arange(table.out_features + 1) - 0.5
        height = values.argmax(axis=1).astype(float)
        colors = [COLORS[index % len(COLORS)] for index in range(table.out_features)]
        axes.contourf(first, second, as_grid(height), levels, colors=colors, alpha=0.3)
    else:
        shown = axes.contourf(first, second, as_grid(values[:, 0]), 20, cmap="RdBu", alpha=0.6)
        probability = table.task == "binary"
        label = f"P({table.labels[1]})" if probability else table.target
        axes.figure.colorbar(shown, label=label)
        if probability and values.min() < 0.5 < values.max():
            boundary = as_grid(values[:, 0])
            axes.contour(first, second, boundary, [0.5], colors="black", linewidths=1.5)
    if table.task == "regression":
        axes.scatter(
            table.x[:, 0], table.x[:, 1], c=table.y[:, 0], cmap="RdBu", edgecolors="black", s=18
        )
        return
    label_of = table.y.flatten().long()
    for index, name in enumerate(table.labels):
        chosen = table.x[label_of == index]
        color = COLORS[index % len(COLORS)]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            color=color,
            edgecolors="white",
            linewidths=0.5,
            s=24,
            label=name,
        )
    axes.legend()


def spread(values: Tensor, points: int) -> Tensor:
    """Evenly spaced numbers over the range of the values and a margin; NaN is no value."""
    values = values[~values.isnan()]
    low, high = values.min().item(), values.max().item()
    margin = MARGIN * ((high - low) or 1.0)
    return torch.linspace(low - margin, high + margin, points)


def as_grid(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """[G²] with the first coordinate outermost → [G, G] as matplotlib takes it, rows upward."""
    return values.reshape(GRID_POINTS, GRID_POINTS).T


def predicted(learner: Learner, x: Tensor) -> NDArray[np.floating[Any]]:
    """Columns [n, C] → predictions in the target's units [n, K]; NaN drawn as nothing."""
    return np.asarray(torch.nan_to_num(learner.ask(x).cpu().float()).numpy())
