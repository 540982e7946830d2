"""Files of tables that are damaged, odd, or larger than they look."""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from abpnet.data.limits import Limits
from abpnet.data.table_files import MOST_COLUMNS, read_table
from abpnet.errors import InputError

REFUSED = {
    "a zero among the cells": (b"a,b\n1,2\n3,\x004\n", "characters of code 0"),
    "a zero in the header": (b"a,b\x00\n1,2\n", "characters of code 0"),
    "no UTF-8": (b"a,b\n1,\xff\xfe\n2,x\n", "utf-8"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "encoded as UTF-16; save it as CSV UTF-8"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "characters of code 0"),
    "a long row": (b"a,b\n1,2\n3,4,5\n", "line 3 has 3 cells, the header 2"),
    "a short row": (b"a,b,c\n1,2,3\n\n4\n", "line 4 has 1 cells, the header 3"),
    "cut off": (b"a,b,c\n1,2,3\n4,5", "line 3 has 2 cells, the header 3"),
    "an open quote": (b'a,b\n1,"x\n2,y\n3,z\n', "unreadable table"),
    "an open quote in the header": (b'"a,b\n1,2\n', "unreadable table"),
    "an enormous cell": (b"a,b\n1," + b"x" * 200_000 + b"\n", "field larger than field limit"),
    "columns of one name": (b"a,a\n1,2\n", "more than one column named 'a'"),
    "a number too large": (b"a,b\n1e999,2\n3,4\n", "column 'a' holds infinity"),
    "infinity": (b"a,b\n1,2\n3,-inf\n", "column 'b' holds infinity"),
    "no rows": (b"a,b\n", "no rows"),
    "nothing": (b"", "is empty"),
    "blank lines": (b"\n\n\n", "unreadable table"),
    "semicolons": (b"a;b\n1;2\n", "separated by ';'"),
    "another format": (b"PAR1" + bytes(range(128, 200)) + b"PAR1", "utf-8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_csv_files_that_are_refused(tmp_path, name):
    content, reason = REFUSED[name]
    path = tmp_path / "a table ü.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as refusal:
        read_table(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


READ = {
    "lines that end as on old Macs": (b"a,b\r1,2\r3,4\r", [[1, 2], [3, 4]]),
    "lines that end as on Windows": (b"a,b\r\n1,2\r\n", [[1, 2]]),
    "a mark of UTF-8": (b"\xef\xbb\xbfa,b\n1,2\n", [[1, 2]]),
    "blank lines": (b"\n\na,b\n\n1,2\n   \n3,4\n\n", [[1, 2], [3, 4]]),
    "one column": (b"a\n1\n2\n", [[1], [2]]),
    "line breaks and commas within quotes": (b'a,b\n1,"x\ny, ""z"""\n', [[1, 'x\ny, "z"']]),
    "numbers that no type holds": (b"a,b\n123456789012345678901234567890,2\n", [["123456789012345678901234567890", 2]]),
}


@pytest.mark.parametrize("name", READ)
def test_odd_csv_files_that_are_read(tmp_path, name):
    content, rows = READ[name]
    (tmp_path / "table.csv").write_bytes(content)
    assert read_table(tmp_path / "table.csv").to_numpy().tolist() == rows


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_too_many_columns(tmp_path, suffix):
    path = tmp_path / f"wide.{suffix}"
    names = [f"c{index}" for index in range(MOST_COLUMNS + 1)]
    if suffix == "csv":
        path.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    else:
        parquet.write_table(pa.Table.from_arrays([pa.array([1])] * len(names), names=names), path)
    with pytest.raises(InputError, match="has 10,001 columns; expected 10,000 at most"):
        read_table(path)


def test_a_csv_file_within_the_limits(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n" + "1,2\n" * 100)
    enough = 100 * 2 * 9 + 404
    assert len(read_table(tmp_path / "table.csv", Limits(max_bytes=enough))) == 100
    for most in (enough - 1, 403):
        with pytest.raises(InputError, match="--max-gigabytes"):
            read_table(tmp_path / "table.csv", Limits(max_bytes=most))


COLUMNS = {
    "lists": (pa.array([[1, 2], [3]]), "column 'a' holds list<.*>, not one value a row"),
    "structures": (pa.array([{"x": 1}, {"x": 2}]), "column 'a' holds struct<x: int64>, not one value a row"),
    "intervals": (pa.array(pd.interval_range(0, 2)), "column 'a' holds .*interval.*, not one value a row"),
    "infinity": (pa.array([1.0, np.inf]), "column 'a' holds infinity"),
    "no rows": (pa.array([], pa.int64()), "no rows"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_parquet_columns_that_are_refused(tmp_path, name):
    column, reason = COLUMNS[name]
    parquet.write_table(pa.table({"a": column}), tmp_path / "table.parquet")
    with pytest.raises(InputError, match=rf"table\.parquet: .*{reason}"):
        read_table(tmp_path / "table.parquet")


def test_parquet_columns_of_one_name(tmp_path):
    parquet.write_table(pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a"]), tmp_path / "table.parquet")
    with pytest.raises(InputError, match="more than one column named 'a'"):
        read_table(tmp_path / "table.parquet")


def test_damaged_parquet_files(tmp_path):
    path = tmp_path / "table.parquet"
    pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}).to_parquet(path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-3], b"a,b\n1,2\n", content[:4] + content[40:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"table\.parquet: damaged or unreadable table"):
            read_table(path)


BOMBS = {
    "numbers": lambda: pa.table({"a": np.zeros(2_000_000)}),
    "texts": lambda: pa.table({"a": pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), ["x" * 10_000])}),
    "bytes": lambda: pa.table({"a": pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), [b"x" * 10_000])}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_parquet_files_that_hold_much(tmp_path, name):
    path = tmp_path / "bomb.parquet"
    parquet.write_table(BOMBS[name](), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 20_000
    before = pa.total_allocated_bytes()
    with pytest.raises(InputError, match="--max-gigabytes"):
        read_table(path, Limits(max_bytes=10_000_000))
    assert pa.total_allocated_bytes() - before < 5_000_000
    assert len(read_table(path, Limits(max_bytes=200_000_000))) >= 10_000


def test_pipes_and_folders(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.parquet").mkdir()
    for name, reason in {
        "pipe.csv": "is a pipe",
        "folder.parquet": "is a folder",
        "absent.csv": "no such file",
    }.items():
        with pytest.raises(InputError, match=reason):
            read_table(tmp_path / name)
