"""The user's own table, from the file to the answers: solo, as a population, and asked again."""

from __future__ import annotations

import copy
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Sweep, alone, compose_run, make_job, train_together
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_diabetes
from test_parity import assert_same_checkpoint, assert_same_events, assert_same_run
from test_tables import BAD, Bad

import predict as predict_script
import train as train_script
from neuronlab import tables
from neuronlab.build import build_data
from neuronlab.cli import command_line
from neuronlab.errors import ConfigError
from neuronlab.predict import load_learner
from neuronlab.records import read_status
from neuronlab.report.fits import best_and_worst
from neuronlab.results import read_results
from neuronlab.solo import prepare, train_one

ROWS = 90


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file of numbers and text, with values missing in both, and a target of each kind."""
    path = tmp_path / "mixed.csv"
    mixed_frame().to_csv(path, index=False)
    return path


def mixed_frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    size, age = random.uniform(20, 200, ROWS), random.integers(0, 60, ROWS).astype(float)
    city = random.choice(["Bonn", "Kiel", "Ulm", "Ems"], ROWS, p=[0.5, 0.3, 0.18, 0.02])
    price = 3 * size - 2 * age + 50 * (city == "Kiel") + random.normal(0, 20, ROWS)
    frame = pd.DataFrame({"size": size, "city": city, "age": age})
    frame.loc[random.choice(ROWS, 9, replace=False), "age"] = np.nan
    frame.loc[random.choice(ROWS, 7, replace=False), "city"] = np.nan
    frame["price"] = price
    frame["dear"] = np.where(price > np.median(price), "yes", "no")
    frame["band"] = pd.qcut(price, 3, labels=["low", "middle", "high"]).astype(str)
    return frame


def given_for(path: Path, target: str) -> list[str]:
    others = [name for name in ("price", "dear", "band") if name != target]
    return [
        *("data=table", f"data.path={path}", f"data.target={target}", "data.missing=mean"),
        *(f"data.exclude=[{','.join(others)}]", "data.batch_size=13", "model.hidden=[5,3]"),
        *("trainer.max_epochs=3", "trainer.precision=64", "activation=tanh"),
    ]


@pytest.mark.parametrize("target", ["price", "dear", "band"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("data", ["data.seed=7", "data.split=[0.5,0.2,0.3]"])
def test_a_member_is_a_run(
    target: str, optimizer: str, data: str, mixed: Path, tmp_path: Path
) -> None:
    """As in test_parity: also where seeds split differently, and one has no training row of Ems."""
    given = [*given_for(mixed, target), data, f"optimizer={optimizer}", "optimizer.lr=0.02"]
    jobs = [
        make_job(tmp_path / f"members/{seed}", *given, f"seed={seed}", f"regularization.l2={l2}")
        for seed, l2 in enumerate((0.01, 0.1, 0.02, 0.05))
    ]
    train_together(jobs)
    widths = {len(load_learner(job.folder).hparams["features"]) for job in jobs}
    assert len(widths) == (1 if data == "data.seed=7" else 2)
    for job in jobs:
        by_itself = alone(job, tmp_path / "alone" / job.folder.name)
        assert_same_run(job.folder, by_itself, 1e-9)
        assert_same_events(job.folder, by_itself)
        assert_same_checkpoint(job.folder, by_itself, 1e-8)


def ask(folder: Path, *overrides: str, capture: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    GlobalHydra.instance().clear()
    capture.readouterr()
    with patch.object(sys, "argv", ["src/predict.py", f"run={folder}", *overrides]):
        status = command_line(predict_script.main, "predict")
    return (status, *capture.readouterr())


def expected_metrics(task: str, target: Any, answers: pd.DataFrame) -> dict[str, float]:
    """What scikit-learn measures of answers: a value, or what was said and perhaps a chance."""
    if task == "regression":
        return {
            "mse": metrics.mean_squared_error(target, answers),
            "mae": metrics.mean_absolute_error(target, answers),
            **({"r2": metrics.r2_score(target, answers)} if len(target) > 1 else {}),
        }
    said = answers.select_dtypes(exclude="number").iloc[:, 0]
    return {"accuracy": metrics.accuracy_score(target, said)}


@pytest.mark.parametrize("target", ["price", "dear", "band"])
def test_answers_stand_beside_the_rows(
    target: str, mixed: Path, train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(*given_for(mixed, target), "trainer.precision=32")
    status, output, errors = ask(folder, f"inputs_csv={mixed}", "format=csv", capture=capsys)
    assert (status, errors) == (0, "")
    (mixed.parent / "out.csv").write_text(output)
    answered, frame = pd.read_csv(mixed.parent / "out.csv"), pd.read_csv(mixed)
    pd.testing.assert_frame_equal(answered[list(frame)], frame)
    answers = answered.drop(columns=list(frame))
    last = {"price": "predicted price", "dear": "predicted dear", "band": "probability"}[target]
    assert list(answers)[-1] == last
    learner = load_learner(folder)
    data = build_data(learner.hparams["data"])
    found = read_status(folder)
    assert found is not None
    for split in ("val", "test"):
        rows = data.parts[split].numpy()
        task = learner.hparams["task"]
        for name, value in expected_metrics(
            task, frame[target].to_numpy()[rows], answers.iloc[rows]
        ).items():
            assert found["metrics"][f"{split}/{name}"] == pytest.approx(value, rel=1e-5), name


def test_typed_rows_may_hold_text_and_nothing(
    mixed: Path, train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(*given_for(mixed, "price"))
    rows = "inputs=[[100,Kiel,10],[100,null,null],[100,Rome,10]]"
    status, output, errors = ask(folder, rows, "format=json", capture=capsys)
    assert status == 0
    assert errors == "city: 'Rome' in 1 row, unseen in training: taken as none of them\n"
    answers = json.loads(output)
    assert [answer["city"] for answer in answers] == ["Kiel", None, "Rome"]
    assert answers[1]["age"] is None
    frame = mixed_frame()
    learner = load_learner(folder)
    data = build_data(learner.hparams["data"])
    train_rows = frame.iloc[data.parts["train"].numpy()]
    cities = sorted(train_rows["city"].dropna().unique())
    shares = train_rows["city"].value_counts(normalize=True)
    by_hand = [
        [100, *(city == "Kiel" for city in cities), 10],
        [100, *(shares[city] for city in cities), train_rows["age"].mean()],
        [100, *(0 for _ in cities), 10],
    ]
    seen = learner.scaling.inputs(torch.tensor(by_hand).double()).to(learner.scaling.input_mean)
    expected = learner.scaling.raw(learner.net(seen))[:, 0].tolist()
    assert [answer["price"] for answer in answers] == pytest.approx(expected, rel=1e-9)


def test_a_network_that_knows_no_missing_values(
    mixed: Path, train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*given_for(mixed, "price"), "data.missing=drop"]
    folder = train(*given)
    status, output, errors = ask(folder, f"inputs_csv={mixed}", "format=json", capture=capsys)
    frame = mixed_frame()
    missing = frame[["city", "age"]].isna().any(axis=1)
    answers = [answer["predicted price"] for answer in json.loads(output)]
    assert status == 0
    assert [answer is None for answer in answers] == missing.tolist()
    assert f"no answer where a value is missing: {missing.sum()} rows (row" in errors
    frame[~missing].to_csv(mixed.parent / "whole.csv", index=False)
    strict = [*given, f"data.path={mixed.parent / 'whole.csv'}", "data.missing=error"]
    folder = train(*strict, name="strict")
    status, output, errors = ask(folder, f"inputs_csv={mixed}", capture=capsys)
    first = int(missing.to_numpy().argmax()) + 1
    assert (status, output) == (2, "")
    assert f"mixed.csv: row {first}, column " in errors
    assert "no value; the network was trained without missing ones" in errors


def test_a_sweep_reads_a_table_once(
    mixed: Path, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*given_for(mixed, "dear"), "optimizer.lr=0.1,0.2", "seed=0,1,2", "data.order_seed=0"]
    tables._made.cache_clear()
    with patch.object(tables, "read_cells", wraps=tables.read_cells) as read:
        assert sweep(*given, small=["trainer=cpu"]) == 0
    assert read.call_count == 1
    output = capsys.readouterr().out
    assert output.count("mixed.csv: 90 rows, 3 columns (2 of numbers, 1 of text)") == 1


def test_members_share_rows(mixed: Path, tmp_path: Path) -> None:
    made: dict[str, Any] = {}
    configs = [
        compose_run(*given_for(mixed, "dear"), "data.seed=3", f"seed={seed}")[0]["data"]
        for seed in (0, 1)
    ]
    one, other = (build_data(config, made) for config in configs)
    assert one.rows is other.rows
    assert one.order.seed != other.order.seed
    split_anew = build_data({**configs[0], "seed": 4}, made)
    assert split_anew.table is one.table  # what was read is there once


def test_a_table_that_changes_makes_other_runs(
    mixed: Path, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*given_for(mixed, "price"), "seed=0,1"]
    assert sweep(*given, small=["trainer=cpu"]) == 0
    assert sweep(*given, small=["trainer=cpu"]) == 0
    assert "2 of 2 runs are complete: not trained again" in capsys.readouterr().out
    frame = mixed_frame()
    frame.loc[0, "size"] += 1
    frame.to_csv(mixed, index=False)
    assert sweep(*given, small=["trainer=cpu"]) == 0
    assert "complete with another configuration, trained again: 2" in capsys.readouterr().out


def test_a_run_does_not_go_on_with_another_table(mixed: Path, train: Callable[..., Path]) -> None:
    given = given_for(mixed, "price")
    folder = train(*given)
    frame = mixed_frame()
    frame["size"] += 1
    frame.to_csv(mixed, index=False)
    config, _ = compose_run(
        *given, "trainer=cpu", "trainer.max_epochs=5", f"ckpt_path={folder}/checkpoints/last.ckpt"
    )
    with pytest.raises(ConfigError, match=r"cannot go on: data.path=.* holds something else now"):
        prepare(config, folder)


@pytest.mark.parametrize("target", ["rows", "prediction", "y$^$", "c"])
@pytest.mark.parametrize("inputs", ["x1", "x1,x2"])
def test_odd_names_and_shapes_leave_pictures_and_pages(
    target: str, inputs: str, tmp_path: Path, sweep: Sweep
) -> None:
    """Columns called as the page's own, a formula to matplotlib, classes over one number."""
    x1, x2 = np.arange(40.0), np.arange(40.0)[::-1] ** 2
    frame = pd.DataFrame({"x1": x1, "x2": x2, "rows": x1 * 2, "prediction": x2, "y$^$": x1 + x2})
    frame["c"] = np.where(x1 < 13, "a", np.where(x1 < 26, "b", "c"))
    frame.loc[3, inputs.split(",")] = np.nan
    frame.to_csv("odd.csv", index=False)
    given = ["data=table", "data.path=odd.csv", f"data.columns=[{inputs}]", "data.missing=mean"]
    given += [f"data.target='{target}'", "trainer.max_epochs=1", "callbacks=default"]
    assert sweep(*given, "seed=0,1", small=["trainer=cpu"]) == 0
    results = read_results([Path("sweep")])
    assert set(results.runs["state"]) == {"completed"}
    panels = best_and_worst(results)
    data = panels[0].data
    name = {"rows": "rows (column)", "prediction": "prediction (column)"}.get(target, target)
    assert sorted(data[name]) == sorted(frame[target])
    assert set(data["rows"]) == {"train", "val", "test"}


def held_out(sweep: Sweep, name: str, *given: str) -> pd.DataFrame:
    """Ten seeds, of which each splits the table and draws its weights: what test rows say."""
    split = ("data.split=[0.6,0.2,0.2]", "seed=range(0,10)", "callbacks=sweep")
    assert sweep("data=table", *given, *split, name=name, small=["trainer=cpu"]) == 0
    results = pd.read_csv(Path(name) / "results.csv")
    assert set(results["state"]) == {"completed"}
    return results


def test_breast_cancer(sweep: Sweep) -> None:
    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.frame.assign(diagnosis=bunch.target_names[bunch.frame["target"]])
    frame.drop(columns="target").to_csv("cancer.csv", index=False)
    results = held_out(sweep, "cancer", "data.path=cancer.csv", "data.target=diagnosis")
    assert results["test/accuracy"].mean() > 0.95


def test_diabetes(sweep: Sweep) -> None:
    load_diabetes(as_frame=True, scaled=False).frame.to_csv("diabetes.csv", index=False)
    given = ("data.path=diabetes.csv", "data.target=target", "model.hidden=[8]")
    results = held_out(sweep, "diabetes", *given, "optimizer.lr=0.01")
    # The mean of the training rows has R² of 0 at most on any others.
    assert results["test/r2"].mean() > 0.35


@functools.cache
def table_config() -> dict[str, Any]:
    return compose_run("trainer=cpu", "data=table")[0]


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_a_bad_table_is_refused_in_one_line(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if bad.content is not None:
        Path("my.csv").write_bytes(bad.content)
    config = copy.deepcopy(table_config())
    config["data"] |= {"path": "my.csv", "target": "y", **bad.arguments}
    with pytest.raises(ConfigError) as refused:
        prepare(config, tmp_path / "run")
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"data.{bad.said[0]}")
    assert [part for part in bad.said if part not in line] == [], line


@pytest.mark.parametrize("multirun", [False, True])
def test_the_command_line_refuses_it_with_status_2(
    multirun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_text("age,y\n3,0\n4,1\nfive,0\n6,1\n")
    given = ["data=table", "data.path=my.csv", "data.target=y", "hydra.run.dir=run"]
    if multirun:
        given = ["-m", *given, "seed=0,1", "hydra.sweep.dir=run"]
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["src/train.py", *given])
    status = command_line(train_script.main, "train")
    output, errors = capsys.readouterr()
    (line,) = errors.splitlines()
    assert (status, output) == (2, "")
    assert line.startswith("data.path=my.csv: row 3, column age: 'five' is not a number")
    assert line.endswith("(in all 2 jobs)") is multirun
    assert not (tmp_path / "run").exists()


names = st.text("abcxyz ", min_size=1, max_size=6).map(lambda t: " ".join(t.split())).filter(bool)
texts = st.sampled_from(["red", "green", "blue", "x y", "ä", 'say "hi"', "1a"])
numbers = st.one_of(
    st.integers(-1000, 1000),
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: float(f"{value:.6g}")),
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Tables of 2 to 5 columns and 6 to 25 rows, some cells missing; the last is the target."""
    header = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    rows = draw(st.integers(6, 25))
    columns = {}
    for name in header:
        cells = draw(st.sampled_from([numbers, texts, st.sampled_from([0, 1])]))
        holes = draw(st.sampled_from([st.just(False), st.sampled_from([False] * 9 + [True])]))
        values = draw(st.lists(st.tuples(cells, holes), min_size=rows, max_size=rows))
        columns[name] = [None if hole else value for value, hole in values]
    return pd.DataFrame(columns, dtype=object)


@given(frames(), st.sampled_from(["error", "drop", "mean"]), st.integers(0, 3))
@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # each example trains: shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_table_is_refused_or_learned(
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    frame: pd.DataFrame,
    missing: str,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path, target = folder / "any.csv", str(frame.columns[-1])
    frame.to_csv(path, index=False)
    config, chosen = compose_run(
        *("trainer=cpu", "data=table", "data.split=[0.5,0.25,0.25]", "data.batch_size=null"),
        *("callbacks=predictions", "logger=csv", "trainer.max_epochs=2", "model.hidden=[3]"),
        *(f"data.missing={missing}", f"seed={seed}"),
    )
    config["data"] |= {"path": str(path), "target": target}
    run = folder / "run"
    refused = ""
    try:
        train_one(config, run, chosen)
    except ConfigError as error:
        refused = str(error)
    if refused:
        assert len(refused.splitlines()) == 1
        assert refused.startswith("data.")
        assert not run.exists()
        return
    found = read_status(run)
    assert found is not None
    if found["state"] == "diverged":
        return
    status, output, _ = ask(run, f"inputs_csv={path}", "format=json", capture=capsys)
    assert status == 0
    said = pd.DataFrame(json.loads(output), index=frame.index)
    answers = said[[name for name in said if name not in frame]]
    kept = frame.notna().all(axis=1) if missing == "drop" else frame[target].notna()
    assert answers.notna().all(axis=1)[kept].all()
    task = load_learner(run).hparams["task"]
    logged = pd.read_csv(run / "predictions.csv", dtype={"true": str, "predicted": str})
    assert logged["row"].tolist() == (kept.to_numpy().nonzero()[0] + 1).tolist()
    again = answers.iloc[logged["row"] - 1]  # each answer of predict beside the logged one
    chance = [name for name in answers if name not in (target, f"predicted {target}")]
    said_again = again.drop(columns=chance).iloc[:, 0]
    if task == "regression":
        scale = float(load_learner(run).scaling.target_std)
        near = pytest.approx(logged["predicted"].astype(float).tolist(), abs=1e-4 * scale, rel=1e-4)
        assert said_again.tolist() == near
    else:
        near = pytest.approx(logged[chance[0]].tolist(), abs=1e-5)
        assert again[chance[0]].tolist() == near
        assert said_again.astype(str).tolist() == logged["predicted"].tolist()
    for split in ("val", "test"):
        rows = (logged["split"] == split).to_numpy()
        true = logged["true"][rows].to_numpy()
        of_split = logged.loc[rows, ["predicted"]]
        if task == "regression":
            true, of_split = true.astype(float), of_split.astype(float)
        for name, value in expected_metrics(task, true, of_split).items():
            near = pytest.approx(value, rel=2e-3, abs=1e-3)
            assert found["metrics"][f"{split}/{name}"] == near, (split, name)


@pytest.mark.parametrize("target", ["price", "dear", "band"])
def test_the_predictions_of_a_member_are_those_of_a_run(
    target: str, mixed: Path, tmp_path: Path
) -> None:
    given = [*given_for(mixed, target), "callbacks=predictions", "data.missing=drop"]
    jobs = [make_job(tmp_path / f"members/{seed}", *given, f"seed={seed}") for seed in (0, 1)]
    train_together(jobs)
    frame = mixed_frame()
    kept = frame[["city", "age"]].notna().all(axis=1)
    for job in jobs:
        by_itself = alone(job, tmp_path / "alone" / job.folder.name)
        ours, theirs = (pd.read_csv(f / "predictions.csv") for f in (job.folder, by_itself))
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)
        assert ours["row"].tolist() == (kept.to_numpy().nonzero()[0] + 1).tolist()
        true = frame[target].iloc[ours["row"] - 1]
        assert ours["true"].tolist() == (
            pytest.approx(true.tolist()) if target == "price" else true.tolist()
        )
