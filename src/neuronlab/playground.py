"""Problems of TensorFlow Playground that no straight line solves, with its geometry.

Letters: n data rows.

Source: Smilkov et al., "Direct-Manipulation Visualization of Deep Networks" (2017), and the data
sets of its published code. Noise there moves the point whose class is looked up, not the point that
is shown: near a border classes mix.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from neuronlab.datasets import Table
from neuronlab.errors import require

RADIUS, INNER, OUTER = 5.0, 2.5, 3.5  # the inner class ends at 2.5, the outer begins at 3.5
SIDE, PADDING = 5.0, 0.3  # of the square, and of the cross that is left empty


def make_circle(generator: Generator, rows: int = 500, noise: float = 0.0) -> Table:
    """A disk of one class (target 1) in a ring of the other (target 0).

    Radius and angle are uniform, so points are denser towards the middle. `noise`, from 0 to 1, is
    the share of the whole radius by which the looked-up point is moved at most in each direction.
    """
    _check(rows, noise)
    inside = torch.arange(rows) % 2 == 0
    uniform = torch.rand(rows, generator=generator)
    radius = torch.where(inside, INNER * uniform, OUTER + (RADIUS - OUTER) * uniform)
    angle = 2 * math.pi * torch.rand(rows, generator=generator)
    x = torch.stack([radius * angle.sin(), radius * angle.cos()], dim=1)  # [n, 2]
    looked_up = x + noise * _square(rows, RADIUS, generator)
    return _table(x, looked_up.norm(dim=1) < INNER, noise, "inside")


def make_xor(generator: Generator, rows: int = 500, noise: float = 0.0) -> Table:
    """Four squares; the target is 1 where both coordinates have the same sign.

    Coordinates are uniform in ±5, then moved away from 0 by 0.3. `noise`, from 0 to 1, is the share
    of 5 by which the looked-up point is moved at most in each direction.
    """
    _check(rows, noise)
    x = _square(rows, SIDE, generator)
    x = x + PADDING * torch.where(x > 0, 1.0, -1.0)
    looked_up = x + noise * _square(rows, SIDE, generator)
    return _table(x, looked_up.prod(dim=1) >= 0, noise, "same sign")


def _square(rows: int, side: float, generator: Generator) -> Tensor:
    """Points uniform in ±side [n, 2]."""
    return side * (2 * torch.rand(rows, 2, generator=generator) - 1)


def _table(x: Tensor, label: Tensor, noise: float, target: str) -> Table:
    y = label.float()[:, None]
    return Table(x, y, "binary", ("x1", "x2"), target, truth=y if noise == 0 else None)


def _check(rows: int, noise: float) -> None:
    require(rows >= 1, "rows", rows, "a whole number ≥ 1")
    require(0 <= noise <= 1, "noise", noise, "a number from 0 to 1")
