"""Swept keys, settings and tasks."""

from __future__ import annotations

import pytest
from conftest import compose_run

from neuronlab.swept import given_values, setting_name, swept_keys, task_of, without_seeds

# The overrides of runs, and the keys in which they differ.
GIVEN = [
    ([["seed=0"], ["seed=1"]], ("seed",)),
    ([["a=1", "b=1"], ["a=2", "b=1"]], ("a",)),
    ([["a=1", "b=1"], ["b=2", "a=1"]], ("b",)),
    ([["b=1", "a=1"], ["b=2", "a=2"]], ("b", "a")),  # in the order of the commands
    ([["a=1"], ["+c=3", "a=1"]], ("c",)),  # left alone in the first
    ([["+a=1"], ["++a=2"]], ("a",)),
    ([["a=1"], ["~a"]], ("a",)),
    ([["a=b=c"], ["a=b=d"]], ("a",)),
    ([["ckpt_path=x", "logger.run.flush_seconds=1"], []], ()),  # changes nothing that runs leave
    ([["logger=csv"], ["logger=tensorboard"]], ()),
    ([["a=1"]], ()),
    ([], ()),
]


@pytest.mark.parametrize(("runs", "keys"), GIVEN)
def test_swept_keys(runs: list[list[str]], keys: tuple[str, ...]) -> None:
    assert swept_keys(given_values(overrides) for overrides in runs) == keys


def test_values_are_texts_as_given() -> None:
    assert given_values(["++a.b=[1,2]", "c=d=e", "~f"]) == {"a.b": "[1,2]", "c": "d=e", "f": ""}


def test_seeds_make_no_setting() -> None:
    keys = ("data.seed", "activation", "seed", "data.order_seed", "optimizer.lr")
    assert without_seeds(keys) == ("activation", "optimizer.lr")


@pytest.mark.parametrize(
    ("keys", "values", "name"),
    [
        (("optimizer.lr", "activation"), (0.1, "silu"), "activation=silu,optimizer.lr=0.1"),
        (("model.hidden",), ("[8,8]",), "model.hidden=[8,8]"),
        ((), (), "all"),
    ],
)
def test_settings_are_named_as_runs_are(
    keys: tuple[str, ...], values: tuple[object, ...], name: str
) -> None:
    assert setting_name(keys, values) == name


@pytest.mark.parametrize(
    ("overrides", "task"),
    [
        (["data=students"], "bce of students, standardized"),
        (["data=sine"], "mse of sine"),
        (["data=circle", "loss=mse"], "mse of circle"),
    ],
)
def test_tasks(overrides: list[str], task: str) -> None:
    assert task_of(compose_run(*overrides)[0]) == task
