"""Configurations as plain nested values: their leaves, and a name for equal ones."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf


def construct(node: Mapping[str, Any], **arguments: Any) -> Any:
    """What a node with a `_target_` describes, its lists and mappings as Python's own.

    Args:
        node: The configuration, checked by `neuronlab.checks`.
        arguments: Further arguments, or Hydra's `_partial_`.
    """
    return instantiate(dict(node), _convert_="all", **arguments)


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values, interpolations resolved, without Hydra's own."""
    keys = [str(key) for key in config if key != "hydra"]
    values = OmegaConf.to_container(OmegaConf.masked_copy(config, keys), resolve=True)
    return cast("dict[str, Any]", values)


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested configuration with their dotted paths."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# What changes how a run is started or watched, but nothing that it leaves.
INCIDENTAL = (
    *("ckpt_path", "logger.", "callbacks.progress.", "trainer.enable_"),
    *("claims", "report."),
)


def config_hash(config: Mapping[str, Any]) -> str:
    """A short name for what a configuration defines; equal names mean equal runs.

    It is also one for the file that data are read from: another content makes other runs.
    """
    leaves = {key: v for key, v in flatten(config) if not key.startswith(INCIDENTAL)}
    if digest := file_digest(leaves.get("data.path")):
        leaves["data.path"] = [leaves["data.path"], digest]
    text = json.dumps(leaves, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | None) -> str | None:
    """A name for what a file holds, or None where there is no such file."""
    if path is None:
        return None
    path = os.path.expanduser(path)
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=64)  # a sweep asks for each of its jobs
def _digest(path: str, written: int, size: int) -> str | None:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    except OSError:
        return None
    return digest.hexdigest()
