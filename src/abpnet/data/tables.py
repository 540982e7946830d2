"""Tables as matrices: numbers, categories, ordered grades and counts become one matrix of numbers, NaN = missing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int, Num

from abpnet.data.series import filled, is_frame, values_of
from abpnet.errors import InputError

__all__ = ["KINDS", "Column", "Kind", "Table"]

Kind = Literal["number", "count", "grade", "category"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Whole numbers of no more distinct values than that are grades; of categories, no more than so many are modelled.
MOST_GRADES, MOST_CATEGORIES = 10, 50
# Counts scatter about as much as those of Poisson do, whose variance is their mean.
MOST_DISPERSED = 3.0
# Texts of more rows than that, each another, are names of the rows, and tell nothing about others.
FEWEST_NAMES = 10
# Numbers so many standard deviations off are mistakes.
FARTHEST = 1e10
# Equal numbers differ from their mean by so much of it at most, for rounding.
SAME = 1e-12


class Column(NamedTuple):
    """How one column is encoded.

    Attributes:
        name: Its name; of an array its index.
        kind: "number": standardised. "count": as it is. "grade": its place among the levels. "category": 0 or 1 for two
            levels, else 1 in one of as many columns as there are levels.
        levels: Of a grade or category, in their order.
        mean: Of a number.
        std: Of a number; 1 if it does not vary.
        dtype: Type of a data frame's column.
        first: Where it stands in the matrix.
    """

    name: Hashable
    kind: Kind
    levels: tuple[Any, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    dtype: Any = None
    first: int = 0

    @property
    def span(self) -> slice:
        """Its columns of the matrix."""
        several = self.kind == "category" and len(self.levels) > 2
        return slice(self.first, self.first + (len(self.levels) if several else 1))

    def coded(self, places: Num[np.ndarray, "n"]) -> Num[np.ndarray, "n w"]:
        """Of a grade or category, its columns of the matrix where these are the places of the levels."""
        width = self.span.stop - self.first
        return places[:, None] if width == 1 else (places[:, None] == np.arange(width)).astype(float)

    def places(self, values: Float[np.ndarray, "n w"]) -> Int[np.ndarray, "n"]:
        """The way back: of the most probable level, or of that closest to what is expected."""
        place = values.argmax(1) if values.shape[1] > 1 else values[:, 0].round().astype(int)
        return place.clip(0, len(self.levels) - 1)


def _names(X: Any) -> list[Hashable]:
    return list(X.columns) if is_frame(X) else list(range(X.shape[1]))


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
    values, missing = values_of(X, index)
    seen = values[~missing]
    if not len(seen):
        raise InputError(f"column {name!r}: has no value at all; drop it")
    if told is None:
        _check_text(name, seen)
    kind = told or _inferred(X, index, seen)
    dtype = X.iloc[:, index].dtype if is_frame(X) else None
    if kind in ("number", "count") and values.dtype == object:
        raise InputError(f"column {name!r}: a {kind} must hold numbers, found {seen[0]!r}; convert it, or leave it out")
    if kind == "count" and (seen.min() < 0 or (seen != np.round(seen)).any()):
        raise InputError(f"column {name!r}: counts must be whole and not negative; call it a number")
    if kind == "grade" and values.dtype == object and not getattr(X.iloc[:, index].dtype, "ordered", False):
        raise InputError(
            f"column {name!r}: grades of {seen[0]!r} and others need an order; make it an ordered category"
        )
    if kind == "number":
        unit = float(np.abs(seen).max()) or 1.0  # squares of huge numbers are infinite, and of tiny ones 0
        mean, std = unit * float((seen / unit).mean()), unit * float((seen / unit).std())
        return Column(name, kind, (), mean, std if std > SAME * abs(mean) else 1.0, dtype)
    levels = () if kind == "count" else _levels(X, index, seen)
    if told is None and values.dtype == object and len(seen) > FEWEST_NAMES and len(set(seen)) == len(seen):
        raise InputError(
            f"column {name!r}: no value comes twice ({seen[0]!r}, {seen[1]!r}, ...), so it tells nothing about other "
            "rows; drop it, or turn it into numbers"
        )
    return Column(name, kind, levels, dtype=dtype)


def _check_text(name: Hashable, values: np.ndarray) -> None:
    """Refuse text that is mostly numbers: what else stands there is to say that something is missing, as a rule."""
    texts = [value for value in values if isinstance(value, str)]
    others = [text for text in texts if not _is_number(text)]
    if others and len(texts) - len(others) > len(values) / 2:
        raise InputError(
            f"column {name!r}: holds numbers, and {others[0]!r}; leave cells empty where a number is missing, or "
            "call it a category"
        )


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _standardised(column: Column, values: np.ndarray) -> Float[np.ndarray, "n"]:
    """Numbers and counts as they stand in the matrix.

    Raises:
        InputError: If they are none, or too far from those that were learned from.
    """
    if values.dtype == object:
        raise InputError(f"column {column.name!r}: held numbers, now something else")
    standardised = (values - column.mean) / column.std
    far = np.abs(standardised) > FARTHEST
    if far.any():
        raise InputError(
            f"column {column.name!r}: {values[far][0]:g} is too far from what was learned from (mean "
            f"{column.mean:.4g}, standard deviation {column.std:.4g}); correct it, or leave it empty"
        )
    return standardised


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
            values, missing = values_of(X, index)
            if column.kind in ("number", "count"):
                if not missing.all():
                    matrix[:, column.first] = _standardised(column, values)
                continue
            place = {level: position for position, level in enumerate(column.levels)}
            code = np.array([np.nan if gone else place.get(v, np.nan) for v, gone in zip(values, missing, strict=True)])
            known = ~np.isnan(code)
            matrix[known, column.span] = column.coded(code[known])
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
                levels = np.empty(len(column.levels), object)
                levels[:] = column.levels
                decoded.append(levels[column.places(values)])
        return decoded

    def fill_in(self, X: Any, expected: Float[np.ndarray, "n D"], whole: bool = True) -> Any:
        """The table with its missing cells filled in, of the same types; what is not missing stays as it came.

        Raises:
            InputError: If a column has a type now that cannot hold what is filled in.
        """
        result: Any = X.copy() if is_frame(X) else np.array(X, np.float64)
        for index, values in enumerate(self.decode(expected, whole)):
            _, missing = values_of(X, index)
            if not missing.any():
                continue
            if is_frame(X):
                column, series = self.columns[index], X.iloc[:, index]
                try:
                    result.isetitem(index, filled(series, missing, values[missing], column.dtype))
                except (TypeError, ValueError):
                    raise InputError(
                        f"column {column.name!r}: is now of type {series.dtype}, which cannot hold "
                        f"{values[missing][0]!r}; bring back the type that was learned from, {column.dtype}"
                    ) from None
            else:
                result[missing, index] = values[missing]
        return result
