"""Tables as matrices: numbers, categories, ordered grades and counts become one matrix of numbers, NaN = missing."""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float

from abpnet.errors import InputError

__all__ = ["KINDS", "Column", "Kind", "Table", "is_frame"]

Kind = Literal["number", "count", "grade", "category"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Whole numbers of no more distinct values than that are grades; of categories, no more than so many are modelled.
MOST_GRADES, MOST_CATEGORIES = 10, 50
# Counts scatter about as much as those of Poisson do, whose variance is their mean.
MOST_DISPERSED = 3.0
# Texts of more rows than that, each another, are names of the rows, and tell nothing about others.
FEWEST_NAMES = 10
# Objects that are neither numbers nor categories.
UNKNOWN = (datetime.date, datetime.time, datetime.timedelta, list, dict, np.ndarray)


class Column(NamedTuple):
    """How one column is encoded.

    Attributes:
        name: Its name; of an array its index.
        kind: "number": standardised. "count": as it is. "grade": its place among the levels. "category": 0 or 1 for two
            levels, else 1 in one of as many columns as there are levels.
        levels: Of a grade or category, in their order.
        mean: Of a number.
        std: Of a number; 1 if it does not vary.
        first: Where it stands in the matrix.
    """

    name: Hashable
    kind: Kind
    levels: tuple[Any, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    first: int = 0

    @property
    def span(self) -> slice:
        """Its columns of the matrix."""
        several = self.kind == "category" and len(self.levels) > 2
        return slice(self.first, self.first + (len(self.levels) if several else 1))


def is_frame(X: Any) -> bool:
    """Whether it is a pandas data frame."""
    return hasattr(X, "iloc") and hasattr(X, "columns")


def _names(X: Any) -> list[Hashable]:
    return list(X.columns) if is_frame(X) else list(range(X.shape[1]))


def _values(X: Any, index: int) -> tuple[np.ndarray, Bool[np.ndarray, "n"]]:
    """One column, numbers as float64 and all else as objects; and where it is missing."""
    if not is_frame(X):
        values = np.asarray(X[:, index], np.float64)
        return values, np.isnan(values)
    from pandas.api import types

    series = X.iloc[:, index]
    missing = series.isna().to_numpy(bool)
    seen = series[~missing]
    unknown = (types.is_datetime64_any_dtype, types.is_timedelta64_dtype, types.is_complex_dtype)
    if any(is_unknown(series) for is_unknown in unknown) or (len(seen) and isinstance(seen.iloc[0], UNKNOWN)):
        found = type(seen.iloc[0]).__name__ if series.dtype == object else series.dtype
        raise InputError(
            f"column {X.columns[index]!r}: {found} is no kind of column known here; drop it, or turn it into numbers"
        )
    if types.is_numeric_dtype(series) and not types.is_bool_dtype(series):
        values = series.to_numpy(np.float64, na_value=np.nan)
        if np.isinf(values).any():
            raise InputError(f"column {X.columns[index]!r}: holds infinity; replace it by a number, or leave it empty")
        return values, missing
    return series.to_numpy(object), missing


def _levels(X: Any, index: int, values: np.ndarray) -> tuple[Any, ...]:
    """Distinct values, in their order if they have one; of more than `MOST_CATEGORIES` the most frequent."""
    dtype = X.iloc[:, index].dtype if is_frame(X) else None
    distinct, counts = np.unique(values, return_counts=True) if values.dtype != object else _count(values)
    if len(distinct) > MOST_CATEGORIES:
        distinct = distinct[np.sort(np.argsort(-counts, kind="stable")[:MOST_CATEGORIES])]
    if dtype is not None and hasattr(dtype, "categories"):
        return tuple(level for level in dtype.categories if level in set(distinct))
    return tuple(distinct.tolist())


def _count(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct objects, ordered as text, and how often each comes."""
    counts: dict[Any, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    distinct = sorted(counts, key=str)
    as_objects = np.empty(len(distinct), object)
    as_objects[:] = distinct
    return as_objects, np.array([counts[level] for level in distinct])


def _inferred(X: Any, index: int, values: np.ndarray) -> Kind:
    """The kind of a column by its values; arrays hold numbers."""
    if not is_frame(X):
        return "number"
    dtype = X.iloc[:, index].dtype
    if values.dtype == object:
        return "grade" if getattr(dtype, "ordered", False) else "category"
    n_distinct = len(np.unique(values))
    if n_distinct <= 2:
        return "category"
    if (values != np.round(values)).any():
        return "number"
    if n_distinct <= MOST_GRADES:
        return "grade"
    return "count" if values.min() >= 0 and values.var() <= MOST_DISPERSED * values.mean() else "number"


def _described(X: Any, index: int, told: Kind | None) -> Column:
    """How a column is to be encoded, but for its place.

    Raises:
        InputError: If it cannot be.
    """
    name = _names(X)[index]
    values, missing = _values(X, index)
    seen = values[~missing]
    if not len(seen):
        raise InputError(f"column {name!r}: has no value at all; drop it")
    kind = told or _inferred(X, index, seen)
    if kind in ("number", "count") and values.dtype == object:
        raise InputError(f"column {name!r}: a {kind} must hold numbers, found {seen[0]!r}; convert it, or leave it out")
    if kind == "count" and (seen.min() < 0 or (seen != np.round(seen)).any()):
        raise InputError(f"column {name!r}: counts must be whole and not negative; call it a number")
    if kind == "grade" and values.dtype == object and not getattr(X.iloc[:, index].dtype, "ordered", False):
        raise InputError(
            f"column {name!r}: grades of {seen[0]!r} and others need an order; make it an ordered category"
        )
    if kind == "number":
        mean, std = float(seen.mean()), float(seen.std())
        return Column(name, kind, (), mean, std if std > 0 and np.isfinite(std) else 1.0)
    levels = () if kind == "count" else _levels(X, index, seen)
    if told is None and values.dtype == object and len(seen) > FEWEST_NAMES and len(set(seen)) == len(seen):
        raise InputError(f"column {name!r}: no value comes twice, so it tells nothing about other rows; drop it")
    return Column(name, kind, levels)


@dataclass(frozen=True)
class Table:
    """How the columns of a table become one matrix, and come back from it.

    Attributes:
        columns: In the order of the table. In the matrix numbers come first, then counts, grades and categories.
    """

    columns: tuple[Column, ...]

    @classmethod
    def describe(cls, X: Any, kinds: Mapping[Hashable, Any] | None = None) -> Table:
        """Tell the kind of each column from its values.

        Of a data frame, text, booleans, and numbers of two values are categories, ordered categories and whole numbers
        of up to 10 values are grades, whole numbers that scatter like counts are counts, all others are numbers.
        Arrays hold numbers.

        Args:
            X: A pandas data frame, or an array of numbers; missing = NaN, None, NA.
            kinds: What columns are of which this does not hold, by name, or by index of an array.

        Raises:
            InputError: If a column cannot be used, or is none of the table's.
        """
        names, kinds = _names(X), kinds or {}
        if len(set(names)) < len(names):
            raise InputError("columns must have different names; rename them")
        for name, kind in kinds.items():
            if name not in names or kind not in KINDS:
                raise InputError(
                    f"kinds: {name!r} is called {kind!r}; expected a column of the table and one of {', '.join(KINDS)}"
                )
        described = [_described(X, index, kinds.get(name)) for index, name in enumerate(names)]
        first, placed = 0, list(described)
        for index in sorted(range(len(names)), key=lambda index: KINDS.index(described[index].kind)):
            placed[index] = described[index]._replace(first=first)
            first = placed[index].span.stop
        return cls(tuple(placed))

    @property
    def in_matrix(self) -> list[Column]:
        """The columns in the order of the matrix."""
        return sorted(self.columns, key=lambda column: column.first)

    def encode(self, X: Any) -> Float[np.ndarray, "n D"]:
        """The matrix of a table with the same columns, NaN where something is missing or of an unknown level.

        Raises:
            InputError: If columns are missing, or do not hold what they held.
        """
        if _names(X) != [column.name for column in self.columns]:
            raise InputError(f"columns must be {[column.name for column in self.columns]}, got {_names(X)}")
        matrix = np.full((len(X), self.in_matrix[-1].span.stop), np.nan, np.float32)
        for index, column in enumerate(self.columns):
            values, missing = _values(X, index)
            if column.kind in ("number", "count"):
                if values.dtype == object:
                    raise InputError(f"column {column.name!r}: held numbers, now something else")
                matrix[:, column.first] = (values - column.mean) / column.std
                continue
            place = {level: position for position, level in enumerate(column.levels)}
            code = np.array([np.nan if gone else place.get(v, np.nan) for v, gone in zip(values, missing, strict=True)])
            width = column.span.stop - column.first
            known = ~np.isnan(code)
            matrix[known, column.span] = code[known, None] if width == 1 else code[known, None] == np.arange(width)
        return matrix

    def decode(self, expected: Float[np.ndarray, "n D"], whole: bool = True) -> list[np.ndarray]:
        """Values of each column from the expected rows of the matrix, or from drawn ones.

        Args:
            expected: Rows of the matrix, of categories probabilities.
            whole: Whether grades and counts are rounded; else grades, if they are numbers, lie between their levels.
        """
        decoded = []
        for column in self.columns:
            values = expected[:, column.span].astype(np.float64)
            one = values[:, 0]
            if column.kind == "number":
                decoded.append(one * column.std + column.mean)
            elif column.kind == "count":
                decoded.append(one.round() if whole else one)
            elif column.kind == "grade" and not whole and isinstance(column.levels[0], float | int):
                decoded.append(np.interp(one, np.arange(len(column.levels)), np.array(column.levels, np.float64)))
            else:
                place = values.argmax(1) if values.shape[1] > 1 else one.round().astype(int)
                levels = np.empty(len(column.levels), object)
                levels[:] = column.levels
                decoded.append(levels[place.clip(0, len(levels) - 1)])
        return decoded

    def fill_in(self, X: Any, expected: Float[np.ndarray, "n D"], whole: bool = True) -> Any:
        """The table with its missing cells filled in, of the same types; what is not missing stays as it came."""
        filled: Any = X.copy() if is_frame(X) else np.array(X, np.float64)
        for index, values in enumerate(self.decode(expected, whole)):
            _, missing = _values(X, index)
            if not missing.any():
                continue
            if is_frame(X):
                filled.isetitem(index, _filled_series(X.iloc[:, index], missing, values[missing]))
            else:
                filled[missing, index] = values[missing]
        return filled


def _filled_series(series: Any, missing: Bool[np.ndarray, "n"], values: np.ndarray) -> Any:
    from pandas.api import types

    if types.is_integer_dtype(series):
        values = values.astype(np.float64).round().astype(np.int64)
    elif types.is_numeric_dtype(series) and not types.is_bool_dtype(series):
        values = values.astype(np.float64)
    filled = series.copy()
    filled.iloc[np.flatnonzero(missing)] = values
    return filled
