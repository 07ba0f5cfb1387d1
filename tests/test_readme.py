"""What the README tells a reader to type works, and what it lists is what there is."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CONF, ROOT
from hydra.core.global_hydra import GlobalHydra

import predict as predict_script
import report as report_script
import train as train_script
from neuronlab.cli import command_line

MAINS = {"train": train_script.main, "predict": predict_script.main, "report": report_script.main}
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
]
TABLE = ["data=table", "data.path=docs/exam.csv", "data.target=passed", "data.exclude=[student]"]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs one of the programs in this process; returns the exit status."""

    def run(name: str, *overrides: str) -> int:
        monkeypatch.setattr(sys, "argv", [f"src/{name}.py", *overrides])
        GlobalHydra.instance().clear()
        return command_line(MAINS[name], name)

    return run


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python src/")])
def test_commands(
    command: str,
    train: Callable[..., Path],
    call: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script, *overrides = shlex.split(command)[1:]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs/exam.csv", tmp_path / "docs")
    if "…" in command or script == "src/predict.py":
        given = TABLE if "exam.csv" in command else []
        train("trainer.max_epochs=1", *given, name="outputs/runs/first")
        overrides = [override.replace("…", "first") for override in overrides]
        (tmp_path / "students.csv").write_text("8,7,75,80\n")
    if script == "src/report.py":
        sweep = ["-m", "trainer=cpu", "trainer.max_epochs=1", "seed=0,1"]
        assert call("train", *sweep, "hydra.sweep.dir=outputs/sweeps/first/first") == 0
    name = Path(script).stem
    if name == "train":
        overrides = [re.sub("max_epochs=.*", "max_epochs=2", o) for o in overrides]
        given = any("max_epochs" in override for override in overrides)
        overrides += ["trainer=cpu", *([] if given else ["trainer.max_epochs=1"])]
    assert call(name, *overrides) == 0


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z]+)\b", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_option_is_listed() -> None:
    for path in CONF.glob("*/*.yaml"):
        if path.stem[0] != "_" and path.stem != "default" and path.parent.name != "trainer":
            assert f"`{path.stem}`" in README, path


def test_adding_an_activation_an_optimizer_and_a_data_set(tmp_path: Path) -> None:
    for folder in ("conf", "src"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    added = 0
    for language, block in BLOCKS:
        name = re.match(r"(?:# @package _global_\n)?# ((conf|src)/\S+)\n", block)
        if language in ("yaml", "python") and name:
            (tmp_path / name[1]).write_text(block)
            added += 1
    assert added == 5
    overrides = ["data=parabola", "activation=mish", "optimizer=nadam", "trainer.max_epochs=2"]
    assert "noise floor" in program(tmp_path, "train", "hydra.run.dir=run", *overrides)
    overrides = ["experiment=tanh_or_relu", "trainer.max_epochs=1", "data.rows=40"]
    program(tmp_path, "train", "-m", "hydra.sweep.dir=sweep", *overrides)
    said = " ".join(program(tmp_path, "report", "sweep=sweep").split())
    assert "On a smooth target tanh does better than ReLU" in said


def program(folder: Path, name: str, *overrides: str) -> str:
    """What a program of a copy of the project prints."""
    device = ["trainer=cpu"] if name == "train" else []
    done = subprocess.run(
        [sys.executable, f"src/{name}.py", *overrides, *device],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
