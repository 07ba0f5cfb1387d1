"""The cells of a table as they stand in a file, CSV or Parquet, each as text.

Letters: B rows, C columns.

A file may be anything. What can be told from its bytes is told in one line: what came, and which
setting reads it.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import math
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Delimiter = Literal["comma", "semicolon", "tab", "pipe", "space"]

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL"})
PARQUET = b"PAR1"
NOT_TABLES = {  # how files begin that are none
    b"PK\x03\x04": "an Excel workbook or another zip file, not a table; save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook, not a table; save it as CSV",
    b"\x1f\x8b": "compressed with gzip, not a table; unpack it first",
    b"ARROW1": "an Arrow file, not a table in CSV or Parquet; save it as one of these",
    b"%PDF": "a PDF file, not a table",
}
SAMPLE = 2**16  # bytes to tell by what a file is
CHUNK = 2**8  # rows that become columns at once; more keep the garbage collector busy
INDEX = re.compile(r"__index_level_\d+__")
PARTS = re.compile(r"[,;|\t\"\r\n]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.I)


class TableError(ValueError):
    """A table that cannot be used, in one line that names no file: the caller knows which.

    Attributes:
        problem: What is wrong.
        remedy: What helps, in settings of `data`; empty where nothing there does.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        """Takes both as parts of one line."""
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
        self.problem, self.remedy = problem, remedy


class _UnevenError(TableError):
    """A row that has more or fewer cells than the header."""


def read_cells(
    path: Path,
    *,
    delimiter: Delimiter = "comma",
    encoding: str = "utf-8",
    rows: int | None = None,
    max_mb: float = 200.0,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Reads a file as text, cell by cell; what kind of file it is, its first bytes tell.

    Args:
        path: A CSV file with a header, or a Parquet file.
        delimiter: What parts the cells of a CSV file.
        encoding: What a CSV file's bytes stand for, by Python's name.
        rows: How many rows to read, from the first; None for all.
        max_mb: How large a file may be (in 10⁶ bytes) that is read whole.
        names: What the columns are called where the first line of a CSV file holds values, as told
            by a number in it; None where the first line must name them.

    Returns:
        The cells [B, C]: text without space around it, None where a value is missing. Of a Parquet
        column that holds neither numbers nor text, values as they are. Rows are numbered from 1.
        `attrs["notes"]` holds what a user should know, a line each.

    Raises:
        TableError: If the file cannot be read as a table.
    """
    start = _start(path, rows, max_mb)
    if start.startswith(PARQUET):
        header, columns = _read_parquet(path, rows)
    else:
        how = DELIMITERS[delimiter], _checked(encoding, start)
        header, columns = _read_csv(path, *how, rows, names)
    return _frame(header, columns)


def cell(text: str) -> str | None:
    """A cell from its text: without space around it, None where it says that there is nothing."""
    text = text.strip()
    return None if text in MISSING else text


def shown(text: str) -> str:
    """A cell as a line of text can hold it."""
    return repr(text if len(text) <= 40 else f"{text[:37]}…")


def nearest_file(path: Path) -> str | None:
    """The file beside a path whose name looks most like it."""
    try:
        names = [file.name for file in path.parent.iterdir() if file.is_file()]
    except OSError:
        return None
    found = difflib.get_close_matches(path.name, names, n=1)
    return str(path.with_name(found[0])) if found else None


def _start(path: Path, rows: int | None, max_mb: float) -> bytes:
    """The first bytes of a file that may be a table."""
    try:
        size = path.stat().st_size / 1e6
        if not path.is_file():
            raise TableError("is a folder" if path.is_dir() else "is not a file")
        with path.open("rb") as file:
            start = file.read(SAMPLE)
    except FileNotFoundError as error:
        near = nearest_file(path)
        raise TableError("no such file" + (f"; did you mean {near}?" if near else "")) from error
    except OSError as error:
        raise TableError(f"cannot be read ({error.strerror})") from error
    for magic, what in NOT_TABLES.items():
        if start.startswith(magic):
            raise TableError(f"is {what}")
    if not start.strip():
        raise TableError("is empty")
    if rows is None and size > max_mb:
        allow = f"data.max_mb={math.ceil(size)} allows it, data.rows=10000 reads its first rows"
        raise TableError(f"has {size:,.1f} MB, the limit is {max_mb:,g} MB", allow)
    return start


def _checked(encoding: str, start: bytes) -> str:
    """The encoding to open a file with, unless its first bytes tell of another."""
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)  # some turn bytes into bytes
    except (LookupError, ValueError) as error:
        allowed = "utf-8, utf-16, cp1252, latin-1, or another that Python knows"
        raise TableError(f"data.encoding={encoding}: must be {allowed}") from error
    if not name.startswith(("utf-16", "utf-32")):
        wide = _wide(start)
        if wide is not None:
            raise TableError(f"is text in {wide}, not in {encoding}", f"data.encoding={wide}")
        if b"\0" in start:
            raise TableError("is neither text nor a Parquet file: it has bytes of 0")
    return "utf-8-sig" if name == "utf-8" else name  # with or without a mark at its start


def _wide(start: bytes) -> str | None:
    """The encoding by pairs of bytes that the first ones tell of."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = start[::2], start[1::2]
    for name, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if high.count(0) > len(high) / 2 and 0 not in low:
            return name
    return None


def _read_csv(
    path: Path, sign: str, encoding: str, limit: int | None, names: Sequence[str] | None
) -> tuple[list[str], list[list[Any]]]:
    """The header and the columns of a CSV file."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            rows = _rows(csv.reader(file, delimiter=sign, skipinitialspace=True, strict=True))
            header = [name.strip("\ufeff \t") for name in next(rows, [])]
            if names is not None and _are_values(header, names):
                header, rows = list(names), chain([header], rows)
            columns = _transposed(islice(rows, limit), len(header))
        if len(header) < 2:
            _check_delimiter(path, sign, encoding)
    except _UnevenError:
        _check_delimiter(path, sign, encoding)
        raise
    except UnicodeError as error:
        raise _not_decoded(path, encoding) from error
    return header, columns


def _are_values(first: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a first line holds values: one of them a number, and none a name."""
    numbers = (NUMBER.fullmatch(text.replace(",", ".")) for text in first)
    return any(numbers) and not set(first) & set(names)


def _rows(reader: Any) -> Iterator[list[str]]:
    """The rows of a CSV reader without blank lines."""
    line = 0  # where the last row ended
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"its quotation marks do not pair up ({error})"
            if "field limit" in str(error):
                problem = f"a cell has more than {csv.field_size_limit()} letters"
            raise TableError(f"line {line + 1}: {problem}") from error
        line = reader.line_num
        if row:
            yield row


def _transposed(rows: Iterator[list[str]], width: int) -> list[list[Any]]:
    """The columns of rows that must all have the header's width."""
    columns: list[list[Any]] = [[] for _ in range(width)]
    while chunk := list(islice(rows, CHUNK)):
        for number, row in enumerate(chunk, start=len(columns[0]) + 1):
            if len(row) != width:
                raise _UnevenError(f"row {number} has {len(row)} cells instead of {width}")
        for column, texts in zip(columns, zip(*chunk, strict=True), strict=True):
            column.extend(map(cell, texts))
    return columns


def _check_delimiter(path: Path, sign: str, encoding: str) -> None:
    """Raises if another sign parts the first lines evenly, asked where the given one does not."""
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        lines = [line for line in islice(file, 20) if line.strip()]
    given = next(name for name, own in DELIMITERS.items() if own == sign)
    for name, other in DELIMITERS.items():
        try:
            rows = list(csv.reader(lines, delimiter=other, skipinitialspace=True, strict=True))
        except csv.Error:
            continue
        widths = {len(row) for row in rows}
        # Two words are no two cells; where numbers stand they are.
        spoken = other == " " and not any(NUMBER.fullmatch(c) for row in rows[1:2] for c in row)
        if name != given and len(widths) == 1 and max(widths) > 1 and not spoken:
            problem = f"each row has {max(widths)} cells parted by {name}, not by {given}"
            raise TableError(problem, f"data.delimiter={name}")


def _not_decoded(path: Path, encoding: str) -> TableError:
    """What to say of bytes that an encoding does not have: where, and what they look like."""
    given = encoding.removesuffix("-sig")
    with path.open("rb") as file:
        looks = _wide(file.read(SAMPLE)) or "utf-8"
        file.seek(0)
        for number, line in enumerate(file if looks == "utf-8" else [], start=1):
            try:
                line.decode(looks)
            except UnicodeDecodeError as error:
                at = error.start
                problem = f"line {number}: byte 0x{line[at]:02x} is no text in {given}"
                try:
                    text = line.decode("cp1252")
                except UnicodeDecodeError:
                    return TableError(problem, "data.encoding names another")
                around = PARTS.split(text[:at])[-1] + PARTS.split(text[at:])[0]
                problem += f", as cp1252 it reads {shown(around)}"
                return TableError(problem, "data.encoding=cp1252")
    return TableError(f"is text in {looks}, not in {given}", f"data.encoding={looks}")


def _read_parquet(path: Path, limit: int | None) -> tuple[list[str], list[Any]]:
    """The header and the columns of a Parquet file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        problem = "is a Parquet file, and pyarrow is missing, which reads it"
        raise TableError(problem, "pip install pyarrow, or neuronlab[parquet]") from error
    try:
        file = pq.ParquetFile(path)
        batches, left = [], file.metadata.num_rows if limit is None else limit
        for batch in file.iter_batches(min(SAMPLE, max(left, 1))):
            batches.append(batch.slice(0, left))
            left -= len(batches[-1])
            if not left:
                break
        table = pa.Table.from_batches(batches, file.schema_arrow)
        # An index without a name is written along by pandas as `__index_level_0__`.
        names = [name for name in table.column_names if not INDEX.fullmatch(name)]
        places = [place for place, name in enumerate(table.column_names) if name in names]
        return names, [_as_text(table.column(place)) for place in places]
    except (pa.ArrowException, OSError) as error:
        line = " ".join(str(error).split())
        raise TableError(f"is a damaged Parquet file ({line[:200]})") from error


def _as_text(column: Any) -> Any:
    """A Parquet column as text, from which each number is read again as it was."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_text(column.cast(kind.value_type))
    if pa.types.is_boolean(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())  # else 0.1 of 32 bits would become 0.1 of 64
    holds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_string)
    if pa.types.is_large_string(kind) or any(is_kind(kind) for is_kind in holds):
        texts = column.cast(pa.large_string()).to_numpy(zero_copy_only=False)
        return [None if text is None else cell(text) for text in texts.tolist()]
    return column.to_pylist()


def _frame(header: Sequence[str], columns: Sequence[Any]) -> pd.DataFrame:
    """Names and columns as a frame, if each column has a name of its own."""
    import pandas as pd  # takes a while, and most runs read no table

    names, notes = [" ".join(name.split()) for name in header], []
    if not names:
        raise TableError("is empty")
    if len(names) > 1 and not names[0]:
        names, columns = names[1:], columns[1:]
        notes.append("its first column has no name and is left out, taken as numbers of rows")
    if "" in names:
        place = len(header) - len(names) + names.index("") + 1
        raise TableError(f"column {place} of {len(header)} has no name")
    if all(NUMBER.fullmatch(name) for name in names):
        raise TableError(f"its first line must name the columns, and holds {', '.join(names[:5])}")
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    if twice:
        raise TableError(f"more than one column is called {', '.join(twice)}")
    if not len(columns[0]):
        raise TableError(f"has no rows, only the names of columns ({', '.join(names)})")
    rows = pd.RangeIndex(1, len(columns[0]) + 1)
    frame = pd.DataFrame(dict(zip(names, columns, strict=True)), index=rows, dtype=object)
    frame.attrs["notes"] = tuple(notes)
    return frame
