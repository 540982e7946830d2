"""Files of tables, .csv and .parquet, read into pandas data frames and written from them."""

from __future__ import annotations

import csv
import re
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

from abpnet.errors import InputError

__all__ = ["is_table", "read_table", "write_table"]

SUFFIXES = (".csv", ".parquet")
DATE = re.compile(r"\d{4}-\d\d-\d\d")


def is_table(path: str | Path) -> bool:
    """Whether the name of a file is that of a table."""
    return Path(path).suffix.lower() in SUFFIXES


def _header_of(path: Path) -> list[str]:
    """Names of the columns of a .csv file, as they stand there."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


def _check_separator(path: Path, names: list[str]) -> None:
    """Refuse a file whose columns are separated by something else than commas."""
    for separator in (";", "\t", "|"):
        if len(names) == 1 and separator in names[0]:
            raise InputError(f"{path}: columns seem to be separated by {separator!r}; write the table with commas")


def _without_decimals(frame: Any) -> Any:
    """Decimal numbers, which .parquet knows, as float64."""
    for name in frame:
        seen = frame[name].dropna() if frame[name].dtype == object else []
        if len(seen) and all(isinstance(value, Decimal) for value in seen):
            frame[name] = frame[name].astype("float64")
    return frame


def _read_csv(path: Path) -> Any:
    """Whole numbers among which some are missing stay whole, dates are told from text."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # that rows have more cells than the header
        warnings.simplefilter("ignore", DeprecationWarning)  # later versions of pandas read numbers exactly anyway
        frame = pandas.read_csv(path, index_col=False, dtype_backend="numpy_nullable", float_precision="round_trip")
    for name in frame:
        seen = frame[name].dropna()
        if len(seen) and all(isinstance(value, str) and DATE.match(value) for value in seen):
            frame[name] = pandas.to_datetime(frame[name], errors="coerce", format="ISO8601")
    return frame


def read_table(path: str | Path) -> Any:
    """Read a table into a pandas data frame.

    Args:
        path: A .csv or .parquet file.

    Raises:
        InputError: If there is none, it cannot be read, or pandas is not installed.
    """
    path = Path(path)
    if not is_table(path):
        raise InputError(f"{path}: expected a table, .csv or .parquet")
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a table, .csv or .parquet")
    try:
        import pandas

        if path.suffix.lower() == ".csv":
            names = _header_of(path)  # pandas would give those that come twice other names
            _check_separator(path, names)
            frame = _read_csv(path)
        else:
            frame = _without_decimals(pandas.read_parquet(path))
            names = list(frame.columns)
    except ImportError as error:
        raise InputError(f"{path}: tables need pandas and pyarrow ({error}); pip install 'abpnet[tables]'") from None
    except (OSError, ValueError, csv.Error, Warning) as error:
        raise InputError(f"{path}: damaged or unreadable table ({' '.join(str(error).split())})") from None
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: has more than one column named {twice[0]!r}; rename them")
    if not len(frame) or not len(frame.columns):
        raise InputError(f"{path}: has no rows or no columns")
    return frame


def write_table(path: str | Path, frame: Any) -> None:
    """Write a data frame as .csv or .parquet, by the suffix of the name."""
    if Path(path).suffix.lower() == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
