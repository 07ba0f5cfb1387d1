"""Parses each interpolation once: the jobs of a sweep resolve the same few, at 0.3 ms each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import omegaconf.base
from omegaconf.grammar_parser import parse

_parse_once: Any = lru_cache(maxsize=4096)(parse)  # trees are read, never changed


@contextmanager
def parsing_once() -> Iterator[None]:
    """Lets OmegaConf remember what it has parsed; it has no setting for that."""
    module: Any = omegaconf.base
    before = module.parse
    module.parse = _parse_once
    try:
        yield
    finally:
        module.parse = before
