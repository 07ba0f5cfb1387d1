"""`hydra/sweeper=optuna`: each batch of trials trains as one population, and ends as sweeps do."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import CONF, compose_run
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.extra.pytest_plugin import hydra_restore_singletons
from omegaconf import OmegaConf

from hydra_plugins.neuronlab_population import BadJobsError, Job, SweepError
from neuronlab import cli, population
from neuronlab.errors import SweepFailedError
from neuronlab.solo import objective

pytest.importorskip(
    "hydra_plugins.hydra_optuna_sweeper", reason="the extra `optuna` is not installed"
)
__all__ = ["hydra_restore_singletons"]  # a fixture of Hydra's

# Optuna 2.10 uses what SQLAlchemy 2 removes, so SQLAlchemy 1.4 advises against going on to that.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*Deprecated API features detected:DeprecationWarning"
)

Batch = list[tuple[Job, Any]]
Study = Callable[..., list[Batch]]


@pytest.fixture
def study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra_restore_singletons: None
) -> Iterator[Study]:
    """Runs a study; returns the jobs and results of each call of `train_many`."""
    batches: list[Batch] = []
    train_many = population.train_many

    def spy(jobs: Sequence[Job], **options: Any) -> list[Any]:
        results = train_many(jobs, **options)
        batches.append(list(zip(jobs, results, strict=True)))
        return list(results)

    monkeypatch.setattr(population, "train_many", spy)

    def run(*overrides: str, epochs: int = 2) -> list[Batch]:
        batches.clear()
        GlobalHydra.instance().clear()
        settings = [
            "hydra/sweeper=optuna",
            f"hydra.sweep.dir={tmp_path}/study",
            "trainer=cpu",
            f"trainer.max_epochs={epochs}",
        ]
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            hydra.multirun(
                "train", lambda _: 1 / 0, [*settings, *overrides], with_log_configuration=False
            )
        return list(batches)

    yield run
    GlobalHydra.instance().clear()


SPACE = ("optimizer.lr=tag(log,interval(100,1e6))", "activation=relu,silu")
BATCHES = ("hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=3")


def _status(job: Job) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((job.folder / "status.json").read_text())
    return status


def _best(tmp_path: Path) -> dict[str, Any]:
    best = OmegaConf.to_container(OmegaConf.load(tmp_path / "study" / "optimization_results.yaml"))
    assert isinstance(best, dict)
    return {str(key): value for key, value in best.items()}


def test_each_batch_trains_as_one_and_diverged_trials_are_the_worst(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = study(*SPACE, *BATCHES, epochs=5)
    assert [len(batch) for batch in batches] == [3, 3]
    trials = [trial for batch in batches for trial in batch]
    values = [value for _, value in trials]
    states = [_status(job)["state"] for job, _ in trials]
    assert set(states) == {"completed", "diverged"}  # the study went on after a diverged one
    assert values == [objective(_status(job)) for job, _ in trials]
    assert [math.isinf(value) for value in values] == [state == "diverged" for state in states]

    best = _best(tmp_path)
    job, value = min(trials, key=lambda trial: trial[1])
    assert best["best_value"] == value
    assert best["best_params"]["optimizer.lr"] == job.config["optimizer"]["lr"]
    assert best["best_params"]["activation"] == job.options["activation"]
    assert {"results.csv", "multirun.yaml"} <= {p.name for p in (tmp_path / "study").iterdir()}
    assert all(job.options["callbacks"] == "sweep" for job, _ in trials)
    assert "settings by mean val/loss" in capsys.readouterr().out


def test_the_same_command_goes_on_with_a_study(study: Study, tmp_path: Path) -> None:
    first = study(*SPACE, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    trained = [(job.folder / "status.json").stat().st_mtime_ns for b in first for job, _ in b]
    again = study(*SPACE, "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2")
    assert [[(job.folder, value) for job, value in batch] for batch in again[:2]] == [
        [(job.folder, value) for job, value in batch] for batch in first
    ]
    kept = [(job.folder / "status.json").stat().st_mtime_ns for b in first for job, _ in b]
    assert kept == trained
    assert len(again) == 3


def test_equal_trials_are_one_run(study: Study) -> None:
    """With two settings, batches of three must repeat one, within a batch and later."""
    batches = study("optimizer.lr=0.1,0.2", "activation=relu", *BATCHES)
    values: dict[Path, set[float]] = {}
    for job, value in (trial for batch in batches for trial in batch):
        values.setdefault(job.folder, set()).add(value)
    assert [len(batch) for batch in batches] == [3, 3]
    assert len(values) == 2
    assert all(len(each) == 1 for each in values.values())


def test_a_failed_trial_does_not_end_the_study(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_data = population.build_data

    def broken(config: dict[str, Any], *tables: Any) -> Any:
        if tables and config["seed"] in broken_seeds:  # as its members are built, not before
            raised.append(config["seed"])
            raise RuntimeError(f"no data for seed {config['seed']}")
        return build_data(config, *tables)

    monkeypatch.setattr(population, "build_data", broken)
    broken_seeds, raised = {2}, list[int]()
    with pytest.raises(SweepFailedError, match=r"1 of 2 runs failed.*no data for seed 2"):
        study("seed=2,3", *BATCHES)
    assert raised == [2, 2]  # in either batch: what has failed is tried again
    results = (tmp_path / "study" / "results.csv").read_text()
    assert (results.count(",completed,"), results.count(",failed,")) == (1, 1)
    assert _best(tmp_path)["best_params"]["seed"] == 3

    broken_seeds = {2, 3}
    sampler = "hydra/sweeper/sampler"
    for more in (f"{sampler}=random", f"{sampler}=grid", "hydra.sweeper.max_failure_rate=0"):
        with pytest.raises(SweepFailedError, match="runs failed"):
            study("seed=2,3", *BATCHES, more, epochs=1)  # the epochs make them other runs


@pytest.mark.parametrize(
    ("override", "kind", "line"),
    [
        ("activation=relu,slu", BadJobsError, "activation=slu: no such option of activation"),
        ("optimizer.lr=interval(-2,-1)", BadJobsError, "must be a number above 0"),
        ("optimizer.lrr=1,2", BadJobsError, "optimizer.lrr: no such key"),
        ("hydra.sweeper.n_jobs=0", SweepError, "hydra.sweeper.n_jobs=0: must be a whole number"),
    ],
)
def test_trials_that_cannot_run_are_refused_before_anything_is_written(
    study: Study, tmp_path: Path, override: str, kind: type[Exception], line: str
) -> None:
    with pytest.raises(kind) as refused:
        study("optimizer.lr=interval(0.1,0.2)", override)
    assert line in cli.explain(refused.value, "train", [override])[0]
    assert not (tmp_path / "study").exists()


def test_runs_without_a_value_are_refused(study: Study) -> None:
    with pytest.raises(SweepError, match="has no value that a study could compare"):
        study("optimizer.lr=interval(0.1,0.2)", "+trainer.limit_val_batches=0")


def test_a_study_can_be_kept(study: Study, tmp_path: Path) -> None:
    """SQLAlchemy 2 would break this."""
    kept = [f"hydra.sweeper.storage=sqlite:///{tmp_path}/study.db", "hydra.sweeper.study_name=s"]
    seen = {
        job.folder
        for _ in range(2)
        for batch in study(*SPACE, *kept, "hydra.sweeper.n_trials=2", epochs=1)
        for job, _ in batch
    }
    assert len(seen) == 4  # the second study does not draw again what the first one drew


def test_single_runs_know_nothing_of_studies() -> None:
    config, _ = compose_run()
    assert "sweeper" not in json.dumps(config)
