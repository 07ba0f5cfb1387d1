from itertools import pairwise

import pytest
from omegaconf import OmegaConf

from neuronlab.errors import ArgumentError
from neuronlab.resolvers import log_spaced, register_resolvers


def test_log_spaced_numbers_have_equal_ratios() -> None:
    numbers = [float(text) for text in log_spaced(1e-4, 1, 41).split(",")]
    assert len(numbers) == 41
    assert (numbers[0], numbers[-1]) == (1e-4, 1)
    for one, two in pairwise(numbers):
        assert two / one == pytest.approx(10**0.1, rel=1e-3)  # four digits are written


def test_it_is_a_list_that_a_sweep_takes() -> None:
    register_resolvers()
    config = OmegaConf.create({"lr": "${log_spaced:0.01,1,3}"})
    assert config.lr == "0.01,0.1,1"


@pytest.mark.parametrize("arguments", [(0, 1, 3), (1, -1, 3), (1, 2, 1)])
def test_what_has_no_logarithm_is_refused(arguments: tuple[float, float, int]) -> None:
    with pytest.raises(ArgumentError, match="must be"):
        log_spaced(*arguments)
