"""What Hydra has saved of a run: the overrides that it was given, and its configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf

from neuronlab.errors import ConfigError, show
from neuronlab.resolvers import register_resolvers
from neuronlab.swept import given_values

HYDRA = ".hydra"  # what tells the folder of a run from others
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast as OmegaConf's


def read_overrides(path: Path) -> dict[str, str]:
    """The values that a run was given, by their keys.

    Args:
        path: The run's folder.

    Raises:
        ConfigError: If they cannot be read.
    """
    file = path / HYDRA / "overrides.yaml"
    lines = _load(file, list)
    if not all(isinstance(line, str) for line in lines):
        raise ConfigError(f"{file}: is damaged")
    return given_values(lines)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run as plain values.

    Args:
        path: The run's folder.

    Raises:
        ConfigError: If it cannot be read.
    """
    file = path / HYDRA / "config.yaml"
    config = _load(file, dict)
    register_resolvers()  # which it may call
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except Exception as error:  # OmegaConf raises a dozen kinds
        raise ConfigError(f"{file}: cannot be read ({_line(error)})") from error
    return cast("dict[str, Any]", resolved)


def values_of(path: Path, given: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    """The values of keys in a run, as one would write them in a command.

    Args:
        path: The run's folder.
        given: What the run was given.
        keys: The keys to look up; those that it was not given have the option of a group or the
            value that is in its configuration, and are empty where there is none.
    """
    found = {key: given[key] for key in keys if key in given}
    left = [key for key in keys if key not in given]
    if not left:
        return found
    try:
        options = _load(path / HYDRA / "hydra.yaml", dict)["hydra"]["runtime"]["choices"]
        config = _load(path / HYDRA / "config.yaml", dict)
        values = {key: options[key] if key in options else _select(config, key) for key in left}
    except (ConfigError, KeyError, TypeError):
        return found | dict.fromkeys(left, "")
    return found | {key: show(value) for key, value in values.items()}


def is_whole(file: Path) -> bool:
    """Whether a file ends as texts do; parsing the configurations of all runs would take long."""
    try:
        with file.open("rb") as opened:
            opened.seek(-1, os.SEEK_END)
            return opened.read() == b"\n"
    except OSError:  # not there, or empty
        return False


def _select(config: Mapping[str, Any], key: str) -> Any:
    """A value of a configuration that is not resolved; empty if there is none."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return ""
        value = value[part]
    reference = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if reference and reference[1] != key:  # resolving it all would take ten times as long
        return _select(config, reference[1])
    return value


def _load(file: Path, kind: type) -> Any:
    """The content of a YAML file, read whole or not at all.

    Raises:
        ConfigError: If it cannot be read, or is not of the kind that it should be.
    """
    try:
        text = file.read_text("utf-8")
        content = yaml.load(text, Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read ({_line(error)})") from error
    if not isinstance(content, kind) or not text.endswith("\n"):
        raise ConfigError(f"{file}: is damaged")
    return content


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
