import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import compose_run
from hydra.core.global_hydra import GlobalHydra

import predict as predict_script
from neuronlab.cli import command_line
from neuronlab.learner import Learner
from neuronlab.solo import train_one

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*overrides: str) -> tuple[int, str, str]:
        GlobalHydra.instance().clear()
        capsys.readouterr()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["src/predict.py", *overrides])
        status = command_line(predict_script.main, "predict")
        return (status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config, chosen = compose_run("experiment=pass_fail_neuron", "trainer=cpu")
    folder = tmp_path_factory.mktemp("outputs") / "run"
    train_one(config, folder, chosen)
    return folder


def test_a_table(ask: Ask, run: Path) -> None:
    status, output, _ = ask(f"run={run}/checkpoints/last.ckpt", "inputs=[[5,7],[1,2]]")
    assert status == 0
    assert "hours_studied" in output
    assert output.count("yes") == 1


@pytest.mark.parametrize("form", ["json", "csv"])
def test_forms_for_programs(ask: Ask, run: Path, form: str) -> None:
    _, output, _ = ask(f"run={run}", "inputs=[[5,7],[1,2]]", f"format={form}")
    weights = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    z = torch.tensor([[5.0, 7.0], [1.0, 2.0]]) @ weights["net.weight"].T + weights["net.bias"]
    expected = torch.sigmoid(z)[:, 0].tolist()
    if form == "json":
        answers = json.loads(output)
        assert [answer["probability"] for answer in answers] == pytest.approx(expected)
        assert answers[0]["hours_studied"] == 5
        assert answers[0]["passed"] == "yes"
    else:
        lines = [line.split(",") for line in output.splitlines()]
        assert lines[0] == ["hours_studied", "hours_slept", "probability", "passed"]
        assert [float(line[2]) for line in lines[1:]] == pytest.approx(expected)


NAMED = "name,hours_slept,hours_studied\nA,7,5\nB,2,1\n"  # another order, and a column more


@pytest.mark.parametrize("text", ["5,7\n1,2\n", "hours_studied,hours_slept\n5,7\n1,2\n", NAMED])
def test_files_with_and_without_names(ask: Ask, run: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "in.csv").write_text(text)
    direct = ask(f"run={run}", "inputs=[[5,7],[1,2]]", "format=json")
    status, output, errors = ask(f"run={run}", "inputs_csv=in.csv", "format=json")
    answers = json.loads(output)
    beside = [answer.pop("name", None) for answer in answers]
    assert (status, answers, errors) == (direct[0], json.loads(direct[1]), "")
    assert beside == (["A", "B"] if text == NAMED else [None, None])


def test_the_newest_run_is_asked_by_default(ask: Ask, run: Path) -> None:
    question = ["inputs=[[5,7]]", "format=json"]
    assert ask(f"outputs={run.parent}", *question) == ask(f"run={run}", *question)


def test_standardized_data_take_raw_inputs(ask: Ask, train: Callable[..., Path]) -> None:
    folder = train("experiment=house_prices", "model.hidden=[]", "trainer.max_epochs=300")
    _, output, _ = ask(f"run={folder}", "inputs=[[2000,3,10,5]]", "format=json")
    assert json.loads(output)[0]["price"] == pytest.approx(450_000, abs=5_000)


def test_classes_have_names(ask: Ask, train: Callable[..., Path]) -> None:
    folder = train("experiment=blobs")
    _, output, _ = ask(f"run={folder}", "inputs=[[0,2]]", "format=json")
    answer = json.loads(output)[0]
    assert answer["blob"] == "blob 0"  # its center is at (0, 2)
    assert answer["probability"] > 0.9


def test_double_precision_stays_double(ask: Ask, train: Callable[..., Path]) -> None:
    folder = train("experiment=linear_neuron", "trainer.precision=64", "trainer.max_epochs=5")
    _, output, _ = ask(f"run={folder}", "inputs=[[3]]", "format=json")
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert state["net.weight"].dtype == torch.float64
    assert json.loads(output)[0]["y"] == (3 * state["net.weight"] + state["net.bias"]).item()


def test_a_learner_reads_its_checkpoint(run: Path) -> None:
    learner = Learner.load_from_checkpoint(run / "checkpoints/last.ckpt", weights_only=True)
    assert learner(torch.tensor([[5.0, 7.0]])).shape == (1, 1)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["inputs=[[5]]"], ["row 1 has 1;", "rows of 2 numbers: hours_studied, hours_slept"]),
        (["inputs=[[5,a]]"], ["row 1, column hours_slept: 'a' is not a number"]),
        (
            ["inputs=[[5,7],[nan,2]]"],
            ["row 2, column hours_studied: no value", "without missing ones"],
        ),
        (["inputs=[[5,inf]]"], ["row 1, column hours_slept: 'inf' is not a finite number"]),
        (["inputs=[]"], ["no rows"]),
        (["inputs=5"], ["inputs=5", "rows of 2 numbers"]),
        ([], ["inputs: give either", "inputs_csv=FILE"]),
        (["inputs=[[5,7]]", "format=xml"], ["format=xml", "table, json, csv"]),
        (["inputs=[[5,7]]", "run=nowhere"], ["run=nowhere", "no such folder"]),
        (["inputs=[[5,7]]", "run=."], ["run=.", "no checkpoint there"]),
        (["inputs=[[5,7]]", "run=damaged"], ["run=damaged", "damaged"]),
        (["inputs=[[5,7]]", "run=code"], ["_target_=os.system", "must begin with"]),
        (["inputs=[[5,7]]", "run=nested"], ["_target_=os.makedirs", "must begin with"]),
        (["inputs=[[5,7]]", "run=diverged"], ["run=diverged", "diverged at step 3"]),
        (["inputs=[[5,7]]", "outputs=empty"], ["no run below empty"]),
        (["inputs_csv=none.csv"], ["inputs_csv=none.csv: no such file"]),
        (["inputs_csv=bad.csv"], ["hours_slept: no such column; did you mean hours_slep?"]),
        (["inputs_csv=words.csv"], ["words.csv: row 2, column hours_slept: 'often' is not"]),
        (["inputs_csv=binary.csv"], ["binary.csv: ", "utf-16"]),
        (["inputs_csv=semicolons.csv"], ["semicolons.csv: ", "semicolon", "; delimiter=semicolon"]),
        (["inputs=[[5,7]]", "delimiter=dots"], ["delimiter=dots: must be one of comma, semico"]),
        (["+imputs=[[5,7]]"], ["imputs: no such key; did you mean inputs?"]),
    ],
)
def test_bad_questions_get_one_line(
    ask: Ask, run: Path, train: Callable[..., Path], tmp_path: Path, overrides: list[str],
    said: list[str],
) -> None:  # fmt: skip
    path = run / "checkpoints/last.ckpt"
    (tmp_path / "damaged/checkpoints").mkdir(parents=True)
    (tmp_path / "damaged/checkpoints/last.ckpt").write_bytes(path.read_bytes()[:1000])
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["model"]["_target_"] = "os.system"
    (tmp_path / "code/checkpoints").mkdir(parents=True)
    torch.save(checkpoint, tmp_path / "code/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    nested = {"_target_": "os.makedirs", "_args_": [str(tmp_path / "made")]}
    checkpoint["hyper_parameters"]["model"]["init"] = [nested]
    (tmp_path / "nested/checkpoints").mkdir(parents=True)
    torch.save(checkpoint, tmp_path / "nested/checkpoints/last.ckpt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("hours_studied,hours_slep\n5,7\n")
    (tmp_path / "semicolons.csv").write_text("hours_studied;hours_slept\n5;7\n")
    (tmp_path / "words.csv").write_text("5,7\n5,often\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    if "run=diverged" in overrides:
        train("data=line", "model=neuron", "optimizer.lr=1e6", name="diverged")
    asked = [f"run={run}"] if not any("run" in o or "outputs" in o for o in overrides) else []
    status, output, errors = ask(*overrides, *asked)
    assert (status, output) == (2, "")
    assert not (tmp_path / "made").exists()
    assert len(errors.splitlines()) == 1, errors
    assert [part for part in said if part not in errors] == [], errors


def test_answers_have_names_of_their_own(
    ask: Ask, run: Path, tmp_path: Path, train: Callable[..., Path]
) -> None:
    (tmp_path / "in.csv").write_text("hours_studied,hours_slept,passed\n5,7,yes\n")
    for count in (1, 2):  # asked again with its own answers beside the rows
        status, output, _ = ask(f"run={run}", "inputs_csv=in.csv", "format=csv")
        assert status == 0
        (tmp_path / "in.csv").write_text(output)
        assert output.splitlines()[0].endswith(",".join(["predicted passed"] * (count == 1)))
    lines = ["x,probability", *(f"{row},{'abc'[row % 3]}" for row in range(12))]
    (tmp_path / "classes.csv").write_text("\n".join(lines))
    table = (f"data.path={tmp_path}/classes.csv", "data.target=probability", "data.batch_size=4")
    folder = train("data=table", *table, "trainer.max_epochs=1", name="classes")
    _, output, _ = ask(f"run={folder}", "inputs=[[1]]", "format=json")
    answer = json.loads(output)[0]
    assert answer["probability"] in "abc"
    assert 0 < answer["probability of probability"] < 1
