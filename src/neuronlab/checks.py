"""Checks of a configuration before anything is built: targets, keys, types, and ranges.

Nothing here knows a particular model or data set. What may be given is read from the signature of
the class or function that a `_target_` names; what a value must satisfy beyond its type, that
function checks itself.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import typeguard
from hydra.utils import get_object

from neuronlab.configs import flatten
from neuronlab.data import DataModule
from neuronlab.errors import ConfigError, show, unknown
from neuronlab.regularization import RATES

PREFIXES = (
    "neuronlab.",
    "torch.nn.",
    "torch.optim.",
    "lightning.pytorch.",
    "torchmetrics.",
    "hydra_plugins.neuronlab_population.",
)
TARGETS = ("data", "model", "activation", "loss", "optimizer", "trainer")  # each names one
COLLECTIONS = ("callbacks", "logger")  # each names any number, by keys of the user's choice
VALUES = ("seed", "ckpt_path", "regularization")
REPORTING = ("claims", "report")  # what is for after a sweep, and checked there
INSTANTIATE_KEYS = ("_target_", "_partial_")  # Hydra's others have no use here

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")

# What the program itself passes, so a configuration can't.
SUPPLIED = {
    "generator",
    "in_features",
    "out_features",
    "params",
    "logger",
    "callbacks",
    "default_root_dir",
    "folder",
    "resumed",
}

# Ranges that torch.optim leaves open (lr = 0 trains nothing, NaN passes its comparisons).
OPTIMIZER_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda v: v > 0, "a number above 0"),
    "momentum": (lambda v: v >= 0, "a number ≥ 0"),
    "weight_decay": (lambda v: v >= 0, "a number ≥ 0"),
    "eps": (lambda v: v >= 0, "a number ≥ 0"),
    "alpha": (lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "lr_decay": (lambda v: v >= 0, "a number ≥ 0"),
}


def check(config: Mapping[str, Any]) -> None:
    """Checks a resolved configuration.

    Args:
        config: The configuration of a run as plain values.

    Raises:
        ConfigError: With one line per problem.
    """
    problems = list(_root(config))
    if not problems:  # each step takes it that the one before found nothing
        problems = _problems({key: node for key, node in config.items() if key not in REPORTING})
    if not problems:
        problems = list(_values(config))
    if problems:
        raise ConfigError(*problems)


def check_nodes(nodes: Mapping[str, Any], path: str) -> None:
    """Checks what the targets below a path name, and what is given to them.

    Raises:
        ConfigError: With one line per problem.
    """
    problems = _problems(nodes, path)
    if problems:
        raise ConfigError(*problems)


def _problems(nodes: Mapping[str, Any], path: str = "") -> list[str]:
    found = [(json.dumps(node, default=str), place) for place, node in target_nodes(nodes, path)]
    return [line for text, place in found for line in _keys(text, place)]


def check_targets(config: Mapping[str, Any]) -> None:
    """Checks that everything a configuration from a file names may be built.

    Raises:
        ConfigError: If a `_target_` lies outside the allowed prefixes.
    """
    for path, node in target_nodes(config):
        allowed_keys(node, path)


def target_nodes(value: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a `_target_`, with its path, wherever Hydra would build one."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield path, value
        for key, part in value.items():
            yield from target_nodes(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from target_nodes(part, f"{path}[{index}]")


def resolve_target(target: object, path: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names.

    Both the name and the module that defines the object must be below an allowed prefix, since
    `neuronlab.records.os.system` is a name below `neuronlab.` as well.

    Raises:
        ConfigError: If it lies outside the allowed prefixes or does not exist.
    """
    allowed = f"must begin with one of {', '.join(PREFIXES)}"
    if not isinstance(target, str) or not target.startswith(PREFIXES):
        raise ConfigError(f"{path}._target_={show(target)}: {allowed}")
    try:
        found = get_object(target)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path}._target_={target}: cannot be found ({text})") from error
    home = f"{getattr(found, '__module__', None) or ''}."
    if not callable(found) or not home.startswith(PREFIXES):
        raise ConfigError(f"{path}._target_={target}: is {home[:-1] or 'no class'}; it {allowed}")
    return typing.cast(Callable[..., Any], found)


def allowed_keys(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What may be given below a node that names a target: argument → type annotation.

    Raises:
        ConfigError: If the target is not allowed.
    """
    target = resolve_target(node["_target_"], path)
    keys = dict(_arguments(target))
    if path == "data":  # a make_* function and the module that serves what it makes share a node
        keys |= {k: v for k, v in _arguments(DataModule).items() if k != "make"}
    return keys


@functools.cache
def _arguments(target: Callable[..., Any]) -> Mapping[str, Any]:
    parameters = inspect.signature(target).parameters.values()
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # annotations that exist for type checkers only
        hints = {}
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: hints.get(p.name, Any) for p in named if p.name not in SUPPLIED}


def _root(config: Mapping[str, Any]) -> Iterator[str]:
    known = (*TARGETS, *COLLECTIONS, *VALUES, *REPORTING)
    valid = {key: value for key, value in config.items() if key in known}
    paths = {*known, *(path for path, _ in flatten(valid))}
    for key, value in config.items():
        if key not in known:
            given = [path for path, _ in flatten({key: value})] or [key]
            yield from (unknown(path, known, "key", near=paths) for path in given)
    seed = config.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        yield f"seed={show(seed)}: must be a whole number ≥ 0"
    rates = config.get("regularization")
    if not isinstance(rates, Mapping) or not rates.keys() >= set(RATES):
        yield f"regularization={show(rates)}: must be a mapping, with {' and '.join(RATES)}"
    else:
        keys = [f"regularization.{name}" for name in RATES]
        yield from (
            unknown(f"regularization.{name}", keys, "key") for name in rates if name not in RATES
        )
        yield from (
            f"regularization.{name}={show(rate)}: must be a number ≥ 0"
            for name, rate in rates.items()
            if isinstance(rate, bool)
            or not isinstance(rate, (int, float))
            or not 0 <= rate < math.inf
        )
    report = config.get("report") or {}
    if not isinstance(report, Mapping):
        yield f"report={show(report)}: must be a mapping, with auto: true or false"
    else:
        yield from (
            unknown(f"report.{key}", ["report.auto"], "key") for key in report.keys() - {"auto"}
        )
        if not isinstance(report.get("auto", False), bool):
            yield f"report.auto={show(report['auto'])}: must be true or false"
    for key in TARGETS:
        if not isinstance(config.get(key), Mapping) or "_target_" not in config[key]:
            yield f"{key}={show(config.get(key))}: must be an option of the group {key}"
    for key in COLLECTIONS:
        for name, node in (config.get(key) or {}).items():
            if not isinstance(node, Mapping) or "_target_" not in node:
                yield f"{key}.{name}={show(node)}: must be a mapping with a _target_"


@functools.lru_cache(maxsize=4096)  # the jobs of a sweep share most of their nodes
def _keys(text: str, path: str) -> tuple[str, ...]:
    """What is wrong with a node, given as JSON."""
    return tuple(_key_problems(json.loads(text), path))


def _key_problems(node: Mapping[str, Any], path: str) -> Iterator[str]:
    try:
        keys = allowed_keys(node, path)
    except ConfigError as error:
        yield from error.problems
        return
    for name, value in node.items():
        if name in INSTANTIATE_KEYS:
            continue
        if name not in keys:
            yield unknown(f"{path}.{name}", [f"{path}.{key}" for key in keys], "key")
        elif name in TARGETS and isinstance(value, str):
            yield f"{path}.{name}={value}: must be chosen with {name}={value}"
        elif not _has_type(value, keys[name]):
            yield f"{path}.{name}={show(value)}: must be {describe(keys[name])}"


def _values(config: Mapping[str, Any]) -> Iterator[str]:
    for path, value in flatten(config):
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{path}={value}: must be a finite number"
    for name, value in config["optimizer"].items():
        if name in OPTIMIZER_RANGES:
            holds, allowed = OPTIMIZER_RANGES[name]
            if math.isfinite(value) and not holds(value):
                yield f"optimizer.{name}={show(value)}: must be {allowed}"
    trainer = config["trainer"]
    epochs = trainer.get("max_epochs")
    if epochs is not None and epochs != -1 and epochs < 1:
        yield f"trainer.max_epochs={epochs}: must be a whole number ≥ 1, or -1 for no limit"
    devices = trainer.get("devices", 1)
    if devices not in (1, "1") and not (isinstance(devices, list) and len(devices) == 1):
        yield f"trainer.devices={show(devices)}: must be 1, a run has one device; sweep with -m"
    if trainer.get("num_nodes", 1) != 1:
        yield f"trainer.num_nodes={trainer['num_nodes']}: must be 1, a run has one device"
    if trainer.get("overfit_batches", 0) != 0:
        came = trainer["overfit_batches"]
        yield f"trainer.overfit_batches={came}: must be 0; use fewer data.rows instead"
    if trainer.get("limit_train_batches") == 0:
        yield "trainer.limit_train_batches=0: must be above 0, or nothing is trained"
    accelerator = trainer.get("accelerator", "auto")
    if accelerator not in ACCELERATORS:
        yield f"trainer.accelerator={accelerator}: must be one of {', '.join(ACCELERATORS)}"
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        yield (
            f"trainer.accelerator={accelerator}: there is no CUDA device here; "
            "use trainer=cpu or trainer=auto"
        )


def _has_type(value: Any, annotation: Any) -> bool:
    if isinstance(value, Mapping):  # built from its own target, whose type is its own matter
        return True
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        return typing.get_origin(annotation) is list  # likewise, each of them
    if isinstance(value, bool) and not _accepts(bool, annotation):
        return False  # a bool is an int to Python, but `rows=true` is a slip
    candidates = (value, tuple(value)) if isinstance(value, list) else (value,)
    return any(_accepts_value(candidate, annotation) for candidate in candidates)


def _accepts(kind: type, annotation: Any) -> bool:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return annotation is Any or kind in ((typing.get_args(annotation)) if union else (annotation,))


def _accepts_value(value: Any, annotation: Any) -> bool:
    every = typeguard.CollectionCheckStrategy.ALL_ITEMS
    try:
        typeguard.check_type(value, annotation, collection_check_strategy=every)
    except typeguard.TypeCheckError:
        return False
    return True


def describe(annotation: Any) -> str:
    """A type in words: `int | None` is "a whole number or null"."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        kinds = (kind for kind in arguments if kind is not torch.Tensor)  # nothing one can type
        return " or ".join(dict.fromkeys(map(describe, kinds)))
    if origin is typing.Literal:
        return f"one of {', '.join(str(value) for value in arguments)}"
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}, each {describe(arguments[0])}"
    if origin in (list, tuple):
        return f"a list, each {describe(arguments[0])}"
    if annotation is type(None):
        return "null"
    name = getattr(annotation, "__name__", str(annotation))
    return words.get(annotation, f"a mapping with the _target_ of a {name}")
