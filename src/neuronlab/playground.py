"""The six problems of TensorFlow Playground, with its geometry: two columns, x1 and x2.

Letters: n data rows.

Source: Smilkov et al., "Direct-Manipulation Visualization of Deep Networks" (2017), and the data
sets of its published code. `noise` goes from 0 to 0.5, as 0 to 50 % on its page. In most problems
it doesn't move the point that is shown but the place where its target is looked up: near a border
classes mix. The other two, clouds and spirals, are drawn wider.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from neuronlab.datasets import Table, Task
from neuronlab.errors import require

MOST_NOISE = 0.5
RADIUS, INNER, OUTER = 5.0, 2.5, 3.5  # the inner class ends at 2.5, the outer begins at 3.5
SIDE, PADDING = 5.0, 0.3  # of the square, and of the cross that is left empty
CENTER = 2.0  # of a cloud, in both coordinates
TURNS = 1.75  # of each arm
EDGE = 6.0  # of the square of both regressions
BUMP = 2.0  # radius of a bump at its foot
BUMPS = (  # x1, x2 and height
    *((-4.0, 2.5, 1.0), (0.0, 2.5, -1.0), (4.0, 2.5, 1.0)),
    *((-4.0, -2.5, -1.0), (0.0, -2.5, 1.0), (4.0, -2.5, -1.0)),
)


def make_circle(generator: Generator, rows: int = 500, noise: float = 0.0) -> Table:
    """A disk of one class (target 1) in a ring of the other (target 0).

    Radius and angle are uniform, so points are denser towards the middle. `noise` is the share of
    the whole radius by which the looked-up point is moved at most in each direction.
    """
    _check(rows, noise)
    uniform = torch.rand(rows, generator=generator)
    outside = OUTER + (RADIUS - OUTER) * uniform
    radius = torch.where(_halves(rows), INNER * uniform, outside)
    angle = 2 * math.pi * torch.rand(rows, generator=generator)
    x = _polar(radius, angle)
    inside = _moved(x, noise * RADIUS, generator).norm(dim=1) < INNER
    truth = _in_disk(x, noise * RADIUS) if noise > 0 else inside
    return _table(x, inside, "binary", "inside", truth)


def make_xor(generator: Generator, rows: int = 500, noise: float = 0.0) -> Table:
    """Four squares; the target is 1 where both coordinates have the same sign.

    Coordinates are uniform in ±5, then moved away from 0 by 0.3. `noise` is the share of 5 by which
    the looked-up point is moved at most in each direction.
    """
    _check(rows, noise)
    x = _square(rows, SIDE, generator)
    x = x + PADDING * torch.where(x > 0, 1.0, -1.0)
    same = truth = _moved(x, noise * SIDE, generator).prod(dim=1) >= 0
    if noise > 0:
        positive = ((x / (noise * SIDE) + 1) / 2).clamp(0, 1)  # P(looked-up coordinate ≥ 0)
        truth = positive.prod(dim=1) + (1 - positive).prod(dim=1)
    return _table(x, same, "binary", "same sign", truth)


def make_gauss(generator: Generator, rows: int = 500, noise: float = 0.0) -> Table:
    """Two round clouds, around (2, 2) with target 1 and around (−2, −2) with target 0.

    Each has half of the rows. `noise` widens them: their variance is 0.5 + 7·noise. They always
    overlap a little. By Bayes' rule P(upper cloud) = sigmoid(4·(x1 + x2) / variance).
    """
    _check(rows, noise)
    upper = _halves(rows)
    variance = 0.5 + 7 * noise
    center = torch.where(upper, CENTER, -CENTER)[:, None]
    x = center + math.sqrt(variance) * torch.randn(rows, 2, generator=generator)
    # Equal priors, equal variance: the log-odds are (distance² to one − distance² to the other) /
    # (2·variance), where all squares cancel.
    weight = 2 * CENTER / variance
    truth = torch.sigmoid(weight * x.sum(dim=1))
    return _table(x, upper, "binary", "upper cloud", truth, weight)


def make_spiral(generator: Generator, rows: int = 500, noise: float = 0.0) -> Table:
    """Two arms of 1.75 turns that wind around each other, the second half a turn behind the first.

    Both begin in the middle, so that no rule tells their first points apart. Points follow each
    other at even steps of radius and angle. `noise` moves the points themselves, by as much at most
    in each direction; how the arms then mix in the middle has no simple formula.
    """
    _check(rows, noise)
    first = _halves(rows)
    way = torch.arange(rows) // 2 / (rows / 2)  # 0 in the middle, below 1 at the end
    angle = 2 * math.pi * (TURNS * way + torch.where(first, 0.0, 0.5))
    x = _moved(_polar(RADIUS * way, angle), noise, generator)
    truth = torch.where(way == 0, 0.5, first.float()) if noise == 0 else None
    return _table(x, first, "binary", "first arm", truth)


def make_plane(generator: Generator, rows: int = 1200, noise: float = 0.0) -> Table:
    """A slope, height = (x1 + x2) / 10, with x1 and x2 uniform in ±6.

    `noise` is the share of 6 by which the looked-up point is moved at most in each direction. Its
    mean is 0, so the slope itself is what can be expected.
    """
    x, looked_up = _looked_up(generator, rows, noise)
    return _table(x, looked_up.sum(dim=1) / 10, "regression", "height", x.sum(dim=1) / 10, 0.1)


def make_bumps(generator: Generator, rows: int = 1200, noise: float = 0.0) -> Table:
    """Three hills and three hollows in a flat land, with x1 and x2 uniform in ±6.

    Each is a cone of radius 2, of height 1 or −1 in its middle. `noise` is the share of 6 by which
    the looked-up point is moved at most in each direction; what can then be expected is the mean
    height over a square, which has no simple formula.
    """
    x, looked_up = _looked_up(generator, rows, noise)
    y = torch.zeros(rows)
    for *center, height in BUMPS:  # they only touch, so that their sum is the one that is not 0
        distance = (looked_up - torch.tensor(center)).norm(dim=1)
        y = y + height * (1 - distance / BUMP).clamp(min=0)
    return _table(x, y, "regression", "height", y if noise == 0 else None)


def _halves(rows: int) -> Tensor:
    """Every other row [n], from the first on."""
    return torch.arange(rows) % 2 == 0


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    """Radii and angles [n] → points [n, 2]; the angle counts clockwise from the second axis."""
    return torch.stack([radius * angle.sin(), radius * angle.cos()], dim=1)


def _square(rows: int, side: float, generator: Generator) -> Tensor:
    """Points uniform in ±side [n, 2]."""
    return side * (2 * torch.rand(rows, 2, generator=generator) - 1)


def _moved(x: Tensor, most: float, generator: Generator) -> Tensor:
    """Points [n, 2], moved by up to ±most in each direction."""
    return x + _square(len(x), most, generator)


def _looked_up(generator: Generator, rows: int, noise: float) -> tuple[Tensor, Tensor]:
    """Points uniform in ±6 [n, 2], and the places where their heights are looked up [n, 2]."""
    _check(rows, noise)
    x = _square(rows, EDGE, generator)
    return x, _moved(x, noise * EDGE, generator)


def _in_disk(x: Tensor, most: float) -> Tensor:
    """P(inside) [n] of points [n, 2] that are moved by up to ±most in each direction.

    It is the part of a square around the point that the inner disk covers.
    """
    x = x.double()
    left, below = (x - most).unbind(dim=1)
    right, above = (x + most).unbind(dim=1)
    covered = _corner(right, above) - _corner(left, above)
    covered = covered - _corner(right, below) + _corner(left, below)
    nearest, farthest = ((x.abs() + side).clamp(min=0).norm(dim=1) for side in (-most, most))
    # All or nothing, whatever rounding makes of tiny squares, where all of it lies in or out.
    share = covered / (2 * most) ** 2
    return share.clamp((farthest < INNER).double(), (nearest < INNER).double()).float()


def _corner(a: Tensor, b: Tensor) -> Tensor:
    """The area [n] of what lies left of a and below b of the inner disk."""
    a, b = (side.clamp(-INNER, INNER) for side in (a, b))
    whole = math.pi * INNER**2
    left, below = (
        side * (INNER**2 - side**2).sqrt() + INNER**2 * (side / INNER).asin() + whole / 2
        for side in (a, b)
    )
    # A corner within the disk cuts it by a cross. One outside leaves what two cuts leave that do
    # not meet: nothing of it, one piece, or all but two pieces.
    meets = a**2 + b**2 < INNER**2
    apart = torch.where((a < 0) & (b < 0), 0.0, torch.minimum(left, below))
    apart = torch.where((a >= 0) & (b >= 0), left + below - whole, apart)
    return torch.where(meets, a * b + (left + below) / 2 - whole / 4, apart)


def _table(
    x: Tensor, y: Tensor, task: Task, target: str, truth: Tensor | None, weight: float | None = None
) -> Table:
    """A table from points [n, 2], targets [n] and what can be expected of them [n].

    `weight` is that of both columns, where the rule is linear; none of them has a bias.
    """
    return Table(
        *(x, y.float()[:, None], task, ("x1", "x2"), target),
        truth=None if truth is None else truth.float()[:, None],
        weights=None if weight is None else (weight, weight),
        bias=None if weight is None else 0.0,
    )


def _check(rows: int, noise: float) -> None:
    require(rows >= 1, "rows", rows, "a whole number ≥ 1")
    require(0 <= noise <= MOST_NOISE, "noise", noise, f"a number from 0 to {MOST_NOISE}")
