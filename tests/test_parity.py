"""Every member of a population against the same run alone: the same files with the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import alone, compose_run, make_job, train_together
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neuronlab.population import make_plan
from neuronlab.records import CHECKPOINT, read_metrics, read_status

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad")
ACTIVATIONS = ("relu", "silu", "tanh", "sigmoid")
LOSSES = {"mse": "sine", "mae": "houses", "bce": "circle", "cross_entropy": "blobs"}
BATCHES = {"full": "null", "ragged": "13"}
DATA = {"shared": ["data.seed=7"], "per seed": []}

# 40 rows to train on: 13 + 13 + 13 + 1 in a ragged epoch. Rates at which nothing diverges.
BASE = ["model.hidden=[5,3]", "data.rows=50", "data.noise=0.1", "data.split=[0.8,0.1,0.1]"]
# The gradient of mae jumps where a prediction passes its target, so that in single precision one
# rounding can turn a step around: 1.7e-4 was seen after 500 steps; the others stay below 1e-4.
SINGLE = {"mae": 1e-3}
RATES = {"adam": 0.003, "adamw": 0.003, "rmsprop": 0.001, "adagrad": 0.01}


def assert_same_run(member: Path, alone: Path, tolerance: float) -> None:
    """The same files, columns, tags and keys, and numbers within a relative tolerance."""
    ours, theirs = (read_metrics(folder / "metrics.csv") for folder in (member, alone))
    assert [list(row) for row in ours] == [list(row) for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance, nan_ok=True)
    names = [sorted(p.name.partition("tfevents")[0] for p in f.rglob("*")) for f in (member, alone)]
    assert names[0] == names[1]
    status, expected = read_status(member), read_status(alone)
    assert status is not None
    assert expected is not None
    for key in ("state", "diverged_at_step", "error", "config_hash"):
        assert status[key] == expected[key], key
    assert status.keys() == expected.keys()
    assert list(status["metrics"]) == list(expected["metrics"])
    for tag, value in expected["metrics"].items():
        near = value if value is None else pytest.approx(value, rel=tolerance, abs=tolerance)
        assert status["metrics"][tag] == near, tag


def assert_same_events(member: Path, alone: Path) -> None:
    ours, theirs = (EventAccumulator(str(folder)).Reload() for folder in (member, alone))
    for kind, tags in theirs.Tags().items():
        if isinstance(tags, list):
            assert sorted(ours.Tags()[kind]) == sorted(tags)
    for tag in theirs.Tags()["scalars"]:
        assert [p.step for p in ours.Scalars(tag)] == [p.step for p in theirs.Scalars(tag)], tag
    for tag in theirs.Tags()["histograms"]:
        pairs = zip(ours.Histograms(tag), theirs.Histograms(tag), strict=True)
        for one, other in pairs:
            assert one.step == other.step
            assert one.histogram_value.num == other.histogram_value.num
            near = pytest.approx(other.histogram_value.sum, rel=1e-3, abs=1e-4)
            assert one.histogram_value.sum == near


def assert_same_checkpoint(member: Path, alone: Path, tolerance: float) -> None:
    ours, theirs = (torch.load(f / CHECKPOINT, weights_only=True) for f in (member, alone))
    assert ours.keys() == theirs.keys()
    assert ours["hyper_parameters"] == theirs["hyper_parameters"]
    for key in ("epoch", "global_step", "loops", "lr_schedulers", "hparams_name"):
        assert ours[key] == theirs[key], key
    assert ours["metrics_row"].keys() == theirs["metrics_row"].keys()
    (one,), (other,) = ours["optimizer_states"], theirs["optimizer_states"]
    assert one["param_groups"] == other["param_groups"]
    flat = [
        {("net", name): tensor for name, tensor in checkpoint["state_dict"].items()}
        | {
            (index, name): tensor
            for index, state in checkpoint["optimizer_states"][0]["state"].items()
            for name, tensor in state.items()
        }
        for checkpoint in (ours, theirs)
    ]
    assert flat[0].keys() == flat[1].keys()
    for name, tensor in flat[1].items():
        assert flat[0][name].dtype == tensor.dtype, name
        torch.testing.assert_close(
            flat[0][name], tensor, rtol=tolerance, atol=tolerance, equal_nan=True
        )


@cache
def optimizer_node(name: str) -> dict[str, Any]:
    node: dict[str, Any] = compose_run(f"optimizer={name}")[0]["optimizer"]
    return node


def table_row(
    folder: Path,
    activation: str,
    loss: str,
    batch: str,
    data: str,
    steps: int,
    precision: int,
    more: Sequence[str] = (),
    rates: Sequence[Mapping[str, float]] = 2 * ({"l1": 0.0, "l2": 0.0},),
) -> None:
    """One population per optimizer, each member's run compared with the same run alone.

    `more` are further overrides, `rates` those of the two members' penalties.
    """
    epochs = steps if batch == "full" else steps // 4
    shared = [
        *(f"activation={activation}", f"data={LOSSES[loss]}", f"loss={loss}", *DATA[data], *BASE),
        *(f"data.batch_size={BATCHES[batch]}", *more),
        *(f"trainer.max_epochs={epochs}", f"trainer.precision={precision}"),
        *(f"trainer.check_val_every_n_epoch={max(1, epochs // 10)}", "~callbacks.histograms"),
    ]
    shared = [o for o in shared if not (loss == "mae" and o.startswith("data.noise"))]
    template = make_job(folder, *shared)  # composing takes longer than training
    jobs = []
    for optimizer, seed in product(OPTIMIZERS, (0, 1)):
        config = copy.deepcopy(template.config)
        config["seed"] = config["data"]["order_seed"] = seed
        config["data"]["seed"] = 7 if data == "shared" else seed
        rate = RATES.get(optimizer, 0.05) / (1 + seed)
        config["optimizer"] = {**optimizer_node(optimizer), "lr": rate}
        config["regularization"] = dict(rates[seed])
        place = folder / "members" / f"{optimizer} {seed}"
        jobs.append(replace(template, config=config, folder=place))
    plan = make_plan(jobs)
    assert (len(plan.cohorts), len(plan.alone)) == (len(OPTIMIZERS), 0)
    train_together(jobs)
    tolerance = 1e-9 if precision == 64 else SINGLE.get(loss, 1e-4)
    for each in jobs[1::2]:  # not the first: the population is built after that one
        by_itself = alone(each, folder / "alone" / each.folder.name)
        assert_same_run(each.folder, by_itself, tolerance)
        assert_same_checkpoint(each.folder, by_itself, 10 * tolerance)


ROWS = list(product(ACTIVATIONS, LOSSES, BATCHES, DATA))


@pytest.mark.parametrize(("activation", "loss", "batch", "data"), ROWS)
def test_a_member_is_a_run(
    activation: str, loss: str, batch: str, data: str, tmp_path: Path
) -> None:
    table_row(tmp_path, activation, loss, batch, data, steps=8, precision=64)


PENALTIES = {
    "l1": ({"l1": 0.003, "l2": 0.0}, {"l1": 0.02, "l2": 0.0}),
    "l2": ({"l1": 0.0, "l2": 0.01}, {"l1": 0.0, "l2": 0.1}),
    "both": ({"l1": 0.01, "l2": 0.0}, {"l1": 0.001, "l2": 0.05}),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rates", PENALTIES.values(), ids=PENALTIES)
def test_a_member_with_a_penalty_is_a_run(
    rates: Sequence[Mapping[str, float]], loss: str, tmp_path: Path
) -> None:
    table_row(tmp_path, "tanh", loss, "ragged", "per seed", steps=8, precision=64, rates=rates)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_member_with_features_is_a_run(loss: str, tmp_path: Path) -> None:
    features = ["data.features=[inputs,squares,products,sines]"]
    table_row(tmp_path, "tanh", loss, "ragged", "per seed", steps=8, precision=64, more=features)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [64, 32])
@pytest.mark.parametrize(("activation", "loss", "batch", "data"), ROWS)
def test_a_member_is_a_run_over_500_steps(
    activation: str, loss: str, batch: str, data: str, precision: int, tmp_path: Path
) -> None:
    table_row(tmp_path, activation, loss, batch, data, steps=500, precision=precision)
