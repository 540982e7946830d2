"""Observations that stay on disk: each is read when it is learned from, so that their number is bounded by disk.

A memory-mapped array says where in its file each row is. Rows are read there rather than through the mapping, see
`positions`.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from abpnet.errors import InputError
from abpnet.observations import Mask, Observation, as_observation, check_mask, hide_missing, unmasked
from abpnet.positions import read_rows

__all__ = ["MissingOnDisk", "Rows", "RowsOnDisk", "hidden", "is_on_disk"]

# A first look at all rows takes in this many bytes at a time.
CHUNK = 2**24
# Looks at some rows as they stand in the file, and at how they came about; raises ValueError if they cannot be used.
Check = Callable[[np.ndarray, Observation], object]


def is_on_disk(X: Any) -> bool:
    """Whether X is a memory-mapped array that `RowsOnDisk` can read: real numbers, at least one row of them."""
    return isinstance(X, np.memmap) and X.dtype.kind in "fiub" and X.ndim > 1 and X.size > 0


class RowsOnDisk:
    """Observations (n, *measured) in a file; `rows[index]` reads some as float32, with 0 where they are missing.

    Args:
        array: As `np.load(path, mmap_mode="r")` gives it, of any type of real numbers; NaN = missing. Its views will do
            as well, such as `X[:1000]` or `X.transpose(0, 3, 1, 2)`.
        observation: How they came about; complete by default.
        check: Called once for all rows, some at a time.

    Attributes:
        shape: (n, *measured).
        any_missing: Whether any entry is missing, or hidden by a mask.
        any_observed: Whether any entry is not.

    Raises:
        InputError: If the array is no view of a file, or may differ from it.
        ValueError: If a mask does not fit the array, or the check fails; the message names the first row where it does.
    """

    device = torch.device("cpu")

    def __init__(self, array: np.memmap, observation: Any = None, check: Check | None = None) -> None:
        mapped = getattr(array, "_mmap", None)
        if mapped is None or not array.filename or array.mode == "c":
            raise InputError(
                "a memory-mapped array can be read from its file only if it is a view of one and no copy-on-write; "
                "open it with np.load(path, mmap_mode='r'), or pass it as an array in memory: np.array(X)"
            )
        self.shape = array.shape
        self._given = as_observation(observation)
        if self._given.observed is not None:
            check_mask(self._given.observed.shape, self.shape)
        self._dtype, self._strides = array.dtype, array.strides
        # From a row's first number, where the lowest and the highest byte of the row are.
        reach = [(size - 1) * stride for size, stride in zip(self.shape[1:], self._strides[1:], strict=True)]
        self._below = -sum(min(0, length) for length in reach)
        self._row_bytes = self._below + sum(max(0, length) for length in reach) + self._dtype.itemsize
        mapping_starts_at = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        in_mapping = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        self._start = mapping_starts_at + in_mapping - self._below
        self._file = open(array.filename, "rb", buffering=0)  # noqa: SIM115 -- closed with its last use
        self._look_through(check)

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def dim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Int[Tensor, "m"]) -> Float[Tensor, "m *measured"]:
        """The observations of these examples, 0 where missing or hidden."""
        rows = self._read(index)
        missing = self._missing(rows, self._given.select(index))
        return torch.from_numpy(np.where(missing, 0, rows).astype(np.float32, order="C"))

    def missing(self, index: Int[Tensor, "m"]) -> Bool[Tensor, "m *measured"]:
        """True where these examples' entries are missing or hidden."""
        return torch.from_numpy(np.ascontiguousarray(self._missing(self._read(index), self._given.select(index))))

    @property
    def observation(self) -> Observation:
        """How the observations came about, missing entries masked."""
        return MissingOnDisk(self, unmasked(self._given)) if self.any_missing else self._given

    def _read(self, index: Tensor) -> np.ndarray:
        """Rows as they stand in the file."""
        positions = [self._start + row * self._strides[0] for row in index.tolist()]
        content = read_rows(self._file, positions, self._row_bytes)
        strides = (self._row_bytes, *self._strides[1:])
        return np.ndarray((len(index), *self.shape[1:]), self._dtype, content, self._below, strides)

    @staticmethod
    def _missing(rows: np.ndarray, given: Observation) -> np.ndarray:
        missing = np.isnan(rows)
        return missing if given.observed is None else missing | ~given.observed.cpu().numpy()

    def _look_through(self, check: Check | None) -> None:
        self.any_missing = self.any_observed = False
        for index in self._chunks():
            rows, given = self._read(index), self._given.select(index)
            if check is not None:
                _check(check, rows, given, int(index[0]))
            missing = self._missing(rows, given)
            self.any_missing |= bool(missing.any())
            self.any_observed |= not missing.all()

    def _chunks(self) -> Iterator[Tensor]:
        size = max(1, CHUNK // self._row_bytes)
        for first in range(0, len(self), size):
            yield torch.arange(first, min(first + size, len(self)))


def _check(check: Check, rows: np.ndarray, given: Observation, first: int) -> None:
    """Check some rows, and if they cannot be used find the first one that cannot, to say which it is."""
    try:
        check(rows, given)
    except ValueError:
        for row in range(len(rows)):
            try:
                check(rows[row : row + 1], given.select(torch.tensor([row])))
            except ValueError as error:
                raise ValueError(f"X[{first + row}]: {error}") from None
        raise


class MissingOnDisk(Mask):
    """The mask of entries that are missing in a file, or hidden by another mask; read for the examples asked for.

    Args:
        rows: The observations.
        of: What was measured before entries were lost.
        device: Where masks are wanted.
    """

    def __init__(self, rows: RowsOnDisk, of: Observation, device: torch.device | None = None) -> None:
        for name, value in {"rows": rows, "of": of, "device": device or rows.device}.items():
            object.__setattr__(self, name, value)

    rows: RowsOnDisk
    device: torch.device

    @property
    def observed(self) -> Tensor:
        """True where an entry of y was observed: of all examples, which takes as much memory as a quarter of them."""
        return self.select(torch.arange(len(self.rows))).observed

    def select(self, index: Int[Tensor, "m"]) -> Mask:
        """The masks of the examples in `index`."""
        return Mask(~self.rows.missing(index).to(self.device), self.of.select(index))

    def to(self, device: torch.device) -> MissingOnDisk:
        """The same with its masks on another device."""
        return MissingOnDisk(self.rows, self.of.to(device), device)


Rows = Tensor | RowsOnDisk


def hidden(y: Rows, observation: Any) -> tuple[Rows, Observation]:
    """Move missing entries from the values into the observation, see `hide_missing`; rows on disk have done so.

    Args:
        y: Observations; NaN = missing.
        observation: How they came about, as for `as_observation`; that of rows on disk is their own.

    Raises:
        ValueError: If the observation's mask does not fit y, or rows on disk have entries missing of which the
            observation does not know.
    """
    if not isinstance(y, RowsOnDisk):
        return hide_missing(y, as_observation(observation))
    if observation is not None and y.any_missing and not isinstance(observation, MissingOnDisk):
        raise ValueError("how rows on disk came about is theirs to know: pass it as RowsOnDisk(array, observation)")
    return y, y.observation if observation is None else observation
