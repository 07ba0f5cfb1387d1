"""Whole sweeps through the command line: what they refuse, leave, count, and say."""

from __future__ import annotations

import csv
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from conftest import ROOT, SMALL, Sweep
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neuronlab import datasets
from neuronlab.datasets import Table, make_students
from neuronlab.records import read_metrics, read_status
from neuronlab.sweep import settings_table


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/status.json"))


def test_what_a_sweep_leaves(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("activation=relu,silu", "seed=0,1", "optimizer.lr=0.1,0.01") == 0
    said = capsys.readouterr().out
    assert "8 runs → 2 cohorts + 0 solo" in said
    assert "8 completed, 0 diverged, 0 failed, 0 skipped" in said
    assert "tensorboard --logdir sweep" in said
    folder = tmp_path / "sweep"
    assert (folder / "multirun.yaml").exists()
    rows = results(folder)
    assert len(rows) == 8
    assert list(rows[0])[:6] == [
        "run",
        "activation",
        "seed",
        "optimizer.lr",
        "state",
        *["diverged_at_step"],
    ]
    for row in rows:
        run = folder / row["run"]
        assert f"activation={row['activation']}" in row["run"]
        status = read_status(run)
        assert status is not None
        assert float(row["val/loss"]) == status["metrics"]["val/loss"]
        assert float(row["test/loss"]) == status["metrics"]["test/loss"]
        last = read_metrics(run / "metrics.csv")[-1]
        assert float(row["val/loss"]) == last["val/loss"]  # the last epoch, not the best
        tags = EventAccumulator(str(run)).Reload().Tags()["scalars"]
        assert {"train/loss", "val/loss", "test/loss"} <= set(tags)
        assert (run / "checkpoints" / "last.ckpt").exists()
        assert {p.name for p in (run / ".hydra").iterdir()} == {
            *("config.yaml", "hydra.yaml", "overrides.yaml")
        }


def test_both_launchers_leave_the_same(sweep: Sweep, tmp_path: Path) -> None:
    grid = ("optimizer=sgd,adam", "seed=0,1", "trainer.precision=64")
    assert sweep(*grid, name="together") == 0
    assert sweep(*grid, "hydra/launcher=basic", name="one-by-one") == 0
    ours, theirs = (results(tmp_path / name) for name in ("together", "one-by-one"))
    assert [list(row) for row in ours] == [list(row) for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for key, value in other.items():
            near = (
                value
                if key in ("run", "optimizer", "state")
                else pytest.approx(number(value), rel=1e-9)
            )
            assert (one[key] if isinstance(near, str) else number(one[key])) == near, key
        files = [
            sorted(
                p.name.partition("tfevents")[0] for p in (tmp_path / name / one["run"]).rglob("*")
            )
            for name in ("together", "one-by-one")
        ]
        assert files[0] == files[1]
        texts = [
            (tmp_path / name / one["run"] / ".hydra" / "config.yaml").read_text()
            for name in ("together", "one-by-one")
        ]
        assert texts[0] == texts[1]


def number(text: str) -> float:
    return float(text) if text else 0.0


@pytest.mark.parametrize("launcher", ["together", "basic"])
def test_the_same_command_again_trains_nothing(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str], launcher: str
) -> None:
    command = ("seed=0,1", f"hydra/launcher={launcher}")
    assert sweep(*command) == 0
    before = {run: (run / "status.json").stat().st_mtime_ns for run in runs(tmp_path / "sweep")}
    table = (tmp_path / "sweep" / "results.csv").read_text()
    assert sweep(*command) == 0
    assert "2 completed, 0 diverged, 0 failed, 2 skipped" in capsys.readouterr().out
    assert before == {run: (run / "status.json").stat().st_mtime_ns for run in before}
    assert (tmp_path / "sweep" / "results.csv").read_text() == table


@pytest.mark.parametrize("launcher", ["together", "basic"])
def test_diverging_and_raising_jobs(
    sweep: Sweep,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
) -> None:
    @functools.wraps(make_students)
    def touchy(generator: torch.Generator, rows: int = 50, noise: float = 0.5) -> Table:
        if noise == 0.25 and built["rows"] > 0:  # builds when it is checked, raises when it trains
            raise RuntimeError("no such students")
        built["rows"] += noise == 0.25
        return make_students(generator, rows, noise)

    built = {"rows": 0}
    assert sweep("seed=0,1", f"hydra/launcher={launcher}", name="without") == 0
    monkeypatch.setattr(datasets, "make_students", touchy)
    status = sweep(
        *("seed=0,1", "optimizer.lr=0.1,1e6", "data.noise=0.5,0.25", "data.standardize=false"),
        f"hydra/launcher={launcher}",
        name="with",
    )
    caught = capsys.readouterr()
    assert status == 1
    for row in results(tmp_path / "with"):
        wild = "diverged" if row["optimizer.lr"] == "1000000.0" else "completed"
        assert row["state"] == ("failed" if row["data.noise"] == "0.25" else wild)
    assert "2 completed, 2 diverged, 4 failed, 0 skipped" in caught.out
    assert caught.err.startswith("failed: 4 of 8 runs failed, first ")
    assert "no such students" in caught.err


def test_others_are_as_without_the_bad_ones(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("seed=0,1", "optimizer.lr=0.1", "data=sine", name="without") == 0
    assert sweep("seed=0,1", "optimizer.lr=0.1,1e6", "data=sine", name="with") == 0
    states = [row["state"] for row in results(tmp_path / "with")]
    assert states == ["completed", "diverged"] * 2
    for run in runs(tmp_path / "without"):
        twin = tmp_path / "with" / run.name
        assert (run / "metrics.csv").read_text() == (twin / "metrics.csv").read_text()


def test_an_impossible_job_is_named_and_nothing_trains(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = sweep("seed=0,1", "optimizer.lr=0.1,-1", "data.batch_size=10,5000", "activation=relu")
    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert len(lines) == 2
    assert lines[0].startswith("optimizer.lr=-1: must be a number above 0 (in 4 of 8 jobs, first:")
    assert lines[1].startswith("data.batch_size=5000: must be 1 to 40")
    assert not (tmp_path / "sweep").exists()


def test_what_cannot_be_composed_does_not_hide_what_is_impossible(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("activation=relu,rleu", "optimizer.lr=0.1,-1") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("activation=rleu: no such option of activation; did you mean relu?")
    assert lines[1].startswith("optimizer.lr=-1: must be a number above 0 (in 1 of 4 jobs")
    assert not (tmp_path / "sweep").exists()


def test_later_batches_go_on_after_a_failure(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @functools.wraps(make_students)
    def touchy(generator: torch.Generator, rows: int = 50, noise: float = 0.5) -> Table:
        calls.append(noise)
        if noise == 0.25 and calls.count(noise) > 1:
            raise RuntimeError("no such students")
        return make_students(generator, rows, noise)

    calls: list[float] = []
    monkeypatch.setattr(datasets, "make_students", touchy)
    assert sweep("data.noise=0.25,0.5,0.75", "hydra.sweeper.max_batch_size=1") == 1
    states = [row["state"] for row in results(tmp_path / "sweep")]
    assert states == ["failed", "completed", "completed"]


def test_a_stopped_sweep_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = [*SMALL, "seed=0,1", "trainer.max_epochs=100000", "hydra.sweep.dir=stopped"]
    command = [sys.executable, str(ROOT / "src/train.py"), "-m", *arguments]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("stopped/*/metrics.csv")):
        assert running.poll() is None
    running.send_signal(2)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "2 unfinished" in out
    (line,) = [line for line in out.splitlines() if line.startswith("go on with:")]
    assert "-m" in line.split()
    assert line.endswith("hydra.sweep.dir=stopped")


def test_the_closing_table_compares_what_can_be_compared(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("data=sine,students", "activation=relu,tanh", "seed=0,1") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "last epoch: mse of sine" in said
    assert "last epoch: bce of students, standardized" in said


def test_the_closing_table_ranks_by_the_mean_over_seeds() -> None:
    losses = {"1": [0.1, np.nan], "0.1": [0.5, 0.7], "0.01": [0.2, 0.4], "0.001": [0.9]}
    runs = pd.DataFrame(
        [
            {
                "optimizer.lr": lr,
                "seed": str(seed),
                "state": "diverged" if np.isnan(loss) else "completed",
                "val/loss": loss,
            }
            for lr, some in losses.items()
            for seed, loss in enumerate(some)
        ]
    )
    made = settings_table(runs, ["optimizer.lr"], "")
    shown = [list(column.cells) for column in made.columns]
    assert shown[1] == ["0.01", "0.1", "0.001", "1"]  # one of which a run diverged comes last
    assert shown[2] == ["0.3", "0.6", "0.9", "0.1"]
    half = scipy.stats.t.ppf(0.975, 1) * 0.1  # √0.02 / √2
    intervals = [f"{mean - half:.4g} to {mean + half:.4g}" for mean in (0.3, 0.6)]
    assert shown[3] == [*intervals, "", ""]
    assert shown[4] == ["2", "2", "1", "2"]
    assert shown[5] == ["", "", "", "1"]


def test_the_closing_table_of_one_setting_in_which_all_diverged() -> None:
    runs = pd.DataFrame({"seed": ["0", "1"], "state": ["diverged"] * 2})
    shown = [list(column.cells) for column in settings_table(runs, [], "").columns]
    assert shown == [["1"], ["–"], [""], ["2"], ["2"]]


def test_swept_values_are_written_as_they_were_given(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("optimizer.lr=0.10,1e-2", "model.hidden=[4],[8,8]") == 0
    rows = results(tmp_path / "sweep")
    assert [(row["optimizer.lr"], row["model.hidden"]) for row in rows] == [
        (lr, hidden) for lr in ("0.1", "0.01") for hidden in ("[4]", "[8,8]")
    ]


def test_training_needs_no_tables() -> None:
    """Importing pandas takes half a second, which only the end of a sweep has use for."""
    code = "import sys, train, neuronlab.solo, neuronlab.population, neuronlab.sweep; " + (
        "sys.exit('pandas' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["seed=range(0,0)"], "seed=range(0,0): leaves no job"),
        (["~logger", "seed=0,1"], "logger: a sweep needs the records"),
        (["trainer.fast_dev_run=true", "seed=0,1"], "trainer.fast_dev_run: leaves no records"),
        (["logger.run.flush_seconds=-1", "seed=0,1"], "logger.run.flush_seconds=-1: must be"),
        (["hydra.launcher.max_members=1", "seed=0,1"], "hydra.launcher.max_members=1: must be"),
        (["hydra.sweeper.max_batch_size=0", "seed=0,1"], "hydra.sweeper.max_batch_size=0: must be"),
    ],
)
def test_what_no_sweep_can_be(
    sweep: Sweep,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    line: str,
) -> None:
    assert sweep(*overrides) == 2
    assert capsys.readouterr().err.startswith(line)
    assert not (tmp_path / "sweep").exists()


def test_a_refused_trainer_is_refused_for_its_whole_cohort(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("+trainer.gradient_clip_algorithm=foo", "optimizer.lr=0.1,0.2") == 2
    assert "(in all 2 jobs)" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_stops_no_other_run(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("seed=0,1") == 0
    (broken, fine) = runs(tmp_path / "sweep")
    shutil.rmtree(broken)
    broken.write_text("a file where a folder should be")
    (fine / "status.json").write_text("{}")
    assert sweep("seed=0,1") == 1
    status = read_status(fine)
    assert status is not None
    assert status["state"] == "completed"


@pytest.mark.parametrize(
    "name",
    sorted(p.stem for p in ROOT.glob("conf/experiment/*.yaml") if "sweeper:" in p.read_text()),
)
def test_experiments_that_sweep(sweep: Sweep, tmp_path: Path, name: str) -> None:
    """Every shipped sweep composes whole and is checked whole; of each, two seeds take an epoch."""
    small = ["trainer=cpu", "seed=0", "trainer.max_epochs=1", "++data.batch_size=null"]
    if "sketches" not in (ROOT / f"conf/experiment/{name}.yaml").read_text():  # which are two rows
        small.append("++data.rows=100")
    assert sweep(f"experiment={name}", small=small) == 0
    states = {row["state"] for row in results(tmp_path / "sweep")}
    assert states <= {"completed", "diverged"}


def test_a_page_with_every_sweep(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("seed=0,1", "report.auto=true") == 0
    page = tmp_path / "sweep" / "report" / "index.html"
    assert "What was run" in page.read_text()
    assert "report.auto" not in str(runs(tmp_path / "sweep")[0])
    page.unlink()
    page.parent.rmdir()
    page.parent.write_text("a file where a folder should be")
    capsys.readouterr()
    assert sweep("seed=0,1", "report.auto=true") == 0  # the same runs, and no page is no failure
    said = capsys.readouterr().out
    assert "2 skipped" in said
    assert "no page: " in said


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("report.auto=3", "report.auto=3: must be true or false"),
        ("+report.atuo=true", "report.atuo: no such key; did you mean report.auto?"),
        ("report=5", "report=5: must be a mapping"),
    ],
)
def test_a_page_that_cannot_be_meant(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    assert sweep("seed=0,1", override) == 2
    assert capsys.readouterr().err.startswith(line)
