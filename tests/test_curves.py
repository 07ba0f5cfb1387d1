"""Many `metrics.csv` as one table, against Python's own reader of CSV."""

from __future__ import annotations

import csv
import math
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from neuronlab.curves import read_curves

FILES = {
    "b": "epoch,step,train/loss,val/loss\n0,5,0.1,\n1,10,0.30000000000000004,0.2\n",
    "a": "epoch,step,train/loss,val/loss\n0,5,nan,1e300\n",
    "c": "epoch,step,train/loss,val/loss,lr\n0,7,inf,-inf,0.1\n",
    "d": "epoch,step,train/loss\n",
}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return write(tmp_path, FILES)


def write(place: Path, texts: dict[str, str]) -> dict[str, Path]:
    for run, text in texts.items():
        (place / run).mkdir()
        (place / run / "metrics.csv").write_text(text, newline="")
    return {run: place / run for run in texts}


def test_files_with_different_columns(paths: dict[str, Path]) -> None:
    damaged: dict[str, str] = {}
    curves = read_curves(paths, set(paths), damaged)
    assert damaged == {}
    assert list(curves) == ["run", "epoch", "step", "train/loss", "val/loss", "lr"]
    assert list(curves["run"]) == ["b", "b", "a", "c"]  # in the order of the runs
    assert [curves[column].dtype.kind for column in ("epoch", "step", "lr")] == ["i", "i", "f"]
    truth = [row for text in FILES.values() for row in csv.DictReader(StringIO(text))]
    for (_, row), line in zip(curves.iterrows(), truth, strict=True):
        for tag in list(curves)[1:]:
            value = float(line.get(tag) or "nan")
            np.testing.assert_equal(row[tag], value if math.isfinite(value) else math.nan)


@pytest.mark.parametrize("bad", [{3}, {0, 7}, set(range(8))])
def test_damaged_files_are_found_among_others(tmp_path: Path, bad: set[int]) -> None:
    good, broken = "epoch,step,loss\n0,1,2.0\n", "epoch,step,loss\n0,1,2.0,3.0\n0,x\n"
    paths = write(tmp_path, {str(i): broken if i in bad else good for i in range(8)})
    damaged: dict[str, str] = {}
    curves = read_curves(paths, set(paths), damaged)
    assert damaged == {str(i): "metrics.csv is damaged" for i in sorted(bad)}
    assert list(curves["run"]) == [str(i) for i in range(8) if i not in bad]


def test_no_files(tmp_path: Path) -> None:
    paths = {"done": tmp_path / "done", "killed": tmp_path / "killed"}
    damaged: dict[str, str] = {}
    curves = read_curves(paths, {"done"}, damaged)
    assert damaged == {"done": "metrics.csv is missing"}
    assert list(curves) == ["run", "epoch", "step"]
    assert len(curves) == 0
