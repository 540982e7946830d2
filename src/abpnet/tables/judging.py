"""How well hidden cells of a table were filled in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from abpnet.data.tables import Table

__all__ = ["Judgement", "judge"]


class Judgement(NamedTuple):
    """Means over columns.

    Attributes:
        error: Root mean squared error of numbers, counts and grades, in standard deviations of their column, squares
            averaged over columns; 1 = as good as their means. None if nothing of the kind was hidden.
        accuracy: Share of right categories; None likewise.
    """

    error: float | None
    accuracy: float | None


def judge(table: Table, truth: Any, filled: Any, hidden: Bool[np.ndarray, "n columns"]) -> Judgement:
    """Compare what was filled in with what was hidden.

    Args:
        table: Tells the kinds of columns.
        truth: Data frame.
        filled: Data frame of the same columns.
        hidden: Cells to look at.
    """
    squares, accuracies = [], []
    for index, column in enumerate(table.columns):
        rows = hidden[:, index]
        if not rows.any():
            continue
        right, given = truth.iloc[:, index], filled.iloc[:, index]
        if column.kind == "category":
            accuracies.append(np.mean([a == b for a, b in zip(right[rows], given[rows], strict=True)]))
            continue
        places = [_numbers(values, column.levels) for values in (right, given)]
        variance = np.nanvar(places[0])
        if variance > 0:
            squares.append(np.square(places[0] - places[1])[rows].mean() / variance)
    error = float(np.sqrt(np.mean(squares))) if squares else None
    return Judgement(error, float(np.mean(accuracies)) if accuracies else None)


def _numbers(values: Any, levels: tuple[Any, ...]) -> np.ndarray:
    """Numbers as they are; of grades that are none their places."""
    if levels and not isinstance(levels[0], float | int):
        places = {level: float(place) for place, level in enumerate(levels)}
        return np.array([places.get(value, np.nan) for value in values])
    return values.to_numpy(np.float64, na_value=np.nan)
