"""Probes against numpy: networks with weights by hand, and some that were trained."""

import functools
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Config, compose_run, run_sweep
from made_up import NAN, leave_network, made_up, seeded, untrained
from torch import Tensor

from neuronlab import measures, probes
from neuronlab.build import build_data
from neuronlab.data import DataModule
from neuronlab.errors import ConfigError
from neuronlab.learner import Learner
from neuronlab.measures import Measure
from neuronlab.predict import load_learner
from neuronlab.records import CHECKPOINT
from neuronlab.results import Results, read_results

Networks = dict[str, tuple[DataModule, Learner]]  # by run
SEEDS = range(3)


@functools.cache
def composed(*overrides: str) -> Config:
    return compose_run("trainer=cpu", *overrides)[0]


def changed(config: Config, group: str, **values: object) -> Config:
    """The same configuration with other values in one of its groups."""
    return {**config, group: {**config[group], **values}}


@pytest.fixture
def houses() -> Config:
    """A linear neuron on four features of very different size."""
    return changed(composed("data=houses", "model=neuron"), "data", rows=60, batch_size=None)


def left(place: Path, config: Config, seeds: Sequence[int] = SEEDS) -> tuple[Results, Networks]:
    """Runs that differ in their seeds, with their first weights, which no training has changed."""
    results = made_up({"seed": list(seeds)}, lambda run, rng: {"val/loss": 1.0, "lr": 0.1}, place)
    networks = {
        str(run): untrained(seeded(config, seed)) for run, seed in results.runs["seed"].items()
    }
    for run, (_, learner) in networks.items():
        leave_network(run, learner)
    return results, networks


def of(measure: Measure, results: Results) -> list[float]:
    values = measure(results)
    assert values.index.equals(results.runs.index)
    return [float(value) for value in values]


def slopes(learner: Learner) -> tuple[np.ndarray, float]:
    """Weights and bias in the data's own units, from what the network answers."""
    learner = learner.double()
    zero, features = torch.zeros(1, len(learner.hparams["features"])).double(), 1e3
    steps = torch.eye(zero.shape[1]).double() * features
    answers = learner.ask(torch.cat([zero, steps]))[:, 0].numpy()
    return (answers[1:] - answers[0]) / features, float(answers[0])


def least_squares(data: DataModule) -> np.ndarray:
    """Weights and bias of the best line through the raw rows; without a split these are all."""
    x, y = data.table.x.double().numpy(), data.table.y[:, 0].double().numpy()
    return np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]


def near(expected: Sequence[float], rel: float = 1e-5) -> Any:
    return pytest.approx(list(expected), rel=rel, nan_ok=True)


# --- linear neurons ------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [True, False])
def test_weights_are_in_the_data_s_own_units(
    standardize: bool, houses: Config, tmp_path: Path
) -> None:
    results, networks = left(tmp_path, changed(houses, "data", standardize=standardize))
    expected = {run: slopes(learner) for run, (_, learner) in networks.items()}
    for index, feature in enumerate(("size", "bedrooms", "age", "distance")):
        found = of(probes.weight(feature), results)
        assert found == near([expected[str(run)][0][index] for run in results.runs.index])
    assert of(probes.bias(), results) == near([expected[str(r)][1] for r in results.runs.index])
    assert len(set(found)) == len(SEEDS)


@pytest.mark.parametrize("standardize", [True, False])
def test_errors_are_distances_from_least_squares(
    standardize: bool, houses: Config, tmp_path: Path
) -> None:
    config = changed(houses, "data", standardize=standardize, split=None)
    results, networks = left(tmp_path, config)
    weight, bias = of(probes.weight_error("age"), results), of(probes.bias_error(), results)
    for index, (rows, learner) in enumerate(networks.values()):
        best, (learned, start) = least_squares(rows), slopes(learner)
        assert weight[index] == pytest.approx(abs(learned[2] - best[2]), rel=1e-4)
        assert bias[index] == pytest.approx(abs(start - best[4]), rel=1e-4)


def test_least_squares_takes_training_rows_alone(houses: Config, tmp_path: Path) -> None:
    results, networks = left(tmp_path, changed(houses, "data", standardize=False))
    for index, (data, learner) in enumerate(networks.values()):
        rows = data.rows["train"]
        assert len(rows) < len(data.table.x)
        design = np.column_stack([rows.x.double().numpy(), np.ones(len(rows))])
        best = np.linalg.lstsq(design, rows.y[:, 0].double().numpy(), rcond=None)[0]
        found = of(probes.weight_error("bedrooms"), results)[index]
        assert found == pytest.approx(abs(slopes(learner)[0][1] - best[1]), rel=1e-4)


def test_a_trained_neuron_comes_to_least_squares(train: Callable[..., Path]) -> None:
    descent = ("optimizer=sgd", "optimizer.lr=0.4", "trainer.max_epochs=40", "callbacks=sweep")
    data = ("data=houses", "data.rows=60", "data.split=null", "data.batch_size=null")
    folder = train("model=neuron", *data, *descent, "logger=csv")
    results = made_up({}, lambda run, rng: {"val/loss": 1.0}, folder)
    best = least_squares(build_data(load_learner(folder).hparams["data"]))
    assert of(probes.weight("size"), results) == near([best[0]], rel=1e-3)
    assert of(probes.bias(), results) == near([best[4]], rel=1e-3)
    assert of(probes.weight_error("size"), results)[0] < 1e-3 * abs(best[0])
    assert of(probes.bias_error(), results)[0] < 1e-3 * abs(best[4])


TRUE_WEIGHTS = (150.0, 20_000.0, -1_500.0, -3_000.0)


@pytest.mark.parametrize("standardize", [True, False])
def test_the_cosine_to_the_rule(standardize: bool, houses: Config, tmp_path: Path) -> None:
    results, networks = left(tmp_path, changed(houses, "data", standardize=standardize))
    learned = np.array([slopes(learner)[0] for _, learner in networks.values()])
    norms = np.linalg.norm(learned, axis=1) * np.linalg.norm(TRUE_WEIGHTS)
    found = of(probes.cosine_to_truth(), results)
    assert found == pytest.approx(learned @ TRUE_WEIGHTS / norms, abs=1e-6)


def test_whether_the_order_is_found(houses: Config, tmp_path: Path) -> None:
    """With standardized data, too, it is the order of weights in the data's own units."""
    results, networks = left(tmp_path, houses)
    std = {run: data.scaling.input_std.numpy() for run, (data, _) in networks.items()}
    wanted = ((150, 20_000, -1_500, -3_000), (1, 2, -3, -4), (-3, 2, 1, -4))
    for weights, (run, (_, learner)) in zip(wanted, networks.items(), strict=True):
        next(learner.net.parameters()).copy_(torch.tensor(weights * std[run]))
        leave_network(run, learner)
    assert of(probes.order_found(), results) == [1, 1, 0]


# --- how far from a plane ------------------------------------------------------------------------


def circle(place: Path, activation: str, hidden: Sequence[int] = (8,), **data: object) -> Any:
    config = composed("data=circle", f"activation={activation}")
    config = changed(config, "data", **{"rows": 60, "batch_size": None, **data})
    return left(place, changed(config, "model", hidden=list(hidden)))


def off_the_plane(data: DataModule, logits: Callable[[np.ndarray], np.ndarray]) -> float:
    """1 − R² of a plane through logits on the square that holds the data."""
    low, high = data.table.x.amin(dim=0).numpy(), data.table.x.amax(dim=0).numpy()
    sides = [np.linspace(low[i], high[i], probes.PLACES) for i in (0, 1)]
    x = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    z = logits(x)
    design = np.column_stack([x, np.ones(len(x))])
    residual = z - design @ np.linalg.lstsq(design, z, rcond=None)[0]
    return float(residual.var() / z.var())


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("hidden", [[], [8], [8, 8, 8]])
def test_without_activation_a_network_is_a_plane(
    hidden: list[int], standardize: bool, tmp_path: Path
) -> None:
    results, _ = circle(tmp_path, "identity", hidden, standardize=standardize)
    assert of(probes.nonlinearity(), results) == pytest.approx([0] * len(SEEDS), abs=1e-20)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_nonlinearity_is_what_a_plane_leaves(
    activation: str, standardize: bool, tmp_path: Path
) -> None:
    results, networks = circle(tmp_path, activation, standardize=standardize)
    bend = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[activation]
    expected = []
    for data, learner in networks.values():
        mean, std = data.scaling.input_mean.numpy(), data.scaling.input_std.numpy()
        w1, b1, w2, b2 = (p.double().numpy() for p in learner.net.parameters())
        expected.append(
            off_the_plane(data, lambda x: bend((x - mean) / std @ w1.T + b1) @ w2[0] + b2[0])  # noqa: B023
        )
    assert min(expected) > 1e-3
    assert of(probes.nonlinearity(), results) == near(expected)


def test_a_dead_network_is_a_plane(tmp_path: Path) -> None:
    results, networks = circle(tmp_path, "relu")
    for run, (_, learner) in networks.items():
        _, bias, *_ = learner.net.parameters()
        bias.fill_(-1e3)
        leave_network(run, learner)
    assert of(probes.nonlinearity(), results) == [0] * len(SEEDS)


def test_networks_are_asked_without_their_random_layers(tmp_path: Path) -> None:
    config = changed(composed("data=circle", "activation=relu"), "data", rows=60, batch_size=None)
    dropout = {"_target_": "torch.nn.Dropout", "p": 0.5}
    config = changed(config, "model", activation=dropout)
    before = torch.random.get_rng_state()
    results, _ = left(tmp_path, config)
    assert of(probes.nonlinearity(), results) == pytest.approx([0] * len(SEEDS), abs=1e-20)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- how large a rate may be ---------------------------------------------------------------------

LINE = ("experiment=learning_rate", "data.rows=30")


def curvature_bound(x: Tensor) -> float:
    design = np.column_stack([x.double().numpy(), np.ones(len(x))])
    return 2 / float(np.linalg.eigvalsh(2 / len(x) * design.T @ design)[-1])


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("data.high=3",),
        ("data.standardize=true",),
        ("data=sine", "data.batch_size=null"),
        ("data=houses", "data.batch_size=null"),
        ("data=houses", "data.batch_size=24", "data.standardize=false"),  # all training rows
        ("optimizer=momentum", "optimizer.momentum=0"),
    ],
)
def test_bounds_are_two_over_the_largest_curvature(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    results, networks = left(tmp_path, composed(*LINE, *overrides))
    expected = [curvature_bound(data.rows["train"].x) for data, _ in networks.values()]
    assert of(probes.bound(), results) == near(expected)
    assert of(probes.rate_over_bound, results) == near([0.1 / bound for bound in expected])
    if "data=sine" in overrides:  # each seed has training rows of its own
        assert len(set(expected)) == len(SEEDS)


@pytest.mark.parametrize(
    "overrides",
    [
        ("data.batch_size=10",),
        ("optimizer=adam",),
        ("optimizer=momentum",),
        ("optimizer.weight_decay=0.1",),
        ("loss=mae",),
        ("model=mlp", "~model.init"),
        ("model.output=sigmoid",),
        ("data=students", "data.batch_size=null", "loss=bce"),
    ],
)
def test_elsewhere_there_is_no_bound(overrides: tuple[str, ...], tmp_path: Path) -> None:
    results, _ = left(tmp_path, composed(*LINE, *overrides))
    assert of(probes.bound(), results) == near([NAN] * len(SEEDS))
    assert not any(of(probes.beyond_bound(), results))
    assert not any(of(probes.within_bound(), results))


def test_runs_that_differ_in_the_rate_share_their_bound(tmp_path: Path) -> None:
    """One of them is looked into, and all are told on which side they are."""
    grid = {"optimizer.lr": [0.01, 0.05, 0.1], "seed": [0, 1]}
    row = {"val/loss": 1.0}
    results = made_up(grid, lambda run, rng: {**row, "lr": run["optimizer.lr"]}, tmp_path)
    learner = untrained(composed(*LINE))[1]
    for run in results.runs.index[:2]:  # of the smallest rate
        leave_network(run, learner)
    bound = 0.0288
    assert of(probes.bound(), results) == pytest.approx([bound] * 6, rel=0.02)
    assert of(probes.within_bound(), results) == [1, 1, 0, 0, 0, 0]
    assert of(probes.beyond_bound(), results) == [0, 0, 1, 1, 1, 1]


def test_a_diverged_run_has_a_bound_and_no_weights(tmp_path: Path) -> None:
    results, _ = left(tmp_path, composed(*LINE))
    results.runs.loc[results.runs["seed"] == 1, "state"] = "diverged"
    assert not np.isnan(of(probes.bound(), results)).any()
    for measure in (probes.weight("x"), probes.bias(), probes.bias_error()):
        assert np.isnan(of(measure, results)).tolist() == [False, True, False]


@pytest.mark.parametrize("state", ["failed", "unfinished"])
def test_runs_without_a_network_have_no_number(state: str, tmp_path: Path) -> None:
    results, _ = left(tmp_path, composed(*LINE))
    shutil.rmtree(str(results.runs.index[1]))
    results.runs.loc[results.runs["seed"] == 1, "state"] = state
    assert np.isnan(of(probes.weight("x"), results)).tolist() == [False, True, False]


# --- what cannot be asked ------------------------------------------------------------------------


def test_a_damaged_checkpoint_is_named_and_a_missing_one_leaves_no_number(tmp_path: Path) -> None:
    results, _ = left(tmp_path, composed(*LINE))
    path = Path(str(results.runs.index[0])) / CHECKPOINT
    path.write_bytes(b"nothing")
    for measure in (probes.bias(), probes.bound()):
        with pytest.raises(ConfigError, match="seed=0"):
            measure(results)
    path.unlink()
    for measure in (probes.bias(), probes.bound()):
        assert measure(results).isna().tolist()[0]


def test_nothing_is_built_that_a_checkpoint_must_not_name(tmp_path: Path) -> None:
    results, networks = left(tmp_path, composed(*LINE), [0, 1])
    (run, (_, learner)), *_ = networks.items()
    for part, name in (("data", "builtins.exec"), ("optimizer", "os.system")):
        honest = learner.hparams[part]
        learner.hparams[part] = {**honest, "_target_": name}
        leave_network(run, learner)
        learner.hparams[part] = honest
        for measure in (probes.bias(), probes.bound()):
            with pytest.raises(ConfigError, match=f"{part}._target_={name}: must begin with"):
                measure(results)


@pytest.mark.parametrize(
    ("measure", "overrides", "message"),
    [
        (probes.weight("y"), (), "feature=y: must be one of x$"),
        (probes.weight_error("size"), (), "feature=size: must be one of x$"),
        (probes.weight("x"), ("model=mlp", "~model.init"), "reads the weights of model=neuron"),
        (probes.bias(), ("model=mlp", "~model.init"), "reads the weights of model=neuron"),
        (probes.cosine_to_truth(), ("data=sine",), "data that were made by a linear rule"),
        (probes.order_found(), ("data=sine",), "data that were made by a linear rule"),
        (probes.nonlinearity(), (), "is for data with 2 features, not 1"),
    ],
)
def test_what_a_network_cannot_tell_is_said(
    measure: Measure, overrides: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    results, _ = left(tmp_path, composed(*LINE, *overrides), [0, 1])
    with pytest.raises(ConfigError, match=message):
        measure(results)


def test_a_folder_that_is_trained_into_again_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it matter that another folder is called the same from elsewhere."""
    found = []
    for name, bias in (("here", 1.0), ("there", 2.0), ("there", 3.0)):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        config = changed(composed(*LINE), "data", high=10 * bias)
        results, networks = left(Path("sweep"), config, [0, 1])
        for run, (_, learner) in networks.items():
            list(learner.net.parameters())[1].fill_(bias)
            leave_network(run, learner)
            os.utime(Path(run) / CHECKPOINT, ns=(0, int(bias)))  # clocks of files may be slow
        found.append((of(probes.bias(), results)[0], of(probes.bound(), results)[0]))
    biases, bounds = zip(*found, strict=True)
    assert biases == (1, 2, 3)
    assert len(set(bounds)) == 3


# --- alone and together --------------------------------------------------------------------------

CHECKED: dict[str, Measure] = {
    "first gradient": measures.first("gradient_norm/weight"),
    "gradient change": measures.gradient_change(),
    "fell": measures.fell(),
    "lost": measures.lost(),
    "diverged": measures.diverged(),
    "weight": probes.weight("x"),
    "bias": probes.bias(),
    "weight error": probes.weight_error("x"),
    "bias error": probes.bias_error(),
    "cosine": probes.cosine_to_truth(),
    "order": probes.order_found(),
    "bound": probes.bound(),
    "beyond": probes.beyond_bound(),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Results]:
    """The same runs trained alone and together; at the largest rate they diverge."""
    place = tmp_path_factory.mktemp("both")
    grid = ("data=line", "model=neuron", "data.batch_size=null", "logger=csv", "seed=0,1")
    more = ("optimizer.lr=0.025,1", "trainer.max_epochs=15")
    assert run_sweep(place, *grid, *more, name="together") == 0
    assert run_sweep(place, *grid, *more, "hydra/launcher=basic", name="alone") == 0
    together, alone = (read_results([place / name]) for name in ("together", "alone"))
    return together, alone


@pytest.mark.parametrize("name", CHECKED)
def test_alone_and_together_say_the_same(name: str, both: tuple[Results, Results]) -> None:
    values = []
    for results in both:
        found = CHECKED[name](results)
        order = results.runs.sort_values(["optimizer.lr", "seed"]).index
        values.append(found[order].to_numpy(dtype=float))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4, atol=1e-6)
    assert np.isfinite(values[0][:2]).all()


def test_the_gradient_of_the_first_step_is_that_of_the_formula(
    both: tuple[Results, Results],
) -> None:
    """∂/∂w of the mean of (wx + b − y)²: 2/n Σ (wx + b − y)·x, at the weights that a seed draws."""
    results = both[0]
    found = measures.first("gradient_norm/weight")(results)
    for run in results.runs.index[results.runs["optimizer.lr"] < 1]:
        data, learner = untrained(results.config(run))
        rows = data.rows["train"]
        x, y = rows.x[:, 0].double().numpy(), rows.y[:, 0].double().numpy()
        w, b = (float(value) for value in learner.net.parameters())
        assert found[run] == pytest.approx(abs(2 * np.mean((w * x + b - y) * x)), rel=1e-4)


def test_outcomes_of_descent_are_those_of_theory(both: tuple[Results, Results]) -> None:
    results = both[0]
    over = np.array(of(probes.rate_over_bound, results))
    lost = np.array(of(measures.lost(), results))
    np.testing.assert_array_equal(lost == 1, over > 1)
    assert (results.runs["state"] == "diverged").to_numpy().tolist() == (over > 10).tolist()
    assert math.isclose(float(over.max()), 1 / 0.0288, rel_tol=0.05)


def test_a_network_that_has_learned_a_circle_is_no_plane(train: Callable[..., Path]) -> None:
    data = ("data=circle", "data.rows=200", "data.batch_size=null", "logger=csv")
    fit = ("optimizer=adam", "optimizer.lr=0.1", "trainer.max_epochs=60", "callbacks=sweep")
    folder = train(*data, *fit, "activation=tanh", "trainer.check_val_every_n_epoch=30")
    results = made_up({}, lambda run, rng: {"val/loss": 1.0}, folder)
    assert json.loads((folder / "status.json").read_text())["metrics"]["val/accuracy"] > 0.85
    assert of(probes.nonlinearity(), results)[0] > 0.5
