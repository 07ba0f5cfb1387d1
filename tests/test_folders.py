"""Names of folders: safe on every file system, and never shared by two jobs."""

from __future__ import annotations

import random
import string

import pytest
from omegaconf import OmegaConf

from neuronlab.folders import NAME_BYTES, UNSAFE, run_name

NAMES = [
    ("activation=silu,optimizer.lr=0.1,seed=3", "activation=silu,optimizer.lr=0.1,seed=3"),
    ("model.hidden=[16,8]", "model.hidden=[16,8]"),
    ("+x={a:1}", "+x={a_1}-"),
    ("data.file=/tmp/x", "data.file=_tmp_x-"),
    ("data.file=..\\x", "data.file=.._x-"),
    ("note='a b'", "note=a b-"),
    ('a=b:c*d?"e"<f>|g', "a=b_c_d_e_f__g-"),
    ("a=1.", "a=1_-"),
    (".", "_-"),
    ("..", "_-"),
    ("a=\n", "a=_-"),
    ("", "run"),
]


@pytest.mark.parametrize(("dirname", "name"), NAMES)
def test_unsafe_characters_are_replaced(dirname: str, name: str) -> None:
    made = run_name(dirname)
    if name.endswith("-"):
        assert made.startswith(name)
        assert len(made) == len(name) + 8
    else:
        assert made == name


def test_names_are_safe_short_and_distinct() -> None:
    draw = random.Random(0)
    letters = string.printable + "é漢😀"
    originals = {
        "".join(draw.choices(letters, k=draw.choice([1, 2, 50, 300]))) for _ in range(3000)
    }
    names = [run_name(original) for original in originals]
    assert len(set(names)) == len(originals)
    assert max(len(name.encode()) for name in names) == NAME_BYTES
    assert [name for name in names if UNSAFE.search(name)] == []


def test_a_name_reaches_the_resolver_as_it_is() -> None:
    dirname = "+b={x:[1,'2 }']},a=\"q,r\""
    config = OmegaConf.create({"dirname": dirname, "name": "${run_name:${dirname}}"})
    assert config.name == run_name(dirname)
