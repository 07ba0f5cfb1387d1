"""The lessons' worked numbers from our own functions, and the lessons' experiments."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import compose_run
from torch import nn

from neuronlab.build import build
from neuronlab.losses import mae, mse
from neuronlab.models import MLP, Neuron
from neuronlab.records import read_metrics, read_status

Train = Callable[..., Path]


def neuron(weights: list[float], bias: float, output: str = "identity") -> Neuron:
    made = Neuron(len(weights), 1, output, generator=torch.Generator())  # type: ignore[arg-type]
    made.weight.data[:] = torch.tensor(weights)
    made.bias.data[:] = bias
    return made


@pytest.mark.parametrize(
    ("inputs", "weights", "bias", "expected"),
    [
        ([5.0, 7.0], [0.1, 0.2], 0.5, 2.4),  # lesson 002
        ([10.0, 7.0, 75.0, 80.0], [0.5, 0.3, 0.4, 0.2], 0.0, 53.1),  # lesson 004
        ([10.0, 7.0, 75.0, 80.0], [0.5, 0.3, 0.4, 0.2], 5.0, 58.1),
    ],
)
def test_weighted_sum(
    inputs: list[float], weights: list[float], bias: float, expected: float
) -> None:
    assert neuron(weights, bias)(torch.tensor([inputs])).item() == pytest.approx(expected)


def test_relu_then_sigmoid_of_lesson_002() -> None:
    relu = nn.ReLU()
    hidden = relu(neuron([0.1, 0.2], 0.5)(torch.tensor([[5.0, 7.0]])))
    assert hidden.item() == pytest.approx(2.4)
    assert torch.sigmoid(hidden).item() == pytest.approx(0.916827, abs=5e-7)
    with_head = neuron([0.1, 0.2], 0.5, "sigmoid")(torch.tensor([[5.0, 7.0]]))
    assert with_head.item() == pytest.approx(0.916827, abs=5e-7)


def test_relu_of_lesson_004() -> None:
    config, _ = compose_run("activation=relu", "model.hidden=[1]")
    activation = build(config)[1].net.activation1
    numbers = torch.tensor([58.1, 5.0, -3.0, -100.0])
    assert activation(numbers).tolist() == pytest.approx([58.1, 5.0, 0.0, 0.0])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("weight", "gradient", "lr", "expected"),
    [(0.5, 2.0, 0.01, 0.48), (0.3, -1.5, 0.01, 0.315), (0.5, 2.5, 0.01, 0.475)],
)
def test_an_update_of_lesson_004(
    weight: float, gradient: float, lr: float, expected: float
) -> None:
    _, learner = build(compose_run("model=neuron", "data=line", f"optimizer.lr={lr}")[0])
    parameter = learner.net.weight
    assert isinstance(parameter, nn.Parameter)
    parameter.data[:], parameter.grad = weight, torch.full_like(parameter, gradient)
    learner.configure_optimizers().step()
    assert parameter.item() == pytest.approx(expected)


def test_losses_of_lesson_004() -> None:
    assert mse(torch.tensor([400_000.0]), torch.tensor([450_000.0])).item() == 2.5e9
    examples = torch.tensor([0.8, 0.3, 0.5, 0.2])  # losses of four examples; their mean is the loss
    assert mae(examples, torch.zeros(4)).item() == pytest.approx(0.45)


def test_the_chain_rule_of_lesson_003() -> None:
    made = neuron([1.6], 0.0)  # x = 0.5 gives 0.8
    prediction = made(torch.tensor([[0.5]]))
    mse(prediction, torch.tensor([[1.0]])).backward()
    assert prediction.item() == pytest.approx(0.8)
    assert made.weight.grad is not None
    assert made.weight.grad.item() == pytest.approx(-0.2)


@pytest.mark.parametrize(("w", "slope"), [(5.0, 4.0), (1.0, -4.0)])
def test_the_bowl_of_lesson_001(w: float, slope: float) -> None:
    made = neuron([w], 0.0)
    mse(made(torch.ones(1, 1)), torch.tensor([[3.0]])).backward()
    assert made.weight.grad is not None
    assert made.weight.grad.item() == slope


def test_the_painter_of_lesson_003_keeps_rows() -> None:
    net = MLP(3, [4], 1, nn.ReLU(), generator=torch.Generator())
    assert net(torch.zeros(2, 3)).shape == (2, 1)


def test_neuron_step_lowers_the_loss(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train("experiment=neuron_step")
    printed = capsys.readouterr().out
    (row,) = read_metrics(folder / "metrics.csv")
    assert row["step"] == 1
    assert row["val/loss"] < row["train/loss"]  # after the step, and before it
    loss = re.search(r"loss +│ +([\d.]+) │ +│ +([\d.]+)", printed)
    assert loss is not None
    assert [float(text) for text in loss.groups()] == pytest.approx(
        [row["train/loss"], row["val/loss"]], rel=1e-3
    )
    # the lesson's formula by hand: dL/dz = sigmoid(z) − 1, the inputs are 1, 1 and the bias's 1
    _, learner = build(compose_run("experiment=neuron_step")[0])
    w, b = learner.net.weight.detach().numpy()[0], 0.0  # type: ignore[union-attr]
    slope = 1 / (1 + np.exp(-(w.sum() + b))) - 1
    after = np.append(w, b) - 0.1 * slope
    for name, value in zip(("weight[0][0]", "weight[0][1]", "bias[0]"), after, strict=True):
        line = next(line for line in printed.splitlines() if name in line)
        assert float(line.split("│")[4]) == pytest.approx(value, rel=1e-3)


def test_linear_neuron_is_gradient_descent_in_numpy(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train("experiment=linear_neuron", "trainer.precision=64")
    data, learner = build(compose_run("experiment=linear_neuron")[0])
    x, y = (t.double().numpy()[:, 0] for t in (data.rows["train"].x, data.rows["train"].y))
    w, b = (p.item() for p in learner.net.parameters())
    losses = []
    for _ in range(200):
        error = w * x + b - y
        losses.append((error**2).mean())
        w, b = w - 0.01 * 2 * (error * x).mean(), b - 0.01 * 2 * error.mean()
    rows = read_metrics(folder / "metrics.csv")
    np.testing.assert_allclose([row["train/loss"] for row in rows], losses, rtol=1e-10)
    printed = capsys.readouterr().out
    for epoch in (40, 80, 120, 160, 200):
        assert f"epoch {epoch}: loss {losses[epoch - 1]:.4f}" in printed
    best = np.polyfit(x, y, 1)
    for name, learned, optimum, true in (("x", w, best[0], 2), ("bias", b, best[1], 1)):
        line = next(line for line in printed.splitlines() if line.startswith(f"│ {name} "))
        shown = [float(cell) for cell in line.split("│")[2:5]]
        assert shown == pytest.approx([learned, optimum, true], rel=1e-3)
    assert f"lr < 2/λmax = {2 / _largest_eigenvalue(x):.4g}" in printed


def _largest_eigenvalue(x: np.ndarray) -> float:
    design = np.column_stack([x, np.ones_like(x)])
    return float(np.linalg.eigvalsh(2 / len(x) * design.T @ design)[-1])


def test_pass_fail_neuron_answers_for_5_7(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train("experiment=pass_fail_neuron")
    rows = read_metrics(folder / "metrics.csv")
    assert rows[-1]["step"] == 100
    assert rows[-1]["val/accuracy"] == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ "))
    five, seven, probability, passed = (cell.strip() for cell in line.strip("│").split("│"))
    assert (five, seven, passed) == ("5", "7", "yes")
    assert 0.5 < float(probability) < 1


@pytest.mark.parametrize("hidden", [4, 2])
def test_neural_painter_keeps_a_diary(train: Train, hidden: int) -> None:
    folder = train("experiment=neural_painter", f"model.hidden=[{hidden}]")
    with (folder / "diary.csv").open() as file:
        diary = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert [row["epoch"] for row in diary] == list(range(10))
    numbers = 3 * hidden + hidden + hidden + 1  # weights and biases of 3 → H → 1
    assert len(diary[0]) == 1 + 2 * numbers + 2 + 2 + 1
    losses = [row["train/loss"] for row in read_metrics(folder / "metrics.csv")]
    for row, after, loss in zip(diary, [*diary[1:], None], losses, strict=True):
        errors = [row[f"prediction[{i}]"] - row[f"target[{i}]"] for i in (0, 1)]
        assert row["loss"] == pytest.approx(np.square(errors).mean(), rel=1e-5)
        assert row["loss"] == pytest.approx(loss, rel=1e-6)
        if after is not None:  # w − 0.1·gradient, as the lesson has it
            names = [name for name in row if f"gradient {name}" in row]
            assert len(names) == numbers
            for name in names:
                moved = row[name] - 0.1 * row[f"gradient {name}"]
                assert after[name] == pytest.approx(moved, abs=1e-6)
    assert (diary[0]["target[0]"], diary[0]["target[1]"]) == pytest.approx((0.8, 0.3))
    assert losses[-1] < losses[0]


def test_a_diary_goes_on_with_its_run(train: Train) -> None:
    whole = train("experiment=neural_painter", name="whole")
    train("experiment=neural_painter", "trainer.max_epochs=4", name="parts")
    last = f"ckpt_path={whole.parent}/parts/checkpoints/last.ckpt"
    parts = train("experiment=neural_painter", last, name="parts")
    assert (whole / "diary.csv").read_text() == (parts / "diary.csv").read_text()
    again = "callbacks.diary.rows=1"  # the columns stay those that the diary began with
    parts = train("experiment=neural_painter", last, again, "trainer.max_epochs=12", name="parts")
    with (parts / "diary.csv").open() as file:
        assert {len(line) for line in csv.reader(file)} == {1 + 2 * 21 + 2 + 2 + 1}


def test_house_prices_come_near_the_noise(train: Train) -> None:
    metrics = read_status(train("experiment=house_prices"))["metrics"]  # type: ignore[index]
    assert metrics["test/r2"] > 0.95
    assert metrics["test/mae"] < 25_000  # dollars; the noise alone is 20 000·√(2/π) = 16 000


def test_restaurant_finds_the_lesson_s_weights(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train("experiment=restaurant")
    printed = capsys.readouterr().out
    cosine = re.search(r"cosine to true +│ +([\d.]+)", printed)
    assert cosine is not None
    assert float(cosine[1]) > 0.99


def test_blobs_come_near_bayes(train: Train) -> None:
    metrics = read_status(train("experiment=blobs"))["metrics"]  # type: ignore[index]
    assert metrics["test/accuracy"] > 0.95
