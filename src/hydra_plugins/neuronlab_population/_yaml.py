"""Configurations as YAML, byte for byte as OmegaConf writes them, without writing a line twice.

The jobs of a sweep differ in few lines. A line depends on its key, its value and its depth only,
so each is made once; PyYAML's emitter in Python takes several milliseconds for a whole file.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from enum import Enum
from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper

Keys = tuple[str, ...]

# Emitters in C and in Python break lines and escape characters differently; of this they make
# the same, as a test holds.
_SAME_IN_C = re.compile(r"[!-~]{0,500}")
_KEY_SAME_IN_C = re.compile(r"'[\w.@-]{1,100}'|- ", re.ASCII)
_LIMIT = 20_000  # lines that are remembered
_remembered: dict[tuple[int, str, str], str] = {}


def to_yaml(config: Mapping[Any, Any]) -> str:
    """What `OmegaConf.to_yaml` writes for the plain container of a configuration."""
    if not config:
        return "{}\n"
    return "".join(str(piece) for piece in pieces(config))


def list_to_yaml(items: tuple[str, ...]) -> str:
    """What `OmegaConf.to_yaml` writes for a list."""
    return "".join(_item(0, item) for item in items) if items else "[]\n"


def pieces(config: Mapping[Any, Any], holes: Container[Keys] = ()) -> list[str | Keys]:
    """The text of a configuration, interrupted where entries are left out.

    Args:
        config: Plain nested values.
        holes: The paths of entries to leave out.

    Returns:
        Texts, and the paths of `holes` in their places.
    """
    joined: list[str | Keys] = []
    run: list[str] = []
    for piece in _mapping(config, holes, ()):
        if isinstance(piece, str):
            run.append(piece)
        else:
            joined += ["".join(run), piece]
            run = []
    return [*joined, "".join(run)]


def entry(depth: int, key: Any, value: Any) -> str:
    """The lines of one key with a value that is not a non-empty mapping.

    Args:
        depth: The number of mappings around it, less one.
        key: The key.
        value: A scalar, a list, or an empty mapping.
    """
    if isinstance(value, list) and value:
        heading = _heading(depth, key)
        if heading is not None:
            return heading + "".join(_item(depth + 1, item) for item in value)
    return _lines(depth, repr(key), {key: value}, value)


def _mapping(
    config: Mapping[Any, Any], holes: Container[Keys], above: Keys
) -> Iterator[str | Keys]:
    for key, value in config.items():
        path = (*above, str(key))
        if path in holes:
            yield path
            continue
        heading = _heading(len(above), key) if isinstance(value, Mapping) and value else None
        if heading is None:
            yield entry(len(above), key, value)
        else:
            yield heading
            yield from _mapping(value, holes, path)


def _heading(depth: int, key: Any) -> str | None:
    """The line above a nested value, or None for a key that takes more than one."""
    line = _lines(depth, repr(key), {key: {}}, {})
    return f"{line[:-4]}\n" if line.endswith(": {}\n") and line.count("\n") == 1 else None


def _item(depth: int, item: Any) -> str:
    """The lines of one item of a list that stands inside `depth` mappings."""
    return _lines(depth, "- ", [item], item)


def _lines(depth: int, key: str, document: Any, value: Any) -> str:
    """The text of a document that stands inside `depth` mappings."""
    known = (depth, key, repr(value))
    found = _remembered.get(known)
    if found is None:
        # Equal lists in a document would become anchors, but `to_container` makes none.
        for _ in range(depth):
            document = {"x": document}
        found = _dump(document, _same_in_c(key, value)).split("\n", depth)[depth]
        if len(_remembered) >= _LIMIT:
            _remembered.clear()
        _remembered[known] = found
    return found


def _name(dumper: Any, value: Enum) -> yaml.ScalarNode:
    """As OmegaConf, which turns members of enumerations into their names beforehand."""
    return dumper.represent_data(value.name)


_Pure: Any = type("_Pure", (get_omega_conf_dumper(),), {})
_Pure.add_multi_representer(Enum, _name)
try:
    from yaml import CDumper
except ImportError:  # PyYAML without libyaml
    _Fast: Any = _Pure
else:
    _Fast = type("_Fast", (CDumper,), {})
    _Fast.add_representer(str, _Pure.str_representer)


def _same_in_c(key: str, value: Any) -> bool:
    return (
        isinstance(value, (str, bool, int))
        and _SAME_IN_C.fullmatch(str(value)) is not None
        and _KEY_SAME_IN_C.fullmatch(key) is not None
    )


def _dump(document: Any, fast: bool) -> str:
    dumper = _Fast if fast else _Pure
    text: str = yaml.dump(
        document, Dumper=dumper, default_flow_style=False, allow_unicode=True, sort_keys=False
    )
    return text
