from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import compose_run, run_sweep

from neuronlab.build import build
from neuronlab.data import DataModule
from neuronlab.datasets import Table
from neuronlab.learner import Learner
from neuronlab.predict import load_learner
from neuronlab.records import CHECKPOINT
from neuronlab.report.asked import Fit, asked
from neuronlab.report.fits import best_and_worst, draw
from neuronlab.report.page import figure_json
from neuronlab.report.panel import Panel
from neuronlab.results import Results, read_results

SWEPT = {
    "line": ["model=neuron", "model.init=torch", "data.split=[0.6,0.2,0.2]", "data.rows=40"],
    "circle": ["data.rows=150", "data.batch_size=30", "data.split=[0.8,0.1,0.1]"],
    "blobs": ["data.rows=150", "data.batch_size=30"],
    "students": ["data.rows=150", "data.batch_size=30"],
    "houses": ["data.rows=150", "data.batch_size=30"],
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """A sweep of four runs on each data set."""
    place = tmp_path_factory.mktemp("fits")
    found = {}
    for name, given in SWEPT.items():
        rates = ("optimizer=adam", "optimizer.lr=0.001,0.05", "seed=0,1", "trainer.max_epochs=4")
        assert (
            run_sweep(place, f"data={name}", *given, *rates, name=name, small=["trainer=cpu"]) == 0
        )
        found[name] = read_results([place / name])
    return found


@pytest.fixture(scope="module")
def panels(swept: dict[str, Results]) -> dict[str, list[Panel]]:
    return {name: best_and_worst(results) for name, results in swept.items()}


@pytest.mark.parametrize("name", SWEPT)
def test_titles_name_the_best_and_the_worst(
    swept: dict[str, Results], panels: dict[str, list[Panel]], name: str
) -> None:
    runs = swept[name].runs
    best, worst = panels[name]
    for panel, run in ((best, runs["val/loss"].idxmin()), (worst, runs["val/loss"].idxmax())):
        row = runs.loc[run]
        assert f"optimizer.lr={row['optimizer.lr']:g}, seed={row['seed']}" in panel.title
        for tag in ("val/loss", "test/loss"):
            assert float(panel.title.partition(tag)[2].split(",")[0]) == pytest.approx(
                row[tag], rel=1e-3
            )
    assert [best.name, worst.name] == ["fit_best", "fit_worst"]
    assert best.title.startswith("The best of 4 runs")
    assert max(len(figure_json(panel)) for panel in (best, worst)) < 200_000


@pytest.mark.parametrize("name", SWEPT)
def test_answers_are_those_that_the_run_was_measured_by(
    swept: dict[str, Results], panels: dict[str, list[Panel]], name: str
) -> None:
    row = swept[name].runs.loc[swept[name].runs["val/loss"].idxmax()]
    data = panels[name][1].data
    assert data["rows"].value_counts()["train"] == 0.8 * 150 if name != "line" else 24
    test = data[data["rows"] == "test"]
    if name in ("line", "houses"):
        target = test[{"line": "y", "houses": "price"}[name]]
        error = ((test["prediction"] - target) ** 2).mean()
        assert error == pytest.approx(row["test/mse"], rel=1e-3)
        return
    target = test[{"circle": "inside", "blobs": "blob", "students": "passed"}[name]]
    answer = test["prediction"] if name == "blobs" else test["prediction"] >= 0.5
    assert (answer == target).mean() == pytest.approx(row["test/accuracy"])


def test_rows_are_in_the_data_s_own_units(
    swept: dict[str, Results], panels: dict[str, list[Panel]]
) -> None:
    data = panels["houses"][0].data
    bedrooms = data["bedrooms"].to_numpy()
    np.testing.assert_allclose(bedrooms, bedrooms.round(), atol=1e-4)
    rule = 120_000 + data[["size", "bedrooms", "age", "distance"]] @ [150, 20_000, -1500, -3000]
    np.testing.assert_allclose(data["rule"], rule, rtol=1e-4)


def test_a_curve_for_one_feature(swept: dict[str, Results], panels: dict[str, list[Panel]]) -> None:
    run = swept["line"].runs["val/loss"].idxmin()
    state = torch.load(Path(run) / CHECKPOINT, weights_only=True)["state_dict"]
    w, b = state["net.weight"].item(), state["net.bias"].item()
    traces = {trace.name: trace for trace in panels["line"][0].figure.data}
    assert list(traces) == ["train rows", "val rows", "test rows", "rule", "network"]
    network, rule = traces["network"], traces["rule"]
    np.testing.assert_allclose(network.y, w * network.x + b, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(rule.y, 2 * rule.x + 1, rtol=1e-5)
    assert len(traces["test rows"].x) == 8
    assert network.x.min() < rule.x.min() <= rule.x.max() < network.x.max()


@pytest.mark.parametrize("name", ["circle", "blobs"])
def test_a_plane_for_two_features(
    swept: dict[str, Results], panels: dict[str, list[Panel]], name: str
) -> None:
    run = swept[name].runs["val/loss"].idxmax()
    figure = panels[name][1].figure
    plane, *classes = figure.data
    place = torch.tensor([[plane.x[7], plane.y[90]]])
    answer = load_learner(Path(run)).ask(place)[0]
    expected = answer.argmax().item() if name == "blobs" else answer.item()
    assert plane.z[90][7] == pytest.approx(expected, abs=1e-5)
    names = [f"blob {k}" for k in range(3)] if name == "blobs" else ["inside", "not inside"]
    assert [trace.name for trace in classes] == names
    assert sum(len(trace.x) for trace in classes) == 150
    crosses = sum((np.array(trace.marker.symbol) == "x").sum() for trace in classes)
    wrong = (1 - swept[name].runs.loc[run, "test/accuracy"]) * 15
    assert crosses == pytest.approx(wrong, abs=1e-3)


def test_counts_of_probabilities(swept: dict[str, Results], panels: dict[str, list[Panel]]) -> None:
    panel = panels["students"][0]
    test = panel.data[panel.data["rows"] == "test"]
    passed, failed = panel.figure.data
    assert (passed.name, failed.name) == ("passed", "not passed")
    assert passed.y.sum() == (test["passed"] == 1).sum()
    sure = test[(test["passed"] == 0) & (test["prediction"] >= 0.5)]
    assert failed.y[10:].sum() == len(sure)


def test_predicted_against_true_values(panels: dict[str, list[Panel]]) -> None:
    panel = panels["houses"][0]
    right, points = panel.figure.data
    test = panel.data[panel.data["rows"] == "test"]
    assert list(points.x) == list(test["price"])
    assert list(points.y) == list(test["prediction"])
    assert list(right.x) == list(right.y)


def test_data_that_are_not_split_are_one_kind_of_rows(tmp_path: Path) -> None:
    given = ("model=neuron", "optimizer.lr=0.01", "trainer.max_epochs=2", "seed=0,1")
    run_sweep(tmp_path, "data=line", *given, small=["trainer=cpu"])
    panel, _ = best_and_worst(read_results([tmp_path / "sweep"]))
    assert [trace.name for trace in panel.figure.data] == ["data", "rule", "network"]
    assert set(panel.data["rows"]) == {"all"}


def made_up_fit(table: Table, classes: int) -> Fit:
    """A fit of data that no set here has, by an untrained network."""
    config, _ = compose_run("data=blobs", f"data.classes={classes}", "model.hidden=[]")
    _, learner = build(config)
    data = DataModule(lambda _: table, split=[0.5, 0.25, 0.25])
    made = Learner(**{**learner.hparams, "features": list(table.columns), "task": table.task,
                      "columns": [{"name": name} for name in table.columns],
                      "out_features": table.out_features, "classes": list(table.classes),
                      "model": {**learner.hparams["model"], "output": None}})  # fmt: skip
    return Fit("run", made, data, {})


def test_a_plane_of_values() -> None:
    x = torch.rand(40, 2)
    table = Table(x, 3 * x.sum(dim=1, keepdim=True), "regression", ("a", "b"), "height")
    fit = made_up_fit(table, 2)
    figure, how = draw(fit, asked(fit))
    plane, points = figure.data
    place = torch.tensor([[plane.x[3], plane.y[50]]])
    assert plane.z[50][3] == pytest.approx(fit.learner.ask(place).item(), abs=1e-6)
    np.testing.assert_allclose(points.marker.color, 3 * (points.x + points.y), rtol=1e-5)
    assert "color" in how


def test_chances_of_several_classes() -> None:
    names = ("u", "v", "w")
    y = torch.arange(60) % 3
    table = Table(torch.rand(60, 3), y, "multiclass", ("a", "b", "c"), "kind", classes=names)
    fit = made_up_fit(table, 3)
    fit.learner.net.output = torch.nn.Softmax(dim=-1)
    points = asked(fit)
    figure, _ = draw(fit, points)
    assert [bars.name for bars in figure.data] == list(names)
    assert sum(bars.y.sum() for bars in figure.data) == (points["rows"] == "test").sum() == 15
    one = points.iloc[0]
    expected = fit.learner.ask(torch.tensor([[one["a"], one["b"], one["c"]]]))[0]
    assert one["probability"] == pytest.approx(expected[names.index(one["kind"])].item(), abs=1e-6)


def changed(results: Results, **columns: object) -> Results:
    return replace(results, runs=results.runs.assign(**columns))


def test_ties_go_to_the_first(swept: dict[str, Results]) -> None:
    tied = changed(swept["line"], **{"val/loss": 1.0, "seed": ["a", "b", "c", "d"]})
    best, worst = best_and_worst(tied)
    assert "seed=a" in best.title
    assert "seed=d" in worst.title
    (only,) = best_and_worst(replace(tied, runs=tied.runs[:1]))
    assert only.title.startswith("The only run with answers")


def test_diverged_runs_are_counted_and_never_drawn(swept: dict[str, Results]) -> None:
    results = swept["line"]
    lost = results.runs.index == results.runs["val/loss"].idxmin()
    states = np.where(lost, "diverged", "completed")
    best, worst = best_and_worst(changed(results, state=states))
    assert "1 diverged run has no answers" in best.note
    assert "1 diverged run has no answers" in worst.note
    assert "of 3 runs" in best.title
    assert best_and_worst(changed(results, state="diverged")) == []
    assert best_and_worst(replace(results, runs=results.runs.drop(columns="val/loss"))) == []


@pytest.mark.parametrize("harm", ["gone", "half"])
def test_a_run_without_a_checkpoint_is_passed_over(swept: dict[str, Results], harm: str) -> None:
    results = swept["line"]
    ranked = results.runs.sort_values("val/loss")
    path = Path(ranked.index[0]) / CHECKPOINT
    whole = path.read_bytes()
    try:
        path.unlink() if harm == "gone" else path.write_bytes(whole[:500])
        best, worst = best_and_worst(results)
    finally:
        path.write_bytes(whole)
    assert f"seed={ranked['seed'].iloc[1]}" in best.title
    assert "Passed over, without a network: 1" in best.note
    assert "checkpoint" in best.note
    assert "Passed over" not in worst.note


def test_without_any_checkpoint_there_is_nothing_to_draw(swept: dict[str, Results]) -> None:
    runs = swept["line"].runs
    moved = runs.set_index(pd.Index([f"nowhere/{k}" for k in range(len(runs))]))
    assert best_and_worst(replace(swept["line"], runs=moved)) == []


def test_answers_that_are_far_off_do_not_hide_the_data(swept: dict[str, Results]) -> None:
    results = swept["line"]
    path = Path(results.runs["val/loss"].idxmax()) / CHECKPOINT
    whole = path.read_bytes()
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["net.weight"] += 1e9
    torch.save(checkpoint, path)
    try:
        figure = best_and_worst(results)[1].figure
    finally:
        path.write_bytes(whole)
    low, high = figure.layout.yaxis.range
    assert -50 < low < 1
    assert 20 < high < 70
