import io
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from neuronlab.cells import DELIMITERS, MISSING, TableError, read_cells

TEXT = 'name,city,note\nAnn, Paris ,\n\n"Bo",Lyon,"a, b"\nÇa,NA,"two\nlines"\n'


def expected(text: str, **how: Any) -> pd.DataFrame:
    """What pandas makes of a text, with our idea of what is missing."""
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, **how)
    frame = frame.map(str.strip)
    frame = frame.where(~frame.isin(list(MISSING)), None)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "UTF_8", "utf-16", "cp1252", "latin-1"])
@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_csv_is_read_as_pandas_reads_it(
    tmp_path: Path, delimiter: Any, encoding: str, newline: str
) -> None:
    truth = expected(TEXT)
    out = io.StringIO()
    truth.to_csv(out, sep=DELIMITERS[delimiter], index=False, na_rep="NA")
    content = out.getvalue().replace("\n", newline).encode(encoding)
    (tmp_path / "my.csv").write_bytes(content)
    cells = read_cells(tmp_path / "my.csv", delimiter=delimiter, encoding=encoding)
    truth["note"] = truth["note"].str.replace("\n", newline)
    assert_frame_equal(cells, truth)


def test_an_encoding_s_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    for content in (b'\xef\xbb\xbf"a b",c\n1,2\n', "\ufeffa b,c\n1,2\n".encode("utf-16-le")):
        (tmp_path / "my.csv").write_bytes(content)
        encoding = "utf-8" if content.startswith(b"\xef") else "utf-16-le"
        assert list(read_cells(tmp_path / "my.csv", encoding=encoding)) == ["a b", "c"]


def test_cells_and_names_are_stripped_and_rows_counted(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text(" a , b  c\n 1 ,\n\n2, NaN\nN/A,null \n NULL,nan\nnone,-\n")
    cells = read_cells(path)
    assert list(cells) == ["a", "b c"]
    assert list(cells.index) == [1, 2, 3, 4, 5]
    assert cells["a"].tolist() == ["1", "2", None, None, "none"]
    assert cells["b c"].tolist() == [None, None, None, None, "-"]
    assert cells.dtypes.tolist() == [object, object]


def test_spaces_may_align_columns(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("a  b   c\n1  20  3\n10 2   30\n")
    cells = read_cells(tmp_path / "my.csv", delimiter="space")
    assert cells.to_numpy().tolist() == [["1", "20", "3"], ["10", "2", "30"]]


def test_an_index_without_a_name_is_left_out(tmp_path: Path) -> None:
    truth = pd.DataFrame({"a": ["x", "y"], "b": ["1", "2"]}, index=[5, 7])
    truth.to_csv(tmp_path / "my.csv")
    cells = read_cells(tmp_path / "my.csv")
    assert cells.to_numpy().tolist() == truth.to_numpy().tolist()
    (note,) = cells.attrs["notes"]
    assert note.startswith("its first column has no name and is left out")
    truth.to_csv(tmp_path / "my.csv", index=False)
    assert read_cells(tmp_path / "my.csv").attrs["notes"] == ()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,x\n2,y\n", [["1", "x"], ["2", "y"]]),
        ("NA,7\n2,y\n", [[None, "7"], ["2", "y"]]),
        ("a,b\n1,x\n", [["1", "x"]]),
        ("b,1\nx,5\n", [["x", "5"]]),  # a name of ours: it names them
        ("c,d\n1,x\n", [["1", "x"]]),
    ],
)
def test_a_first_line_may_hold_values(tmp_path: Path, text: str, rows: list[list[Any]]) -> None:
    (tmp_path / "my.csv").write_text(text)
    cells = read_cells(tmp_path / "my.csv", names=["a", "b"])
    assert cells.to_numpy().tolist() == rows
    first = text.split("\n")[0].split(",")
    assert list(cells) == (first if len(rows) == 1 else ["a", "b"])


def test_values_that_no_name_fits(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("1,2,3\n4,5,6\n")
    with pytest.raises(TableError, match=r"^row 1 has 3 cells instead of 2$"):
        read_cells(tmp_path / "my.csv", names=["a", "b"])


@pytest.mark.parametrize("text", ["name\nAnn Lee\nBo Ray\n", "name\nAnn\nBo\n", "age\n3\n"])
def test_one_column_is_a_table_of_one_column(tmp_path: Path, text: str) -> None:
    (tmp_path / "my.csv").write_text(text)
    assert read_cells(tmp_path / "my.csv").shape == (text.count("\n") - 1, 1)


def test_a_large_file_is_refused_or_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    with path.open("wb") as file:  # a hole, which takes no room
        file.write(b"a,b\n1,2\n3,4\n")
        file.truncate(2_147_483_648)
    with pytest.raises(TableError) as caught:
        read_cells(path)
    assert str(caught.value) == (
        "has 2,147.5 MB, the limit is 200 MB; data.max_mb=2148 allows it, data.rows=10000 reads "
        "its first rows"
    )
    assert caught.value.problem == "has 2,147.5 MB, the limit is 200 MB"


def test_the_end_of_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_bytes(b"a,b\n" + b"1,2\n" * 10_000 + b"\xff\xfe\n" + b"1\n" * 10_000)
    assert read_cells(path, rows=5, max_mb=0.01).shape == (5, 2)
    with pytest.raises(TableError, match=r"^line 10002: byte 0xff is no text in utf-8"):
        read_cells(path)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=6),
    st.sampled_from([",", ";", "\t", "|"]),
)
def test_any_text_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], sign: str
) -> None:
    truth = pd.DataFrame(rows, columns=["a", "b", "c"])
    path = tmp_path_factory.mktemp("any") / "my.csv"
    truth.to_csv(path, sep=sign, index=False, quoting=1)
    name: Any = next(name for name, own in DELIMITERS.items() if own == sign)
    cells = read_cells(path, delimiter=name)
    stripped = [[cell.strip() for cell in row] for row in rows]
    assert cells.to_numpy().tolist() == [
        [None if cell in MISSING else cell for cell in row] for row in stripped
    ]


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_a_table_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "my.csv"
    path.write_bytes(content)
    try:
        line = f"{len(read_cells(path))} rows"
    except TableError as error:
        line = str(error)
    assert line != "0 rows"
    assert len(line.splitlines()) == 1


def kinds() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    size = 200
    floats = draw.normal(size=size) * 10.0 ** draw.integers(-30, 30, size)
    return pd.DataFrame(
        {
            "floats": np.where(draw.random(size) < 0.1, np.nan, floats),
            "singles": floats.astype(np.float32),
            "ints": draw.integers(-(2**62), 2**62, size),
            "bytes": draw.integers(0, 255, size).astype(np.uint8),
            "holes": pd.array([None, 1] * (size // 2), dtype="Int64"),
            "flags": draw.random(size) < 0.5,
            "texts": draw.choice([" a ", "b,c", "é", "NA", ""], size),
            "kinds": pd.Categorical(draw.choice(["x", "y"], size)),
        }
    )


def test_parquet_equals_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    truth = kinds().astype({"singles": np.float64})  # to text as the number that it is
    truth.to_csv(tmp_path / "my.csv", index=False)
    kinds().to_parquet(tmp_path / "my.data")  # told by its content
    from_csv, cells = read_cells(tmp_path / "my.csv"), read_cells(tmp_path / "my.data")
    numbers = ["floats", "singles"]  # which have several texts
    assert_frame_equal(cells.drop(columns=numbers), from_csv.drop(columns=numbers))
    for name in numbers:
        assert all(cell is None or isinstance(cell, str) for cell in cells[name])
        np.testing.assert_array_equal(cells[name].astype(float), truth[name])
    assert_frame_equal(read_cells(tmp_path / "my.data", rows=70), cells[:70])


def test_parquet_keeps_what_is_neither_numbers_nor_text(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "price": [Decimal("1.10"), None, Decimal("-3.25")],
            "infinite": [np.inf, -np.inf, 0.0],
            "when": pd.date_range("2020-01-01", periods=3),
            "pair": [[1, 2], [3, 4], None],
            "nothing": [None] * 3,
        },
        index=[7, 8, 9],
    )
    frame.to_parquet(tmp_path / "my.parquet")
    cells = read_cells(tmp_path / "my.parquet")
    assert cells["price"].tolist() == ["1.10", None, "-3.25"]
    assert cells["infinite"].tolist() == ["inf", "-inf", "0"]
    assert cells["when"].tolist() == frame["when"].tolist()
    assert cells["pair"].tolist() == [[1, 2], [3, 4], None]
    assert cells["nothing"].tolist() == [None] * 3
    assert cells.shape == (3, 5)  # without the index, which pandas writes along


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a", "a"], "more than one column is called a"), ([], "is empty"), (["a", ""], "no name")],
)
def test_bad_parquet(tmp_path: Path, names: list[str], said: str) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_arrays([pa.array([1, 2]) for _ in names], names=names)
    pq.write_table(table, tmp_path / "my.parquet")
    with pytest.raises(TableError, match=said):
        read_cells(tmp_path / "my.parquet")


def test_parquet_without_rows(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"a": [], "b": []}).to_parquet(tmp_path / "my.parquet")
    for rows in (None, 3):
        with pytest.raises(TableError, match=r"^has no rows, only the names of columns \(a, b\)$"):
            read_cells(tmp_path / "my.parquet", rows=rows)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.parquet").write_bytes(b"PAR1" + bytes(8) + b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TableError, match=r"pyarrow is missing.*; pip install pyarrow"):
        read_cells(tmp_path / "my.parquet")
