"""Jobs as the plugin composes them, against Hydra's own composition and files."""

import copy
import itertools
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CONF
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf._utils import get_omega_conf_dumper

from hydra_plugins.neuronlab_population import Composer
from hydra_plugins.neuronlab_population._yaml import to_yaml

# Each row stands for all combinations of its choices.
SWEEPS: list[list[list[str]]] = [
    [],
    [["activation=relu", "activation=silu"], ["optimizer=sgd", "optimizer=adam"], ["seed=1"]],
    [["optimizer.lr=0.1", "optimizer.lr=1e-3"], ["seed=0", "seed=12"], ["data.noise=0.0"]],
    [["experiment=linear_neuron", "experiment=neural_painter"], ["trainer.max_epochs=3"]],
    [["model.hidden=[]", "model.hidden=[8,4]", "model.hidden=[100,100]"], ["callbacks=sweep"]],
    [["+trainer.max_steps=7"], ["++trainer.max_epochs=null", "++trainer.deterministic=true"]],
    [["~optimizer.weight_decay", "~callbacks.pictures", "~callbacks", "~logger.run.tensorboard"]],
    [["~logger", "~experiment", "callbacks=diary", "data=line"]],
    [["data=line"], ["loss=mse", "loss=mae"], ["seed=2"]],
    [
        [
            "+callbacks.extra={_target_:neuronlab.diary.Diary,rows:3}",
            "+callbacks.extra={a:{b:[1,{}]}}",
        ]
    ],
    [["optimizer={_target_:torch.optim.SGD,lr:1.0}", "optimizer={lr:7}"], ["seed=3"]],
    [
        [
            "+note='a, b = [c] {d}: e'",
            '+note="it\'s \\"x\\""',
            "+note=''",
            "+note=a\\ b",
            "+note='é ü 漢 😀'",
        ]
    ],
    [
        [
            "+note='yes'",
            "+note='1e3'",
            "+note=1e3",
            "+note=null",
            "+note='null'",
            "+note=-0.0",
            "+note=0",
        ]
    ],
    [["+note=1", "+note=true", "+note=1.0", "+note=nan", "+note=-inf", "+note=' x '", "+note='#'"]],
    [["+note='" + "long words and " * 20 + "'", "+note=" + "x" * 300, "+note=['a b','c']"]],
    [
        [
            "data.seed=${seed}",
            "data.seed=${hydra:job.num}",
            "+note=${optimizer}",
            "+note=${oc.env:HOME}",
        ]
    ],
    [["activation._target_=torch.nn.GELU"], ["seed=4"]],
    [
        ["hydra.sweep.subdir=named"],  # whose name does not ask for what follows
        [
            "+note=${hydra:runtime.output_dir}",
            "+note=${hydra:overrides.task}",
            "+note=${hydra:runtime.choices.optimizer}",
        ],
    ],
    [["hydra.sweep.subdir=job_${hydra.job.num}"], ["seed=0", "seed=1", "optimizer=adam"]],
    [["hydra.sweep.dir=elsewhere/${seed}"], ["seed=0", "seed=1"]],
    [["hydra.job.config.override_dirname.exclude_keys=[]"], ["callbacks=sweep"], ["seed=5"]],
    [["hydra.output_subdir=null", "hydra.output_subdir=.meta"], ["seed=6"]],
    [["hydra.job.name=other", "+hydra.job.env_set.NEURONLAB_NOTE=x", "hydra.verbose=true"]],
    [["hydra/job_logging=default", "hydra/launcher=basic", "~hydra.callbacks.refuse_early"]],
    [
        ["hydra.sweep.subdir=named"],
        ["+hydra.job.env_set.NEURONLAB_NOTE=x"],
        ["+note=${oc.env:NEURONLAB_NOTE}"],
    ],
    [["+deep={a:1,b:{}}", "+deep.a.b.c=[]", "+deep={1:x,true:y}"]],
]
JOBS = [job for sweep in SWEEPS for job in itertools.product(*sweep)]


@pytest.fixture(scope="module")
def loader() -> Iterator[ConfigLoader]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        setup_globals()
        yield GlobalHydra.instance().config_loader()


def _master(loader: ConfigLoader, *overrides: str) -> DictConfig:
    master = loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)
    _ = master.hydra.sweep.dir
    return master


@pytest.fixture(scope="module")
def composer(loader: ConfigLoader) -> Composer:
    """One for all jobs, so that what one leaves behind would show in the next."""
    return Composer(loader, _master(loader))


def _by_hydra(
    loader: ConfigLoader, master: DictConfig, overrides: tuple[str, ...], number: int
) -> DictConfig:
    config = loader.load_sweep_config(master, list(overrides))
    with open_dict(config):
        config.hydra.job.id = number
        config.hydra.job.num = number
    return config


@pytest.mark.parametrize("overrides", JOBS, ids=" ".join)
def test_a_job_equals_hydras(
    loader: ConfigLoader, composer: Composer, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    composer.compose(overrides, 40)  # here, as Hydra does, since it notes the working directory
    master = composer._master
    config = _by_hydra(loader, master, overrides, 41)
    seen: dict[str, Any] = {}

    def task(task_config: DictConfig) -> None:
        seen["config"] = OmegaConf.to_container(task_config, resolve=True)
        seen["hydra"] = copy.deepcopy(HydraConfig.instance().cfg)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hydra.core.utils.configure_log", lambda *_: None)
        patch.chdir(tmp_path)
        job = composer.compose(overrides, 41)
        whole = composer.load(overrides, 41)
        done = run_job(
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=HydraContext(loader, callbacks=_NoCallbacks()),
        )
        _ = done.return_value
    assert repr(job.config) == repr(seen["config"])  # NaN is not equal to itself
    assert job.folder == Path(config.hydra.runtime.output_dir)
    assert list(job.overrides) == done.overrides
    assert job.options == OmegaConf.to_container(config.hydra.runtime.choices)

    # Not by `==`, which resolves interpolations, here without what they mean inside Hydra.
    assert OmegaConf.to_yaml(whole, sort_keys=True) == OmegaConf.to_yaml(config, sort_keys=True)

    subdir = config.hydra.output_subdir
    if subdir is None:
        assert not job.files
        return
    theirs = job.folder / subdir
    texts = {path.name: path.read_text(encoding="utf-8") for path in theirs.iterdir()}
    assert dict(job.files) == texts  # byte for byte
    for path in theirs.iterdir():
        path.unlink()
    job.save()
    assert {p.name: p.read_text(encoding="utf-8") for p in theirs.iterdir()} == texts


class _NoCallbacks:
    def __getattr__(self, event: str) -> Any:
        return lambda **_: None


BAD = [
    ["boo=1"],
    ["optimizer.betas.x=1"],
    ["activation=rleu"],
    ["+seed=1"],
    ["~nothing"],
    ["~activation=silu"],
    ["seed@x=1"],
    ["optimizer=null"],
    ["activation"],
    ["model.hidden=[1"],
    ["seed=1,2"],
    ["hydra.nothing=1"],
    ["hydra.job.num=x"],
    ["nogroup/x=1"],
    ["++activation=relu"],
    ["hydra.searchpath=3"],
    ["+note=${a"],
    ["model.activation._target_=torch.nn.ELU"],
]


@pytest.mark.parametrize("overrides", BAD, ids=" ".join)
def test_a_bad_job_is_refused_as_by_hydra(
    loader: ConfigLoader, composer: Composer, overrides: list[str]
) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 # which one is compared below
        loader.load_sweep_config(composer._master, overrides)
    for _ in range(2):  # also when it is remembered
        with pytest.raises(type(theirs.value)) as ours:
            composer.compose(overrides, 0)
        assert str(ours.value) == str(theirs.value)
        assert repr(ours.value.__cause__) == repr(theirs.value.__cause__)


def test_overrides_of_the_sweep_reach_its_jobs(loader: ConfigLoader) -> None:
    master = _master(loader, "hydra.sweep.subdir=x${hydra.job.num}", "hydra.verbose=true")
    composer = Composer(loader, master)
    for number, overrides in enumerate([("seed=1",), ("optimizer=adam",)]):
        ours = composer.load(overrides, number)
        config = _by_hydra(loader, master, overrides, number)
        assert ours.hydra.sweep == config.hydra.sweep
        assert ours.hydra.overrides == config.hydra.overrides
        assert composer.compose(overrides, number).folder.name == f"x{number}"


def test_jobs_share_what_is_equal(composer: Composer) -> None:
    one, other = (composer.compose([f"optimizer.lr={lr}"], 0) for lr in (0.1, 0.2))
    assert one.config["model"] is other.config["model"]
    assert one.options is other.options
    assert one.config["optimizer"] != other.config["optimizer"]


def test_hydras_own_configuration_is_put_back(composer: Composer) -> None:
    before = HydraConfig.instance().cfg
    composer.compose(["seed=1"], 0)
    assert HydraConfig.instance().cfg is before


def test_yaml_is_that_of_omegaconf() -> None:
    draw = random.Random(0)
    letters = [string.printable, "=,.[]{}'\"+~-: #", "0123456789eE.+-_:", "abynoft~", "é漢😀\t\n a"]
    for _ in range(1500):
        text = "".join(draw.choices(draw.choice(letters), k=draw.choice([0, 1, 3, 9, 40, 150])))
        key = draw.choice([text, "key", 1, 1.5, True, None])
        value = draw.choice([text, [text, "x"], [], {}, {"a": [text]}, {text: {"b": text}}])
        document = {"x": {"y": {key: value}}, key: [[text], {"z": text}], "k": {}}
        expected = yaml.dump(
            document,
            Dumper=get_omega_conf_dumper(),
            default_flow_style=False,
            allow_unicode=True,
            sort_keys=False,
        )
        assert to_yaml(document) == expected
