import os

import numpy as np
import pytest

from abpnet.errors import InputError
from abpnet.positions import read_rows, write_rows


@pytest.fixture(params=["whole", "in pieces"])
def file(request, tmp_path, monkeypatch):
    """Ten bytes, 0 to 9; the system may read and write less than it was asked to."""
    if request.param == "in pieces":
        read, write = os.preadv, os.pwrite
        monkeypatch.setattr(os, "preadv", lambda number, buffers, at: read(number, [buffers[0][:3]], at))
        monkeypatch.setattr(os, "pwrite", lambda number, content, at: write(number, content[:3], at))
    (tmp_path / "file").write_bytes(bytes(range(10)))
    with (tmp_path / "file").open("r+b", buffering=0) as opened:
        yield opened


def test_rows_are_what_stands_at_their_positions(file):
    assert read_rows(file, [5, 0, 1], 5).tolist() == [[5, 6, 7, 8, 9], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]
    assert read_rows(file, [], 5).shape == (0, 5)


@pytest.mark.parametrize("position", [6, 9, 10, 99])
def test_a_file_that_ends_before_is_named(file, position):
    with pytest.raises(InputError, match=rf"file: ends before byte {position + 5}"):
        read_rows(file, [0, position], 5)


def test_written_bytes_replace_those_at_their_positions(file):
    write_rows(file, [6, 0], np.array([[[1], [2]], [[3], [4]]], ">i2"))
    assert read_rows(file, [0], 10).tolist() == [[0, 3, 0, 4, 4, 5, 0, 1, 0, 2]]
    write_rows(file, [], np.empty((0, 2), np.float32))
