import pytest
import torch

from neuronlab.errors import ArgumentError
from neuronlab.playground import make_circle, make_xor


def table(make, **arguments):  # type: ignore[no-untyped-def]
    return make(torch.Generator().manual_seed(0), rows=2000, **arguments)


def test_circle() -> None:
    made = table(make_circle)
    radius, inside = made.x.norm(dim=1), made.y[:, 0] == 1
    assert radius[inside].max() < 2.5
    assert radius[~inside].min() >= 3.5
    assert radius.max() <= 5
    assert inside.float().mean() == 0.5


def test_xor() -> None:
    made = table(make_xor)
    assert torch.equal(made.y[:, 0] == 1, made.x[:, 0].sign() == made.x[:, 1].sign())
    assert made.x.abs().min() >= 0.3
    assert made.x.abs().max() <= 5.3
    assert abs(made.y.mean() - 0.5) < 4 * 0.5 / 2000**0.5  # four deviations of a fair coin


@pytest.mark.parametrize("make", [make_circle, make_xor])
def test_noise_mixes_classes_and_leaves_points(make) -> None:  # type: ignore[no-untyped-def]
    clean, noisy = table(make), table(make, noise=0.5)
    assert torch.equal(clean.x, noisy.x)
    assert 0 < (clean.y != noisy.y).float().mean() < 0.5
    assert noisy.truth is None
    with pytest.raises(ArgumentError, match="noise=-1"):
        table(make, noise=-1)


@pytest.mark.parametrize("make", [make_circle, make_xor])
def test_no_line_separates_the_classes(make) -> None:  # type: ignore[no-untyped-def]
    """The best of 360 directions and all thresholds, by brute force."""
    made = table(make)
    y = made.y[:, 0]
    best = 0.0
    for angle in torch.linspace(0, torch.pi, 360):
        order = (made.x @ torch.stack([angle.cos(), angle.sin()])).argsort()
        sorted_y = y[order]
        right = (1 - sorted_y).cumsum(0) + (y.sum() - sorted_y.cumsum(0))  # 0 below, 1 above
        share = right / len(y)
        best = max(best, share.max().item(), 1 - share.min().item())
    assert best < 0.75
