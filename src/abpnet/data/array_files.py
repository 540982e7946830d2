"""Images in .npy and .npz files: headers are looked at first, and nothing but plain numbers is ever decoded."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from abpnet.data.files import open_file
from abpnet.data.limits import Limits
from abpnet.errors import InputError

__all__ = ["ARRAYS", "read_array"]

ARRAYS = (".npy", ".npz")
CHANNELS = (1, 3)
# Kinds of numbers: real, whole without and with a sign, True or False.
REAL, WHOLE, YES_NO = "f", "ui", "b"
# What np.savez writes; other methods of compression take memory that no header tells.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MOST_ARRAYS, LONGEST_HEADER, ZIP = 1000, 10_000, b"PK"
# What the zip reader raises on damaged files.
DAMAGE = (OSError, EOFError, ValueError, RuntimeError, LookupError, zipfile.BadZipFile, zlib.error, struct.error)
# Bytes that are read and converted at once.
CHUNK = 1 << 22
FLOAT_BYTES = np.dtype(np.float32).itemsize


class _Header(NamedTuple):
    """What stands before the numbers of an array.

    Attributes:
        shape: Of the array.
        columns_first: Whether its first axis varies fastest.
        dtype: Of its numbers.
        start: Of the numbers, in bytes.
    """

    shape: tuple[int, ...]
    columns_first: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def is_stack(self) -> bool:
        """Whether it could be images."""
        return len(self.shape) >= 3 and self.dtype.kind in REAL + WHOLE + YES_NO

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"{path}: cannot be read as a numpy file of plain numbers ({reason})")


def _header_of(path: Path, beginning: bytes) -> _Header:
    """The header at the beginning of a .npy file, of which no more than `LONGEST_HEADER` bytes are needed."""
    stream = io.BytesIO(beginning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that Python 2 wrote
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            if version > (3, 0):
                raise ValueError(f"version {version}")
            shape, columns_first, dtype = read(stream)
            if min(shape, default=0) < 0:
                raise ValueError(f"shape {shape}")
    except Exception as error:  # numpy raises whatever Python's own parser meets, want of memory included
        raise _unreadable(path, error) from None
    return _Header(tuple(int(axis) for axis in shape), columns_first, dtype, stream.tell())


def _shape_of(path: Path, header: _Header) -> tuple[int, int, int, int]:
    """(n, channels, height, width) of what will be read.

    Raises:
        InputError: If it holds no images.
    """
    if not header.is_stack:
        raise InputError(f"{path}: expected numbers of shape (n, height, width[, channels]), found {header}")
    if 0 in header.shape:
        raise InputError(f"{path}: holds no images (an array of shape {header.shape})")
    n, *axes = header.shape
    if len(axes) == 2:
        return n, 1, axes[0], axes[1]
    if len(axes) == 3 and axes[0] in CHANNELS:
        return n, axes[0], axes[1], axes[2]
    if len(axes) == 3 and axes[2] in CHANNELS:
        return n, axes[2], axes[0], axes[1]
    raise InputError(f"{path}: expected images with 1 or 3 channels, found an array of shape {header.shape}")


def _blocks(path: Path, stream: IO[bytes] | zipfile.ZipExtFile, header: _Header, n: int) -> Iterator[np.ndarray]:
    """The first n rows as they stand in the file, some at a time; all if they are not one behind the other."""
    row_bytes = math.prod(header.shape[1:]) * header.dtype.itemsize
    at_once = max(1, CHUNK // row_bytes)

    def read(n_rows: int) -> np.ndarray:
        content = stream.read(n_rows * row_bytes)
        if len(content) < n_rows * row_bytes:
            raise InputError(f"{path}: is cut off; copy or save it again")
        order: Literal["C", "F"] = "F" if header.columns_first else "C"
        return np.ndarray((n_rows, *header.shape[1:]), header.dtype, content, order=order)

    whole = read(header.shape[0]) if header.columns_first else None
    for first in range(0, n, at_once):
        last = min(first + at_once, n)
        yield read(last - first) if whole is None else whole[first:last]


def _scaled(path: Path, block: np.ndarray) -> np.ndarray:
    """Numbers as they stand in a file, in [-1, 1].

    Raises:
        InputError: If they are out of range.
    """
    if block.dtype.kind == YES_NO:
        return np.where(block, 1.0, -1.0)
    if block.dtype.kind in WHOLE:
        if block.min() < 0 or block.max() > 255:
            raise InputError(f"{path}: whole numbers must lie in 0..255, found {block.min()}..{block.max()}")
        return block / 127.5 - 1.0
    with np.errstate(invalid="ignore"):
        least, most = np.fmin.reduce(block, axis=None), np.fmax.reduce(block, axis=None)
    if least < -1 or most > 1:
        raise InputError(f"{path}: real numbers must lie in [-1, 1] with NaN = missing, found {least:.4g}..{most:.4g}")
    return block


def _read_stack(
    path: Path, stream: IO[bytes] | zipfile.ZipExtFile, header: _Header, n_bytes: int, limit: int | None, limits: Limits
) -> np.ndarray:
    """Images behind a header.

    Args:
        path: Of the file.
        stream: The file, or what the zip file holds of that name.
        header: What they are.
        n_bytes: Of header and numbers, by the file system or the zip file's directory.
        limit: Read at most so many images.
        limits: Of what is decoded.
    """
    n, *shape = _shape_of(path, header)
    n = n if limit is None else min(n, limit)
    announced = math.prod(header.shape) * header.dtype.itemsize
    decoded = n * math.prod(shape) * FLOAT_BYTES
    limits.check_bytes(path, decoded + announced if header.columns_first else decoded)
    if n_bytes != header.start + announced:
        raise InputError(
            f"{path}: holds {n_bytes - header.start:,} bytes of numbers, but its header announces {announced:,}; copy "
            "or save it again"
        )
    stream.seek(header.start)
    pixels = np.empty((n, *shape), np.float32)
    last = len(header.shape) == 4 and header.shape[1] not in CHANNELS
    first = 0
    for block in _blocks(path, stream, header, n):
        images = block[:, None] if block.ndim == 3 else block.transpose(0, 3, 1, 2) if last else block
        pixels[first : first + len(images)] = _scaled(path, images)
        first += len(images)
    return pixels


def _read_zip(path: Path, file: BinaryIO, limit: int | None, limits: Limits) -> np.ndarray:
    """The images of a .npz file: of its arrays the only one that could be images."""
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        if len(members) > MOST_ARRAYS:
            raise InputError(f"{path}: holds {len(members):,} arrays; expected one, of images")
        for name, times in Counter(member.filename for member in members).items():
            if times > 1:
                raise InputError(f"{path}: holds {times} arrays named {name.removesuffix('.npy')}; save it again")
        for member in members:
            if member.compress_type not in METHODS or member.flag_bits & 1:
                raise InputError(f"{path}: is encrypted or compressed in an unusual way; write it by np.savez")
        headers = []
        for member in members:
            with archive.open(member) as stream:
                headers.append(_header_of(path, stream.read(LONGEST_HEADER)))
        stacks = [pair for pair in zip(members, headers, strict=True) if pair[1].is_stack]
        if len(stacks) != 1:
            found = ", ".join(f"{m.filename.removesuffix('.npy')} {h}" for m, h in zip(members, headers, strict=True))
            raise InputError(
                f"{path}: expected exactly one numeric array (n, height, width[, channels]), found {found or 'none'}"
            )
        ((member, header),) = stacks
        with archive.open(member) as stream:
            return _read_stack(path, stream, header, member.file_size, limit, limits)


def read_array(path: Path, limit: int | None, limits: Limits) -> np.ndarray:
    """Read images from a .npy or .npz file.

    Args:
        path: The file; its content says which of both it is.
        limit: Read at most so many.
        limits: Of what is decoded.

    Returns:
        float32 (n, 1 or 3, height, width) in [-1, 1]; NaN = missing.

    Raises:
        InputError: If it cannot be read, holds something else, or too much.
    """
    with open_file(path, "a .npy or .npz file of images") as file:
        beginning = file.read(LONGEST_HEADER)
        if not beginning.startswith(ZIP):
            header = _header_of(path, beginning)
            return _read_stack(path, file, header, os.fstat(file.fileno()).st_size, limit, limits)
        try:
            return _read_zip(path, file, limit, limits)
        except InputError:
            raise
        except DAMAGE as error:
            raise _unreadable(path, error) from None
