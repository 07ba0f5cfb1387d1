"""The command line: every error of a user in one line, and the exit status that says so.

Status 0: done (a diverged run is a result, not an error); 1: a run failed; 2: a command that
cannot run; 130: stopped by hand.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.neuronlab_population import BadJobsError, SweepError
from neuronlab.configs import plain
from neuronlab.errors import ConfigError, RunFailedError, SweepFailedError, unknown
from neuronlab.folders import program, short

CONF = Path(__file__).parents[2] / "conf"
TRACE = "HYDRA_FULL_ERROR"


class Escaped(BaseException):
    """Carries an error past Hydra, which prints lines of its own for every Exception of a job."""


@contextmanager
def past_hydra() -> Iterator[None]:
    """Inside Hydra: brings every error to `command_line` as it is; in a sweep, others go on."""
    try:
        yield
    except Exception as error:
        if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        raise Escaped from error


class RefuseEarly(Callback):
    """Refuses a run before Hydra writes its configuration, so earlier records stay as they are."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Builds the run once and throws it away."""
        with past_hydra():
            from neuronlab.solo import prepare  # torch and Lightning, once the command is one

            prepare(plain(config), Path(config.hydra.run.dir))


def command_line(main: Callable[[], object], config_name: str) -> int:
    """Runs a Hydra application and turns what a user did wrong into one line per problem.

    Args:
        main: The function that `hydra.main` has wrapped.
        config_name: The primary configuration, to look up valid names in.

    Returns:
        The exit status.
    """
    asked = os.environ.get(TRACE, "0")
    wants_trace = asked not in ("", "0")
    os.environ[TRACE] = "1"  # Hydra then raises where it would print its own lines and exit
    try:
        main()
    except KeyboardInterrupt as stop:
        print(f"stopped{_way_on(str(stop))}", file=sys.stderr)
        return 130
    except Escaped as escaped:
        error, in_job = escaped.__cause__, True
    except Exception as caught:  # Hydra could not make a job of the command
        error, in_job = caught, False
    else:
        return 0
    finally:
        os.environ[TRACE] = asked
    assert isinstance(error, Exception)
    if isinstance(error, RunFailedError):
        traceback.print_exception(error if wants_trace else error.__cause__)
        print(f"failed: {error}", file=sys.stderr)
        return 1
    if isinstance(error, SweepFailedError):
        print(f"failed: {error}", file=sys.stderr)
        return 1
    if wants_trace or (in_job and not isinstance(error, (ConfigError, OSError))):
        raise error  # asked for, or a slip of ours: the trace says where
    print("\n".join(explain(error, config_name)), file=sys.stderr)
    return 2


def explain(
    error: Exception, config_name: str, given: Sequence[str] | None = None
) -> tuple[str, ...]:
    """An error as lines that say what came and what is allowed.

    Args:
        error: What was raised.
        config_name: The primary configuration, to look up valid names in.
        given: The arguments that it is about; None for those of the program.
    """
    if given is None:
        given = sys.argv[1:]
    if isinstance(error, BadJobsError):
        return _explain_jobs(error, config_name)
    if isinstance(error, SweepError):
        return (str(error),)
    if isinstance(error, ConfigError):
        return error.problems
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        options = [option for option in error.options if not option.startswith("_")]
        if (group, name) == ("hydra/sweeper", "optuna"):
            return ("hydra/sweeper=optuna: is not installed; pip install '.[optuna]' brings it",)
        return (unknown(name, options, f"option of {group}", shown=f"{group}={name}"),)
    if isinstance(error, OSError):
        where = str(error.filename or "")
        reason = error.strerror or error
        hint = "; hydra.run.dir must be a folder that can be written" if where else ""
        return (f"{where}: cannot be used ({reason}){hint if config_name == 'train' else ''}",)
    if isinstance(error, OverrideParseException):
        return (f"{error.override}: must be key=value, with brackets and quotes in pairs",)
    key = re.match(r"Could not override '([^']+)'", str(error))
    if key:
        return (_unknown_key(key[1].partition("@")[0], config_name, given),)
    if "group override must be a string" in str(error):
        nulls = [argument for argument in given if argument.endswith("=null")]
        return (f"{' '.join(nulls)}: a group takes one of its options; ~group leaves it out",)
    text = " ".join(str(error.__cause__ or error).split())
    return (f"{text} (in: {shlex.join(given)})",)


def _explain_jobs(error: BadJobsError, config_name: str) -> tuple[str, ...]:
    """A line for each thing that is wrong with jobs of a sweep, and with how many of them."""
    explained: dict[tuple[type, str], tuple[str, ...]] = {}  # looking up names takes a while
    wrong: dict[str, list[tuple[str, ...]]] = {}
    for overrides, cause in error.errors:
        same = (type(cause), str(cause))
        if same not in explained:
            explained[same] = explain(cause, config_name, overrides)
        for line in explained[same]:
            wrong.setdefault(line, []).append(overrides)
    return tuple(line + _where(error, jobs) for line, jobs in wrong.items())


def _where(error: BadJobsError, jobs: list[tuple[str, ...]]) -> str:
    if error.total == 1:
        return ""
    if len(jobs) == error.total:
        return f" (in all {error.total} jobs)"
    first = "" if len(jobs) == 1 else "first: "
    return f" (in {len(jobs)} of {error.total} jobs, {first}{error.label(jobs[0])})"


def _unknown_key(key: str, config_name: str, given: Sequence[str]) -> str:
    """The line for an override of a key that the configuration does not have."""
    given = [argument for argument in given if "=" in argument and argument[0] != "-"]
    parsed = OverridesParser.create().parse_overrides(given)
    others = [
        argument
        for argument, override in zip(given, parsed, strict=True)
        if argument.partition("=")[0] != key and not override.is_sweep_override()
    ]
    try:
        config = _compose(config_name, others)
    except HydraException:  # more than one thing is wrong: the default names will do
        config = _compose(config_name, [])
    known = list(_paths(config))
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else None
    if isinstance(node, DictConfig) and "_target_" in node:
        from neuronlab.checks import allowed_keys  # only now: it brings torch

        keys = allowed_keys(OmegaConf.to_container(node), parent)  # type: ignore[arg-type]
        if name in keys:
            return f"{key}: is not set by default; add it with +{key}=…"
        return unknown(key, [f"{parent}.{k}" for k in keys], "key")
    beside = [f"{parent}.{k!s}" for k in node] if isinstance(node, DictConfig) else []
    top = {path.partition(".")[0] for path in known}
    return unknown(key, beside or top, "key", near=known)


def _compose(config_name: str, overrides: list[str]) -> DictConfig:
    from hydra import compose, initialize_config_dir

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config_name, overrides)


def _paths(config: DictConfig, prefix: str = "") -> list[str]:
    """Dotted paths of all nodes and leaves."""
    found = []
    for key in config:
        path = prefix + str(key)
        found.append(path)
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_interpolation()):
            found += _paths(node, f"{path}.")
    return found


def _way_on(checkpoint: str) -> str:
    """How to continue a stopped run, as a command."""
    if not checkpoint or {"-m", "--multirun"} & set(sys.argv):
        return ""
    arguments = (argument for argument in sys.argv if not argument.startswith("ckpt_path="))
    command = shlex.join([short(program("python")), *arguments])
    return f"; go on with: {command} ckpt_path={shlex.quote(checkpoint)}"
