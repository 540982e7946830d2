"""Observations that stay on disk: each is read when it is learned from, so that their number is bounded by disk.

A memory-mapped array says where in its file each row is. Rows are read there rather than through the mapping, see
`positions`.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
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
# A row is read at once where at least this share of the bytes between its first and its last number is its own.
LEAST_SHARE = 0.25
# Looks at some rows as they stand in the file, and at how they came about; raises ValueError if they cannot be used.
Check = Callable[[np.ndarray, Observation], object]


def _is_view_of_file(array: np.memmap) -> bool:
    return getattr(array, "_mmap", None) is not None and bool(array.filename) and array.mode != "c"


def is_on_disk(X: Any) -> bool:
    """Whether X is a memory-mapped array that `RowsOnDisk` can read: real numbers, at least one row of them."""
    return isinstance(X, np.memmap) and _is_view_of_file(X) and X.dtype.kind in "fiub" and X.ndim > 1 and X.size > 0


class _Layout:
    """Where the numbers of a row are: in pieces of a file, each of which is read at once.

    A piece is that part of a row whose numbers are close to one another: the whole row of an array in C order, and a
    single number of a row of an array in Fortran order.

    Args:
        shape: Of a row.
        strides: Bytes between neighbours along each of its axes.
        item: Bytes of a number.
    """

    def __init__(self, shape: Sequence[int], strides: Sequence[int], item: int) -> None:
        steps = dict(enumerate(zip(shape, strides, strict=True)))
        inner = sorted(steps, key=lambda axis: -abs(strides[axis]))
        outer = []

        def reach(sign: int) -> int:
            return sum(max(0, sign * (shape[axis] - 1) * strides[axis]) for axis in inner)

        while inner and math.prod(shape[axis] for axis in inner) * item < LEAST_SHARE * (reach(-1) + reach(1) + item):
            outer.append(inner.pop(0))
        # From a piece's first number, where its lowest byte is; and how many bytes it has.
        self.below, self.n_bytes = reach(-1), reach(-1) + reach(1) + item
        self.places = np.zeros(1, np.int64)
        within = dict(enumerate(strides))
        for axis in reversed(outer):
            within[axis] = len(self.places) * self.n_bytes
            self.places = (np.arange(shape[axis])[:, None] * strides[axis] + self.places).ravel()
        self.strides = tuple(within.values())


class RowsOnDisk:
    """Observations (n, *measured) in a file; `rows[index]` reads some as float32, with 0 where they are missing.

    Rows are read fastest if each is in one piece of the file, as in arrays in C order and in views that leave the axes
    of a row close together.

    Args:
        array: As `np.load(path, mmap_mode="r")` gives it, of any type of real numbers; NaN = missing. Its views will do
            as well, such as `X[:1000]` or `X.transpose(0, 3, 1, 2)`. The file must stay as it is.
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
        if not _is_view_of_file(array):
            raise InputError(
                "a memory-mapped array can be read from its file only if it is a view of one and no copy-on-write; "
                "open it with np.load(path, mmap_mode='r'), or pass it as an array in memory: np.array(X)"
            )
        self.shape = array.shape
        self._given = as_observation(observation)
        if self._given.observed is not None:
            check_mask(self._given.observed.shape, self.shape)
        self._dtype, self._row_stride = array.dtype, array.strides[0]
        self._layout = _Layout(self.shape[1:], array.strides[1:], array.dtype.itemsize)
        mapping_starts_at = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        in_mapping = array.ctypes.data - np.frombuffer(array._mmap, np.uint8).ctypes.data  # type: ignore[attr-defined]
        self._start = mapping_starts_at + in_mapping - self._layout.below
        try:
            self._file = FileIO(str(array.filename))
        except OSError as error:
            raise InputError(f"{array.filename}: cannot be read again ({error.strerror}); map it where it is") from None
        ends = torch.tensor([0, len(self) - 1])
        if self._read(ends).tobytes() != array[ends.numpy()].tobytes():
            raise InputError(f"{array.filename}: was replaced after it was mapped; open it again")
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
        is_masked = self.any_missing or self._given.observed is not None
        return MissingOnDisk(self, unmasked(self._given)) if is_masked else self._given

    def _read(self, index: Tensor) -> np.ndarray:
        """Rows as they stand in the file."""
        rows = self._start + index.numpy() * self._row_stride
        positions = (rows[:, None] + self._layout.places).ravel()
        content = read_rows(self._file, positions.tolist(), self._layout.n_bytes)
        row_bytes = len(self._layout.places) * self._layout.n_bytes
        strides = (row_bytes, *self._layout.strides)
        return np.ndarray((len(index), *self.shape[1:]), self._dtype, content, self._layout.below, strides)

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
        size = max(1, CHUNK // (len(self._layout.places) * self._layout.n_bytes))
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

    What it reads is on the CPU, whatever the device of the rest: it may be a thread's to read it, which had better
    leave other devices alone.

    Args:
        rows: The observations.
        of: What was measured before entries were lost.
    """

    def __init__(self, rows: RowsOnDisk, of: Observation) -> None:
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "of", of)

    rows: RowsOnDisk

    @property
    def observed(self) -> Tensor:
        """True where an entry of y was observed: of all examples, which takes as much memory as a quarter of them."""
        return self.select(torch.arange(len(self.rows))).observed

    def select(self, index: Int[Tensor, "m"]) -> Mask:
        """The masks of the examples in `index`."""
        return Mask(~self.rows.missing(index), self.of.select(index))

    def to(self, device: torch.device) -> MissingOnDisk:
        """The same with what was measured on another device."""
        return MissingOnDisk(self.rows, self.of.to(device))


Rows = Tensor | RowsOnDisk


def hidden(y: Rows, observation: Any) -> tuple[Rows, Observation]:
    """Move missing entries from the values into the observation, see `hide_missing`; rows on disk have done so.

    Args:
        y: Observations; NaN = missing.
        observation: How they came about, as for `as_observation`; that of rows on disk is their own.

    Raises:
        ValueError: If the observation's mask does not fit y; or rows on disk come with another mask than theirs.
    """
    if not isinstance(y, RowsOnDisk):
        return hide_missing(y, as_observation(observation))
    if observation is None or isinstance(observation, MissingOnDisk):
        return y, observation or y.observation
    observation = as_observation(observation)
    if isinstance(y.observation, MissingOnDisk) or observation.observed is not None:
        raise ValueError(
            "what is missing of rows on disk is theirs to know: pass a mask to them, RowsOnDisk(array, observation), "
            "and leave the observation out here"
        )
    return y, observation
