"""Randomness as a pure function of the configuration: seed, purpose, and epoch."""

from __future__ import annotations

import numpy as np
import torch

from neuronlab.errors import require

STREAMS = ("weights", "data", "split", "order", "training")


def derive(seed: int, stream: str, *key: int) -> int:
    """A seed of its own for one purpose, so that no draw disturbs another.

    Seeds that differ in one bit give unrelated streams (`numpy.random.SeedSequence`, after
    O'Neill's seed_seq_fe), where `seed + 1` for the next purpose would make run 0's data run 1's
    weights.

    Args:
        seed: The seed of the run; 0 is a seed like any other.
        stream: What is drawn, one of `STREAMS`.
        key: Further numbers that the draw depends on, as the epoch.

    Raises:
        ValueError: If the seed is not a whole number ≥ 0.
    """
    require(isinstance(seed, int) and seed >= 0, "seed", seed, "a whole number ≥ 0")
    sequence = np.random.SeedSequence([seed, STREAMS.index(stream), *key])
    return int(sequence.generate_state(1, np.uint64)[0])


def generator(seed: int, stream: str, *key: int) -> torch.Generator:
    """A generator seeded with `derive`; see there for arguments and errors."""
    return torch.Generator().manual_seed(derive(seed, stream, *key))
