"""What the jobs of a sweep with equal options share, and what each of them changes."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.neuronlab_population import _yaml
from hydra_plugins.neuronlab_population._jobs import Overrides

# What differs between the Hydra nodes of jobs with equal options and equal overrides of `hydra.…`.
TASK = ("hydra", "overrides", "task")
DIRNAME = ("hydra", "job", "override_dirname")
ID = ("hydra", "job", "id")
NUMBER = ("hydra", "job", "num")
OUTPUT = ("hydra", "runtime", "output_dir")
OWN = (TASK, DIRNAME, ID, NUMBER, OUTPUT)


class Base:
    """What Hydra composed of a set of options, to be copied for each job.

    The Hydra node is not copied but changed, since that takes longer than everything else.
    """

    def __init__(self, config: DictConfig) -> None:
        with open_dict(config.hydra):  # as launchers set them
            config.hydra.job.id = 0
            config.hydra.job.num = 0
            config.hydra.runtime.output_dir = "."
        hydra = cast("Any", config._get_node("hydra"))
        self._hydra = hydra
        self.holder = OmegaConf.masked_copy(config, "hydra")
        _content(self.holder)["hydra"] = self._hydra
        self._nodes = {path: _node(hydra, path) for path in (DIRNAME, ID, NUMBER, OUTPUT)}
        naming = hydra.job.config.override_dirname
        self._naming = {
            "exclude_keys": list(naming.exclude_keys),
            "item_sep": naming.item_sep,
            "kv_sep": naming.kv_sep,
        }
        options = OmegaConf.to_container(hydra.runtime.choices)
        self.options: dict[str, str | None] = options  # type: ignore[assignment]
        self.environment = {key: str(value) for key, value in hydra.job.env_set.items()}
        self.output_subdir: str | None = hydra.output_subdir
        self._template = _yaml.pieces(unresolved(self.holder), holes=OWN)
        self._copy = _copier(without_hydra(config))

    def copy(self) -> DictConfig:
        """The configuration of a job that changes no values."""
        config = self._copy()
        _content(config)["hydra"] = self._hydra
        self._hydra._set_parent(config)
        return config

    def dirname(self, task: list[Override]) -> str:
        """`hydra.job.override_dirname` of a job."""
        return get_overrides_dirname(task, **self._naming)

    def set_own(self, task: list[str], dirname: str, number: int) -> None:
        """Makes Hydra's node that of a job."""
        self._hydra.overrides.task = task
        self._nodes[DIRNAME]._set_value(dirname)
        self._nodes[ID]._set_value(number)
        self._nodes[NUMBER]._set_value(number)
        self._nodes[OUTPUT]._set_value("???")

    def resolve_folder(self) -> Path:
        """The job's output directory, which from now on `hydra.runtime.output_dir` is, too."""
        sweep = self._hydra.sweep
        folder = os.path.abspath(os.path.join(str(sweep.dir), str(sweep.subdir)))
        self._nodes[OUTPUT]._set_value(folder)
        return Path(folder)

    def files(self, task: Overrides, config: Mapping[Any, Any]) -> Mapping[str, tuple[str, ...]]:
        """The texts that Hydra writes for the job, in pieces.

        Args:
            task: The job's overrides.
            config: The job's configuration, as plain values that are not resolved.
        """
        if self.output_subdir is None:
            return {}
        values: dict[tuple[str, ...], Any] = {
            path: node._value() for path, node in self._nodes.items()
        }
        values[TASK] = list(task)
        own = tuple(
            piece
            if isinstance(piece, str)
            else _yaml.entry(len(piece) - 1, piece[-1], values[piece])
            for piece in self._template
        )
        return {
            "config.yaml": (_yaml.to_yaml(config),),
            "hydra.yaml": own,
            "overrides.yaml": (_yaml.list_to_yaml(task),),
        }


def without_hydra(config: DictConfig) -> DictConfig:
    """Takes Hydra's node from a configuration, as `run_job` does for the task; returns it."""
    del _content(config)["hydra"]
    return config


def _copier(config: DictConfig) -> Callable[[], DictConfig]:
    """Makes copies; reading a pickle is eight times faster than `copy.deepcopy`."""
    try:
        frozen = pickle.dumps(config)
        pickle.loads(frozen)
    except Exception:  # pickle raises many kinds, for schemas from inside functions for one
        return lambda: copy.deepcopy(config)
    return lambda: pickle.loads(frozen)


def unresolved(config: DictConfig) -> dict[Any, Any]:
    container = OmegaConf.to_container(config)
    assert isinstance(container, dict)
    return container


def _node(hydra: DictConfig, path: tuple[str, ...]) -> Any:
    node: Any = hydra
    for key in path[1:]:
        node = node._get_node(key)
    return node


def _content(config: DictConfig) -> dict[Any, Any]:
    content = config.__dict__["_content"]
    assert isinstance(content, dict)
    return content
