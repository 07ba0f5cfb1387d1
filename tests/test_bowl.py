from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Config, compose_run, run_sweep
from made_up import NAN, made_up, name_of
from omegaconf import OmegaConf

from neuronlab.build import build
from neuronlab.records import CHECKPOINT
from neuronlab.replay import Descent, losses_at
from neuronlab.report.bowl import choose, loss_bowls, region, summary, verdict
from neuronlab.report.bowl_figures import Bowl, Map, contours, frame_steps, surfaces
from neuronlab.report.page import figure_json
from neuronlab.report.panel import Panel
from neuronlab.results import Results, read_results

SWEEP = ("data=line", "data.rows=20", "model=neuron", "model.init=torch", "data.batch_size=null")
RATES = (0.001, 0.01, 0.1)
LR = "optimizer.lr"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two optimizers at three rates with two seeds; sgd diverges at the highest."""
    place = tmp_path_factory.mktemp("bowls")
    rates = f"{LR}={','.join(map(str, RATES))}"
    given = ("optimizer=sgd,adam", rates, "seed=3,1", "trainer.max_epochs=25")
    assert run_sweep(place, *SWEEP, *given, small=["trainer=cpu"]) == 0
    return read_results([place / "sweep"])


@pytest.fixture(scope="module")
def panels(swept: Results) -> list[Panel]:
    return loss_bowls(swept)


def rows_of(results: Results, run: str) -> tuple[np.ndarray, np.ndarray]:
    data, _ = build(results.config(run))
    rows = data.rows["train"]
    return rows.x[:, 0].double().numpy(), rows.y[:, 0].double().numpy()


def test_each_optimizer_has_its_best_setting_and_the_first_seed(swept: Results) -> None:
    means = swept.runs.groupby(["optimizer", LR])["val/loss"].mean()  # NaN where one diverged
    best = {means[name].idxmin() for name in ("sgd", "adam")}
    chosen = swept.runs.loc[choose(swept)]
    assert sorted(chosen["optimizer"]) == ["adam", "sgd"]
    assert set(chosen[LR]) == best
    assert chosen["seed"].nunique() == 1


def loss_at(w: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The mean squared error of y = w·x + b, by its formula."""
    return np.asarray(((w[..., None] * x + b[..., None] - y) ** 2).mean(axis=-1))


def test_the_map_is_the_mean_squared_error(swept: Results, panels: list[Panel]) -> None:
    x, y = rows_of(swept, choose(swept)[0])
    heat = panels[0].figure.data[0]
    w, b = np.meshgrid(heat.x, heat.y)
    expected = loss_at(w, b, x, y)
    np.testing.assert_allclose(heat.customdata, expected, rtol=1e-5)
    low, high = panels[0].figure.layout.coloraxis.cmin, panels[0].figure.layout.coloraxis.cmax
    np.testing.assert_allclose(heat.z, np.log10(expected).clip(low, high), atol=1e-5)
    surface = panels[1].figure.data[0]
    shown = ~np.isnan(surface.z)
    np.testing.assert_allclose(surface.z[shown], expected[shown], rtol=1e-5)
    assert expected[~shown].min(initial=np.inf) > 10**high


def test_the_table_has_every_step(swept: Results, panels: list[Panel]) -> None:
    table = panels[0].data
    assert table.groupby("run").size().tolist() == [26, 26]
    x, y = rows_of(swept, choose(swept)[0])
    w, b = table["w"].to_numpy(), table["b"].to_numpy()
    np.testing.assert_allclose(table["loss"], loss_at(w, b, x, y), rtol=1e-5)
    errors = w[:, None] * x + b[:, None] - y
    slopes = {"gradient_w": 2 * (errors * x).mean(axis=1), "gradient_b": 2 * errors.mean(axis=1)}
    moved = table["gradient_w"].notna()
    assert (~moved).sum() == 2  # after the last step of each
    for column, slope in slopes.items():
        np.testing.assert_allclose(table[column][moved], slope[moved], rtol=1e-3, atol=1e-3)
    ends = table.groupby("run", sort=False).tail(1)[["w", "b"]].to_numpy()
    for run, end in zip(choose(swept), ends, strict=True):
        state = torch.load(Path(run) / CHECKPOINT, weights_only=True)["state_dict"]
        saved = [state["net.weight"].item(), state["net.bias"].item()]
        np.testing.assert_allclose(end, saved, rtol=1e-5)


def test_the_star_is_least_squares(swept: Results, panels: list[Panel]) -> None:
    x, y = rows_of(swept, choose(swept)[0])
    best, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)
    for panel in panels:
        star = panel.figure.data[1]
        np.testing.assert_allclose([star.x[0], star.y[0]], best, rtol=1e-5)


def test_frames_show_the_way_so_far(panels: list[Panel]) -> None:
    table = panels[0].data
    figure = panels[0].figure
    one = table[table["run"] == table["run"].iloc[0]].reset_index(drop=True)
    frames = {int(frame.name): frame for frame in figure.frames}
    assert list(frames) == list(range(26))
    assert [stop.args[0] for stop in figure.layout.sliders[0].steps] == [(str(n),) for n in frames]
    for step in (0, 7, 25):
        way, arrow, end = frames[step].data[:3]
        np.testing.assert_allclose(way.x, one["w"][: step + 1], rtol=1e-5)
        assert (end.x[0], end.y[0]) == pytest.approx((one["w"][step], one["b"][step]))
        if step == 25:
            assert len(arrow.x) == 0
            continue
        ahead = np.array([arrow.x[1] - arrow.x[0], arrow.y[1] - arrow.y[0]])
        downhill = -one.loc[step, ["gradient_w", "gradient_b"]].to_numpy(float)
        assert ahead @ downhill == pytest.approx(
            np.linalg.norm(ahead) * np.linalg.norm(downhill), rel=1e-4
        )
    shown = figure.data[-3 * 2]  # as the page opens
    np.testing.assert_allclose(shown.x, one["w"], rtol=1e-5)
    assert panels[1].figure.frames[3].traces == tuple(range(4, 8))


def test_both_are_small_and_say_what_is_to_see(panels: list[Panel]) -> None:
    assert [panel.name for panel in panels] == ["bowl", "bowl_3d"]
    assert sum(len(figure_json(panel)) for panel in panels) < 1e6
    for panel in panels:
        assert "sgd lr 0.01" in panel.title
        assert "Theory: plain gradient descent diverges beyond lr = 2/λmax" in panel.note
        assert "not end where" not in panel.note


def test_a_replay_that_ends_elsewhere_is_told(swept: Results, tmp_path: Path) -> None:
    run = choose(swept)[0]
    checkpoint = torch.load(Path(run) / CHECKPOINT, weights_only=True)
    before = (Path(run) / CHECKPOINT).read_bytes()
    checkpoint["state_dict"]["net.weight"] += 1
    torch.save(checkpoint, Path(run) / CHECKPOINT)
    try:
        only = swept.select(swept.runs.index == run)
        assert "1 of these did not end where" in loss_bowls(only)[0].note
    finally:
        (Path(run) / CHECKPOINT).write_bytes(before)


def rates_of(
    outcomes: Mapping[float, tuple[str, float, float]], grid: Mapping[str, Sequence[object]]
) -> Results:
    """A made-up sweep: of each rate its state, and its first and last loss."""

    def row(values: Mapping[str, Any], _: np.random.Generator) -> Mapping[str, Any]:
        state, first, last = outcomes[values[LR]]
        return {"state": state, "train/loss": [first, last], "val/loss": [first, last]}

    return made_up(grid | {LR: list(outcomes), "seed": [4, 2]}, row)


DOWN = {0.1: ("completed", 9.0, 8.0), 0.2: ("completed", 9.0, 4.0), 0.3: ("completed", 9.0, 1.0)}
OVER = {0.4: ("completed", 9.0, 2.0), 0.5: ("completed", 9.0, 99.0), 0.6: ("diverged", 9.0, NAN)}


@pytest.mark.parametrize(
    ("outcomes", "chosen"),
    [
        (DOWN | OVER, [0.1, 0.3, 0.4, 0.5]),
        (DOWN, [0.1, 0.2, 0.3]),
        (DOWN | {0.6: OVER[0.6]}, [0.1, 0.2, 0.3, 0.6]),
        ({0.5: OVER[0.5], 0.6: OVER[0.6]}, [0.5]),
        ({0.6: OVER[0.6], 0.7: OVER[0.6]}, [0.6]),
        ({0.1: ("failed", 9.0, NAN), 0.2: DOWN[0.2], 0.3: DOWN[0.3]}, [0.2, 0.3]),
    ],
)
def test_rates_that_tell_most(
    outcomes: dict[float, tuple[str, float, float]], chosen: list[float]
) -> None:
    results = rates_of(outcomes, {"data.noise": [1.0, 2.0]})
    expected = [
        name_of(Path("made-up"), {"data.noise": 1.0, LR: rate, "seed": 4}) for rate in chosen
    ]
    assert choose(results) == expected


def test_without_rates_or_optimizers_it_is_the_best() -> None:
    results = made_up(
        {"data.noise": [1.0, 2.0, 3.0], "seed": [0]},
        lambda values, _: {"val/loss": [abs(values["data.noise"] - 2)]},
    )
    assert [results.runs.loc[run, "data.noise"] for run in choose(results)] == [2.0]
    assert choose(made_up({"seed": [0, 1]}, lambda *_: {"state": "failed"})) == []


PLANE = Map(np.linspace(-2, 2, 5), np.linspace(-2, 2, 5), 100.0)
STEEP = np.diag([10.0, 0.1])  # curvatures of a valley along b


def descent_of(lr: float, steps: int, start: tuple[float, float] = (1.5, 1.5)) -> Descent:
    """Gradient descent on θᵀAθ/2, whose optimum is (0, 0)."""
    shrink = np.eye(2) - lr * STEEP
    way = np.array([np.linalg.matrix_power(shrink, t) @ start for t in range(steps + 1)])
    losses = ((way @ STEEP) * way).sum(axis=1) / 2
    parts = (way, way[:-1] @ STEEP, losses)
    return Descent(cast(Any, None), cast(Any, None), *map(torch.as_tensor, parts))


@pytest.mark.parametrize(
    ("lr", "steps", "diverged", "told"),
    [
        (0.0001, 10, False, "crawls"),
        (0.05, 20, False, "crawls along the valley"),
        (0.15, 400, False, "overshoots, finds the bottom"),
        (0.15, 40, False, "overshoots, then crawls along the valley"),
        (0.199, 20, False, "overshoots"),
        (0.05, 1000, False, "finds the bottom"),
        (0.21, 20, False, "diverges"),
        (0.05, 20, True, "diverges"),
    ],
)
def test_verdicts(lr: float, steps: int, diverged: bool, told: str) -> None:
    descent = descent_of(lr, steps)
    assert verdict(descent, torch.zeros(2).double(), 0.0, PLANE, diverged) == told


def test_without_an_optimum_low_is_the_bottom() -> None:
    assert verdict(descent_of(0.05, 20), None, 0.0, PLANE, False) == "finds the bottom"


def test_the_map_leaves_out_what_leaves_the_bowl() -> None:
    descents = [descent_of(0.05, 20), descent_of(0.5, 20)]
    optimum = torch.zeros(2).double()
    field = region(descents, [optimum, optimum])
    kept = np.array([[1.5, 1.5], [0.0, 0.0]])
    assert field.holds(kept).all()
    assert not field.holds(descents[1].parameters.numpy()[5:]).any()
    assert field.side.max() < 4


def test_what_is_off_the_map_is_marked_at_its_border() -> None:
    optimum = torch.zeros(2).double()
    bowl = Bowl("a", "diverges", descent_of(0.5, 20), optimum, np.ones((5, 5), np.float32))
    last = contours([bowl], PLANE).frames[-1].data
    assert last[2].marker.symbol == "x"
    assert abs(last[2].x[0]) == 2
    assert np.abs([*last[0].x, *last[0].y]).max() <= 6
    assert len(last[1].x) == 0
    in_space = surfaces([bowl], PLANE).frames[-1].data
    assert np.isnan(in_space[0].x[-1])
    assert in_space[1].x == pytest.approx([1.5])


@pytest.mark.parametrize("last", [0, 1, 15, 39, 40, 41, 200, 100_000])
def test_frames_are_dense_first_and_few(last: int) -> None:
    steps = frame_steps(last)
    assert steps[0] == 0
    assert steps[-1] == last
    assert steps == sorted(set(steps))
    assert steps[:16] == list(range(min(last, 15) + 1))
    assert len(steps) <= 40


def test_summary_names_who_did_what() -> None:
    bowls = [Bowl(*part, cast(Any, None), None, np.zeros(1)) for part in
             (("a &lt; b", "crawls"), ("c", "diverges"), ("d", "crawls"))]  # fmt: skip
    assert summary(bowls) == "Crawls: a < b, d. Diverges: c"


def small(config: Config, folder: Path) -> Results:
    """Results of one run that has left nothing but its configuration."""
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
    state = {"state": "completed", "diverged_at_step": NAN, "val/loss": 1.0, "train/loss": 1.0}
    runs = pd.DataFrame([state], index=pd.Index([str(folder)], name="run"))
    curves = pd.DataFrame({"run": [str(folder)], "step": [4], "train/loss": [1.0]})
    return Results((folder,), runs, curves, (), {})


def test_networks_with_more_numbers_have_no_bowl(tmp_path: Path) -> None:
    config, _ = compose_run("data=line", "model.hidden=[2]")
    assert loss_bowls(small(config, tmp_path)) == []


def test_nothing_in_a_folder_is_run(tmp_path: Path) -> None:
    config, _ = compose_run("data=line", "model=neuron")
    config["model"]["init"] = {"_target_": "os.makedirs", "name": str(tmp_path / "made")}
    assert loss_bowls(small(config, tmp_path / "run")) == []
    assert not (tmp_path / "made").exists()


def test_losses_without_a_known_optimum_have_no_star(tmp_path: Path) -> None:
    config, _ = compose_run(*SWEEP, "loss=mae", "trainer.max_epochs=4", "data.standardize=true")
    results = small(config, tmp_path)
    flat, space = loss_bowls(results)
    assert [trace.type for trace in flat.figure.data] == ["contour", *["scatter"] * 3]
    assert [trace.type for trace in space.figure.data] == ["surface", *["scatter3d"] * 2]
    assert "star" not in flat.note
    assert "standardized" in flat.note
    heat = flat.figure.data[0]
    data, learner = build(results.config(results.runs.index[0]))
    corner = torch.tensor([[heat.x[0], heat.y[0]]])
    expected = losses_at(learner, corner.double(), data.rows["train"])
    assert heat.customdata[0, 0] == pytest.approx(expected.item(), rel=1e-5)
