"""Composes the jobs of a sweep as Hydra does, but what jobs share only once.

Group options determine what Hydra composes; other overrides are applied last. So Hydra composes
once per set of options, and each job is a copy with its values changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import env_override
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.neuronlab_population._base import Base, unresolved, without_hydra
from hydra_plugins.neuronlab_population._grammar import parsing_once
from hydra_plugins.neuronlab_population._jobs import BadJobsError, Job, Overrides, Texts

T = TypeVar("T")


class Composer:
    """Composes jobs from a sweep's own configuration, the master."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        """Keeps what composes.

        Args:
            loader: Hydra's.
            master: The composed configuration of the sweep.
        """
        assert isinstance(loader, ConfigLoaderImpl)
        self._loader = loader
        self._master = master
        given = OmegaConf.to_container(master.hydra.overrides.hydra)  # interpolations as they are
        assert isinstance(given, list)
        self._given = [str(override) for override in given]
        self._config_name = master.hydra.job.config_name
        self._parser = OverridesParser.create()
        self._parsed: dict[str, Override] = {}
        self._is_group: dict[tuple[str, ...], Callable[[str], bool]] = {}
        self._bases: dict[tuple[str, ...], Base | Exception] = {}
        self._shared: dict[str, Any] = {}

    def compose(self, overrides: Sequence[str], number: int) -> Job:
        """One job, equal to what Hydra's `load_sweep_config` and `run_job` would make of it.

        Args:
            overrides: The overrides of the job.
            number: Its number in the sweep.

        Raises:
            HydraException: As Hydra would, where it cannot be composed.
            OmegaConfBaseException: If an interpolation cannot be resolved.
        """
        with self._loaded(overrides, number) as (base, config, task):
            folder = base.resolve_folder()
            values = without_hydra(config)
            raw = unresolved(values)
            with env_override(base.environment):  # as Hydra sets it while a task runs
                plain = {
                    str(key): self._share(_resolved(values, key, value))
                    for key, value in raw.items()
                }
            return Job(
                number=number,
                overrides=task,
                options=base.options,
                config=plain,
                folder=folder,
                output_subdir=base.output_subdir,
                files=Texts(base.files(task, raw)),
            )

    def folder(self, overrides: Sequence[str], number: int) -> Path:
        """The folder of a job, for sweeps that need no more of it.

        Args:
            overrides: The overrides of the job.
            number: Its number in the sweep.

        Raises:
            HydraException: As `compose`.
            OmegaConfBaseException: As `compose`.
        """
        with self._loaded(overrides, number) as (base, _, _):
            return base.resolve_folder()

    def load(self, overrides: Sequence[str], number: int) -> DictConfig:
        """The whole configuration of a job, as `run_job` sees it.

        Args:
            overrides: The overrides of the job.
            number: Its number in the sweep.

        Raises:
            HydraException: As `compose`.
            OmegaConfBaseException: As `compose`.
        """
        with self._loaded(overrides, number) as (base, config, _):
            base.resolve_folder()
            return copy.deepcopy(config)

    @contextmanager
    def _loaded(
        self, overrides: Sequence[str], number: int
    ) -> Iterator[tuple[Base, DictConfig, Overrides]]:
        """A job's configuration, with `${hydra:…}` meaning this job; valid inside only."""
        parsed = [self._parse(override) for override in (*self._given, *overrides)]
        self._loader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
        in_base = self._in_base(parsed)
        base = self._base(
            tuple(_line(o) for o, inside in zip(parsed, in_base, strict=True) if inside)
        )
        config = base.copy()
        own = [override for override, inside in zip(parsed, in_base, strict=True) if not inside]
        task = [override for override in parsed if not override.is_hydra_override()]
        try:
            self._loader._apply_overrides_to_config(own, config)
            base.set_own([_line(override) for override in task], base.dirname(task), number)
        except OmegaConfBaseException as error:
            raise ConfigCompositionException from error
        OmegaConf.copy_cache(self._master, config)  # `${now:…}` is the same in all jobs
        before = HydraConfig.instance().cfg
        HydraConfig.instance().cfg = base.holder  # type: ignore[assignment] # as `set_config` does
        try:
            with parsing_once():
                yield base, config, tuple(_line(override) for override in task)
        finally:
            HydraConfig.instance().cfg = before

    def _parse(self, line: str) -> Override:
        if line not in self._parsed:  # ANTLR takes a quarter of a millisecond
            self._parsed[line] = self._parser.parse_overrides([line])[0]
        return self._parsed[line]

    def _in_base(self, parsed: list[Override]) -> list[bool]:
        """Which overrides choose options or change Hydra's own node; the others set values."""
        paths = tuple(_line(o) for o in parsed if o.get_key_element() == "hydra.searchpath")
        if paths not in self._is_group:
            _, repository = self._loader._parse_overrides_and_create_caching_repo(
                self._config_name, list(paths)
            )
            known: dict[str, bool] = {}

            def is_group(key: str) -> bool:
                if key not in known:
                    known[key] = repository.group_exists(key)
                return known[key]

            self._is_group[paths] = is_group
        group = self._is_group[paths]
        return [
            override.is_hydra_override()
            or override.key_or_group == "hydra"
            or (group(override.key_or_group) and not isinstance(override.value(), dict))
            for override in parsed
        ]

    def _base(self, overrides: tuple[str, ...]) -> Base:
        if overrides not in self._bases:
            try:
                config = self._loader.load_configuration(
                    self._config_name, list(overrides), RunMode.RUN
                )
                self._bases[overrides] = Base(config)
            except Exception as error:  # every job with these options gets the same one
                self._bases[overrides] = error
        found = self._bases[overrides]
        if isinstance(found, Exception):
            raise found
        return found

    def _share(self, value: Any) -> Any:
        """An equal value that another job has already, so that thousands of jobs stay small."""
        return self._shared.setdefault(repr(value), value) if isinstance(value, dict) else value


def _resolved(config: DictConfig, key: Any, raw: Any) -> Any:
    """The plain value of a key, which takes long to make where it holds interpolations."""
    if "${" not in repr(raw):
        return raw
    if isinstance(raw, (dict, list)):
        return OmegaConf.to_container(config[key], resolve=True)
    value = config[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _line(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def compose_all(
    compose: Callable[[Overrides, int], T], grid: Sequence[tuple[Overrides, int]]
) -> dict[tuple[Overrides, int], T]:
    """Composes jobs by their overrides and numbers.

    Args:
        compose: `Composer.compose`, or another of its methods.
        grid: The overrides and the number of each job.

    Raises:
        BadJobsError: With every job that cannot be composed.
    """
    composed = {}
    errors = []
    for overrides, number in grid:
        try:
            composed[overrides, number] = compose(overrides, number)
        except Exception as error:  # Hydra's, OmegaConf's, and whatever a resolver raises
            errors.append((overrides, error))
    if errors:
        fine = [job for job in composed.values() if isinstance(job, Job)]
        raise BadJobsError(errors, len(grid), common(overrides for overrides, _ in grid), fine)
    return composed


def common(jobs: Iterable[Overrides]) -> frozenset[str]:
    """The overrides that all jobs share."""
    found = [frozenset(overrides) for overrides in jobs]
    return frozenset.intersection(*found) if found else frozenset()
