import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from neuronlab.configs import config_hash, flatten
from neuronlab.events import BINS, EventFile, histograms
from neuronlab.hparams import Chosen
from neuronlab.records import CHECKPOINT, Record, RunLogger, read_metrics, read_status

CONFIG = {
    **{"seed": 0, "data": {"rows": 3}, "model": {"hidden": [4], "activation": {}}},
    **{"activation": {}, "loss": {}, "optimizer": {"_target_": "x", "lr": 0.1}, "trainer": {}},
}


def load(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"histograms": 0, "scalars": 0}).Reload()


def test_histograms_are_numpy_s() -> None:
    values = torch.randn(4, 200, generator=torch.Generator().manual_seed(0)).double()
    for row, histogram in zip(values.numpy(), histograms(values), strict=True):
        counts, edges = np.histogram(row, bins=BINS)
        np.testing.assert_array_equal(histogram.bucket, counts)  # type: ignore[union-attr]
        np.testing.assert_allclose(histogram.bucket_limit, edges[1:])  # type: ignore[union-attr]
        moments = (histogram.sum, histogram.sum_squares, histogram.num)  # type: ignore[union-attr]
        np.testing.assert_allclose(moments, (row.sum(), (row**2).sum(), 200))


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ([1.0, float("nan"), 2.0, float("inf")], 2),
        ([3.0, 3.0], 2),
        ([float("nan")], None),
    ],
)
def test_histograms_of_odd_numbers(values: list[float], number: int | None) -> None:
    (histogram,) = histograms(torch.tensor([values]))
    assert (None if histogram is None else histogram.num) == number
    assert histogram is None or sum(histogram.bucket) == number


def test_events_are_read_back_by_tensorboard(tmp_path: Path) -> None:
    events = EventFile(tmp_path)
    events.scalars(1, {"a": 0.5, "b": 2.0})
    events.flush()
    events.scalars(2, {"a": 0.25})
    events.histogram(2, "h", histograms(torch.tensor([[1.0, 2.0, 3.0]]))[0])
    events.flush()
    seen = load(tmp_path)
    assert [(point.step, point.value) for point in seen.Scalars("a")] == [(1, 0.5), (2, 0.25)]
    assert [(point.step, point.value) for point in seen.Scalars("b")] == [(1, 2.0)]
    assert seen.Histograms("h")[0].histogram_value.num == 3
    assert len(list(tmp_path.iterdir())) == 1


def test_a_record_holds_what_it_was_given(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.row(0, 10, {"val/loss": 0.5})
    record.row(1, 20, {"val/loss": float("inf")})
    record.finish("diverged", CONFIG, Chosen(), step=17)
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"epoch": 0, "step": 10, "val/loss": 0.5},
        {"epoch": 1, "step": 20, "val/loss": float("inf")},
    ]
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["diverged_at_step"]) == ("diverged", 17)
    assert status["metrics"] == {"val/loss": None}  # strict JSON has no infinity
    assert status["config_hash"] == config_hash(CONFIG)
    assert len(load(tmp_path).Scalars("val/loss")) == 2


def test_the_hparams_tab_has_what_was_chosen_first(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.row(0, 1, {"val/loss": 0.5, "gradient_norm/weight": 1.0})
    overrides = ["activation=silu", "+optimizer.lr=0.1"]
    chosen = Chosen({"activation": "silu", "trainer": "cpu"}, overrides)
    record.finish("completed", CONFIG, chosen)
    plugin = load(tmp_path).PluginTagToContent("hparams")
    experiment = metadata.parse_experiment_plugin_data(plugin[metadata.EXPERIMENT_TAG])
    first = {info.name for info in experiment.hparam_infos if info.differs}
    assert first == {"activation", "optimizer.lr"}
    assert [info.name.tag for info in experiment.metric_infos] == ["val/loss"]
    start = metadata.parse_session_start_info_plugin_data(plugin[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["activation"].string_value == "silu"
    assert start.hparams["optimizer.lr"].number_value == 0.1
    assert start.hparams["model.hidden"].string_value == "[4]"
    assert set(start.hparams) == {
        *("activation", "seed", "data.rows", "model.hidden", "optimizer.lr", "trainer.max_epochs")
    }


def test_a_late_metric_gets_a_column(tmp_path: Path) -> None:
    record = Record(tmp_path, tensorboard=False)
    record.row(0, 1, {"a": 1.0})
    record.flush()
    record.row(1, 2, {"a": 2.0, "b": 3.0})
    record.flush()
    lines = (tmp_path / "metrics.csv").read_text().split()
    assert lines == ["epoch,step,a,b", "0,1,1.0,", "1,2,2.0,3.0"]
    assert not list(tmp_path.glob("events*"))


def test_half_a_line_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,a\r\n0,1,0.5\r\n1,2,0.2")
    assert read_metrics(tmp_path / "metrics.csv") == [{"epoch": 0, "step": 1, "a": 0.5}]


def test_going_on_never_leaves_the_folder_without_its_rows(tmp_path: Path) -> None:
    record = Record(tmp_path)
    row = {"epoch": 0, "step": 10, "train/loss": 1.0}
    record.row(0, 10, {"train/loss": 1.0})
    record.flush()
    record = Record(tmp_path, resumed=row)  # and is killed before it records anything
    assert read_metrics(tmp_path / "metrics.csv") == [row]
    assert record.metrics == {"train/loss": 1.0}


def test_columns_have_one_order(tmp_path: Path) -> None:
    record = Record(tmp_path, tensorboard=False)
    names = ["other", "lr", "gradient_norm/w", "val/f1", "val/loss", "train/loss"]
    record.row(0, 1, dict.fromkeys(names, 0.0))
    record.flush()
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert header == ",".join(["epoch", "step", *reversed(names)])


def test_a_run_begun_anew_replaces_its_records(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        record = Record(tmp_path)
        assert not (tmp_path / CHECKPOINT).exists()
        record.row(0, 1, {"a": value})
        (tmp_path / CHECKPOINT).parent.mkdir(exist_ok=True)
        (tmp_path / CHECKPOINT).touch()
        record.finish("completed", CONFIG, Chosen())
    assert [row["a"] for row in read_metrics(tmp_path / "metrics.csv")] == [2.0]
    assert [point.value for point in load(tmp_path).Scalars("a")] == [2.0]


def test_a_run_that_goes_on_drops_what_came_later(tmp_path: Path) -> None:
    record = Record(tmp_path)
    for epoch in range(4):
        record.row(epoch, 10 * (epoch + 1), {"a": float(epoch), "train/loss": 0.0})
    record.finish("completed", CONFIG, Chosen())
    record = Record(tmp_path, resumed={"epoch": 1, "step": 20, "a": 1.0, "train/loss": 0.0})
    assert read_status(tmp_path) is None  # not over any more
    for epoch in range(2, 4):
        record.row(epoch, 10 * (epoch + 1), {"a": 100.0 + epoch})
    record.flush()
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["a"] for row in rows] == [0, 1, 102, 103]
    points = [(point.step, point.value) for point in load(tmp_path).Scalars("a")]
    assert points == [(10, 0), (20, 1), (30, 102), (40, 103)]


def test_a_row_that_was_not_written_comes_from_the_checkpoint(tmp_path: Path) -> None:
    record = Record(tmp_path)
    for epoch in range(2):
        record.row(epoch, 10 * (epoch + 1), {"a": float(epoch), "train/loss": 0.0})
    record.flush()  # and is killed after the checkpoint of the next epoch, before its row
    record = Record(tmp_path, resumed={"epoch": 2, "step": 30, "a": 2.0, "train/loss": 0.0})
    record.flush()
    assert [row["a"] for row in read_metrics(tmp_path / "metrics.csv")] == [0, 1, 2]
    points = load(tmp_path).Scalars("a")
    assert [(point.step, point.value) for point in points] == [(10, 0), (20, 1), (30, 2)]


def test_the_logger_makes_one_row_of_an_epoch(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path)
    for epoch in range(2):  # as Lightning logs: validation, then training, by the last step's index
        logger.log_metrics({"val/loss": 1.0, "epoch": epoch}, step=4 + 5 * epoch)
        logger.log_metrics({"train/loss": 2.0, "epoch": epoch}, step=4 + 5 * epoch)
    logger.log_metrics({"test/loss": 3.0, "epoch": 2}, step=10)
    logger.finalize("success")
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"epoch": 0, "step": 5, "val/loss": 1.0, "train/loss": 2.0},
        {"epoch": 1, "step": 10, "val/loss": 1.0, "train/loss": 2.0},
    ]
    assert logger.record.metrics["test/loss"] == 3.0


def test_half_a_status_is_no_status(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": "comp')
    assert read_status(tmp_path) is None


def test_equal_configs_have_equal_hashes() -> None:
    assert config_hash({"a": 1, "b": {"c": 2}}) == config_hash({"b": {"c": 2}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
    assert config_hash({"a": 1, "ckpt_path": None}) == config_hash({"a": 1, "ckpt_path": "x"})
    assert dict(flatten({"a": 1, "b": {"c": 2}})) == {"a": 1, "b.c": 2}
