"""The functions that `conf/` calls, as `${name:arguments}`."""

from __future__ import annotations

import numpy as np
from omegaconf import OmegaConf

from neuronlab.errors import require
from neuronlab.folders import run_folder, run_name


def register_resolvers() -> None:
    """Makes them known to OmegaConf.

    `${run_folder:ckpt_path,otherwise}`, `${run_name:overrides}`, `${or:value,otherwise}`,
    `${log_spaced:first,last,count}`, and `${once:value}`, which the jobs of a sweep take over from
    the sweep, as they do `${now:…}`.
    """
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("log_spaced", log_spaced, replace=True)
    OmegaConf.register_new_resolver("once", lambda value: value, replace=True, use_cache=True)
    OmegaConf.register_new_resolver(
        "or", lambda value, otherwise: otherwise if value is None else value, replace=True
    )


def log_spaced(first: float, last: float, count: int) -> str:
    """Numbers with equal ratios, as the list of values that a sweep takes: `0.01,0.1,1`.

    Args:
        first: The first, above 0.
        last: The last, above 0.
        count: How many, 2 or more.

    Raises:
        ValueError: If an argument is not allowed.
    """
    require(first > 0, "first", first, "a number above 0")
    require(last > 0, "last", last, "a number above 0")
    require(count >= 2, "count", count, "a whole number ≥ 2")
    return ",".join(f"{number:.4g}" for number in np.geomspace(first, last, count))
