"""What the tests share: composing a configuration, training a run or a sweep, in this process."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import train as train_script
from hydra_plugins.neuronlab_population import Job
from neuronlab.cli import command_line
from neuronlab.configs import plain
from neuronlab.hparams import Chosen
from neuronlab.population import train_many
from neuronlab.resolvers import register_resolvers
from neuronlab.solo import train_one

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
Config = dict[str, Any]
SMALL = ("trainer=cpu", "data.rows=50", "data.batch_size=15", "trainer.max_epochs=3")
Sweep = Callable[..., int]

register_resolvers()


def compose_run(*overrides: str) -> tuple[Config, Chosen]:
    """A run's configuration as plain values, and the chosen options, by Hydra's own composition."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
    options = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(options, dict)
    return plain(config), Chosen(options, overrides)


def make_job(folder: Path, *overrides: str) -> Job:
    """A job of a sweep, as a launcher would compose it."""
    config, chosen = compose_run("trainer=cpu", "callbacks=sweep", *overrides)
    return Job(0, tuple(chosen.overrides), chosen.options, config, folder)


def train_together(jobs: Sequence[Job], **options: int) -> list[float | Exception]:
    """Trains jobs as populations; fails where one trains alone."""
    with patch("neuronlab.population._train_alone", side_effect=AssertionError("trains alone")):
        return train_many(jobs, **options)


def alone(job: Job, folder: Path) -> Path:
    """Trains a job as a run alone; returns its folder."""
    train_one(job.config, folder, Chosen(job.options, job.overrides))
    return folder


def run_sweep(
    place: Path, *overrides: str, name: str = "sweep", small: Sequence[str] = SMALL
) -> int:
    """Runs a small sweep through the command line, into a folder below one; the exit status."""
    arguments = ["src/train.py", "-m", *small, *overrides, f"hydra.sweep.dir={name}"]
    before = Path.cwd()
    os.chdir(place)
    GlobalHydra.instance().clear()
    try:
        with patch.object(sys, "argv", arguments):
            return command_line(train_script.main, "train")
    finally:
        os.chdir(before)


def pytest_addoption(parser: pytest.Parser) -> None:
    # resolved at once, since tests change the folder that they run in
    parser.addoption(
        "--pictures",
        type=lambda name: Path(name).resolve(),
        help="folder to save the README's pictures in",
    )


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where screenshots go: a folder of the test's own, or the one asked for."""
    folder: Path = request.config.getoption("--pictures") or tmp_path
    return folder


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Path]:
    """Trains a run on the CPU; returns its folder."""

    def run(*overrides: str, name: str = "run") -> Path:
        config, chosen = compose_run("trainer=cpu", *overrides)
        train_one(config, tmp_path / name, chosen)
        return tmp_path / name

    return run


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Runs a small sweep into `sweep` below the test's own folder, which it goes to."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(run_sweep, tmp_path)
