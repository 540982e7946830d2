"""Real numbers out of whatever callers hand over, or one line that says what came instead."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abpnet.errors import InputError

__all__ = [
    "check_between",
    "check_count",
    "check_flag",
    "named",
    "plain_tensor",
    "real",
    "real_tensor",
    "shown",
    "sizes_of",
    "truths",
]

# What estimators say word for word, in several lines, to keep scikit-learn's contract.
CONTRACT = "The feature names should match"
# Characters of a value that a message shows.
LONGEST_SHOWN = 80

# Of NumPy's kinds of types, those that are no real numbers, but can be turned into some that mean nothing.
NO_NUMBERS = {
    "c": "complex numbers; pass real and imaginary parts as entries of their own",
    "U": "text; convert it to numbers",
    "S": "text; convert it to numbers",
    "M": "dates; convert them to numbers",
    "m": "spans of time; convert them to numbers",
    "V": "records; pass their fields as entries",
}


def shown(value: Any) -> str:
    """A value as messages show it: one line, cut off where it gets long."""
    try:
        line = " ".join(repr(value).split())
    except Exception:  # pandas cannot show every frame
        line = f"a {type(value).__name__}"
    return line if len(line) <= LONGEST_SHOWN else line[:LONGEST_SHOWN] + "..."


def check_count(name: str, count: Any, least: int = 1) -> None:
    """Refuse anything but a whole number of at least 1, or of another least one.

    Raises:
        InputError: If it is none.
    """
    if not isinstance(count, Integral) or isinstance(count, bool):
        raise InputError(f"{name} must be a whole number of at least {least}, got {shown(count)}")
    if int(count) < least:
        raise InputError(f"{name} must be at least {least}, got {count}")


def check_between(name: str, value: Any, low: float | int, high: float | int) -> None:
    """Refuse anything but a number above `low` and below `high`.

    Raises:
        InputError: If it is none.
    """
    if not (isinstance(value, Real) and low < float(value) < high):
        below = "" if math.isinf(high) else f" and below {high:g}"
        raise InputError(f"{name} must be a number above {low:g}{below}, got {shown(value)}")


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither true nor false.

    Raises:
        InputError: If it is.
    """
    if not isinstance(value, bool | Integral | np.bool_):
        raise InputError(f"{name} must be True or False, got {shown(value)}")


def sizes_of(name: str, value: Any) -> tuple[int, ...]:
    """A shape: whole numbers of at least 1, at least one of them.

    Raises:
        InputError: If it is none.
    """
    sizes = tuple(value) if isinstance(value, tuple | list) else ()
    if not sizes or not all(
        isinstance(size, Integral) and not isinstance(size, bool) and int(size) >= 1 for size in sizes
    ):
        raise InputError(f"{name} must be a shape, such as (100,): whole numbers of at least 1; got {shown(value)}")
    return tuple(int(size) for size in sizes)


@contextmanager
def named(name: str, kind: type[ValueError] = InputError) -> Iterator[None]:
    """Errors of libraries within the block become one line that names the argument.

    Args:
        name: Of the argument.
        kind: What becomes of a ValueError.

    Raises:
        TypeError: Where a library raised one.
        InputError: Where it raised a ValueError.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        if str(error).startswith(CONTRACT):
            raise
        line = " ".join(str(error).split())
        line = line if re.search(rf"\b{name}\b", line) else f"{name}: {line}"
        raise (TypeError(line) if isinstance(error, TypeError) else kind(line)) from None


def plain_tensor(name: str, values: Tensor) -> Tensor:
    """A tensor of real numbers as it is, without its gradient.

    Raises:
        InputError: If it is sparse, quantised or complex, or holds no values at all.
    """
    if values.is_meta:
        raise InputError(f"{name}: a tensor on the meta device holds no values; pass one on a real device")
    if values.layout != torch.strided or values.is_quantized:
        raise InputError(f"{name}: a sparse or quantised tensor; pass {name}.to_dense() or {name}.dequantize()")
    if values.is_complex():
        raise InputError(f"{name}: Complex data not supported: {NO_NUMBERS['c']}")
    return values.detach()


def real(name: str, values: Any) -> Any:
    """Numbers as an array, tensors on the CPU, NaN where a masked array hides them; data frames as they are.

    Args:
        name: Of the argument.
        values: Anything.

    Raises:
        InputError: If it holds complex numbers, text, dates or records, is sparse, or of uneven lengths.
        TypeError: If it holds other objects.
    """
    if isinstance(values, Tensor):
        values = plain_tensor(name, values)
        return (values.float() if values.is_floating_point() else values).cpu().numpy()
    if hasattr(values, "toarray"):
        raise InputError(f"{name}: Sparse data was passed, but dense data is required; pass {name}.toarray()")
    if hasattr(values, "iloc") and hasattr(values, "columns"):
        kinds = {getattr(dtype, "kind", "O") for dtype in values.dtypes}
    else:
        hidden = np.ma.getmask(values)
        with named(name):
            values = np.ma.getdata(values) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
        kinds = {values.dtype.kind}
        if hidden is not np.ma.nomask and not kinds & NO_NUMBERS.keys():
            values = np.where(hidden, np.nan, np.where(hidden, 0, values).astype(np.float64))
    for kind in sorted(kinds & NO_NUMBERS.keys()):
        what = "Complex data not supported: " if kind == "c" else "holds "
        raise InputError(f"{name}: {what}{NO_NUMBERS[kind]}")
    return values


def real_tensor(name: str, values: Any) -> Tensor:
    """Finite numbers of any kind as a float32 tensor on the CPU.

    Raises:
        InputError: If they are none, see `real`, or not finite.
        TypeError: If they are other objects.
    """
    with named(name), np.errstate(over="ignore", invalid="ignore"):
        array = np.array(real(name, values), np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{name}: must be finite in float32, found {array[~np.isfinite(array)][0]}")
    return torch.from_numpy(array)


def truths(name: str, values: Any) -> Tensor:
    """True and False, or 1 and 0, as a tensor of booleans; tensors stay on their device.

    Raises:
        InputError: If there is anything else, or no axis.
    """
    given = plain_tensor(name, values) if isinstance(values, Tensor) else real_tensor(name, values)
    if given.dim() == 0:
        raise InputError(f"{name}: expected an array of True and False, got a single value")
    if given.dtype != torch.bool and not ((given == 0) | (given == 1)).all():
        raise InputError(f"{name}: must be True or False, or 1 or 0, everywhere; found others")
    return given.bool()
