import datetime
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronlab.cells import TableError
from neuronlab.columns import Column, columns_of, kind_of, listed, to_numbers

DATE = datetime.date(2020, 1, 1)


def cells(**columns: Sequence[Any]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=pd.RangeIndex(1, count + 1), dtype=object)


def column(*values: Any) -> pd.Series:
    return cells(age=values)["age"]


@pytest.mark.parametrize(
    ("values", "decimal", "kind"),
    [
        (["1", "-2.5", "+3e5", ".5", "5.", "1E-3", "007"], "point", "numbers"),
        (["1", None, "2"], "point", "numbers"),
        (["inf", "-Infinity", "1"], "point", "numbers"),  # which is refused as a value
        (["1,5", "2", None, "-3,25e2"], "comma", "numbers"),
        (["a", "b", None], "point", "text"),
        (["1", "a", "b"], "point", "text"),  # fewer than half are numbers
        (["True", "False"], "point", "text"),
        (["1_000", "2_000"], "point", "text"),
        (["١", "٢"], "point", "text"),  # digits, to Python
        (["0x1f", "1e", "e5", ".", "-", "1 2", "1.2.3", "1,234.5"], "point", "text"),
        (["1.234,5", "1.234,6"], "comma", "text"),
        (["nan", "NaN.", "infinite"], "point", "text"),
    ],
)
def test_kind(values: list[Any], decimal: Literal["point", "comma"], kind: str) -> None:
    assert kind_of(column(*values), decimal) == kind


@pytest.mark.parametrize(
    ("values", "decimal", "said"),
    [
        (
            ["1", "abc", "2"],
            "point",
            "row 2, column age: 'abc' is not a number; data.categorical=[age] takes the column as "
            "text",
        ),
        (["1", "a", "2", "b"], "point", "row 2, column age: 'a' is not a number (2 such cells); "),
        (
            [None, "7", "1,5"],
            "point",
            "row 3, column age: '1,5' is a number with a decimal comma; data.decimal=comma",
        ),
        (
            ["1,5", "2,5"],
            "point",
            "row 1, column age: '1,5' is a number with a decimal comma; data.decimal=comma",
        ),
        (
            ["1.5", "2"],
            "comma",
            "row 1, column age: '1.5' is a number with a decimal point; data.decimal=point",
        ),
        (["1.5", "2.5", "1,5"], "point", "row 3, column age: '1,5' is not a number; "),
        ([None, None], "point", "no value in column age; data.exclude=[age]"),
        (
            [None, DATE],
            "point",
            "column age holds values of type date, neither numbers nor text; data.exclude=[age]",
        ),
        ([[1, 2], [3, 4]], "point", "column age holds values of type list, neither"),
        (["1", "2", "x\n" + "y" * 99], "point", "row 3, column age: 'x\\nyyy"),
    ],
)
def test_what_is_neither(values: list[Any], decimal: Literal["point", "comma"], said: str) -> None:
    with pytest.raises(TableError) as caught:
        kind_of(column(*values), decimal)
    assert str(caught.value).startswith(said)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200


def test_another_remedy_may_be_named() -> None:
    with pytest.raises(TableError, match=r"is not a number; ask a doctor$") as caught:
        kind_of(column("1", "a"), remedy="ask a doctor")
    assert caught.value.problem == "row 2, column age: 'a' is not a number"


def test_columns_and_their_categories() -> None:
    table = cells(age=["1", None, "2"], city=["b", "a", None], code=["10", "9", "10"])
    assert columns_of(table, ["code"]) == [
        Column("age"),
        Column("city", ("a", "b")),
        Column("code", ("10", "9")),
    ]


@pytest.mark.parametrize(
    ("table", "categorical", "said"),
    [
        (
            cells(a=["x", "y", "z"], b=["1", "2", "3"], c=["x", "y", "z"]),
            ["b"],
            "more than 2 different texts in a (3), b (3), c (3); data.exclude=[a,b,c] leaves them "
            "out, data.max_categories=3 takes them",
        ),
        (cells(a=[DATE, DATE]), ["a"], "column a holds values of type date, neither"),
    ],
)
def test_bad_columns(table: pd.DataFrame, categorical: list[str], said: str) -> None:
    with pytest.raises(TableError) as caught:
        columns_of(table, categorical, max_categories=2)
    assert str(caught.value).startswith(said)


def test_numbers_and_places() -> None:
    table = cells(city=["b", None, "a", "b"], extra=["?"] * 4, age=["1.5", "-2", None, "1e3"])
    x, notes = to_numbers(table, [Column("age"), Column("city", ("a", "b"))])
    nan = float("nan")
    np.testing.assert_array_equal(x, [[1.5, 1], [-2, nan], [nan, 0], [1000, 1]])
    assert x.dtype == torch.float64
    assert notes == []


def test_unseen_categories_are_said() -> None:
    table = cells(city=["Nantes", "Lyon", None, "Nantes"], kind=[*"abcd"])
    x, notes = to_numbers(table, [Column("city", ("Lyon",)), Column("kind", ("e",))])
    np.testing.assert_array_equal(x, [[-1, -1], [0, -1], [np.nan, -1], [-1, -1]])
    assert notes == [
        "city: 'Nantes' in 2 rows, unseen in training: taken as none of them",
        "kind: 'a', 'b', 'c' and 1 more in 4 rows, unseen in training: taken as none of them",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("abc", "row 2, column age: 'abc' is not a number"),
        ("inf", "row 2, column age: 'inf' is not a finite number"),
        ("-Infinity", "row 2, column age: '-Infinity' is not a finite number"),
        ("1e39", "row 2, column age: '1e39' is too large, above 3e+38"),
        ("-1e400", "row 2, column age: '-1e400' is too large, above 3e+38"),
        (DATE, "column age holds values of type date, neither numbers nor text"),
    ],
)
def test_cells_that_no_network_can_take(value: Any, said: str) -> None:
    values = [value, value] if value is DATE else ["1", value]
    with pytest.raises(TableError) as caught:
        to_numbers(cells(age=values), [Column("age")])
    assert str(caught.value).startswith(said)


def test_a_missing_column_is_named_with_the_nearest() -> None:
    said = "^hours: no such column; did you mean hour[?] allowed: hour, passed$"
    with pytest.raises(TableError, match=said):
        to_numbers(cells(hour=["1"], passed=["0"]), [Column("hours")])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-3e38, 3e38) | st.none(), min_size=1, max_size=20),
    st.sampled_from(["point", "comma"]),
)
def test_numbers_come_back_exactly(values: list[float | None], decimal: Any) -> None:
    texts = [None if value is None else repr(value) for value in values]
    if decimal == "comma":
        texts = [None if text is None else text.replace(".", ",") for text in texts]
    x, _ = to_numbers(cells(a=texts), [Column("a")], decimal)
    assert x[:, 0].numpy().tobytes() == np.array(values, dtype=float).tobytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(min_codepoint=1), max_size=4) | st.none(), min_size=1))
def test_categories_are_those_of_pandas(values: list[str | None]) -> None:
    table = cells(a=values)
    if all(value is None for value in values):
        return
    (made,) = columns_of(table, ["a"])
    x, notes = to_numbers(table, [made])
    truth = pd.Categorical(values)
    assert list(made.categories or ()) == list(truth.categories)
    np.testing.assert_array_equal(x[:, 0], np.where(truth.codes < 0, np.nan, truth.codes))
    assert notes == []


@pytest.mark.parametrize(
    "names",
    [
        ["age"],
        ["a", "b c"],
        ["mean radius (mm)", "it's"],
        ["null", "True", "5", "1e5"],
        ["é", "a,b"],
    ],
)
def test_listed_names_are_read_by_hydra(names: list[str]) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"data.exclude={listed(*names)}"])
    assert override.value() == names
