"""Columns of data frames: as numbers or objects, and filled in again with the types that they had."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
from jaxtyping import Bool

from abpnet.errors import InputError

__all__ = ["filled", "is_frame", "values_of"]

# Objects that are neither numbers nor categories.
UNKNOWN = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, list, dict, set, np.ndarray)


def is_frame(X: Any) -> bool:
    """Whether it is a pandas data frame."""
    return hasattr(X, "iloc") and hasattr(X, "columns")


def values_of(X: Any, index: int) -> tuple[np.ndarray, Bool[np.ndarray, "n"]]:
    """One column, numbers as float64 and all else as objects; and where it is missing.

    Args:
        X: A pandas data frame, or an array of numbers.
        index: Which column.

    Raises:
        InputError: If it holds infinity, or what is no kind of column known here.
    """
    if not is_frame(X):
        values = np.asarray(X[:, index], np.float64)
        return values, np.isnan(values)
    from pandas.api import types

    name, series = X.columns[index], X.iloc[:, index].infer_objects()
    missing = series.isna().to_numpy(bool)
    if _is_unknown(series):
        seen = series[~missing]
        found = type(seen.iloc[0]).__name__ if series.dtype == object else series.dtype
        raise InputError(f"column {name!r}: {found} is no kind of column known here; drop it, or turn it into numbers")
    if types.is_numeric_dtype(series) and not types.is_bool_dtype(series):
        values = series.to_numpy(np.float64, na_value=np.nan)
        if np.isinf(values).any():
            raise InputError(f"column {name!r}: holds infinity; replace it by a number, or leave it empty")
        return values, missing
    return series.to_numpy(object), missing


def _is_unknown(series: Any) -> bool:
    import pandas
    from pandas.api import types

    tests = (types.is_datetime64_any_dtype, types.is_timedelta64_dtype, types.is_complex_dtype)
    others = (pandas.PeriodDtype, pandas.IntervalDtype, pandas.SparseDtype)
    if any(is_unknown(series) for is_unknown in tests) or isinstance(series.dtype, others):
        return True
    return series.dtype == object and any(isinstance(value, UNKNOWN) for value in series.dropna())


def filled(series: Any, missing: Bool[np.ndarray, "n"], values: np.ndarray, learned: Any) -> Any:
    """A column with its missing cells filled in, of the same type; what is not missing stays as it came.

    Args:
        series: The column.
        missing: Where it is missing.
        values: What to fill in there.
        learned: Type of the column that was learned from, which one that holds nothing takes.
    """
    import pandas

    if missing.all():
        return pandas.Series(_fitting(values, learned), series.index, learned, series.name)
    if isinstance(series.dtype, pandas.CategoricalDtype):
        series = series.cat.add_categories([v for v in dict.fromkeys(values) if v not in series.cat.categories])
    result = series.copy()
    result.iloc[np.flatnonzero(missing)] = _fitting(values, series.dtype)
    return result


def _fitting(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Numbers within the bounds of a type, whole ones if it is one of whole numbers; others as they are."""
    from pandas.api import types

    plain = getattr(dtype, "numpy_dtype", dtype)
    if types.is_float_dtype(dtype):
        limits = np.finfo(plain)
        return values.astype(np.float64).clip(limits.min, limits.max).astype(plain)
    if not types.is_integer_dtype(dtype):
        return values
    bounds = np.iinfo(plain)
    largest = np.nextafter(float(bounds.max) + 1, 0)  # 2^63 is a float, and no int64
    return values.astype(np.float64).round().clip(bounds.min, largest).astype(plain)
