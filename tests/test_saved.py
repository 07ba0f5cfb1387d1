"""What Hydra saved of a run, against OmegaConf's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, compose_run
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from neuronlab.errors import ConfigError, show
from neuronlab.saved import is_whole, read_config, read_overrides, values_of

EXPERIMENTS = sorted(path.stem for path in ROOT.glob("conf/experiment/*.yaml"))


def save(folder: Path, *overrides: str) -> None:
    """Leaves what a run leaves in `.hydra`, by Hydra's means."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(task, folder / ".hydra" / "config.yaml")
    OmegaConf.save({"hydra": config.hydra}, folder / ".hydra" / "hydra.yaml")
    OmegaConf.save(config.hydra.overrides.task, folder / ".hydra" / "overrides.yaml")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_configurations_of_all_experiments(tmp_path: Path, name: str) -> None:
    overrides = [f"experiment={name}", "optimizer.lr=1e-7", "data.batch_size=null"]
    save(tmp_path, *overrides)
    assert read_config(tmp_path) == compose_run(*overrides)[0]
    assert read_overrides(tmp_path) == dict(line.split("=") for line in overrides)


def test_values_that_were_not_given_are_those_of_the_configuration(tmp_path: Path) -> None:
    save(tmp_path, "activation=silu", "seed=3", "optimizer=adam", "experiment=blobs")
    given = read_overrides(tmp_path)
    values = {
        "seed": "3",
        "activation": "silu",
        "model": "mlp",
        "data": "blobs",  # chosen by the experiment
        "trainer": "auto",
        "data.seed": "3",  # ${seed}
        "data.standardize": show(read_config(tmp_path)["data"]["standardize"]),
        "model.output": "null",
        "model.hidden": show(read_config(tmp_path)["model"]["hidden"]),
        "optimizer.betas": "[0.9,0.999]",
        "optimizer.eps": "1e-08",
        "optimizer.momentum": "",  # adam has none
    }
    assert values_of(tmp_path, given, list(values)) == values
    assert values_of(tmp_path, {"seed": "4"}, ["seed"]) == {"seed": "4"}


def test_nothing_saved(tmp_path: Path) -> None:
    for read in (read_config, read_overrides):
        with pytest.raises(ConfigError, match="cannot be read"):
            read(tmp_path)
    assert values_of(tmp_path, {"a": "1"}, ["a", "seed"]) == {"a": "1", "seed": ""}


@pytest.mark.parametrize(
    ("content", "whole"), [("a: 1\n", True), ("a: 1", False), ("", False), (None, False)]
)
def test_texts_end_with_a_line(tmp_path: Path, content: str | None, whole: bool) -> None:
    if content is not None:
        (tmp_path / "file").write_text(content)
    assert is_whole(tmp_path / "file") == whole


def test_a_reference_that_leads_nowhere_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("a: ${b}\nc: ${nowhere:1}\n")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)
