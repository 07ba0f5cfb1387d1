"""A figure of the page with what belongs to it, and the colors that all figures share.

Figures know neither light nor dark: their backgrounds are transparent, and they name no color for
text, axes and grids. The page's script sets these, so that one figure serves screen and paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

# Eight hues after Okabe and Ito (Color Universal Design, 2008), moved until each has a contrast of
# at least 3 : 1 with white and with the dark page (#14171c), and until neighbors in this order
# stay apart for protanopes, deuteranopes and tritanopes (distances in OKLab).
COLORS = (
    "#1a63dc",  # blue
    "#c2440a",  # vermilion
    "#1ba67b",  # green
    "#a53f9f",  # magenta
    "#c98516",  # amber
    "#9374f0",  # violet
    "#6c8db3",  # steel
    "#756266",  # umber
)
# What a further series gets once all colors are taken.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
DIVERGED = "#d81f4d"  # with the symbol "x", since it is no hue of its own to everyone
SCALE = "Viridis"  # sequential: even steps look even, in gray as well
DIVERGING = "RdBu"  # two directions from a middle


@dataclass(frozen=True)
class Panel:
    """A figure, what it shows in words, and its numbers.

    Attributes:
        name: A slug, unique within its section; the name of the CSV file as well.
        title: A sentence: what to see.
        figure: The figure, without a title of its own; axes named.
        data: What it draws, a row per mark.
        note: How to read it, in plain words.
    """

    name: str
    title: str
    figure: go.Figure
    data: pd.DataFrame
    note: str = ""


def color(index: int) -> str:
    """The color of a series, as `#rrggbb`; from the ninth series on they come again."""
    return COLORS[index % len(COLORS)]


def dash(index: int) -> str:
    """The dash of a series' line: another one for each round of colors."""
    return DASHES[index // len(COLORS) % len(DASHES)]


def symbol(index: int) -> str:
    """The symbol of a series' points: another one for each round of colors."""
    return SYMBOLS[index // len(COLORS) % len(SYMBOLS)]


def faded(color: str, alpha: float) -> str:
    """A color that lets others through, for bands.

    Args:
        color: As `#rrggbb`.
        alpha: 0 (invisible) to 1 (opaque).
    """
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def blank(height: int, **layout: object) -> go.Figure:
    """An empty figure that fits the page: no background, legend below, as wide as there is room.

    Args:
        height: Pixels.
        layout: Further settings of plotly's layout.
    """
    settings: dict[str, object] = {
        "template": "none",  # a template names colors, and would come with every figure
        "height": height,
        "margin": {"l": 64, "r": 16, "t": 16, "b": 56},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(COLORS),
        "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0},
        "hovermode": "closest",
    }
    return go.Figure(layout=settings | layout)
