"""Rows of numbers, one for each pass, held and written in little room however long a run lasts."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np

__all__ = ["History", "Row"]

Row = dict[str, int | float | None]


class History(Sequence[Row]):
    """A sequence of dictionaries with the same names, of which it keeps the numbers alone.

    A name whose first value is an int has whole numbers. None stands for what is no number.

    Args:
        rows: The first rows.
    """

    def __init__(self, rows: Iterable[Mapping[str, int | float | None]] = ()) -> None:
        self.names: tuple[str, ...] = ()
        self.are_whole: tuple[bool, ...] = ()
        self.numbers = array("d")
        for row in rows:
            self.append(row)

    def append(self, row: Mapping[str, int | float | None]) -> None:
        """Add a row.

        Raises:
            ValueError: If its names are not those of the rows before.
        """
        if not self.numbers:
            self.names, self.are_whole = tuple(row), tuple(isinstance(value, int) for value in row.values())
        if tuple(row) != self.names:
            raise ValueError(f"expected a row of {self.names}, got {tuple(row)}")
        self.numbers.extend(math.nan if value is None else value for value in row.values())

    def __len__(self) -> int:
        return len(self.numbers) // max(len(self.names), 1)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        first = range(len(self))[index] * len(self.names)
        numbers = self.numbers[first : first + len(self.names)]
        return {
            name: None if not math.isfinite(number) else int(number) if is_whole else number
            for name, is_whole, number in zip(self.names, self.are_whole, numbers, strict=True)
        }

    def packed(self) -> dict[str, Any]:
        """All rows as plain JSON values: names, and the numbers to the bit, 8 bytes each, little-endian, in base64."""
        content = np.asarray(self.numbers, "<f8").tobytes()
        return {"names": list(self.names), "whole": list(self.are_whole), "numbers": base64.b64encode(content).decode()}

    @classmethod
    def unpacked(cls, content: Mapping[str, Any]) -> History:
        """Rows from what `packed` returned.

        Raises:
            KeyError, TypeError, ValueError: If it is anything else.
        """
        history = cls()
        history.names, history.are_whole = tuple(content["names"]), tuple(content["whole"])
        numbers = np.frombuffer(base64.b64decode(content["numbers"], validate=True), "<f8")
        if not all(isinstance(name, str) for name in history.names):
            raise TypeError(f"names of rows must be text, got {history.names}")
        if len(history.are_whole) != len(history.names) or numbers.size % max(len(history.names), 1):
            raise ValueError(f"{numbers.size} numbers for rows of {history.names}")
        history.numbers = array("d", numbers.tolist())
        return history
