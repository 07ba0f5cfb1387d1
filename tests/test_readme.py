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
import train as train_script
from neuronlab.cli import command_line

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python src/")])
def test_commands(
    command: str, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, *overrides = shlex.split(command)[1:]
    monkeypatch.chdir(tmp_path)
    if "…" in command or script == "src/predict.py":
        train("trainer.max_epochs=1", name="outputs/runs/first")
        overrides = [override.replace("…", "first") for override in overrides]
        (tmp_path / "students.csv").write_text("8,7,75,80\n")
    name = Path(script).stem
    main = {"train": train_script.main, "predict": predict_script.main}[name]
    if name == "train":
        overrides = [re.sub("max_epochs=.*", "max_epochs=2", o) for o in overrides]
        given = any("max_epochs" in override for override in overrides)
        overrides += ["trainer=cpu", *([] if given else ["trainer.max_epochs=1"])]
    monkeypatch.setattr(sys, "argv", [script, *overrides])
    GlobalHydra.instance().clear()
    assert command_line(main, name) == 0


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z]+)\b", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_option_is_listed() -> None:
    for path in CONF.glob("*/*.yaml"):
        if path.stem not in ("_base", "default") and path.parent.name != "trainer":
            assert f"`{path.stem}`" in README, path


def test_adding_an_activation_an_optimizer_and_a_data_set(tmp_path: Path) -> None:
    for folder in ("conf", "src"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    added = 0
    for language, block in BLOCKS:
        name = re.match(r"# ((conf|src)/\S+)\n", block)
        if language in ("yaml", "python") and name:
            (tmp_path / name[1]).write_text(block)
            added += 1
    assert added == 4
    overrides = ["data=parabola", "activation=mish", "optimizer=nadam", "trainer.max_epochs=2"]
    done = subprocess.run(
        [sys.executable, "src/train.py", "trainer=cpu", "hydra.run.dir=run", *overrides],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "noise floor" in done.stdout
