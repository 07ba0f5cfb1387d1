"""Means over seeds as TensorBoard reads them, against means and intervals of the single runs."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from browser import browsing, needs_chromium
from conftest import Sweep, run_sweep
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from test_tensorboard import serving

from neuronlab.aggregate import CATEGORY, FOLDER, RUNS, band_tags, write_means
from neuronlab.records import read_metrics
from neuronlab.results import Results, find_sweeps, read_results

BANDED = ("train/loss", "val/loss", "val/mae", "val/mse", "val/r2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two settings with three seeds each."""
    place = tmp_path_factory.mktemp("trained")
    assert run_sweep(place, "data=sine", "activation=relu,silu", "seed=0,1,2") == 0
    return place / "sweep"


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The same, without its means, for a test to change."""
    copied = Path(shutil.copytree(trained, tmp_path / "copied"))
    shutil.rmtree(copied / FOLDER)
    return copied


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """All scalars of a run: tag → step → value."""
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()["scalars"]
    return {tag: {point.step: point.value for point in events.Scalars(tag)} for tag in tags}


def layout(folder: Path) -> layout_pb2.Layout:
    (point,) = EventAccumulator(str(folder)).Reload().Tensors(metadata.CONFIG_SUMMARY_TAG)
    return layout_pb2.Layout.FromString(point.tensor_proto.string_val[0])


def check(means: Mapping[str, Mapping[int, float]], runs: list[Path]) -> None:
    """Holds means against what is computed here from the runs' own files."""
    rows = [read_metrics(run / "metrics.csv") for run in runs]
    assert set(means) == {
        *(tag for tag in rows[0][0] if tag not in ("epoch", "step")),
        *(tag for banded in BANDED for tag in band_tags(banded)),
        RUNS,
    }
    for place, row in enumerate(rows[0]):
        step = int(row["step"])
        finite = {
            tag: [x for one in rows for x in [one[place].get(tag, np.nan)] if np.isfinite(x)]
            for tag in row
        }
        assert means[RUNS][step] == len(finite["train/loss"])
        for tag, values in finite.items():
            if tag in means:
                assert means[tag][step] == pytest.approx(np.mean(values), rel=1e-6), tag
        for tag in BANDED:
            mean, low, high = (means[one] for one in band_tags(tag))
            values = finite[tag]
            if len(values) < 2:
                assert step not in mean
                continue
            error = scipy.stats.sem(values)
            interval = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
            assert mean[step] == pytest.approx(np.mean(values), rel=1e-6)
            np.testing.assert_allclose((low[step], high[step]), interval, rtol=1e-5, atol=1e-7)


def test_means_and_intervals_are_those_of_the_runs(trained: Path) -> None:
    settings = sorted(path.name for path in (trained / FOLDER).iterdir())
    assert settings == ["activation=relu", "activation=silu"]
    for setting in settings:
        check(scalars(trained / FOLDER / setting), sorted(trained.glob(f"{setting},*")))


def test_a_diverged_run_counts_while_it_is_finite(copied: Path) -> None:
    runs = sorted(copied.glob("activation=relu,*"))
    for run, from_epoch in zip(runs, (1, 2), strict=False):
        lines = (run / "metrics.csv").read_text().splitlines()
        width = lines[0].count(",") - 1
        for epoch in range(from_epoch, 3):
            lines[epoch + 1] = ",".join([*lines[epoch + 1].split(",")[:2], *["nan"] * width])
        (run / "metrics.csv").write_text("\n".join(lines) + "\n")
        status = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps(status | {"state": "diverged"}))
    write_means(read_results([copied]), copied)
    means = scalars(copied / FOLDER / "activation=relu")
    assert list(means[RUNS].values()) == [3, 2, 1]
    check(means, runs)


def test_runs_that_are_not_over_do_not_count(copied: Path) -> None:
    (run, *others) = sorted(copied.glob("activation=relu,*"))
    (run / "status.json").unlink()
    write_means(read_results([copied]), copied)
    check(scalars(copied / FOLDER / "activation=relu"), others)


def test_the_layout(trained: Path) -> None:
    for setting in (trained / FOLDER).iterdir():
        (category,) = layout(setting).category
        assert category.title == CATEGORY
        assert {chart.title for chart in category.chart} == set(BANDED)
        tags = scalars(setting)
        for chart in category.chart:
            (series,) = chart.margin.series
            assert (series.value, series.lower, series.upper) == band_tags(chart.title)
            assert tags[series.value].keys() == tags[series.lower].keys()
            assert tags[series.value].keys() == tags[series.upper].keys()


def test_means_are_written_anew(copied: Path) -> None:
    stale = copied / FOLDER / "activation=tanh"
    stale.mkdir(parents=True)
    (stale / "events.out.tfevents.1").touch()
    mine = copied / FOLDER / "notes.txt"
    mine.touch()
    results = read_results([copied])
    for _ in range(2):
        assert write_means(results, copied) == copied / FOLDER
        files = [path for path in copied.glob(f"{FOLDER}/*/*") if path.is_file()]
        assert sorted(path.parent.name for path in files) == ["activation=relu", "activation=silu"]
    assert mine.exists()
    mine.unlink()
    assert write_means(one_per_setting(results), copied) is None
    assert not (copied / FOLDER).exists()


def one_per_setting(results: Results) -> Results:
    return results.select(results.runs["seed"] == 0)


def test_a_run_of_that_name_keeps_its_records(copied: Path) -> None:
    (run, *_) = sorted(copied.glob("activation=relu,*"))
    (copied / FOLDER).mkdir()
    run.rename(copied / FOLDER / "run")
    write_means(read_results([copied]), copied)
    assert list((copied / FOLDER / "run").glob("events.out.tfevents.*"))


def test_means_are_no_runs(trained: Path) -> None:
    assert len(read_results([trained]).runs) == 6
    assert find_sweeps(str(trained / "*"), trained) == sorted(trained.glob("activation=*"))


def test_settings_of_different_tasks(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("data=sine,students", "seed=0,1") == 0
    assert "tensorboard --logdir sweep/mean" in capsys.readouterr().out
    tags = {path.name: set(scalars(path)) for path in (tmp_path / "sweep" / FOLDER).iterdir()}
    assert "val/accuracy" not in tags["data=sine"]
    assert "val/accuracy" in tags["data=students"]
    charts = {
        chart.title
        for chart in layout(tmp_path / "sweep" / FOLDER / "data=students").category[0].chart
    }
    assert charts == {"train/loss", "val/loss", "val/accuracy", "val/auroc", "val/f1"}


@pytest.mark.parametrize(
    "overrides",
    [("activation=relu,silu",), ("seed=0,1", "logger=csv")],
    ids=["no seeds", "no events"],
)
def test_sweeps_without_means(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: tuple[str, ...]
) -> None:
    assert sweep(*overrides) == 0
    assert "sweep/mean" not in capsys.readouterr().out
    assert not (tmp_path / "sweep" / FOLDER).exists()


def test_one_setting(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("seed=0,1") == 0
    assert [path.name for path in (tmp_path / "sweep" / FOLDER).iterdir()] == ["all"]


@needs_chromium
def test_tensorboard_draws_means_and_bands(trained: Path, pictures: Path) -> None:
    names = {f"{FOLDER}/activation={name}" for name in ("relu", "silu")}
    with serving(trained) as address, browsing(1400, 900) as page:
        with urllib.request.urlopen(f"{address}/data/runs") as answer:
            runs = set(json.load(answer))
        assert runs == names | {path.name for path in trained.glob("activation=*")}
        page.goto(f"{address}/?tagFilter=val%2Floss#timeseries")
        for name in names:
            page.wait_for_selector(f"scalar-card:has-text('val/loss') >> text={name}")
        page.goto(f"{address}/#custom_scalars")
        cards = page.locator("tf-custom-scalar-margin-chart-card")
        cards.first.wait_for()
        titles = [card.evaluate("card => card.title") for card in cards.all()]
        assert titles == list(BANDED)  # both settings have a layout, and no chart is doubled
        for card in cards.all():
            card.get_by_text(f"Matches ({len(names)})").wait_for()
        page.wait_for_timeout(2000)  # charts move into place
        page.screenshot(path=pictures / "custom_scalars.png")
        for complaint in ("Missing Tags", "do not match"):
            assert page.get_by_text(complaint).count() == 0
