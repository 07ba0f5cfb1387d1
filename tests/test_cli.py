"""The command line as a user meets it: bad input, exit status, traces."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hydra.core.global_hydra import GlobalHydra

import train as train_script
from neuronlab.cli import TRACE, command_line

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `python src/train.py …` in this process; returns status, output and errors."""

    def run(*overrides: str) -> tuple[int, str, str]:
        GlobalHydra.instance().clear()
        monkeypatch.delenv(TRACE, raising=False)
        monkeypatch.chdir(tmp_path)
        argv = ["src/train.py", *overrides]
        if not any(override.startswith("hydra.run.dir=") for override in overrides):
            argv.append("hydra.run.dir=run")
        monkeypatch.setattr(sys, "argv", argv)
        status = command_line(train_script.main, "train")
        return (status, *capsys.readouterr())

    return run


MAX_EPOCHS = "did you mean trainer.max_epochs?"
# What is given, and what the one line must say: what came, what is allowed, the nearest name.
BAD = [
    ("+trainre.max_epochs=3", ["trainre.max_epochs", MAX_EPOCHS, "allowed:"]),
    ("trainre.max_epochs=3", ["trainre.max_epochs", MAX_EPOCHS, "allowed:"]),
    ("trainer.max_epohcs=3", ["trainer.max_epohcs", MAX_EPOCHS]),
    ("+trainer.max_epohcs=3", ["trainer.max_epohcs", MAX_EPOCHS]),
    ("trainer.max_steps=3", ["trainer.max_steps", "add it with +trainer.max_steps"]),
    ("data.slpoe=3 data=line", ["data.slpoe", "did you mean data.slope?", "data.intercept"]),
    ("batch_size=10", ["batch_size", "did you mean data.batch_size?"]),
    ("+x=1", ["x: no such key", "allowed: activation, callbacks"]),
    ("actvation=relu", ["actvation", "did you mean activation?"]),
    ("activation=rleu", ["activation=rleu", "did you mean relu?", "allowed: elu, gelu, identity"]),
    ("experiment=nerual_painter", ["did you mean neural_painter?", "blobs"]),
    ("optimizer=null", ["optimizer=null", "one of its options"]),
    ("data=base", ["data=base", "no such option of data", "allowed: blobs"]),
    ("regularization.l3=2", ["regularization.l3: no such key; allowed: regularization.l1, reg"]),
    ("optimizer.betas=[0.9,0.99]", ["optimizer.betas: no such key; allowed:"]),
    ("model.activation=silu", ["model.activation=silu", "activation=silu"]),
    ("optimizer.lr=-1", ["optimizer.lr=-1", "a number above 0"]),
    ("optimizer.lr=0", ["optimizer.lr=0", "a number above 0"]),
    ("optimizer.lr=nan", ["optimizer.lr=nan", "a finite number"]),
    ("optimizer.lr=abc", ["optimizer.lr=abc", "a number"]),
    ("optimizer=momentum optimizer.momentum=-1", ["optimizer.momentum=-1", "a number ≥ 0"]),
    ("optimizer=adam optimizer.betas=[0.9,1.5]", ["optimizer", "1.5"]),
    ("model.hidden=[0]", ["model.hidden=[0]", "whole numbers ≥ 1"]),
    ("model.hidden=[a]", ["model.hidden=[a]", "a list, each a whole number"]),
    ("data.noise=-1", ["data.noise=-1", "a number ≥ 0"]),
    ("data.rows=true", ["data.rows=true", "a whole number"]),
    ("trainer.max_epochs=-5", ["trainer.max_epochs=-5", "a whole number ≥ 1, or -1"]),
    ("trainer.max_epochs=abc", ["trainer.max_epochs=abc", "a whole number or null"]),
    ("data.batch_size=0", ["data.batch_size=0", "1 to 1000", "null for all"]),
    ("data.batch_size=1001", ["data.batch_size=1001", "1 to 1000", "null for all"]),
    ("data=line loss=bce", ["loss=bce", "regression", "allowed: mse, mae"]),
    ("loss=cross_entropy", ["loss=cross_entropy", "pass/fail", "allowed: mse, mae, bce"]),
    ("model.output=softmax", ["model.output=softmax", "identity or sigmoid for one output"]),
    ("model.output=identity", ["model.output=identity", "allowed: sigmoid"]),
    ("data=blobs model=neuron", ["model.out_features=3", "model=mlp"]),
    ("optimizer._target_=os.system", ["optimizer._target_=os.system", "torch.optim."]),
    (
        "optimizer._target_=neuronlab.records.os.system",
        ["optimizer._target_=neuronlab.records.os.system", "must begin with"],
    ),
    ("+callbacks.x._target_=builtins.print", ["callbacks.x._target_=builtins.print"]),
    ("+callbacks.x=3", ["callbacks.x=3", "_target_"]),
    ("+optimizer._args_=[1]", ["optimizer._args_: no such key"]),
    ("loss._target_=torch.nn.MSELoss", ["loss._target_=torch.nn.MSELoss", "bce, cross_entropy"]),
    (
        "optimizer._target_=torch.nn.ReLU ~optimizer.lr ~optimizer.weight_decay",
        ["optimizer._target_=torch.nn.ReLU", "torch.optim"],
    ),
    ("optimizer=nesterov optimizer.momentum=0", ["Nesterov", "momentum=0"]),
    ("trainer.devices=2", ["trainer.devices=2", "must be 1"]),
    ("+trainer.num_nodes=2", ["trainer.num_nodes=2", "must be 1"]),
    ("+trainer.overfit_batches=1", ["trainer.overfit_batches=1", "data.rows"]),
    ("+trainer.limit_train_batches=0", ["trainer.limit_train_batches=0", "above 0"]),
    ("trainer.accelerator=tpu", ["trainer.accelerator=tpu", "auto, cpu, gpu"]),
    ("optimizer=adam optimizer.betas=[0.9]", ["optimizer.betas=[0.9]", "a list of 2"]),
    ("callbacks.histograms.every_n_epochs=0", ["callbacks.histograms.every_n_epochs=0", "≥ 1"]),
    ("callbacks=diary model.hidden=[100]", ["601 weights", "allowed: 500"]),
    ("experiment=pass_fail_neuron callbacks.ask.inputs=[[1]]", ["inputs=[[1]]", "2 numbers"]),
    ("hydra.run.dir=/dev/null/run", ["/dev/null/run", "Not a directory", "hydra.run.dir"]),
    ("seed=-1", ["seed=-1", "a whole number ≥ 0"]),
    ("seed=a", ["seed=a", "a whole number ≥ 0"]),
    ("ckpt_path=nowhere.ckpt", ["ckpt_path=nowhere.ckpt", "no such file"]),
    ("activation", ["activation: must be key=value"]),
    ("model.hidden=[1", ["model.hidden=[1: must be", "brackets"]),
]


@pytest.mark.parametrize(("command", "said"), BAD, ids=[command for command, _ in BAD])
def test_bad_input_gets_one_line_and_status_2(
    cli: Run, tmp_path: Path, command: str, said: list[str]
) -> None:
    status, output, errors = cli(*command.split())
    assert status == 2
    assert output == ""  # nothing was begun
    assert len(errors.splitlines()) == 1, errors
    assert [part for part in said if part not in errors] == [], errors
    assert list(tmp_path.iterdir()) == []  # and nothing was written


# Sweeps, and the lines that are said of their jobs.
BAD_SWEEPS = [
    (
        "seed=0,1 activation=relu,rleu",
        [["activation=rleu", "did you mean relu?", "in 2 of 4 jobs"]],
    ),
    (
        "seed=0,1 optimizer=sgd,adam +optimizer.betas=[0,0] optimizer.monemtum=1,2",
        [["optimizer.monemtum", "no such key", "in all 8 jobs"]],
    ),
    ("activation=relu,silu boo=1", [["boo: no such key"]]),
    ("activation=relu,silu boo=1,2", [["boo: no such key", "in all 4 jobs"]]),
    (
        "seed=0,1,2 activation=rleu,silu optimizer=admm,sgd",
        # Hydra stops at the first thing that it finds wrong with a job.
        [["optimizer=admm", "in 6 of 12 jobs, first:"], ["activation=rleu", "in 3 of 12 jobs"]],
    ),
    ("seed=0,1 activation=rleu", [["activation=rleu", "did you mean relu?"]]),
    ("seed=0,1 model.hidden=[1", [["model.hidden=[1: must be", "brackets"]]),
    ("seed=0,1 hydra.sweeper.max_batch_size=0", [["max_batch_size=0", "≥ 1"]]),
    ("seed=0,1 hydra.sweep.subdir=x", [["hydra.sweep.subdir", "seed=0", "seed=1", "/x"]]),
]


@pytest.mark.parametrize(("command", "lines"), BAD_SWEEPS, ids=[row[0] for row in BAD_SWEEPS])
def test_a_bad_sweep_says_all_that_is_wrong_at_once(
    cli: Run, tmp_path: Path, command: str, lines: list[list[str]]
) -> None:
    status, output, errors = cli("-m", *command.split())
    assert status == 2
    assert output == ""
    said = errors.splitlines()
    assert len(said) == len(lines), errors
    for line, parts in zip(said, lines, strict=True):
        assert [part for part in parts if part not in line] == [], line
    assert list(tmp_path.iterdir()) == []


def test_a_target_in_a_list_is_not_built(cli: Run) -> None:
    status, output, errors = cli("model.hidden=[{_target_:builtins.print,_args_:[HACK]}]")
    assert (status, output) == (2, "")
    assert "model.hidden[0]._target_=builtins.print: must begin with" in errors


def test_several_mistakes_get_a_line_each(cli: Run) -> None:
    status, _, errors = cli("optimizer.lr=-1", "optimizer.weight_decay=inf", "trainer.max_epochs=0")
    assert status == 2
    assert len(errors.splitlines()) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_without_a_gpu_names_the_fix(cli: Run) -> None:
    status, _, errors = cli("trainer=gpu")
    assert status == 2
    assert "trainer=cpu or trainer=auto" in errors


def test_a_checkpoint_of_another_configuration_is_refused(cli: Run, tmp_path: Path) -> None:
    assert cli("trainer.max_epochs=1")[0] == 0
    status, _, errors = cli("ckpt_path=run/checkpoints/last.ckpt", "optimizer.lr=0.2")
    assert status == 2
    assert "was trained with optimizer.lr=0.1, this command has optimizer.lr=0.2" in errors


def test_a_run_that_is_done_is_not_done_again(cli: Run) -> None:
    assert cli("trainer.max_epochs=2")[0] == 0
    status, _, errors = cli("ckpt_path=run/checkpoints/last.ckpt", "trainer.max_epochs=2")
    assert status == 2
    assert "trainer.max_epochs=2: must be more than the 2 epochs" in errors


def test_a_checkpoint_from_before_the_row_is_refused(cli: Run) -> None:
    best = "{_target_:lightning.pytorch.callbacks.ModelCheckpoint,monitor:val/loss,filename:best,"
    best += "save_on_train_epoch_end:false}"
    assert cli("trainer.max_epochs=2", f"+callbacks.best={best}")[0] == 0
    status, _, errors = cli("ckpt_path=run/checkpoints/best.ckpt")
    assert status == 2
    assert "was saved within an epoch" in errors


def test_a_run_goes_on_from_the_end_of_an_epoch_only(cli: Run) -> None:
    assert cli("+trainer.max_steps=15")[0] == 0  # an epoch and a half
    status, _, errors = cli("ckpt_path=run/checkpoints/last.ckpt")
    assert status == 2
    assert "was saved within an epoch" in errors


def test_a_damaged_checkpoint_is_refused(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"nothing of the kind")
    status, _, errors = cli("ckpt_path=bad.ckpt")
    assert status == 2
    assert "damaged" in errors


@pytest.mark.parametrize(
    ("overrides", "trace", "status"),
    [(["optimizer.lr=-1"], False, 2), (["optimizer.lr=-1"], True, 1), (["--help"], False, 0)],
)
def test_the_process_says_the_same(overrides: list[str], trace: bool, status: int) -> None:
    environment = {**os.environ, TRACE: "1"} if trace else os.environ
    done = subprocess.run(
        [sys.executable, "src/train.py", *overrides],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert ("Traceback" in done.stderr) is trace


def test_a_refused_run_leaves_an_earlier_one_as_it_was(cli: Run, tmp_path: Path) -> None:
    assert cli("trainer.max_epochs=1")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert cli("optimizer.lr=-1")[0] == 2
    assert cli("ckpt_path=run/checkpoints/last.ckpt", "data.noise=2")[0] == 2
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert after == before
