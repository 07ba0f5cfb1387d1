import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import compose_run
from hydra.core.override_parser.overrides_parser import OverridesParser
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from neuronlab import tables
from neuronlab.build import build_data
from neuronlab.checks import check
from neuronlab.datasets import Table
from neuronlab.errors import ArgumentError
from neuronlab.tables import read_table


def read(path: Path, target: str | None = "y", **arguments: Any) -> Table:
    return read_table(torch.Generator(), str(path), target, **arguments)


class Bad(NamedTuple):
    """A table that cannot be used, or arguments that do not fit it, and what is said of it."""

    name: str
    content: bytes | None  # of the file my.csv; None where there is none
    arguments: dict[str, Any]  # beside path=my.csv and target=y
    said: list[str]  # parts of the line, the first being its beginning


def rows(*lines: str) -> bytes:
    return "\n".join([*lines, ""]).encode()


def parted(line: str, count: int = 6) -> bytes:
    """Rows of a small table that is good but for what stands in the line."""
    return rows("x,city,y", *[f"{row},Paris,{row % 2}" for row in range(1, count)], line)


GOOD = rows("x,city,y", *[f"{row},{'Paris' if row % 3 else 'Lyon'},{row % 2}" for row in range(10)])
SIZES = rows("x,y", *[f"{row},{size}" for row, size in enumerate("smlsmlsmls")])
HOLES = rows("x,city,y", "1,Paris,0", ",Lyon,1", "NA,,0", "4,Lyon,1", "5,Paris,")
BAD = [
    # Files
    Bad("no file", None, {}, ["path=my.csv: no such file"]),
    Bad("a near file", GOOD, {"path": "m.csv"}, ["path=m.csv: no such file; did you mean my.csv?"]),
    Bad("a file as folder", GOOD, {"path": "my.csv/a"}, ["path=my.csv/a: cannot be read (Not a"]),
    Bad("a folder", None, {"path": "."}, ["path=.: is a folder"]),
    Bad("path null", GOOD, {"path": None}, ["path=null: must be the path of a CSV"]),
    Bad("empty", b"", {}, ["path=my.csv: is empty"]),
    Bad("blank", b"\n \r\n\t\n", {}, ["path=my.csv: is empty"]),
    Bad("a mark alone", b"\xef\xbb\xbf", {}, ["path=my.csv: is empty"]),
    Bad("a header alone", b"x,y\n", {}, ["path=my.csv: has no rows, only the names", "(x, y)"]),
    Bad("Excel", b"PK\x03\x04" + bytes(30), {}, ["path=my.csv: is an Excel workbook", "as CSV"]),
    Bad("old Excel", b"\xd0\xcf\x11\xe0" + bytes(30), {}, ["path=my.csv: is an old Excel"]),
    Bad("gzip", b"\x1f\x8b\x08" + bytes(9), {}, ["path=my.csv: is compressed with gzip", "unpack"]),
    Bad("zeros", bytes([1, 0, 0, 7] * 9), {}, ["path=my.csv: is neither text nor a Parquet file"]),
    Bad("damaged Parquet", b"PAR1" + bytes(99), {}, ["path=my.csv: is a damaged Parquet file ("]),
    Bad(
        "too large",
        GOOD * 100,
        {"max_mb": 0.005},
        ["path=my.csv: has 0.0 MB, the limit is 0.005 MB", "data.max_mb=1 ", "data.rows="],
    ),
    # Encodings and delimiters
    Bad(
        "cp1252",
        rows("x,city,y", "1,Paris,0", "2,Orléans,1").decode().encode("cp1252"),
        {},
        ["path=my.csv: line 3: byte 0xe9 is no text in utf-8", "'Orléans'", "data.encoding=cp1252"],
    ),
    Bad(
        "no Western encoding",
        b"x,y\n1,\x81\n",
        {},
        ["path=my.csv: line 2: byte 0x81 is no text in utf-8; data.encoding names another"],
    ),
    Bad(
        "UTF-16",
        GOOD.decode().encode("utf-16"),
        {},
        ["path=my.csv: is text in utf-16, not in utf-8; data.encoding=utf-16"],
    ),
    Bad(
        "UTF-16 without a mark",
        GOOD.decode().encode("utf-16-be"),
        {"encoding": "latin-1"},
        ["path=my.csv: is text in utf-16-be, not in latin-1; data.encoding=utf-16-be"],
    ),
    Bad(
        "no UTF-16",
        GOOD,
        {"encoding": "utf-16"},
        ["path=my.csv: is text in utf-8, not in utf-16; data.encoding=utf-8"],
    ),
    Bad(
        "no ASCII",
        "x,y\n1,é\n".encode(),
        {"encoding": "ascii"},
        ["path=my.csv: is text in utf-8, not in ascii; data.encoding=utf-8"],
    ),
    Bad(
        "no encoding",
        GOOD,
        {"encoding": "utf-99"},
        ["path=my.csv: data.encoding=utf-99: must be utf-8, utf-16, cp1252"],
    ),
    Bad("bytes to bytes", GOOD, {"encoding": "hex"}, ["path=my.csv: data.encoding=hex: must be"]),
    *[
        Bad(
            f"parted by {name}",
            GOOD.replace(b",", sign),
            {},
            [f"path=my.csv: each row has 3 cells parted by {name}, not by comma", f"ter={name}"],
        )
        for name, sign in {"semicolon": b";", "tab": b"\t", "pipe": b"|", "space": b" "}.items()
    ],
    Bad(
        "parted by comma",
        GOOD,
        {"delimiter": "semicolon"},
        ["path=my.csv: each row has 3 cells parted by comma, not by semicolon", "delimiter=comma"],
    ),
    Bad(
        "semicolons and decimal commas",
        rows("x;y", "1,5;2,25", "2,5;3,25"),
        {},
        ["path=my.csv: each row has 2 cells parted by semicolon", "data.delimiter=semicolon"],
    ),
    Bad(
        "decimal commas",
        rows("x;y", "1,5;0", "2,5;1", "3,5;0"),
        {"delimiter": "semicolon"},
        ["path=my.csv: row 1, column x: '1,5' is a number with a decimal comma", "decimal=comma"],
    ),
    Bad(
        "decimal points",
        rows("x;y", "7;0", "2.5;1", "3.5;0"),
        {"delimiter": "semicolon", "decimal": "comma"},
        ["path=my.csv: row 2, column x: '2.5' is a number with a decimal point", "decimal=point"],
    ),
    # Rows and names
    Bad("more cells", parted("1,Paris,0,7"), {}, ["path=my.csv: row 6 has 4 cells instead of 3"]),
    Bad("fewer cells", parted("1,Paris"), {}, ["path=my.csv: row 6 has 2 cells instead of 3"]),
    Bad(
        "names of rows without a name",
        rows("x,y", "a,1,2", "b,3,4"),
        {},
        ["path=my.csv: row 1 has 3 cells instead of 2"],
    ),
    Bad(
        "an open quote",
        parted('"1,Paris,0'),
        {},
        ["path=my.csv: line 7: its quotation marks do not pair up"],
    ),
    Bad(
        "a quote in quotes",
        parted('1,"Pa"ris",0'),
        {},
        ["path=my.csv: line 7: its quotation marks do not pair up"],
    ),
    Bad("names twice", rows("x,y,x", "1,2,3"), {}, ["path=my.csv: more than one column is called"]),
    Bad("no name", rows("x,,y", "1,2,3"), {}, ["path=my.csv: column 2 of 3 has no name"]),
    Bad("no last name", rows(",x,", "1,2,3"), {}, ["path=my.csv: column 3 of 3 has no name"]),
    Bad(
        "no header",
        rows("5.1,3.5", "4.9,3"),
        {},
        ["path=my.csv: its first line must name the columns, and holds 5.1, 3.5"],
    ),
    Bad("one row", rows("x,y", "1,2"), {}, ["path=my.csv: has one row"]),
    Bad("one row asked for", GOOD, {"rows": 1}, ["path=my.csv: has one row"]),
    Bad("no rows asked for", GOOD, {"rows": 0}, ["rows=0: must be a whole number ≥ 1"]),
    Bad("no bytes allowed", GOOD, {"max_mb": 0}, ["max_mb=0: must be a number above 0"]),
    Bad("one text allowed", GOOD, {"max_categories": 1}, ["max_categories=1: must be a whole"]),
    # Columns
    Bad("target null", GOOD, {"target": None}, ["target=null: must be one of the columns x"]),
    Bad(
        "no such target",
        rows("hours,passed", "1,0", "2,1"),
        {"target": "pased"},
        ["target=pased: no such column; did you mean passed? allowed: hours, passed"],
    ),
    Bad(
        "no such column",
        GOOD,
        {"columns": ["x", "cty"]},
        ["columns=[x,cty]: cty: no such column; did you mean city? allowed: city, x, y"],
    ),
    Bad("nothing to exclude", GOOD, {"exclude": ["z"]}, ["exclude=[z]: z: no such column"]),
    Bad("no such text", GOOD, {"categorical": ["z"]}, ["categorical=[z]: z: no such column"]),
    Bad("no such split", GOOD, {"split_column": "z"}, ["split_column=z: no such column"]),
    Bad("the target given", GOOD, {"columns": ["x", "y"]}, ["columns=[x,y]: y is the target"]),
    Bad(
        "the target as text",
        GOOD,
        {"categorical": ["y"]},
        ["categorical=[y]: y is the target, of which data.task says what it is"],
    ),
    Bad("the target splits", GOOD, {"split_column": "y"}, ["split_column=y: must be another"]),
    Bad(
        "all excluded",
        GOOD,
        {"exclude": ["x", "city"]},
        ["path=my.csv: no column is left to predict y from; it has x, city, y"],
    ),
    Bad("no columns", GOOD, {"columns": []}, ["path=my.csv: no column is left to predict y from"]),
    Bad("a target alone", rows("y", "1", "2"), {}, ["path=my.csv: no column is left"]),
    # Cells
    Bad(
        "text among numbers",
        parted("abc,Paris,1"),
        {},
        ["path=my.csv: row 6, column x: 'abc' is not a number", "data.categorical=[x]"],
    ),
    Bad(
        "texts among numbers",
        parted("?,Paris,1") + b"?,Paris,0\n",
        {},
        ["path=my.csv: row 6, column x: '?' is not a number (2 such cells)"],
    ),
    Bad("an underscore", parted("1_0,Paris,1"), {}, ["path=my.csv: row 6, column x: '1_0' is"]),
    Bad(
        "infinity",
        parted("inf,Paris,1"),
        {},
        ["path=my.csv: row 6, column x: 'inf' is not a finite number"],
    ),
    Bad(
        "no 32 bits",
        parted("1e39,Paris,1"),
        {},
        ["path=my.csv: row 6, column x: '1e39' is too large, above 3e+38"],
    ),
    Bad(
        "no 64 bits",
        parted("-1e999,Paris,1"),
        {},
        ["path=my.csv: row 6, column x: '-1e999' is too large"],
    ),
    Bad(
        "an infinite target",
        rows("x,y", "1,5", "2,inf", "3,7"),
        {},
        ["path=my.csv: row 2, column y: 'inf' is not a finite number"],
    ),
    Bad(
        "missing",
        HOLES,
        {},
        [
            "path=my.csv: missing values in x (2 rows), city (1 row), y (1 row)",
            "data.missing=drop",
            "data.missing=mean",
        ],
    ),
    Bad(
        "a missing target",
        rows("x,y", "1,0", "2,NaN", "3,1"),
        {},
        ["path=my.csv: missing values in y (1 row); data.missing=drop leaves such rows out"],
    ),
    Bad(
        "too many dropped",
        HOLES.replace(b"4,Lyon", b"null,Lyon"),
        {"missing": "drop"},
        ["missing=drop: leaves 1 of 5 rows, with values missing in x (3 rows), city (1 row), y"],
    ),
    Bad(
        "too many without a target",
        rows("x,y", "1,", "2,1"),
        {"missing": "mean"},
        ["missing=mean: leaves 1 of 2 rows"],
    ),
    Bad(
        "empty columns",
        rows("x,size,a b,y", "1,,,0", "2,,,1"),
        {"missing": "mean"},
        ["path=my.csv: no value in columns size, a b; data.exclude=[size,a b]"],
    ),
    Bad(
        "an empty target",
        rows("x,y", "1,", "2,"),
        {"missing": "drop"},
        ["path=my.csv: column y has no value in any row"],
    ),
    Bad(
        "too many texts",
        rows("x,name,no,y", *[f"{row},name {row},n{row % 4},{row % 2}" for row in range(8)]),
        {"max_categories": 3},
        [
            "path=my.csv: more than 3 different texts in name (8), no (4)",
            "data.exclude=[name,no]",
            "data.max_categories=8",
        ],
    ),
    # Targets
    Bad(
        "a constant target",
        rows("x,y", "1,yes", "2,yes"),
        {},
        ["target=y: is 'yes' in all 2 rows; there is nothing to learn"],
    ),
    Bad("a constant number", rows("x,y", "1,3", "2,3.0"), {}, ["target=y: is '3' in all 2 rows"]),
    Bad(
        "a class with one row",
        SIZES + b"9,xl\n",
        {},
        ["target=y: a single row of class xl; each needs one to learn from and one to check"],
    ),
    Bad(
        "a pass with one row",
        rows("x,y", "1,no", "2,no", "3,yes"),
        {},
        ["target=y: a single row of class yes"],
    ),
    Bad(
        "classes with one row",
        rows("x,y", "1,a", "2,b", "3,c", "4,c"),
        {},
        ["target=y: a single row of classes a, b"],
    ),
    Bad(
        "too many classes",
        rows("x,y", *[f"{row},class {row % 5}" for row in range(10)]),
        {"max_categories": 4},
        ["target=y: has 5 different values", "at most 4, data.max_categories=5 takes them"],
    ),
    Bad(
        "text for regression",
        SIZES,
        {"task": "regression"},
        ["task=regression: must be for classes, since target y holds l, m, s"],
    ),
    Bad(
        "three values for pass/fail",
        SIZES,
        {"task": "binary"},
        ["task=binary: must be for other values, since target y holds l, m, s"],
    ),
    Bad(
        "text among a target's numbers",
        rows("x,y", "1,2", "2,3", "3,?"),
        {},
        ["path=my.csv: row 3, column y: '?' is not a number; data.task=multiclass"],
    ),
    Bad(
        "no such pass",
        GOOD,
        {"positive": "yes"},
        ["positive=yes: must be one of the target's, 0, 1"],
    ),
    Bad("no pass", SIZES, {"positive": "s"}, ["positive=s: must be null where the target is not"]),
    Bad(
        "parts unknown",
        rows("x,p,y", "1,train,0", "2,train,1", "3,dev,0", "4,test,1"),
        {"split_column": "p"},
        ["split_column=p: must be a column that holds train, val or test", "train (2), dev (1)"],
    ),
    Bad(
        "a part without rows",
        rows("x,p,y", "1,train,0", "2,train,1", "3,val,0", "4,val,1"),
        {"split_column": "p"},
        ["split_column=p: must be a column that holds train, val or test, each in some rows"],
    ),
    Bad(
        "a part missing",
        rows("x,p,y", "1,train,0", "2,val,1", "3,test,0", "4,,1"),
        {"split_column": "p", "missing": "error"},
        ["path=my.csv: missing values in p (1 row); data.missing=drop"],
    ),
]


def said_of(bad: Bad, **others: Any) -> str | None:
    """What is said of a table in the working folder; nothing if it can be used."""
    try:
        read_table(
            torch.Generator(), **{"path": "my.csv", "target": "y", **bad.arguments, **others}
        )
    except ArgumentError as error:
        return str(error)
    return None


@pytest.fixture(params=BAD, ids=[bad.name for bad in BAD])
def bad(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bad:
    """A case, with its file in the working folder."""
    monkeypatch.chdir(tmp_path)
    case: Bad = request.param
    if case.content is not None:
        Path("my.csv").write_bytes(case.content)
    return case


def test_bad_tables_get_one_line(bad: Bad) -> None:
    line = said_of(bad)
    assert line is not None
    assert len(line.splitlines()) == 1
    assert line.startswith(bad.said[0])
    assert [part for part in bad.said if part not in line] == []
    assert said_of(bad) == line  # again from what has been kept


def test_remedies_help(bad: Bad) -> None:
    """What a line tells one to give can be given, and then the line is another or none."""
    line = said_of(bad)
    for remedy in re.findall(r"data\.\w+=(?:\[[^]]*\]|[\w.-]+)", line or ""):
        (override,) = OverridesParser.create().parse_overrides([remedy])
        name, value = override.key_or_group.removeprefix("data."), override.value()
        if bad.arguments.get(name) != value:  # else it says what was given
            assert said_of(bad, **{name: value}) != line


TABLES = {  # of scikit-learn: the target's name, its texts, and what is said of the table
    "cancer": (
        load_breast_cancer,
        ["M", "B"],
        "30 of numbers) · target y: pass/fail, B (357), M (212)",
    ),
    "wine": (
        load_wine,
        ["red", "rosé", "white"],
        "13 of numbers) · target y: 3 classes, red (59),",
    ),
    "diabetes": (load_diabetes, None, "10 of numbers) · target y: regression, from 25 to 346"),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("name", TABLES)
def test_real_tables(tmp_path: Path, name: str, suffix: str) -> None:
    load, texts, said = TABLES[name]
    truth = load(as_frame=True).frame.rename(columns={"target": "y"})
    if texts is not None:
        truth["y"] = truth["y"].map(dict(enumerate(texts)))
    path = tmp_path / f"{name}.{suffix}"
    if suffix == "csv":
        truth.to_csv(path, index=False)
    else:
        pytest.importorskip("pyarrow")
        truth.to_parquet(path)
    table = read(path)
    x = truth.drop(columns="y")
    assert table.columns == tuple(x.columns)
    assert table.x.dtype == torch.float64
    np.testing.assert_array_equal(table.x, x)
    assert table.notes[0].startswith(f"{path.name}: {len(x)} rows, {x.shape[1]} columns (")
    assert said in table.notes[0]
    if table.task == "regression":
        assert table.y.dtype == torch.float64
        np.testing.assert_array_equal(table.y[:, 0], truth["y"])
    else:
        assert table.y.dtype == (torch.float32 if table.task == "binary" else torch.int64)
        names = np.array(table.classes)[table.y.flatten().long()]
        assert names.tolist() == truth["y"].tolist()


def write(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path / "my.csv", index=False)
    return path / "my.csv"


def people(count: int = 60) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": draw.integers(18, 90, count),
            "city": draw.choice(["Paris", "Lyon", "Nantes"], count),
            "code": draw.choice([75001, 69001], count),
            "height": draw.normal(1.7, 0.1, count),
            "y": draw.choice(["no", "yes"], count),
        }
    )


def test_text_becomes_categories(tmp_path: Path) -> None:
    truth = people()
    table = read(write(tmp_path, truth), categorical=["code"])
    categories = {"city": ("Lyon", "Nantes", "Paris"), "code": ("69001", "75001")}
    assert table.categories == categories
    expected = truth.drop(columns="y").assign(
        city=truth["city"].astype("category").cat.codes,
        code=truth["code"].astype("category").cat.codes,
    )
    np.testing.assert_array_equal(table.x, expected)
    assert "60 rows, 4 columns (2 of numbers, 2 of text)" in table.notes[0]


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        ({}, ["age", "city", "code", "height"]),
        ({"columns": ["height", "age"]}, ["height", "age"]),
        ({"exclude": ["code"]}, ["age", "city", "height"]),
        ({"columns": ["age", "city"], "exclude": ["city", "y"]}, ["age"]),
        ({"target": "height"}, ["age", "city", "code", "y"]),
    ],
)
def test_columns_are_chosen(tmp_path: Path, arguments: dict[str, Any], columns: list[str]) -> None:
    truth = people()
    table = read(write(tmp_path, truth), **{"target": "y", **arguments})
    assert table.columns == tuple(columns)
    values = truth[columns].apply(
        lambda own: own.astype("category").cat.codes if own.dtype == object else own
    )
    np.testing.assert_array_equal(table.x, values)


def test_rows_are_the_first(tmp_path: Path) -> None:
    path = write(tmp_path, people())
    table = read(path, rows=20, max_mb=1e-6)  # a part may be read of a file of any size
    np.testing.assert_array_equal(table.x[:, 0], people()["age"][:20])
    assert "my.csv: read to row 20 (data.rows)" in table.notes


def people_with_holes() -> pd.DataFrame:
    """The same people, of whom in all columns some values are missing."""
    truth = people().astype(object)
    truth.loc[3:7, "age"] = None
    truth.loc[7:8, "city"] = None
    truth.loc[9, "y"] = None
    return truth


def test_missing_rows_are_dropped(tmp_path: Path) -> None:
    truth = people_with_holes()
    table = read(write(tmp_path, truth), missing="drop")
    left = truth.dropna()
    np.testing.assert_array_equal(table.x[:, 0], left["age"].astype(float))
    assert len(table.y) == len(left) == 53
    said = "7 rows left out, with missing values in age (5 rows), city (2 rows), y (1 row)"
    assert said in table.notes
    assert not table.fill


def test_missing_values_are_left_to_be_filled(tmp_path: Path) -> None:
    truth = people_with_holes()
    table = read(write(tmp_path, truth), missing="mean")
    left = truth.dropna(subset="y")
    np.testing.assert_array_equal(table.x.isnan(), left.drop(columns="y").isna())
    np.testing.assert_array_equal(table.x[:, 0], left["age"].astype(float))
    assert table.fill
    assert "1 row left out, with missing values in y" in table.notes
    assert (
        "missing values filled in with the mean of training rows: age (5), city (2)" in table.notes
    )


@pytest.mark.parametrize(
    ("target", "arguments", "task", "classes"),
    [
        (["no", "yes"], {}, "binary", ("no", "yes")),
        (["no", "yes"], {"positive": "no"}, "binary", ("yes", "no")),
        (["Yes", "yes"], {"positive": "Yes"}, "binary", ("yes", "Yes")),
        ([0, 1], {}, "binary", ("0", "1")),
        ([0, 1], {"positive": 0}, "binary", ("1", "0")),
        ([1, 2.5], {"positive": 1.0}, "binary", ("2.5", "1")),
        ([True, False], {}, "binary", ("False", "True")),
        ([True, False], {"positive": False}, "binary", ("True", "False")),
        ([0, 1], {"task": "regression"}, "regression", ()),
        ([0, 1], {"task": "multiclass"}, "multiclass", ("0", "1")),
        ([10, 9, 1], {}, "regression", ()),
        ([10, 9, 1], {"task": "multiclass"}, "multiclass", ("1", "9", "10")),
        ([0.5, 1, 2], {}, "regression", ()),
        (["b", "a", "c"], {}, "multiclass", ("a", "b", "c")),
        (["1", "2", "?"], {"task": "multiclass"}, "multiclass", ("1", "2", "?")),
    ],
)
def test_the_task_is_told_by_the_target(
    tmp_path: Path, target: list[Any], arguments: dict[str, Any], task: str, classes: tuple[str]
) -> None:
    truth = pd.DataFrame({"x": range(12), "y": target * (12 // len(target))})
    table = read(write(tmp_path, truth), **arguments)
    assert (table.task, table.classes) == (task, classes)
    if task == "regression":
        np.testing.assert_array_equal(table.y[:, 0], truth["y"].astype(float))
    else:
        texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in truth["y"]]
        assert [table.classes[code] for code in table.y.flatten().long()] == texts


@pytest.mark.parametrize(("target", "noted"), [([1, 2, 3], True), ([1, 2, 3.5], False)])
def test_grades_might_be_classes(tmp_path: Path, target: list[float], noted: bool) -> None:
    truth = pd.DataFrame({"x": range(12), "y": target * 4})
    notes = read(write(tmp_path, truth)).notes
    said = "target y: whole numbers, taken as regression; data.task=multiclass takes its 3 values"
    assert any(note.startswith(said) for note in notes) == noted


def test_a_column_splits(tmp_path: Path) -> None:
    words = ["train", "Train", "validation", "val", "test", "train"]
    truth = people().assign(part=words * 10)
    table = read(write(tmp_path, truth), split_column="part")
    assert "part" not in table.columns
    assert table.parts is not None
    kinds = truth["part"].str.lower().replace("validation", "val")
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(table.parts[part], np.flatnonzero(kinds == part))


def test_splits_follow_dropped_rows(tmp_path: Path) -> None:
    truth = pd.DataFrame({
        "x": [1, None, 3, 4, 5, 6], "y": [0, 1, 0, 1, 0, 1],
        "part": ["train", "train", "val", "val", "test", "test"],
    })  # fmt: skip
    table = read(write(tmp_path, truth), split_column="part", missing="drop")
    assert {part: table.x[rows, 0].tolist() for part, rows in (table.parts or {}).items()} == {
        "train": [1], "val": [3, 4], "test": [5, 6],
    }  # fmt: skip


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read_paths = write(tmp_path, people()), []
    original = tables.read_cells

    def counted(path: Path, **how: Any) -> pd.DataFrame:
        read_paths.append(path)
        return original(path, **how)

    monkeypatch.setattr(tables, "read_cells", counted)
    table = read(path, columns=["age"])
    assert read(path, columns=["age"]) is table
    assert len(read_paths) == 1
    assert read(path, columns=["height"]).columns == ("height",)
    assert len(read_paths) == 2
    for _ in range(3):
        with pytest.raises(ArgumentError, match="no such column"):
            read(path, target="z")
    assert len(read_paths) == 3
    path.write_text(path.read_text().replace("Paris", "Lille"))
    os.utime(path, ns=(0, 0))
    assert read(path, columns=["city"]).categories == {"city": ("Lille", "Lyon", "Nantes")}
    assert read(path, columns=["age"]) is not table


def test_true_is_not_one(tmp_path: Path) -> None:
    """The arguments are the key of what is kept, and to Python `True == 1`."""
    path = write(tmp_path, pd.DataFrame({"x": range(4), "y": [0, 1, 0, 1]}))
    assert read(path, positive=1).classes == ("0", "1")
    with pytest.raises(ArgumentError, match="positive=true: must be one of the target's, 0, 1"):
        read(path, positive=True)


def test_nothing_is_drawn(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    read_table(generator, str(write(tmp_path, people())), "y")
    assert torch.equal(generator.get_state(), before)


def test_the_configuration(tmp_path: Path) -> None:
    path = write(tmp_path, people())
    config, _ = compose_run("data=table", f"data.path={path}", "data.target=y")
    check(config)
    data = build_data(config["data"])
    assert (len(data.rows["train"]), data.order.batch_size) == (48, 32)
    again = build_data({**config["data"], "seed": 1})
    assert again.table is data.table  # members of a sweep share it


@pytest.mark.parametrize(("positive", "classes"), [("yes", ("no", "yes")), ("no", ("yes", "no"))])
def test_the_command_line_s_types(tmp_path: Path, positive: str, classes: tuple[str, str]) -> None:
    path = write(tmp_path, people())
    given = ["data.target=y", f"data.positive={positive}", "data.exclude=[city]", "data.rows=50"]
    config, _ = compose_run("data=table", f"data.path={path}", *given, "data.max_mb=1")
    check(config)
    assert build_data(config["data"]).table.classes == classes
