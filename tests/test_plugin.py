"""The plugin under Hydra's own conformance suites, and what it does beyond them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.extra.pytest_plugin import hydra_restore_singletons, hydra_sweep_runner
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from omegaconf import DictConfig

from hydra_plugins.neuronlab_population import BadJobsError, Job, SweepError

__all__ = ["hydra_restore_singletons", "hydra_sweep_runner"]  # fixtures of Hydra's

OURS = ["hydra/sweeper=population"]


@pytest.fixture
def no_version(hydra_restore_singletons: None) -> None:
    """The applications of Hydra's suites ask for none, so a job runs in its folder."""
    Singleton._instances.pop(version.VersionBase, None)


def old(suite: type) -> type:
    """Marks a suite of Hydra's."""
    quiet = pytest.mark.filterwarnings("ignore:.*no longer change working directory:UserWarning")
    marked: type = quiet(pytest.mark.usefixtures("no_version")(suite))
    return marked


@pytest.mark.parametrize(
    ("kind", "name"), [(Launcher, "PopulationLauncher"), (Sweeper, "PopulationSweeper")]
)
def test_hydra_discovers_the_plugin(kind: type, name: str) -> None:
    assert name in [found.__name__ for found in Plugins.instance().discover(kind)]


def test_the_plugin_imports_light() -> None:
    code = (
        "import hydra_plugins.neuronlab_population.launcher, sys;"
        "import hydra_plugins.neuronlab_population.sweeper;"
        "print([m for m in ('torch', 'lightning', 'neuronlab') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="src"
    )
    assert done.stdout.strip() == "[]"


@old
@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [("population", []), ("population", OURS), ("basic", OURS)],
    ids=["launcher", "both", "sweeper"],
)
class TestLauncher(LauncherTestSuite):
    """Hydra's cases, with either part of the plugin and with both."""


@old
@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [
        ("population", ["hydra.sweeper.max_batch_size=2"]),
        ("population", [*OURS, "hydra.sweeper.max_batch_size=2"]),
    ],
    ids=["launcher", "both"],
)
class TestBatches(BatchedSweeperTestSuite):
    """Hydra's cases of sweeps in batches of two."""


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [
        ({"defaults": [{"override hydra/launcher": "population"}]}, ["-m"]),
        (
            {
                "defaults": [
                    {"override hydra/launcher": "population"},
                    {"override hydra/sweeper": "population"},
                ]
            },
            ["-m"],
        ),
    ],
    ids=["launcher", "both"],
)
class TestIntegration(IntegrationTestSuite):
    """Hydra's cases that start an application."""


# Beyond Hydra's suites: an application whose jobs run all at once.

calls: list[Any] = []
HERE = __name__


def together(jobs: Sequence[Job]) -> list[Any]:
    """Returns x; fails where it is 3; is stopped where it is 9."""
    calls.append([job.config["x"] for job in jobs])
    if 9 in calls[-1]:
        raise KeyboardInterrupt
    for job in jobs:
        job.save()
    return [ValueError("three") if job.config["x"] == 3 else job.config["x"] for job in jobs]


def odd(jobs: Sequence[Job]) -> list[tuple[Job, Exception]]:
    """Refuses negative x."""
    return [(job, ValueError(f"x={job.config['x']}")) for job in jobs if job.config["x"] < 0]


def closing(jobs: Sequence[Job], folder: Path, seconds: float) -> None:
    """Notes what it gets."""
    calls.append(("close", len(jobs), folder.name, seconds > 0))


class Listener(Callback):
    """Notes when jobs end."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Notes the job."""
        calls.append(("end", config.hydra.job.num, job_return.status.name))


Sweep = Callable[..., Any]


@pytest.fixture
def sweep(tmp_path: Path, hydra_restore_singletons: None) -> Iterator[Sweep]:
    """Runs `-m` on an application with one value, x."""
    conf = tmp_path / "conf"
    (conf / "kind").mkdir(parents=True)
    for name in ("a", "b"):
        (conf / "kind" / f"{name}.yaml").write_text("{}\n")
    (conf / "app.yaml").write_text(
        "defaults:\n  - _self_\n  - kind: a\nx: 0\ny: 0\n"
        "hydra:\n  job:\n    config:\n      override_dirname:\n        exclude_keys: [kind]\n"
        "  sweep:\n    subdir: ${run_name:${hydra.job.override_dirname}}\n"
    )
    calls.clear()

    def run(
        *overrides: str,
        vectorized: bool = True,
        sweeper: str = "population",
        launcher: str = "population",
        closes: bool = True,
    ) -> Any:
        GlobalHydra.instance().clear()
        settings = [
            f"hydra/sweeper={sweeper}",
            f"hydra/launcher={launcher}",
            f"hydra.sweep.dir={tmp_path}/sweep",
            *([f"hydra.sweeper.check={HERE}.odd"] if sweeper == "population" else []),
            *([f"hydra.sweeper.close={HERE}.closing"] if closes else []),
            *([f"hydra.launcher.vectorized={HERE}.together"] if vectorized else []),
        ]
        with initialize_config_dir(str(conf), version_base="1.3", job_name="app"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None

            def task(config: DictConfig) -> int:
                calls.append(config.x)
                if config.x == 3:
                    raise ValueError("three")
                return int(config.x)

            return hydra.multirun(
                "app", task, [*settings, *overrides], with_log_configuration=False
            )

    yield run
    GlobalHydra.instance().clear()


def _statuses(returns: Any) -> list[list[str]]:
    return [[done.status.name for done in batch] for batch in returns]


def test_all_jobs_run_at_once(sweep: Sweep, tmp_path: Path) -> None:
    returns = sweep("x=1,3,2,1")  # a job that is there twice runs once
    assert calls == [[1, 3, 2], ("close", 3, "sweep", True)]
    assert _statuses(returns) == [["COMPLETED", "FAILED", "COMPLETED"]]
    assert [done.overrides for done in returns[0]] == [["x=1"], ["x=3"], ["x=2"]]
    assert returns[0][2].return_value == 2
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == [
        "multirun.yaml",
        "x=1",
        "x=2",
        "x=3",
    ]
    saved = {path.name for path in (tmp_path / "sweep" / "x=1" / ".hydra").iterdir()}
    assert saved == {"config.yaml", "hydra.yaml", "overrides.yaml"}


@pytest.mark.parametrize("launcher", ["population", "basic"])
def test_later_batches_run_after_a_failure(sweep: Sweep, launcher: str) -> None:
    vectorized = launcher == "population"
    returns = sweep(
        "x=1,3,4", "hydra.sweeper.max_batch_size=1", launcher=launcher, vectorized=vectorized
    )
    assert calls[:3] == ([[1], [3], [4]] if vectorized else [1, 3, 4])
    assert _statuses(returns) == [["COMPLETED"], ["FAILED"], ["COMPLETED"]]


def test_a_failure_is_raised_where_nothing_closes(sweep: Sweep) -> None:
    with pytest.raises(ValueError, match="three"):
        sweep("x=3,4", "hydra.sweeper.max_batch_size=1", closes=False)
    assert calls == [[3], [4]]


def test_a_stopped_sweep_is_closed(sweep: Sweep) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweep("x=1,9,2", "hydra.sweeper.max_batch_size=1")
    assert calls == [[1], [9], ("close", 3, "sweep", True)]


def test_bad_jobs_are_all_named_before_anything_is_written(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(BadJobsError) as refused:
        sweep("x=1,-1,-2", "y=5")
    assert [overrides for overrides, _ in refused.value.errors] == [
        ("x=-1", "y=5"),
        ("x=-2", "y=5"),
    ]
    assert (refused.value.total, refused.value.common) == (3, {"y=5"})
    with pytest.raises(BadJobsError) as refused:
        sweep("x=1,2", "kind=a,c,d", "nothing=1,2")
    assert len(refused.value.errors) == 12
    assert calls == []
    assert not (tmp_path / "sweep").exists()


def test_jobs_that_would_share_a_folder_are_refused(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"hydra.sweep.subdir: .*x=1 and x=2 would both"):
        sweep("x=1,2", "hydra.sweep.subdir=one")
    with pytest.raises(SweepError, match="max_batch_size=0"):
        sweep("x=1,2", "hydra.sweeper.max_batch_size=0")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("launcher", ["population", "basic"])
def test_keys_that_are_left_out_of_names_come_in_when_swept(
    sweep: Sweep, tmp_path: Path, launcher: str
) -> None:
    sweep("kind=a,b", "x=1", launcher=launcher, vectorized=launcher == "population")
    folders = {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()}
    assert folders == {"kind=a,x=1", "kind=b,x=1"}


def test_callbacks_hear_of_jobs(sweep: Sweep) -> None:
    sweep("x=1,3", f"+hydra.callbacks.listener._target_={HERE}.Listener")
    assert calls[1:3] == [("end", 0, "COMPLETED"), ("end", 1, "FAILED")]


def test_the_launcher_serves_another_sweeper(sweep: Sweep) -> None:
    returns = sweep("x=1,2", sweeper="basic", closes=False)
    assert calls == [[1, 2]]
    assert [done.return_value for done in returns[0]] == [1, 2]
