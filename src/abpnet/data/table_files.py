"""Files of tables, .csv and .parquet, read into pandas data frames and written from them."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from abpnet.data.files import open_file
from abpnet.data.limits import Limits
from abpnet.errors import InputError

__all__ = ["is_table", "read_table", "write_table"]

SUFFIXES = (".csv", ".parquet")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
# pandas takes half a millisecond for each column, however short.
MOST_COLUMNS = 10_000
# Marks at the beginning of texts in encodings other than UTF-8.
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# A cell of a data frame: a number, and whether there is one; of texts where they stand.
BYTES_PER_CELL = 9
# Rows of .parquet that are decoded at a time to see what they take.
ROWS = 2**14


def is_table(path: str | Path) -> bool:
    """Whether the name of a file is that of a table."""
    return Path(path).suffix.lower() in SUFFIXES


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    for line in text:
        if "\0" in line:
            raise InputError(f"{path}: holds characters of code 0; damaged, or no text in UTF-8: save it as CSV UTF-8")
        yield line


def _check_csv(path: Path, stream: BinaryIO, limits: Limits) -> None:
    """Refuse a .csv file whose rows are not all as long as its header, or that is no text, before pandas reads it.

    pandas would take cells at the end of a row for missing.
    """
    size = stream.seek(0, io.SEEK_END)
    limits.check_bytes(path, size)
    stream.seek(0)
    if stream.read(2) in UTF_16:
        raise InputError(f"{path}: is encoded as UTF-16; save it as CSV UTF-8")
    stream.seek(0)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    rows = csv.reader(_lines(path, text))
    names: list[str] = []
    n_rows = 0
    for row in rows:
        if not row or (len(row) == 1 and not row[0].strip()):
            continue  # as pandas does
        if names:
            n_rows += 1
        else:
            names = row
            _check_names(path, names)
        if len(row) != len(names):
            raise InputError(
                f"{path}: line {rows.line_num} has {len(row)} cells, the header {len(names)}; every row needs as many, "
                "empty ones for what is missing"
            )
    limits.check_bytes(path, n_rows * len(names) * BYTES_PER_CELL + size)
    text.detach()
    stream.seek(0)


def _check_names(path: Path, names: list[Any]) -> None:
    """Refuse too many columns, columns of one name, and those that something else than commas separates."""
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{path}: has {len(names):,} columns; expected {MOST_COLUMNS:,} at most")
    for separator in (";", "\t", "|"):
        if len(names) == 1 and separator in str(names[0]):
            raise InputError(f"{path}: columns seem to be separated by {separator!r}; write the table with commas")
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise InputError(f"{path}: has more than one column named {name!r}; rename them")


def _read_csv(stream: BinaryIO) -> Any:
    """Whole numbers among which some are missing stay whole, dates are told from text."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # that rows have more cells than the header
        warnings.simplefilter("ignore", DeprecationWarning)  # later versions of pandas read numbers exactly anyway
        frame = pandas.read_csv(stream, index_col=False, dtype_backend="numpy_nullable", float_precision="round_trip")
    for name, column in list(frame.items()):
        seen = column.dropna() if column.dtype == "string" else []
        if len(seen) and all(DATE.match(value) for value in seen):
            frame[name] = pandas.to_datetime(column, errors="coerce", format="ISO8601")
    return frame


def _check_parquet(path: Path, stream: BinaryIO, limits: Limits) -> None:
    """Refuse a .parquet file that would take too much memory, or has columns that hold more than one value a row."""
    from pyarrow import compute, parquet, types

    file = parquet.ParquetFile(stream)
    _check_names(path, file.schema_arrow.names)
    for field in file.schema_arrow:
        if types.is_nested(getattr(field.type, "storage_type", field.type)):
            raise InputError(f"{path}: column {field.name!r} holds {field.type}, not one value a row; drop it")
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    cells = sum(group.num_rows for group in groups) * len(file.schema_arrow)
    limits.check_bytes(path, max(cells, sum(group.total_byte_size for group in groups)))
    # A few bytes can stand for any number of times the same long text: here each is decoded once.
    texts = [field.name for field in file.schema_arrow if not types.is_primitive(field.type)]
    n_bytes = 0
    for batch in parquet.ParquetFile(stream, read_dictionary=texts).iter_batches(ROWS, use_threads=False):
        for column in batch.columns:
            n_bytes += column.nbytes
            if types.is_dictionary(column.type) and not types.is_primitive(column.dictionary.type):
                lengths = compute.binary_length(column.dictionary)
                n_bytes += compute.sum(lengths.take(column.indices)).as_py() or 0
        limits.check_bytes(path, n_bytes)
    stream.seek(0)


def _without_decimals(frame: Any) -> Any:
    """Decimal numbers, which .parquet knows, as float64."""
    for name in frame:
        seen = frame[name].dropna() if frame[name].dtype == object else []
        if len(seen) and all(isinstance(value, Decimal) for value in seen):
            frame[name] = frame[name].astype("float64")
    return frame


def read_table(path: str | Path, limits: Limits = Limits()) -> Any:
    """Read a table into a pandas data frame.

    Args:
        path: A .csv file, in UTF-8, of rows as long as its header, or a .parquet file, of single values.
        limits: What is refused before it is decoded.

    Raises:
        InputError: If there is none, it cannot be read, holds infinity or more than the limits allow, or pandas is not
            installed.
    """
    path = Path(path)
    if not is_table(path):
        raise InputError(f"{path}: expected a table, .csv or .parquet")
    try:
        import pandas

        with open_file(path, "a table, .csv or .parquet") as stream:
            if path.suffix.lower() == ".csv":
                _check_csv(path, stream, limits)
                frame = _read_csv(stream)
            else:
                _check_parquet(path, stream, limits)
                frame = _without_decimals(pandas.read_parquet(stream))
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{path}: tables need pandas and pyarrow ({error}); pip install 'abpnet[tables]'") from None
    except Exception as error:  # pandas and pyarrow raise whatever they meet in damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: damaged or unreadable table ({reason})") from None
    if not len(frame) or not len(frame.columns):
        raise InputError(f"{path}: has no rows or no columns")
    for name, column in frame.items():
        if column.dtype.kind == "f" and np.isinf(column.to_numpy(np.float64, na_value=np.nan)).any():
            raise InputError(f"{path}: column {name!r} holds infinity, or numbers too large for 64 bits; clear them")
    return frame


def write_table(path: str | Path, frame: Any) -> None:
    """Write a data frame as .csv or .parquet, by the suffix of the name."""
    if Path(path).suffix.lower() == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
