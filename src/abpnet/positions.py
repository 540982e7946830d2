"""Rows of a file, read and written at their positions.

Pages of a memory-mapped file count as memory of the process once they were touched. What is read at a position is a
copy that goes away with its last use, so that memory stays flat however large the file is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from io import FileIO

import numpy as np

from abpnet.errors import InputError

__all__ = ["read_rows", "write_rows"]


def read_rows(file: FileIO, positions: Sequence[int], n_bytes: int) -> np.ndarray:
    """The bytes that stand at each position, (m, n_bytes) of uint8; several threads may read at once.

    Args:
        file: Open for reading, without a buffer.
        positions: Where each row starts.
        n_bytes: Length of a row.

    Raises:
        InputError: If the file ends before.
    """
    rows = np.empty((len(positions), n_bytes), np.uint8)
    for row, position in zip(rows, positions, strict=True):
        done = 0
        while done < n_bytes:
            count = os.preadv(file.fileno(), [row[done:].data], position + done)
            if not count:
                raise InputError(
                    f"{file.name}: ends before byte {position + n_bytes}, up to which a row reaches; it was longer "
                    "when it was opened, and must stay as it is while it is in use"
                )
            done += count
    return rows


def write_rows(file: FileIO, positions: Iterable[int], rows: np.ndarray) -> None:
    """Overwrite the bytes at each position.

    Args:
        file: Open for writing, without a buffer.
        positions: Where each row starts.
        rows: (m, ...) contiguous, what is to stand there.
    """
    for row, position in zip(rows, positions, strict=True):
        content, done = row.reshape(-1).view(np.uint8), 0
        while done < len(content):
            done += os.pwrite(file.fileno(), content[done:].data, position + done)
