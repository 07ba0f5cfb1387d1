"""A run alone: its truth is a loop in plain torch, and what it leaves is read back by others."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, compose_run
from lightning.pytorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from neuronlab import callbacks
from neuronlab.build import build
from neuronlab.errors import RunFailedError
from neuronlab.learner import Learner
from neuronlab.records import read_metrics, read_status
from neuronlab.solo import train_one

Train = Callable[..., Path]


def metrics(folder: Path) -> list[dict[str, float]]:
    return read_metrics(folder / "metrics.csv")


@pytest.mark.parametrize(
    ("overrides", "make"),
    [
        ("optimizer=sgd", lambda p: torch.optim.SGD(p, lr=0.1)),
        ("optimizer=adamw", lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01)),
        ("optimizer=nesterov", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True)),
    ],
)
def test_a_run_is_a_plain_torch_loop(train: Train, overrides: str, make) -> None:  # type: ignore[no-untyped-def]
    """Nothing that Lightning, callbacks or records do changes a single update."""
    options = [overrides, "trainer.max_epochs=4", "trainer.precision=64", "data.batch_size=300"]
    folder = train(*options)
    data, learner = build(compose_run(*options)[0])
    net = nn.Sequential(
        nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)
    ).double()
    for theirs, ours in zip(net.parameters(), learner.net.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    optimizer = make(net.parameters())
    train_rows, val_rows = data.rows["train"], data.rows["val"]
    loss_of = nn.BCEWithLogitsLoss()
    for epoch, row in enumerate(metrics(folder)):
        data.order.set_epoch(epoch)
        total, norms = 0.0, []
        for batch in data.order:
            loss = loss_of(net(train_rows.x[batch].double()), train_rows.y[batch].double())
            optimizer.zero_grad()
            loss.backward()
            norms.append(net[0].weight.grad.norm().item())
            optimizer.step()
            total += loss.item() * len(batch)
        with torch.no_grad():
            val = loss_of(net(val_rows.x.double()), val_rows.y.double()).item()
        expected = {
            "train/loss": total / 1000,  # the last batch is a third as large and counts as that
            "val/loss": val,
            "gradient_norm/layer1.weight": np.mean(norms),
            "step": (epoch + 1) * 4,
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-11)


def test_one_seed_gives_one_result(train: Train) -> None:
    texts = [
        (train("trainer.max_epochs=3", f"seed={seed}", name=name) / "metrics.csv").read_text()
        for name, seed in [("a", 0), ("b", 0), ("c", 1), ("d", 1)]
    ]
    assert texts[0] == texts[1] != texts[2] == texts[3]


def test_a_run_leaves_the_global_generator_alone(train: Train) -> None:
    before = torch.get_rng_state()
    train("trainer.max_epochs=1")
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_apart_share_data_and_differ_in_weights() -> None:
    pairs = [build(compose_run(f"seed={seed}", "data.seed=5")[0]) for seed in (0, 1)]
    (data, learner), (other_data, other_learner) = pairs
    assert torch.equal(data.table.x, other_data.table.x)
    assert not torch.equal(learner.net.layer1.weight, other_learner.net.layer1.weight)  # type: ignore[union-attr]
    assert not torch.equal(next(iter(data.order)), next(iter(other_data.order)))


def test_what_a_run_leaves(train: Train) -> None:
    folder = train("experiment=students")
    rows = metrics(folder)
    assert [row["epoch"] for row in rows] == list(range(50))
    assert rows[-1]["step"] == 500
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0}).Reload()
    scalars = set(events.Tags()["scalars"])
    weights = [f"layer{layer}.{kind}" for layer in (1, 2, 3) for kind in ("weight", "bias")]
    assert {"train/loss", "val/loss", "val/accuracy", "val/f1", "val/auroc", "lr"} <= scalars
    assert {"test/loss", "test/accuracy"} <= scalars
    assert {f"gradient_norm/{name}" for name in weights} <= scalars
    histograms = {f"{kind}/{name}" for kind in ("weights", "gradients") for name in weights}
    assert set(events.Tags()["histograms"]) == histograms
    assert [point.step for point in events.Histograms("weights/layer1.weight")] == [
        *(10, 110, 210, 310, 410, 500)
    ]
    points = events.Scalars("val/loss")
    assert len(points) == 50
    np.testing.assert_allclose([p.value for p in points], [r["val/loss"] for r in rows], rtol=1e-6)
    assert [point.step for point in points] == [row["step"] for row in rows]
    plugins = events.PluginTagToContent("hparams")
    assert "_hparams_/session_start_info" in plugins
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "completed"
    assert status["metrics"]["val/loss"] == rows[-1]["val/loss"]
    assert {"test/loss", "test/accuracy"} <= status["metrics"].keys()
    assert rows[-1]["val/loss"] < rows[0]["val/loss"]


def test_the_last_histogram_is_that_of_the_final_weights(train: Train) -> None:
    folder = train("trainer.max_epochs=2")
    learner = Learner.load_from_checkpoint(folder / "checkpoints/last.ckpt", weights_only=True)
    weights = learner.net.layer1.weight.detach().double().numpy()  # type: ignore[union-attr]
    events = EventAccumulator(str(folder)).Reload()
    histogram = events.Histograms("weights/layer1.weight")[-1].histogram_value
    assert (histogram.min, histogram.max) == pytest.approx((weights.min(), weights.max()))
    np.testing.assert_array_equal(histogram.bucket, np.histogram(weights, bins=30)[0])


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        (["data=line", "model=neuron", "optimizer.lr=0.01"], [1, 3, 10, 32, 100]),
        (["data=blobs"], [1, 3, 10, 32, 100]),
        (["data=three_students", "model=neuron"], [1, 3, 10, 32, 100]),
    ],
)
def test_data_of_one_or_two_inputs_are_drawn(
    train: Train, overrides: list[str], epochs: list[int]
) -> None:
    folder = train(*overrides, "trainer.max_epochs=100", "data.batch_size=null")
    images = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload().Images("fit")
    assert [image.step for image in images] == epochs
    assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in images)


def test_logger_csv_leaves_no_events(train: Train) -> None:
    folder = train("trainer.max_epochs=1", "logger=csv")
    assert not list(folder.glob("events*"))
    assert len(metrics(folder)) == 1


FLAGS = {
    "trainer.check_val_every_n_epoch=2": [0, 1, 2],
    "+trainer.val_check_interval=0.3": [0, 1, 2],
    "+trainer.limit_val_batches=0": [0, 1, 2],
    "+trainer.accumulate_grad_batches=4": [0, 1, 2],
    "+trainer.max_steps=15": [0, 1],
    "trainer.max_epochs=-1 +trainer.max_steps=20": [0, 1],
    "trainer.max_epochs=null +trainer.max_time={minutes:5} +trainer.max_steps=20": [0, 1],
    "+trainer.gradient_clip_algorithm=norm trainer.gradient_clip_val=0.01": [0, 1, 2],
    "+trainer.min_epochs=2": [0, 1, 2],
    "trainer.enable_progress_bar=false": [0, 1, 2],
    "+trainer.limit_train_batches=3": [0, 1, 2],
    "callbacks=diary model.hidden=[4] +trainer.accumulate_grad_batches=4": [0, 1, 2],
    "+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor": [0, 1, 2],
    "~callbacks.histograms ~callbacks.pictures": [0, 1, 2],
    "optimizer._target_=torch.optim.LBFGS ~optimizer.weight_decay": [0, 1, 2],
}


@pytest.mark.parametrize(("flags", "epochs"), FLAGS.items())
def test_flags_of_lightning_work(train: Train, flags: str, epochs: list[int]) -> None:
    folder = train("trainer.max_epochs=3", *flags.split())
    rows = metrics(folder)
    assert [row["epoch"] for row in rows] == epochs
    assert list(rows[0])[:3] == ["epoch", "step", "train/loss"]
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == rows[-1]["step"]
    status = read_status(folder)
    assert status is not None
    assert status["state"] == "completed"
    if "histograms" not in flags:
        events = EventAccumulator(str(folder)).Reload()
        assert events.Histograms("weights/layer1.weight")[-1].step == rows[-1]["step"]


@pytest.mark.parametrize("part", ["~callbacks", "~logger", "+trainer.enable_checkpointing=false"])
def test_parts_may_be_left_out(train: Train, part: str) -> None:
    folder = train("trainer.max_epochs=1", part)
    assert (folder / "checkpoints/last.ckpt").exists() is (part == "~logger")
    assert (folder / "metrics.csv").exists() is (part != "~logger")


def test_random_layers_are_a_function_of_seed_and_epoch(train: Train) -> None:
    options = ["activation._target_=torch.nn.Dropout", "seed=1"]
    whole = train(*options, "trainer.max_epochs=4", name="whole")
    torch.rand(3)  # what others have drawn before does not matter
    train(*options, "trainer.max_epochs=2", name="parts")
    last = f"ckpt_path={whole.parent}/parts/checkpoints/last.ckpt"
    parts = train(*options, "trainer.max_epochs=4", last, name="parts")
    assert (whole / "metrics.csv").read_text() == (parts / "metrics.csv").read_text()


def test_double_precision_reaches_every_metric(train: Train) -> None:
    folder = train("data=line", "model=neuron", "optimizer.lr=0.01", "trainer.precision=64")
    for row in metrics(folder):
        assert row["val/mse"] == pytest.approx(row["val/loss"], rel=1e-14)


def test_a_resumed_run_is_the_run_that_never_stopped(train: Train) -> None:
    options = ["optimizer=adam", "data.batch_size=300", "trainer.check_val_every_n_epoch=5"]
    whole = train(*options, "trainer.max_epochs=6", name="whole")
    train(*options, "trainer.max_epochs=2", name="parts")
    parts = train(
        *options, "trainer.max_epochs=6", f"ckpt_path={whole.parent}/parts/checkpoints/last.ckpt",
        name="parts",
    )  # fmt: skip
    assert (whole / "metrics.csv").read_text() == (parts / "metrics.csv").read_text()
    seen, expected = (EventAccumulator(str(folder)).Reload() for folder in (parts, whole))
    for tag in expected.Tags()["scalars"]:
        points = [[(p.step, p.value) for p in events.Scalars(tag)] for events in (seen, expected)]
        assert points[0] == points[1], tag
    assert seen.PluginTagToContent("hparams") == expected.PluginTagToContent("hparams")
    assert read_status(parts)["metrics"] == read_status(whole)["metrics"]  # type: ignore[index]


def test_a_run_that_diverges_stops_and_says_where(train: Train) -> None:
    folder = train("data=line", "model=neuron", "optimizer.lr=1e6", "trainer.max_epochs=100")
    status = read_status(folder)
    assert status is not None
    assert status["state"] == "diverged"
    # a linear neuron's error grows by |1 − lr·λ| a step: here about 7e7, so its square passes
    # float32's 3e38 within the third step
    assert status["diverged_at_step"] == 3
    assert len(metrics(folder)) == 3
    assert status["metrics"]["val/loss"] is None
    assert "test/loss" not in status["metrics"]


def test_divergence_is_found_within_an_epoch(train: Train) -> None:
    folder = train("optimizer.lr=1e30", "trainer.max_epochs=5")
    status = read_status(folder)
    assert status is not None
    assert (status["state"], status["diverged_at_step"]) == ("diverged", 2)
    assert math.isnan(metrics(folder)[-1]["train/loss"])


class Broken(Callback):
    def on_train_epoch_end(self, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
        raise RuntimeError("the roof is on fire")


def test_a_run_that_raises_is_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Broken.__module__ = "neuronlab.callbacks"
    monkeypatch.setattr(callbacks, "Broken", Broken, raising=False)
    config, chosen = compose_run("+callbacks.broken._target_=neuronlab.callbacks.Broken")
    with pytest.raises(RunFailedError, match="the roof is on fire"):
        train_one(config, tmp_path, chosen)
    status = read_status(tmp_path)
    assert status is not None
    assert (status["state"], status["error"]) == ("failed", "RuntimeError: the roof is on fire")


def test_fast_dev_run_leaves_nothing(train: Train) -> None:
    assert not train("trainer.fast_dev_run=true").exists()


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "src/train.py", "trainer.max_epochs=100000", "trainer=cpu"]
    process = subprocess.Popen(
        [*command, f"hydra.run.dir={tmp_path}/run"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"ckpt_path={checkpoint}" in errors
    epochs = metrics(tmp_path / "run")
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["global_step"] % 10 == 0  # the end of an epoch, wherever the signal came
    assert epochs[-1]["step"] >= saved["global_step"] - 10  # its row may be in the checkpoint alone
    assert read_status(tmp_path / "run") is None
    done = int(saved["epoch"]) + 1
    options = ["trainer=cpu", f"trainer.max_epochs={done + 3}"]
    for name, more in (("run", [f"ckpt_path={checkpoint}"]), ("whole", [])):
        config, chosen = compose_run(*options, *more)
        train_one(config, tmp_path / name, chosen)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_what_a_cpu_finds(tmp_path: Path) -> None:
    rows = []
    for trainer in ("cpu", "gpu"):
        config, chosen = compose_run(f"trainer={trainer}", "trainer.precision=64")
        train_one(config, tmp_path / trainer, chosen)
        rows.append(metrics(tmp_path / trainer))
    for cpu, gpu in zip(*rows, strict=True):
        assert gpu["val/loss"] == pytest.approx(cpu["val/loss"], rel=1e-9)
