import json
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Config, compose_run
from made_up import NAN, Row, Values, made_up
from scipy import stats

from neuronlab.build import build
from neuronlab.report.comparisons import paired_comparisons, value_label
from neuronlab.report.curves import MOST, POINTS, loss_curves
from neuronlab.report.gradients import MAPS, gradient_norms
from neuronlab.report.heatmap import heat_maps, start_loss
from neuronlab.report.page import csv_text, figure_json
from neuronlab.report.panel import Panel
from neuronlab.report.rates import final_loss_over_lr, rate_bound
from neuronlab.results import Results

DRAW: tuple[Callable[[Results], list[Panel]], ...] = (
    loss_curves,
    final_loss_over_lr,
    heat_maps,
    paired_comparisons,
    gradient_norms,
)
SEEDS = range(5)
ACTIVATIONS = ("relu", "silu", "tanh")
RATES = (0.001, 0.01, 0.1, 1.0)
LOST = {"state": "diverged", "train/loss": [2.0, 50.0, NAN], "val/loss": [9.0, NAN, NAN]}
GRADIENTS = ("layer1.weight", "layer1.bias", "layer2.weight", "layer2.bias")


def run(values: Values, rng: np.random.Generator, epochs: int = 3) -> dict[str, Any]:
    """A run that is better under silu and at lr 0.1, and diverges at lr 1 with odd seeds."""
    if values.get("optimizer.lr") == 1.0 and values.get("seed", 0) % 2:
        return dict(LOST)
    away = abs(math.log10(values.get("optimizer.lr", 0.1)) + 1)
    level = (1 + away) * {"silu": 0.8, "tanh": 1.5}.get(values.get("activation", ""), 1.0)
    level *= 1 + 0.1 * values.get("seed", 0)
    falling = level * (0.2 + np.exp(-np.arange(epochs)))
    curves = {tag: falling * rng.uniform(0.9, 1.1, epochs) for tag in ("train/loss", "val/loss")}
    curves["val/accuracy"] = 1 / (1 + curves["val/loss"])
    for place, name in enumerate(GRADIENTS):
        curves[f"gradient_norm/{name}"] = 10.0**-place * falling * rng.uniform(0.5, 2, epochs)
    return {
        **{tag: values.tolist() for tag, values in curves.items()},
        "test/loss": falling[-1] * rng.uniform(0.9, 1.1),
    }


def sweep(row: Row = run, **grid: Sequence[object]) -> Results:
    """A made-up sweep; `lr` stands for `optimizer.lr`."""
    names = {"lr": "optimizer.lr", "hidden": "model.hidden", "rows": "data.rows"}
    return made_up({names.get(key, key): values for key, values in grid.items()}, row)


def named(panels: Sequence[Panel]) -> dict[str, Panel]:
    found = {panel.name: panel for panel in panels}
    assert len(found) == len(panels)
    return found


def traces(panel: Panel, **wanted: object) -> list[Any]:
    return [t for t in panel.figure.data if all(t[key] == value for key, value in wanted.items())]


def interval(values: Any) -> tuple[float, float]:
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


# --- every figure ------------------------------------------------------------------------------

WHOLE: dict[str, Sequence[object]] = {"activation": ACTIVATIONS, "lr": RATES, "seed": SEEDS}
GRIDS: dict[str, dict[str, Sequence[object]]] = {
    "whole": WHOLE,
    "one run": {"activation": ("relu",)},
    "one setting": {"seed": SEEDS},
    "one seed": {"activation": ACTIVATIONS, "lr": RATES},
    "no rate": {"activation": ACTIVATIONS, "seed": SEEDS},
    "rates alone": {"lr": RATES},
    "three keys": {
        "activation": ("relu", "silu"),
        "lr": (0.1, 1.0),
        "hidden": ("[8,8,8]", "[8]"),
        "seed": (0, 1),
    },
    "a key of another kind": {"rows": ("null", "100", "20"), "lr": RATES, "seed": (0, 1)},
}


def half_lost(values: Values, rng: np.random.Generator) -> dict[str, Any]:
    return dict(LOST) if values.get("activation", "relu") == "relu" else run(values, rng)


ROWS: dict[str, Row] = {
    "usual": run,
    "all diverged": lambda values, rng: dict(LOST),
    "all diverged at once": lambda values, rng: {
        "state": "diverged",
        "train/loss": [NAN],
        "val/loss": [NAN],
    },
    "half diverged": half_lost,
    "all failed": lambda values, rng: {"state": "failed", "error": "no memory"},
    "no test": lambda values, rng: {**run(values, rng), "test/loss": NAN},
    "huge": lambda values, rng: {
        **run(values, rng),
        "val/loss": [1.0, 1e20, 1e35],
        "gradient_norm/layer1.weight": [1.0, 1e19, 1e38],
    },
    "zero": lambda values, rng: {
        **run(values, rng),
        "val/loss": [1.0, 0.5, 0.0],
        "test/loss": 0.0,
        "gradient_norm/layer1.weight": [0.0, 0.0, 0.0],
    },
    "one epoch": lambda values, rng: run(values, rng, epochs=1),
}


@pytest.mark.parametrize(
    ("grid", "row"),
    [
        *((grid, "usual") for grid in GRIDS),
        *((grid, "all diverged") for grid in ("one run", "one setting", "rates alone")),
        *(("three keys", row) for row in ROWS if row != "usual"),
    ],
)
def test_whatever_a_sweep_left_is_drawn(grid: str, row: str) -> None:
    results = sweep(ROWS[row], **GRIDS[grid])
    panels = [panel for draw in DRAW for panel in draw(results)]
    named(panels)
    for panel in panels:
        figure = json.loads(figure_json(panel), parse_constant=pytest.fail)  # NaN is no JSON
        assert not panel.data.empty
        assert panel.title
        layout = figure["layout"]
        assert "template" not in layout
        assert "font" not in layout
        assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
        for name, axis in layout.items():
            if name.startswith(("xaxis", "yaxis")):
                assert not {"gridcolor", "linecolor", "zerolinecolor", "color"} & set(axis)
        assert {"xaxis", "yaxis"} <= set(layout)
    if row == "usual" and grid == "whole":
        assert len(panels) == 7


@pytest.mark.parametrize("state", ["failed", "unfinished"])
def test_nothing_is_drawn_of_runs_that_left_nothing(state: str) -> None:
    results = sweep(lambda values, rng: {"state": state, "val/loss": NAN}, **WHOLE)
    assert [panel for draw in DRAW for panel in draw(results)] == []


def test_thousand_runs_stay_small() -> None:
    grid: dict[str, Sequence[object]] = {
        "optimizer": [f"optimizer{place}" for place in range(5)],
        "lr": [10.0**-place for place in range(5)],
        "activation": [*ACTIVATIONS, "gelu"],
        "seed": range(10),
    }
    results = sweep(lambda values, rng: run({"activation": "relu"}, rng, epochs=50), **grid)
    panels = [panel for draw in DRAW for panel in draw(results)]
    assert len(results.runs) == 1000
    assert sum(len(figure_json(panel)) for panel in panels) < 1_500_000 / 3
    assert sum(len(csv_text(panel)) for panel in panels) < 1_500_000 / 3


def test_values_are_text_in_figures_and_titles() -> None:
    results = sweep(activation=("<b>bold</b>", "a & b"), lr=RATES, seed=SEEDS)
    panels = [panel for draw in DRAW for panel in draw(results)]
    assert any("<b>bold</b>" in panel.title for panel in panels)
    for panel in panels:
        assert "<b>" not in figure_json(panel)
        assert "&lt;" not in panel.title + panel.note


# --- curves ------------------------------------------------------------------------------------


def test_bands_are_means_with_t_intervals() -> None:
    results = sweep(activation=ACTIVATIONS, seed=SEEDS)
    panel = named(loss_curves(results))["loss_curves"]
    labels = [trace.name for trace in traces(panel, showlegend=True)]
    assert labels == ["silu", "relu", "tanh"]  # best first
    for activation in ACTIVATIONS:
        runs = results.runs.index[results.runs["activation"] == activation]
        curves = results.curves[results.curves["run"].isin(runs)]
        for metric in ("val/loss", "train/loss"):
            values = curves.pivot(index="epoch", columns="run", values=metric).to_numpy()
            of = panel.data.query("activation == @activation and metric == @metric")
            np.testing.assert_allclose(of["mean"], values.mean(axis=1))
            (line,) = [
                t for t in panel.figure.data if t.name == activation and metric in t.hovertemplate
            ]
            np.testing.assert_allclose(line.y, values.mean(axis=1), rtol=1e-6)
            assert (line.line.dash == "dot") == (metric == "train/loss")
            if metric == "val/loss":
                ends = np.array([interval(row) for row in values])
                np.testing.assert_allclose(of[["low", "high"]], ends)


def test_of_many_settings_nine_best_and_the_worst_that_did_not_diverge_are_drawn() -> None:
    results = sweep(optimizer=[f"o{place}" for place in range(8)], lr=RATES, seed=SEEDS)
    panel = named(loss_curves(results))["loss_curves"]
    runs = results.runs.assign(lost=results.runs["state"] == "diverged")
    table = runs.groupby(["optimizer", "optimizer.lr"]).agg(
        mean=("val/loss", "mean"), lost=("lost", "any")
    )
    calm = table[~table["lost"]].sort_values("mean").index
    drawn = list(
        panel.data[["optimizer", "optimizer.lr"]].drop_duplicates().itertuples(index=False)
    )
    assert drawn == [*calm[: MOST - 1], calm[-1]]
    assert "10 of 32 settings" in panel.note


def test_with_one_seed_there_are_lines_without_bands() -> None:
    panel = named(loss_curves(sweep(activation=ACTIVATIONS)))["loss_curves"]
    assert traces(panel, fill="toself") == []
    assert len(panel.figure.data) == 2 * len(ACTIVATIONS)
    assert panel.data[["low", "high"]].isna().all(axis=None)


def test_epochs_without_validation_are_left_out() -> None:
    def row(values: Values, rng: np.random.Generator) -> dict[str, Any]:
        left = run(values, rng, epochs=30)
        seen = [v if epoch % 10 == 9 else NAN for epoch, v in enumerate(left["val/loss"])]
        return {**left, "val/loss": seen}

    panel = named(loss_curves(sweep(row, activation=ACTIVATIONS, seed=SEEDS)))["loss_curves"]
    epochs = panel.data.groupby("metric")["epoch"].unique()
    assert epochs["val/loss"].tolist() == [9, 19, 29]
    assert epochs["train/loss"].tolist() == list(range(30))


def test_long_curves_are_thinned_to_their_ends() -> None:
    long = sweep(lambda values, rng: run(values, rng, epochs=1001), seed=SEEDS)
    panel = named(loss_curves(long))["loss_curves"]
    epochs = panel.data.query("metric == 'val/loss'")["epoch"]
    assert len(epochs) == POINTS
    assert {0, 1000} <= set(epochs)


@pytest.mark.parametrize(("metric", "there"), [("val/accuracy", "accuracy"), ("val/r2", "r2")])
def test_a_second_metric_has_curves_of_its_own(metric: str, there: str) -> None:
    def row(values: Values, rng: np.random.Generator) -> dict[str, Any]:
        left = run(values, rng)
        left[metric] = left.pop("val/accuracy")
        return left

    results = sweep(row, activation=ACTIVATIONS, seed=SEEDS)
    panel = named(loss_curves(results))[f"{there}_curves"]
    last = panel.data[panel.data["epoch"] == 2].set_index("activation")["mean"]
    means = results.runs.groupby("activation")[metric].mean()
    np.testing.assert_allclose(last[means.index], means)
    assert panel.title.startswith(f"{means.idxmax()} ends highest")


def test_exploding_losses_do_not_set_the_axis() -> None:
    results = sweep(ROWS["huge"], activation=ACTIVATIONS, seed=SEEDS)
    figure = named(loss_curves(results))["loss_curves"].figure
    assert 10 ** figure.layout.yaxis.range[1] < 20 * start_loss(results)
    (menu,) = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["linear", "log"]
    assert menu.buttons[0].args[0]["yaxis.range"][1] < 3 * start_loss(results)


# --- learning rates ----------------------------------------------------------------------------


def test_points_over_rates_are_means_of_final_losses() -> None:
    results = sweep(optimizer=("sgd", "adam"), lr=RATES, seed=SEEDS)
    (panel,) = final_loss_over_lr(results)
    data = panel.data.set_index(["optimizer", "optimizer.lr"])
    for setting, runs in results.runs.groupby(["optimizer", "optimizer.lr"]):
        row = data.loc[setting]
        values = runs["val/loss"].dropna()
        assert row["val/loss mean"] == pytest.approx(values.mean())
        assert (row["val/loss low"], row["val/loss high"]) == pytest.approx(interval(values))
        assert row["test/loss mean"] == pytest.approx(runs["test/loss"].mean())
        assert row["diverged"] == (runs["state"] == "diverged").sum()
    assert [trace.name for trace in traces(panel, yaxis=None)] == ["sgd", "adam"]
    crosses = traces(panel, yaxis="y2")
    assert [(list(t.x), list(t.customdata)) for t in crosses] == 2 * [
        ([1.0], ["✕ 2 of 5 diverged"])
    ]
    assert panel.title == "The best learning rate is 0.1 for sgd and adam"


def test_of_further_keys_the_best_setting_is_taken_by_val_loss() -> None:
    hidden = [f"[{size}]" for size in range(1, 6)]
    results = sweep(activation=ACTIVATIONS, hidden=hidden, lr=RATES, seed=SEEDS)
    (panel,) = final_loss_over_lr(results)
    keys = ["activation", "optimizer.lr", "model.hidden"]
    means = results.runs.groupby(keys)[["val/loss", "test/loss"]].mean()
    for row in panel.data.to_dict("records"):
        some = means.loc[row["activation"], row["optimizer.lr"]]
        best = some["val/loss"].idxmin()
        assert row["model.hidden"] == best
        assert row["val/loss mean"] == pytest.approx(some.loc[best, "val/loss"])
        assert row["test/loss mean"] == pytest.approx(some.loc[best, "test/loss"])
    assert len(panel.data) == len(ACTIVATIONS) * len(RATES)
    assert "model.hidden with the lowest mean val/loss" in panel.note


def test_a_setting_without_divergence_is_taken_before_one_with_it() -> None:
    def row(values: Values, rng: np.random.Generator) -> dict[str, Any]:
        if values["activation"] == "silu":  # the lower loss, and a diverged run
            return dict(LOST) if values["seed"] == 0 else run(values, rng)
        return run({**values, "activation": "tanh"}, rng)

    rows = [str(place) for place in range(9)]  # so that activations have no lines
    results = sweep(row, optimizer=rows, activation=("silu", "relu"), lr=(0.1, 0.2), seed=SEEDS)
    (panel,) = final_loss_over_lr(results)
    assert set(panel.data["activation"]) == {"relu"}
    assert set(panel.data["diverged"]) == {0}
    assert set(panel.data["diverged of the line"]) == {1}


def test_rates_at_which_half_of_the_runs_diverged_are_shaded() -> None:
    def row(values: Values, rng: np.random.Generator) -> dict[str, Any]:
        lost = {0.001: 0, 0.01: 1, 0.1: 2, 1.0: 4}[values["optimizer.lr"]]
        return dict(LOST) if values["seed"] < lost else run({}, rng)

    (panel,) = final_loss_over_lr(sweep(row, lr=RATES, seed=range(4)))
    shapes = panel.figure.layout.shapes
    assert [shape.x0 for shape in shapes] == pytest.approx([10**-1.5, 10**-0.5])
    assert shapes[0].x1 == pytest.approx(shapes[1].x0)
    (crosses,) = traces(panel, yaxis="y2")
    assert list(crosses.customdata) == [f"✕ {count} of 4 diverged" for count in (1, 2, 4)]
    assert "from 0.1 on half of the runs or more diverge" in panel.title


def test_means_beyond_the_axis_are_marked_at_its_edge() -> None:
    def row(values: Values, rng: np.random.Generator) -> dict[str, Any]:
        left = run({}, rng)
        return {**left, "val/loss": [1.0, 1.0, 1e9]} if values["optimizer.lr"] == 1.0 else left

    results = sweep(row, lr=RATES, seed=SEEDS)
    (panel,) = final_loss_over_lr(results)
    (line,) = traces(panel, yaxis=None)
    top = 1e3 * start_loss(results)
    assert line.y[-1] == pytest.approx(top)
    assert line.marker.symbol == (*3 * ("circle",), "triangle-up-open")
    assert 10 ** panel.figure.layout.yaxis.range[1] < 3 * top
    assert panel.data["val/loss mean"].iloc[-1] == pytest.approx(1e9)
    assert panel.data["beyond the axis"].tolist() == [False, False, False, True]


NEURON = ("data=line", "model=neuron", "loss=mse", "optimizer=sgd")


class Configured(Results):
    """Results whose configurations are not on disk."""

    configs: Callable[[str], Config]

    def config(self, run: str) -> Config:
        return self.configs(run)


def configured(*overrides: str, **grid: Sequence[object]) -> Results:
    results = sweep(**grid)
    config, _ = compose_run(*overrides)
    made = Configured(**{field.name: getattr(results, field.name) for field in fields(Results)})

    def given(run: str) -> Config:
        seed = int(results.runs.loc[run, "seed"])
        return {**config, "data": {**config["data"], "seed": seed}}

    object.__setattr__(made, "configs", given)  # frozen
    return made


def test_bound_is_two_over_the_largest_eigenvalue_of_the_hessian() -> None:
    results = configured(*NEURON, "data.batch_size=null", lr=RATES, seed=(0, 1, 2))
    bound = rate_bound(results)
    assert bound is not None
    expected = []
    for run_ in results.runs.drop_duplicates("seed").index:
        x = build(results.config(run_))[0].rows["train"].x.double().numpy()
        inputs = np.column_stack([x, np.ones(len(x))])
        expected.append(2 / np.linalg.eigvalsh(2 * inputs.T @ inputs / len(x))[-1])
    assert bound.values == pytest.approx(expected)
    assert bound.full_batch
    (panel,) = final_loss_over_lr(results)
    (line,) = [t for t in panel.figure.data if "theory" in (t.name or "")]
    np.testing.assert_allclose(line.x, stats.gmean(expected))
    assert f"theory's bound is {stats.gmean(expected):.4g}" in panel.title


def test_of_mini_batches_the_note_says_that_the_bound_is_for_full_ones() -> None:
    results = configured(*NEURON, "data.batch_size=10", lr=RATES, seed=(0, 1))
    (panel,) = final_loss_over_lr(results)
    assert "mini-batches" in panel.note


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer=momentum",),
        ("optimizer=adam",),
        ("optimizer.weight_decay=0.1",),
        ("+trainer.gradient_clip_val=1.0",),
        ("loss=mae",),
        ("model=mlp",),
        ("model.output=sigmoid",),
    ],
)
def test_without_theory_there_is_no_bound(overrides: tuple[str, ...]) -> None:
    assert rate_bound(configured(*NEURON, *overrides, lr=RATES, seed=(0, 1))) is None


@pytest.mark.parametrize("lr", [("a", "b"), (0.0, 0.1)])
def test_rates_that_have_no_logarithm_are_not_drawn(lr: tuple[object, ...]) -> None:
    assert final_loss_over_lr(sweep(lambda values, rng: run({}, rng), lr=lr, seed=SEEDS)) == []


# --- heat maps ---------------------------------------------------------------------------------


def test_cells_are_means_over_seeds() -> None:
    results = sweep(**WHOLE)
    (panel,) = heat_maps(results)
    colors, crosses = panel.figure.data
    assert panel.figure.layout.xaxis.title.text == "optimizer.lr"
    assert panel.figure.layout.xaxis.ticktext == ("0.001", "0.01", "0.1", "1")
    rows = panel.figure.layout.yaxis.ticktext
    means = results.runs.pivot_table("val/loss", "activation", "optimizer.lr")
    np.testing.assert_allclose(colors.z, means.loc[list(rows)], rtol=1e-6)
    assert colors.text[rows.index("silu")][3].endswith("✕ 2/5")
    assert len(crosses.x) == 0
    best = means.stack().idxmin()
    assert "activation={}, optimizer.lr={}".format(*best) in panel.title


def test_cells_have_the_best_of_the_other_keys_by_val_loss() -> None:
    results = sweep(**WHOLE, hidden=("[8,8]", "[16]"))
    (panel,) = heat_maps(results)
    keys = list(results.setting_keys)
    means = results.runs.groupby(keys)["val/loss"].mean()
    lost = results.runs.groupby(keys)["state"].agg(lambda states: (states == "diverged").any())
    pairs = panel.data[["x_key", "y_key"]].drop_duplicates().itertuples(index=False)
    assert {frozenset(pair) for pair in pairs} == {
        frozenset({"activation", "optimizer.lr"}),
        frozenset({"activation", "model.hidden"}),
        frozenset({"model.hidden", "optimizer.lr"}),
    }
    for row in panel.data.to_dict("records"):
        x, y = row["x_key"], row["y_key"]
        cell = means.xs((row[x], row[y]), level=(x, y))
        away = lost.xs((row[x], row[y]), level=(x, y))
        best = cell[~away].min() if (~away).any() else cell.min()
        assert row["val/loss mean"] == pytest.approx(best)
    (menu,) = panel.figure.layout.updatemenus
    assert len(menu.buttons) == 3
    for place, button in enumerate(menu.buttons):
        visible = button.args[0]["visible"]
        assert [at for at, shown in enumerate(visible) if shown] == [2 * place, 2 * place + 1]


def test_axes_are_in_the_order_of_numbers_and_lengths() -> None:
    grid = {"hidden": ("[8,8,8]", "[8]", "[16,8]"), "rows": ("null", "100", "20")}
    (panel,) = heat_maps(sweep(**grid))
    layout = panel.figure.layout
    assert {layout.xaxis.ticktext, layout.yaxis.ticktext} == {
        ("[8]", "[16,8]", "[8]×3"),
        ("20", "100", "null"),
    }


def test_cells_of_which_all_runs_diverged_are_crossed() -> None:
    (panel,) = heat_maps(sweep(half_lost, **WHOLE))
    colors, crosses = panel.figure.data
    row = panel.figure.layout.yaxis.ticktext.index("relu")
    assert np.isnan(np.array(colors.z)[row]).all()
    assert list(zip(crosses.x, crosses.y, strict=True)) == [(column, row) for column in range(4)]
    assert all("5 of 5 runs diverged" in text for text in crosses.hovertext)


@pytest.mark.parametrize(("factor", "log"), [(3.0, False), (100.0, True)])
def test_losses_over_decades_have_colors_in_the_logarithm(factor: float, log: bool) -> None:
    def row(values: Values, rng: np.random.Generator) -> dict[str, Any]:
        power = RATES.index(values["optimizer.lr"])
        return {"train/loss": [1e6], "val/loss": [factor**power]}

    (panel,) = heat_maps(sweep(row, activation=ACTIVATIONS, lr=RATES))
    z = np.array(panel.figure.data[0].z)[0]
    exact = factor ** np.arange(4)
    np.testing.assert_allclose(z, np.log10(exact) if log else exact, rtol=1e-6)
    assert ("log scale" in panel.figure.data[0].colorbar.title.text) == log


# --- comparisons -------------------------------------------------------------------------------


def logs_by_seed(runs: pd.DataFrame, key: str, a: str, b: str, others: list[str]) -> Any:
    """Per seed, the mean log ratio of a over b."""
    table = runs.pivot_table("test/loss", ["seed", *others], key)
    return np.log(table[a] / table[b]).dropna().groupby("seed").mean()


def test_pairs_are_compared_seed_by_seed() -> None:
    results = sweep(**WHOLE)
    (panel,) = paired_comparisons(results)
    assert panel.name == "compared_activation"
    for row in panel.data.to_dict("records"):
        logs = logs_by_seed(results.runs, "activation", row["a"], row["b"], ["optimizer.lr"])
        assert row["relative"] == pytest.approx(math.expm1(logs.mean()))
        ends = [math.expm1(end) for end in interval(logs)]
        assert [row["relative low"], row["relative high"]] == pytest.approx(ends)
        assert row["relative"] < 0  # the better one is first
        assert (row["pairs"], row["seeds"]) == (20, 5)
        assert (row["diverged a"], row["diverged b"]) == (2, 2)
        difference = results.runs.pivot_table("test/loss", ["seed", "optimizer.lr"], "activation")
        difference = (difference[row["a"]] - difference[row["b"]]).groupby("seed").mean()
        assert row["difference"] == pytest.approx(difference.mean())
    assert list(zip(panel.data["a"], panel.data["b"], strict=True)) == [
        ("silu", "relu"),
        ("silu", "tanh"),
        ("relu", "tanh"),
    ]
    drawn = panel.figure.data[0]
    places = 100 * panel.data["relative"]
    if "log" in panel.figure.layout.xaxis.title.text:
        places = np.log10(1 + panel.data["relative"])
    np.testing.assert_allclose(drawn.x, places)


@pytest.mark.parametrize(
    ("factor", "title"),
    [
        (0.9, "silu's test/loss is 10 % lower than relu's (95 % interval"),
        (1.25, "relu's test/loss is 20 % lower than silu's (95 % interval"),
        (8.0, "silu's test/loss is 8 times relu's (95 % interval"),
        (1.0, "No clear difference in test/loss between"),
    ],
)
def test_the_title_says_what_the_numbers_say(factor: float, title: str) -> None:
    def row(values: Values, rng: np.random.Generator) -> dict[str, Any]:
        tilt = {0: 1.02, 1: 1 / 1.02}.get(values["seed"], 1.0)  # cancels over seeds
        level = factor * tilt if values["activation"] == "silu" else 1.0
        return {"val/loss": [level], "test/loss": level}

    (panel,) = paired_comparisons(sweep(row, activation=("relu", "silu"), seed=range(4)))
    assert panel.title.startswith(title)


def test_tasks_are_compared_each_for_itself_and_together() -> None:
    results = sweep(activation=("relu", "silu"), data=("circle", "xor"), seed=SEEDS)
    runs = results.runs.assign(task="bce of " + results.runs["data"])
    (panel,) = paired_comparisons(replace(results, runs=runs))  # data are no choice to compare
    assert panel.data["task"].tolist() == ["all tasks", "bce of circle", "bce of xor"]
    for row in panel.data.to_dict("records"):
        own = runs if row["task"] == "all tasks" else runs[runs["task"] == row["task"]]
        logs = logs_by_seed(own, "activation", row["a"], row["b"], ["data"])
        assert row["relative"] == pytest.approx(math.expm1(logs.mean()))
    assert [trace.name for trace in panel.figure.data] == panel.data["task"].tolist()


@pytest.mark.parametrize(
    ("key", "values", "compared"),
    [
        ("activation", ACTIVATIONS, True),
        ("activation", [str(chr(97 + place)) for place in range(8)], True),
        ("activation", [str(chr(97 + place)) for place in range(9)], False),
        ("data.noise", (0.1, 0.2, 0.3, 0.4), True),
        ("data.noise", (0.1, 0.2, 0.3, 0.4, 0.5), False),
        ("optimizer.lr", (0.1, 0.2), False),
    ],
)
def test_choices_are_compared_and_scales_are_not(
    key: str, values: Sequence[object], compared: bool
) -> None:
    results = made_up({key: values, "seed": SEEDS}, lambda values, rng: run({}, rng))
    assert bool(paired_comparisons(results)) == compared


def test_values_of_which_all_runs_diverged_are_crossed() -> None:
    (panel,) = paired_comparisons(sweep(half_lost, activation=ACTIVATIONS, seed=SEEDS))
    crossed = panel.data["relative"].isna()
    assert panel.data.loc[crossed, "b"].tolist() == ["relu", "relu"]  # the one that diverged loses
    symbols = np.array(panel.figure.data[0].marker.symbol)
    np.testing.assert_array_equal(symbols == "x", crossed)


@pytest.mark.parametrize(
    ("key", "value", "keys", "label"),
    [
        ("activation", "silu", (), "silu"),
        ("optimizer.lr", 0.01, (), "lr 0.01"),
        ("model.hidden", "[8,8,8]", (), "hidden [8]×3"),
        ("model.hidden", "[16,8]", (), "hidden [16,8]"),
        ("data.noise", 0.1, ("data.noise", "other.noise"), "data.noise 0.1"),
        ("rows", 100, (), "rows 100"),
    ],
)
def test_settings_have_short_names(key: str, value: object, keys: Any, label: str) -> None:
    assert value_label(key, value, keys) == label


# --- gradients ---------------------------------------------------------------------------------


def test_gradients_are_geometric_means_by_layer_and_epoch() -> None:
    results = sweep(activation=ACTIVATIONS, seed=SEEDS)
    panels = named(gradient_norms(results))
    layers = panels["gradient_layers"]
    assert [trace.visible for trace in layers.figure.data] == [True, False, False]
    labels = [button.label for button in layers.figure.layout.updatemenus[0].buttons]
    assert labels == ["silu", "relu", "tanh"]
    for label, trace in zip(labels, layers.figure.data, strict=True):
        runs = results.runs.index[results.runs["activation"] == label]
        curves = results.curves[results.curves["run"].isin(runs)]
        assert list(trace.y) == ["layer1.weight", "layer2.weight"]
        for name, row in zip(trace.y, trace.z, strict=True):
            values = curves.pivot(index="epoch", columns="run", values=f"gradient_norm/{name}")
            np.testing.assert_allclose(10**row, stats.gmean(values, axis=1), rtol=1e-5)
    total = panels["gradient_total"].data
    squares = sum(results.curves[f"gradient_norm/{name}"] ** 2 for name in GRADIENTS)
    whole = results.curves.assign(total=np.sqrt(squares)).merge(
        results.runs["activation"], left_on="run", right_index=True
    )
    means = whole.groupby(["activation", "epoch"])["total"].agg(stats.gmean)
    found = total.set_index(["activation", "epoch"])["mean"]
    np.testing.assert_allclose(found[means.index], means)


def deep(values: Values, rng: np.random.Generator) -> dict[str, Any]:
    """Gradients that shrink by layer, tenfold under tanh."""
    depth = values["model.hidden"].count(",") + 1
    rate = 0.1 if values["activation"] == "tanh" else 0.5
    luck = rng.uniform(0.9, 1.1, 3)
    norms = {
        f"gradient_norm/layer{layer}.weight": (rate ** (depth + 1 - layer) * luck).tolist()
        if layer <= depth + 1
        else [NAN] * 3
        for layer in range(1, 13)
    }
    return {**norms, "val/loss": [1.0, 0.5, 0.1 * depth], "test/loss": 1.0}


DEPTHS = ["[" + ",".join(["8"] * depth) + "]" for depth in (1, 2, 10)]


def test_layers_are_in_the_order_of_their_numbers() -> None:
    results = sweep(deep, activation=("relu",), hidden=DEPTHS, seed=SEEDS)
    maps = named(gradient_norms(results))["gradient_layers"].figure.data
    assert [len(trace.y) for trace in maps] == [2, 3, 11]
    assert list(maps[2].y) == [f"layer{layer}.weight" for layer in range(1, 12)]


def test_the_first_layers_gradient_is_drawn_over_depth() -> None:
    results = sweep(deep, activation=("relu", "tanh"), hidden=DEPTHS, lr=(0.1, 0.2), seed=SEEDS)
    panel = named(gradient_norms(results))["gradient_depth"]
    assert set(panel.data["n"]) == {len(SEEDS)}  # of one rate, or each seed would count twice
    best = results.runs.groupby(["activation", "model.hidden", "optimizer.lr"])["val/loss"].mean()
    rate = best.idxmin()[2]
    first = results.curves[results.curves["epoch"] == 0].set_index("run")
    runs = results.runs.assign(norm=first["gradient_norm/layer1.weight"])
    runs = runs[runs["optimizer.lr"] == rate]
    means = runs.groupby(["activation", "model.hidden"])["norm"].agg(stats.gmean)
    for row in panel.data.to_dict("records"):
        hidden = DEPTHS[[1, 2, 10].index(int(row["hidden layers"]))]
        assert row["mean"] == pytest.approx(means[row["activation"], hidden])
    assert panel.title.startswith("From 1 to 10 hidden layers")
    assert "under relu" in panel.title
    assert "under tanh" in panel.title


def test_the_menu_has_the_best_setting_of_each_option() -> None:
    optimizers = [f"o{place}" for place in range(6)]
    results = sweep(optimizer=optimizers, activation=ACTIVATIONS, lr=RATES, seed=(0, 1))
    panel = named(gradient_norms(results))["gradient_layers"]
    labels = [button.label for button in panel.figure.layout.updatemenus[0].buttons]
    assert len(labels) == MAPS
    for option in (*optimizers, *ACTIVATIONS):
        assert any(option in label for label in labels)


def test_norms_of_zero_are_left_out_of_geometric_means() -> None:
    def row(values: Values, rng: np.random.Generator) -> dict[str, Any]:
        dead = values["seed"] == 0
        return {"val/loss": [1.0], "gradient_norm/weight": [0.0 if dead else 4.0]}

    panel = named(gradient_norms(sweep(row, seed=SEEDS)))["gradient_layers"]
    assert panel.data[["gradient norm", "n"]].to_numpy().tolist() == [[4.0, 4]]
    assert panel.data["parameter"].tolist() == ["weight"]
