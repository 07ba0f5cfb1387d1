"""Members of a population: what they leave, and what becomes of those that go wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import alone, make_job, train_together
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback
from test_parity import assert_same_checkpoint, assert_same_events, assert_same_run

from hydra_plugins.neuronlab_population import Job
from neuronlab import datasets, population
from neuronlab.datasets import Table, make_students
from neuronlab.errors import RunFailedError
from neuronlab.learner import Learner
from neuronlab.population import train_many
from neuronlab.records import CHECKPOINT, read_metrics, read_status

SMALL = ("data.rows=50", "data.batch_size=15", "trainer.max_epochs=4", "++model.hidden=[3]")


def jobs_of(folder: Path, *overrides: str, seeds: Sequence[int] = (0, 1, 2)) -> list[Job]:
    return [make_job(folder / f"seed={s}", *SMALL, *overrides, f"seed={s}") for s in seeds]


def state(job: Job) -> str:
    status = read_status(job.folder)
    return "unfinished" if status is None else str(status["state"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["callbacks=default", "data=sine"],  # pictures
        ["callbacks=default", "data=circle", "callbacks.histograms.every_n_epochs=2"],
        ["data=blobs", "+trainer.gradient_clip_val=0.1"],
        ["+trainer.gradient_clip_val=0.1", "+trainer.gradient_clip_algorithm=value"],
        ["trainer.check_val_every_n_epoch=3", "logger=csv"],
        ["trainer.num_sanity_val_steps=2", "trainer.gradient_clip_val=-1"],
        ["~optimizer.lr", "~logger.run.flush_seconds"],
        ["data=sine", "~callbacks.divergence", "optimizer.lr=1e6", "data.batch_size=1"],
        ["+trainer.max_steps=6"],
        ["optimizer=sgd", "optimizer.lr=1e6"],  # diverges
        ["+optimizer.nesterov=true", "optimizer=momentum"],
        ["optimizer=adam", "+optimizer.amsgrad=true"],  # torch's own class on the stack
        ["optimizer=sgd", "optimizer._target_=torch.optim.NAdam"],
        ["activation=relu", "activation._target_=torch.nn.PReLU"],  # has a weight of its own
        ["data=houses", "model=neuron", "~model.hidden", "optimizer=adam"],
    ],
)
def test_a_member_leaves_what_a_run_alone_leaves(overrides: list[str], tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path / "members", *overrides, "trainer.precision=64", seeds=(0, 1))
    assert len(population.make_plan(jobs).cohorts) == 1
    train_together(jobs)
    for job in jobs:
        by_itself = alone(job, tmp_path / "alone" / job.folder.name)
        assert_same_run(job.folder, by_itself, 1e-9)
        assert_same_checkpoint(job.folder, by_itself, 1e-8)
        if "logger=csv" not in overrides:
            assert_same_events(job.folder, by_itself)


OPTIONS = {
    "data": ["students", "sine", "blobs", "circle", "restaurant", "line"],
    "activation": ["relu", "silu", "sigmoid", "tanh", "gelu", "leaky_relu", "elu", "softplus"],
    "optimizer": ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad"],
    "model.hidden": ["[]", "[1]", "[4]", "[3,2]"],
    "data.batch_size": ["null", "1", "7", "10"],
    "data.seed": ["0", "${seed}"],
    "data.standardize": ["true", "false"],
    "optimizer.weight_decay": ["0", "0.1"],
}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(choice=st.fixed_dictionaries({k: st.sampled_from(v) for k, v in OPTIONS.items()}))
def test_any_configuration(
    choice: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    overrides = [f"{key}={value}" for key, value in choice.items()]
    jobs = [
        make_job(folder / f"{seed} {rate}", *overrides, f"seed={seed}", f"optimizer.lr={rate}")
        for seed, rate in ((0, 0.01), (1, 0.01), (1, 0.001))
    ]
    short = [
        replace(
            job,
            config={
                **job.config,
                "data": {**job.config["data"], "rows": 30, "split": [0.34, 0.33, 0.33]},
                "trainer": {**job.config["trainer"], "max_epochs": 3, "precision": 64},
            },
        )
        for job in jobs
    ]
    train_together(short)
    for job in short:
        by_itself = alone(job, folder / "alone" / job.folder.name)
        assert_same_run(job.folder, by_itself, 1e-9)


def test_in_single_precision(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path / "members", "optimizer=adam", "trainer.max_epochs=20")
    train_together(jobs)
    for job in jobs:
        assert_same_run(job.folder, alone(job, tmp_path / "alone" / job.folder.name), 1e-4)


def test_a_member_is_the_same_in_any_company(tmp_path: Path) -> None:
    """To the last bit: a sweep that was stopped and goes on differs in nothing."""
    rows: list[str] = []
    for count in (1, 2, 3, 8, 17):
        jobs = jobs_of(tmp_path / str(count), "activation=silu", seeds=range(3, 3 + count))
        train_together(jobs)
        rows.append((jobs[0].folder / "metrics.csv").read_text())
    jobs = jobs_of(tmp_path / "chunks", "activation=silu", seeds=range(3, 20))
    train_together(jobs, max_members=4)
    rows.append((jobs[0].folder / "metrics.csv").read_text())
    assert len(set(rows)) == 1


def test_equal_data_are_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Table] = []

    def counted(generator: torch.Generator, rows: int = 50, noise: float = 0.5) -> Table:
        made.append(make_students(generator, rows, noise))
        return made[-1]

    monkeypatch.setattr(datasets, "make_students", counted)
    jobs = jobs_of(tmp_path, "data.seed=0", seeds=range(6))
    train_many(jobs)
    assert len(made) == 2  # for the plan, and for the members


def test_a_checkpoint_of_a_member_answers_and_goes_on(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path / "members", "optimizer=adam")
    train_together(jobs)
    file = jobs[1].folder / CHECKPOINT
    x = torch.tensor([[8.0, 7.0, 75.0, 80.0]])
    by_itself = alone(jobs[1], tmp_path / "alone") / CHECKPOINT
    answers = [Learner.load_from_checkpoint(f, weights_only=True).ask(x) for f in (file, by_itself)]
    torch.testing.assert_close(answers[0], answers[1])
    longer = [f"ckpt_path='{file}'", "trainer.max_epochs=7", "optimizer=adam", "seed=1"]
    alone(make_job(tmp_path, *SMALL, *longer), jobs[1].folder)
    whole = make_job(tmp_path / "whole", *SMALL, "optimizer=adam", "seed=1", "trainer.max_epochs=7")
    ours, theirs = (
        read_metrics(f / "metrics.csv") for f in (jobs[1].folder, alone(whole, whole.folder))
    )
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_diverged_member_leaves_others_as_they_are(tmp_path: Path) -> None:
    rates = {"calm": 0.1, "wild": 1e6, "slow": 0.01}
    jobs = [
        make_job(tmp_path / name, *SMALL, "data=sine", f"optimizer.lr={rate}")
        for name, rate in rates.items()
    ]
    results = train_together(jobs)
    assert [state(job) for job in jobs] == ["completed", "diverged", "completed"]
    assert results[1] == float("inf")
    others = [replace(job, folder=tmp_path / "without" / job.folder.name) for job in jobs[::2]]
    train_together(others)
    for job, other in zip(jobs[::2], others, strict=True):
        assert (job.folder / "metrics.csv").read_text() == (
            other.folder / "metrics.csv"
        ).read_text()
    assert_same_run(jobs[1].folder, alone(jobs[1], tmp_path / "alone"), 1e-4)
    assert len(read_metrics(jobs[1].folder / "metrics.csv")) < 4


def test_a_member_that_raises_leaves_others_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(tmp_path / "with")
    train_many(jobs[:2])
    expected = [(job.folder / "metrics.csv").read_text() for job in jobs[:2]]

    def touchy(generator: torch.Generator, rows: int = 50, noise: float = 0.5) -> Table:
        table = make_students(generator, rows, noise)
        if torch.equal(table.x, third.x):
            raise RuntimeError("the third one")
        return table

    from neuronlab.seeds import generator

    third = make_students(generator(2, "data"), 50, 0.5)
    monkeypatch.setattr(datasets, "make_students", touchy)
    again = jobs_of(tmp_path / "again")
    results = train_many(again)
    assert isinstance(results[2], RunFailedError)
    status = read_status(again[2].folder)
    assert status is not None
    assert (status["state"], status["error"]) == ("failed", "RuntimeError: the third one")
    assert [(job.folder / "metrics.csv").read_text() for job in again[:2]] == expected


class Raises(Callback):
    def on_train_epoch_end(self, *args: object) -> None:
        raise RuntimeError("no luck")


def test_what_cannot_be_stacked_runs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(population, "make_callbacks", lambda *_: [Raises()])
    monkeypatch.setattr("neuronlab.population.ForMany", Callback)
    jobs = jobs_of(tmp_path)
    results = train_many(jobs)
    assert "3 runs train alone: RuntimeError: no luck" in " ".join(capsys.readouterr().out.split())
    assert [state(job) for job in jobs] == ["completed"] * 3
    assert all(isinstance(result, float) for result in results)


def test_a_cohort_without_memory_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, sizes = population._fit, []

    def short_of_memory(template, members, progress):  # type: ignore[no-untyped-def]
        sizes.append(len(members))
        if len(members) > 2:
            raise torch.OutOfMemoryError("tried to allocate too much")
        return fit(template, members, progress)

    monkeypatch.setattr(population, "_fit", short_of_memory)
    jobs = jobs_of(tmp_path, "data=sine", seeds=range(5))
    train_many(jobs)
    assert sizes == [5, 2, 3, 1, 2]
    assert {state(job) for job in jobs} == {"completed"}
    assert "memory does not suffice for 5 runs at once" in capsys.readouterr().out


def test_nothing_is_trained_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = jobs_of(tmp_path)
    first = train_many([*jobs[:2], jobs[0]])  # a job that is there twice is one run
    assert first[2] == first[0]
    before = {job.folder: (job.folder / "status.json").stat().st_mtime_ns for job in jobs[:2]}
    results = train_many(jobs)
    assert "2 of 3 runs are complete" in capsys.readouterr().out
    assert results[:2] == first[:2]
    for folder, changed in before.items():
        assert (folder / "status.json").stat().st_mtime_ns == changed
    other = [replace(jobs[0], config={**jobs[0].config, "seed": 9}), *jobs[1:]]
    train_many(other)
    said = capsys.readouterr().out
    assert "2 of 3 runs are complete" in said
    assert "complete with another configuration, trained again: 1" in said


def test_a_failed_run_is_trained_again(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    train_many(jobs)
    file = jobs[0].folder / "status.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "state": "failed"}))
    train_many(jobs)
    assert state(jobs[0]) == "completed"


# Ctrl-C may fall between the opening of a file and the `with` that closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    quick = jobs_of(tmp_path / "quick")
    endless = jobs_of(tmp_path / "endless", "trainer.max_epochs=100000", "activation=tanh")

    def interrupt() -> None:
        while state(quick[-1]) != "completed" or not (endless[0].folder / "metrics.csv").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        train_many([*quick, *endless])
    waiting.join()
    assert [state(job) for job in (*quick, *endless)] == ["completed"] * 3 + ["unfinished"] * 3
    assert read_metrics(endless[0].folder / "metrics.csv")  # what TensorBoard showed meanwhile


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_what_a_cpu_finds(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path / "cpu", "trainer.precision=64")
    train_together(jobs)
    on_gpu = jobs_of(tmp_path / "gpu", "trainer=gpu", "trainer.precision=64")
    train_together(on_gpu)
    for job, other in zip(jobs, on_gpu, strict=True):
        ours, theirs = (read_metrics(j.folder / "metrics.csv") for j in (other, job))
        for one, two in zip(ours, theirs, strict=True):
            assert one == pytest.approx(two, rel=1e-9)
