"""Sweeps as tables, against the files themselves read by other means, whole and damaged."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Sweep, make_job, run_sweep
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from neuronlab.configs import plain
from neuronlab.errors import ConfigError
from neuronlab.folders import short
from neuronlab.results import (
    Results,
    as_numbers,
    find_sweeps,
    read_config,
    read_jobs,
    read_results,
)
from neuronlab.swept import SEEDS

METRICS = ("train/loss", "val/loss", "val/r2", "gradient_norm/layer1.weight", "lr", "test/mae")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of eight runs, half of which diverge; nobody changes it."""
    place = tmp_path_factory.mktemp("trained")
    grid = ("data=sine", "activation=relu,silu", "optimizer.lr=0.1,1e6", "seed=0,1", "logger=csv")
    assert run_sweep(place, *grid) == 0
    return place / "sweep"


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The same sweep, for a test to damage."""
    return Path(shutil.copytree(trained, tmp_path / "copied"))


def by_name(results: Results) -> pd.DataFrame:
    """The runs by the names of their folders, in order."""
    runs = results.runs.copy()
    runs.index = pd.Index([Path(run).name for run in runs.index])
    return runs.sort_index()


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        one, other, check_names=False, check_dtype=False, check_exact=True
    )


def test_runs_are_those_of_results_csv(trained: Path) -> None:
    results = read_results([trained])
    table = pd.read_csv(trained / "results.csv", index_col="run", float_precision="round_trip")
    table = table.sort_index()
    runs = by_name(results)
    assert results.folders == (trained,)
    assert results.keys == ("activation", "optimizer.lr", "seed")
    assert (results.setting_keys, results.seed_keys) == (results.keys[:2], ("seed",))
    assert results.damaged == {}
    added = ["task", "seconds"]
    assert [column for column in runs if column not in added] == list(table)
    assert list(runs)[:7] == [*results.keys, "task", "state", "diverged_at_step", "error"]
    assert (table["error"].isna() & runs["error"].isna()).all()
    told = [column for column in table if column != "error"]
    same(runs[told], table[told])
    assert set(METRICS) <= set(table)
    assert runs["state"].value_counts().to_dict() == {"completed": 4, "diverged": 4}
    assert set(runs["task"]) == {"mse of sine"}
    for run, row in results.runs.iterrows():
        status = json.loads((Path(str(run)) / "status.json").read_text())
        assert row["seconds"] == status["seconds"]
        assert row["error"] is None
        values = [np.nan if v is None else v for v in status["metrics"].values()]
        np.testing.assert_array_equal(row[list(status["metrics"])].astype(float), values)


def test_curves_are_those_of_metrics_csv(trained: Path) -> None:
    results = read_results([trained])
    curves = results.curves
    assert list(dict.fromkeys(curves["run"])) == list(results.runs.index)
    for run, rows in curves.groupby("run"):
        with (Path(str(run)) / "metrics.csv").open(newline="") as file:
            written = list(csv.DictReader(file))
        assert list(rows)[1:] == list(written[0])
        for (_, row), line in zip(rows.iterrows(), written, strict=True):
            for tag, text in line.items():
                value = float(text or "nan")
                np.testing.assert_equal(row[tag], value if np.isfinite(value) else np.nan)


def test_the_configuration_is_what_hydra_saved(trained: Path) -> None:
    results = read_results([trained])
    for run in results.runs.index:
        saved = OmegaConf.load(Path(run) / ".hydra" / "config.yaml")
        assert OmegaConf.is_dict(saved)
        assert results.config(run) == plain(saved)


def test_runs_trained_alone_read_the_same(sweep: Sweep, trained: Path, tmp_path: Path) -> None:
    grid = ("data=sine", "activation=relu,silu", "optimizer.lr=0.1,1e6", "seed=0,1", "logger=csv")
    assert sweep(*grid, "hydra/launcher=basic", name="alone") == 0
    ours, theirs = read_results([trained]), read_results([tmp_path / "alone"])
    assert ours.keys == theirs.keys
    one, other = by_name(ours), by_name(theirs)
    exact = [*ours.keys, "task", "state", "diverged_at_step"]
    same(one[exact], other[exact])
    columns = [column for column in one if column not in (*exact, "error", "seconds")]
    done = one["state"] == "completed"
    np.testing.assert_allclose(one.loc[done, columns], other.loc[done, columns], rtol=1e-4)
    assert list(ours.curves) == list(theirs.curves)
    assert len(ours.curves) == len(theirs.curves)


def test_several_sweeps_at_once(sweep: Sweep, trained: Path, tmp_path: Path) -> None:
    """What one sweep left alone comes from its configurations: an option, and values."""
    more = ("data=sine", "data.noise=0.1,0.2", "data.seed=0,5", "model.hidden=[4]")
    assert sweep(*more, "optimizer.lr=0.3", "logger=csv", name="more") == 0
    results = read_results([trained, tmp_path / "more"])
    assert set(results.keys) == {
        *("activation", "optimizer.lr", "seed", "data.noise", "data.seed", "model.hidden")
    }
    assert results.seed_keys == ("seed", "data.seed")
    first = results.runs[results.runs.index.str.contains("more")]
    assert set(first["activation"]) == {"relu"}  # as conf/train.yaml has it
    assert set(first["seed"]) == {0}
    second = results.runs.drop(first.index)
    assert set(second["data.noise"]) == {0.1}  # as conf/data/sine.yaml has it
    assert (second["data.seed"] == second["seed"]).all()  # ${seed}
    assert set(second["model.hidden"]) == {"[16,8]"}
    both = pd.concat([read_results([path]).runs for path in results.folders])
    np.testing.assert_array_equal(results.runs["val/loss"], both["val/loss"])


def test_what_only_looks_swept_is_no_key(trained: Path, copied: Path) -> None:
    """A default that one sweep writes out, and what changes nothing that runs leave."""
    for run in sorted(copied.glob("*/.hydra/overrides.yaml")):
        run.write_text(run.read_text() + "- data.noise=0.1\n- ckpt_path=last.ckpt\n")
    results = read_results([trained, copied])
    assert results.keys == ("activation", "optimizer.lr", "seed")
    assert len(results.runs) == 16


def test_folders_given_twice_count_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.parent)
    (one, *_) = sorted(path.parent for path in trained.glob("*/status.json"))
    folders = [trained, Path("sweep"), one, trained.parent]
    assert len(read_results(folders).runs) == 8
    assert all(Path(run, "status.json").exists() for run in read_results(folders).runs.index)


def test_select(trained: Path) -> None:
    results = read_results([trained])
    chosen = results.select(results.runs["optimizer.lr"] < 1)
    assert chosen.keys == ("activation", "seed")
    assert set(chosen.runs["state"]) == {"completed"}
    assert set(chosen.curves["run"]) == set(chosen.runs.index)
    assert len(chosen.curves) == 4 * 3
    nothing = results.select(results.runs["optimizer.lr"] < 0)
    assert (nothing.keys, len(nothing.runs), len(nothing.curves)) == ((), 0, 0)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "2"], [1, 2]),
        (["0.1", "1e-2"], [0.1, 0.01]),
        (["0.1", ""], [0.1, np.nan]),  # a run that has no such key
        (["inf", "1"], [np.inf, 1]),
        (["10", "null"], ["10", "null"]),
        (["true", "false"], ["true", "false"]),
        (["0.1", "nan"], ["0.1", "nan"]),
        (["[8,8]", "[4]"], ["[8,8]", "[4]"]),
        (["0x10", "1"], ["0x10", "1"]),
        ([], []),
    ],
)
def test_numbers(texts: list[str], values: list[object]) -> None:
    same(as_numbers(pd.Series(texts, dtype=object)).to_frame(), pd.Series(values).to_frame())


# What is given, as patterns below a folder with three sweeps, and the sweeps that are meant.
PLACES = [
    ("one/first", ["one/first"]),
    ("one/*", ["one/first", "one/second"]),
    (["one/second", "two/third"], ["one/second", "two/third"]),
    (["one/*", "one/first"], ["one/first", "one/second"]),
    ("one", ["one/first", "one/second"]),
    (".", ["one/first", "one/second", "two/third"]),
    ("*", ["one/first", "one/second", "two/third", "runs"]),
    ("one/first/model.hidden=[8,8]", ["one/first/model.hidden=[8,8]"]),
    ("one/first/model.hidden=[8,8]*", ["one/first/model.hidden=[8,8]"]),
    ("runs", ["runs"]),
    ("runs/*", ["runs/b", "runs/a"]),
]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for age, sweep in enumerate(("one/first", "two/third", "one/second")):
        make_run(Path(sweep) / "model.hidden=[8,8]", "model.hidden=[8,8]")
        (Path(sweep) / "multirun.yaml").touch()
        os.utime(Path(sweep) / "multirun.yaml", (1000 + age, 1000 + age))
        (Path(sweep) / "mean").mkdir()
    for name in "ab":
        make_run(Path("runs") / name)
    Path("empty").mkdir()
    return tmp_path


def make_run(folder: Path, *overrides: str) -> None:
    """The folder of a run that has just begun."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(
        "".join(f"- {line}\n" for line in overrides) or "[]\n"
    )


@pytest.mark.parametrize(("pattern", "sweeps"), PLACES)
def test_the_folders_that_are_meant(
    places: Path, pattern: str | list[str], sweeps: list[str]
) -> None:
    found = find_sweeps(pattern, Path("outputs"))
    assert sorted(map(str, found)) == sorted(sweeps)
    assert len(read_results(found).runs) == len(found) + ("runs" in sweeps)


def test_the_newest_by_default(places: Path) -> None:
    assert find_sweeps(None, places) == [places / "one/second"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "one/frist",
            "sweep=one/frist: no such folder; must be the folder of a sweep; did "
            "you mean one/first?",
        ),
        ("one/firs*t*y", "sweep=one/firs*t*y: no such folder; must be the folder of a sweep"),
        ("nowhere/at/all", "sweep=nowhere/at/all: no such folder"),
        ("one/first/multirun.yaml", "sweep=one/first/multirun.yaml: no such folder"),
        ("", "sweep=: no such folder"),
        ("empty", "sweep=empty: has no runs; must be the folder of a sweep"),
        (["one", "empty"], "sweep=empty: has no runs"),
        ([], "sweep=[]: must name a folder"),
        (None, "sweep=null: no sweep below outputs yet"),
    ],
)
def test_what_is_no_sweep(places: Path, pattern: str | list[str] | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_sweeps(pattern, Path("outputs"))
    assert str(caught.value).startswith(message)


def test_no_run_at_all(places: Path) -> None:
    with pytest.raises(ConfigError, match="sweep=empty: has no runs"):
        read_results([Path("empty")])


def overwrite(name: str, text: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(text)


def cut(name: str, characters: int) -> Callable[[Path], object]:
    """Takes the end off a file."""
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-characters])


def remove(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).unlink()


OVERRIDES, CONFIG = ".hydra/overrides.yaml", ".hydra/config.yaml"
# What happens to a run that was completed; what is said of it; its state then; its rows of curves.
DAMAGES = [
    (remove("status.json"), "is not over: no status.json", "unfinished", 3),
    (cut("status.json", 20), "status.json cannot be read", "unfinished", 3),
    (overwrite("status.json", "5"), "status.json cannot be read", "unfinished", 3),
    (
        overwrite("status.json", '{"state": 1, "metrics": [], "config_hash": ""}'),
        "status.json cannot be read",
        "unfinished",
        3,
    ),
    (
        overwrite(
            "status.json", '{"state": "completed", "metrics": {"a": "b"}, "config_hash": ""}'
        ),
        "status.json cannot be read",
        "unfinished",
        3,
    ),
    (remove("metrics.csv"), "metrics.csv is missing", "completed", 0),
    (cut("metrics.csv", 9), "metrics.csv ends within a line", "completed", 2),
    (overwrite("metrics.csv", ""), "metrics.csv ends within a line", "completed", 0),
    (overwrite("metrics.csv", "epoch,step\na,b\n"), "metrics.csv is damaged", "completed", 0),
    (overwrite("metrics.csv", "epoch,step\n0,inf\n"), "metrics.csv is damaged", "completed", 0),
    (overwrite("metrics.csv", "epoch\n0\n"), "metrics.csv is damaged", "completed", 0),
    (
        lambda run: (run / "metrics.csv").write_bytes(b"\x00\xff\xfe" * 99),
        "metrics.csv cannot be read",
        "completed",
        0,
    ),
    (cut(OVERRIDES, 3), ".hydra/overrides.yaml cannot be read", "completed", 3),
    (remove(OVERRIDES), ".hydra/overrides.yaml cannot be read", "completed", 3),
    (overwrite(OVERRIDES, ""), ".hydra/overrides.yaml cannot be read", "completed", 3),
    (overwrite(OVERRIDES, "- 1\n"), ".hydra/overrides.yaml cannot be read", "completed", 3),
    (overwrite(OVERRIDES, "a: [\n"), ".hydra/overrides.yaml cannot be read", "completed", 3),
    (cut(CONFIG, 5), ".hydra/config.yaml cannot be read", "completed", 3),
    (remove(CONFIG), ".hydra/config.yaml cannot be read", "completed", 3),
    (overwrite(CONFIG, ""), ".hydra/config.yaml cannot be read", "completed", 3),
]


@pytest.mark.parametrize(("damage", "what", "state", "rows"), DAMAGES)
def test_damaged_runs_are_listed_and_the_others_read(
    trained: Path,
    copied: Path,
    damage: Callable[[Path], object],
    what: str,
    state: str,
    rows: int,
) -> None:
    before = read_results([trained])
    (run, *_) = sorted(path.parent for path in copied.glob("*0.1*/status.json"))
    damage(run)
    after = read_results([copied])
    (name,) = [one for one in after.runs.index if Path(one).name == run.name]
    assert after.damaged == {name: what}
    assert after.keys == before.keys
    assert after.runs.loc[name, "state"] == state
    assert (after.curves["run"] == name).sum() == rows
    one, other = by_name(before), by_name(after)
    keys = [*before.keys, "task"]  # a configuration tells what overrides no longer do, and so on
    same(one[keys], other[keys])
    same(one.drop(run.name), other.drop(run.name))
    curves = [results.curves for results in (before, after)]
    names = [table["run"].map(lambda path: Path(path).name) for table in curves]
    tables = [
        table[name != run.name].drop(columns="run").reset_index(drop=True)
        for table, name in zip(curves, names, strict=True)
    ]
    same(*tables)


def test_a_run_of_which_nothing_can_be_read(copied: Path) -> None:
    (run, *_) = sorted(path.parent for path in copied.glob("*0.1*/status.json"))
    for name in (OVERRIDES, CONFIG, "status.json", "metrics.csv"):
        (run / name).write_bytes(b"\xff\n")
    results = read_results([copied])
    assert results.keys == ("activation", "optimizer.lr", "seed")
    (name,) = results.damaged
    row = results.runs.loc[name]
    assert (row["activation"], row["state"], row["task"]) == ("", "unfinished", "unknown")
    assert row[["optimizer.lr", "seed", "val/loss", "seconds"]].isna().all()
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read"):
        results.config(name)


def test_failed_runs_need_no_curves(copied: Path) -> None:
    (run, *_) = sorted(path.parent for path in copied.glob("*0.1*/status.json"))
    status = {"state": "failed", "metrics": {}, "error": "RuntimeError: no", "config_hash": ""}
    (run / "status.json").write_text(json.dumps(status))
    (run / "metrics.csv").unlink()
    results = read_results([copied])
    assert results.damaged == {}
    assert list(results.runs["error"].dropna()) == ["RuntimeError: no"]
    assert results.runs["state"].value_counts().to_dict() == {
        "diverged": 4,
        "completed": 3,
        "failed": 1,
    }


def test_a_run_alone_that_has_only_begun(places: Path) -> None:
    results = read_results([Path("runs/a")])
    assert results.keys == ()
    assert list(results.runs["state"]) == ["unfinished"]
    assert list(results.runs["task"]) == ["unknown"]
    assert results.runs[["diverged_at_step", "seconds"]].dtypes.eq(float).all()
    assert len(results.curves) == 0


def test_a_run_that_diverged_at_once(copied: Path) -> None:
    """Step 0 is a step, 0.0 seconds are a time, and null is not a number."""
    (run, *_) = sorted(path.parent for path in copied.glob("*0.1*/status.json"))
    status = {"state": "diverged", "metrics": {"val/loss": None}, "config_hash": ""}
    (run / "status.json").write_text(
        json.dumps(status | {"diverged_at_step": 0, "seconds": 0.0, "error": None})
    )
    row = by_name(read_results([copied])).loc[run.name]
    assert (row["diverged_at_step"], row["seconds"]) == (0, 0)
    assert np.isnan(row["val/loss"])


@contextmanager
def changed(file: Path, content: bytes) -> Iterator[None]:
    """A file with other content for a while."""
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


@pytest.fixture(scope="module")
def pair(trained: Path) -> Iterator[Path]:
    """A sweep of two runs."""
    with tempfile.TemporaryDirectory() as place:
        for run in sorted(trained.glob("*relu*0.1*/")):
            shutil.copytree(run, Path(place) / run.name)
        yield Path(place)


FILES = st.sampled_from(["status.json", "metrics.csv", OVERRIDES, CONFIG, ".hydra/hydra.yaml"])


@settings(deadline=None)
@given(FILES, st.floats(0, 1))
def test_cut_at_any_byte(pair: Path, name: str, share: float) -> None:
    (file, _) = sorted(pair.glob(f"*/{name}"))
    content = file.read_bytes()
    kept = content[: int(share * len(content))]
    with changed(file, kept):
        results = read_results([pair])
    assert len(results.runs) == 2
    assert results.runs.iloc[1]["state"] == "completed"
    if name != ".hydra/hydra.yaml" and not kept.endswith(b"\n"):
        lines = name in ("status.json", "metrics.csv")  # of which the last newline may be missing
        whole = lines and kept == content[: len(content) - 1]
        assert (len(results.damaged) == 1) != (whole or kept == content)


@settings(deadline=None)
@given(FILES, st.binary(max_size=200), st.integers(0, 400))
def test_overwritten_anywhere(pair: Path, name: str, garbage: bytes, place: int) -> None:
    (file, _) = sorted(pair.glob(f"*/{name}"))
    content = file.read_bytes()
    with changed(file, content[:place] + garbage + content[place + len(garbage) :]):
        results = read_results([pair])
    assert len(results.runs) == 2
    assert results.runs.iloc[1]["state"] == "completed"


def test_jobs_are_read_as_their_folders(trained: Path, tmp_path: Path) -> None:
    grid = [(act, lr, seed) for act in ("silu", "relu") for lr in ("1e6", "0.1") for seed in "01"]
    jobs = []
    for activation, lr, seed in grid:
        overrides = (f"activation={activation}", f"optimizer.lr={lr}", f"seed={seed}")
        (folder,) = trained.glob(f"{overrides[0]},*lr={float(lr)},{overrides[2]},*")
        jobs.append(make_job(folder, "data=sine", *overrides))
    jobs.append(make_job(tmp_path / "none", "data=sine", *overrides[:2], "seed=7"))
    results = read_jobs(jobs, trained, with_curves=True)
    assert list(results.runs.index) == [short(job.folder) for job in jobs]  # their order
    assert results.keys == ("activation", "optimizer.lr", "seed")
    texts = list(results.runs[list(results.keys)].itertuples(index=False, name=None))
    assert texts == [*grid, (*grid[-1][:2], "7")]  # as they were given
    assert results.runs["state"].iloc[-1] == "unfinished"
    read = read_results([trained])
    others = [column for column in read.runs if column not in read.keys]
    done = results.runs.iloc[:-1]
    same(done.sort_index()[others], read.runs.sort_index()[others])
    assert len(results.curves) == len(read.curves)
    assert len(read_jobs(jobs, trained, with_curves=False).curves) == 0


def test_seeds_are_keys_of_the_configuration(trained: Path) -> None:
    (run, *_) = sorted(path.parent for path in trained.glob("*/status.json"))
    config = OmegaConf.create(read_config(run))
    assert all(OmegaConf.select(config, key) is not None for key in SEEDS)
