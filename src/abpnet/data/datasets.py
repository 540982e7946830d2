"""Datasets of PyTorch and of Hugging Face as one array of signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from abpnet.data.images import from_picture
from abpnet.errors import InputError
from abpnet.values import named, real

__all__ = ["is_dataset", "stack_dataset"]


def is_dataset(X: Any) -> bool:
    """Whether X is a `torch.utils.data.Dataset` or DataLoader, or a `datasets.Dataset` of Hugging Face."""
    if isinstance(X, torch.utils.data.Dataset | torch.utils.data.DataLoader):
        return True
    return all(hasattr(X, name) for name in ("column_names", "features", "with_format"))


def _is_signal(value: Any) -> bool:
    return isinstance(value, Image.Image | list) or (isinstance(value, Tensor | np.ndarray) and value.ndim > 0)


def _column_of(item: Mapping[str, Any], column: str | None) -> str:
    """The column of an example that holds its signal.

    Raises:
        InputError: If that cannot be told, or there is none of that name.
    """
    known = [name for name, value in item.items() if _is_signal(value)] if column is None else list(item)
    if column is not None and column in known:
        return column
    if column is None and len(known) == 1:
        return known[0]
    expected = "name one: abpnet.data.stack_dataset(dataset, column=...)" if column is None else "expected one of these"
    raise InputError(f"dataset: columns {', '.join(known) or 'without arrays or images'}; {expected}")


def _array_of(item: Any, column: str | None, index: int) -> np.ndarray:
    name = f"dataset[{index}]"
    if isinstance(item, Mapping):
        item = item[_column_of(item, column)]
    elif isinstance(item, tuple):  # such as (image, label)
        item = item[0]
    if isinstance(item, Image.Image):
        return from_picture(name, item)
    with named(name):
        return np.asarray(real(name, item), np.float32)


def stack_dataset(dataset: Any, column: str | None = None) -> np.ndarray:
    """All signals of a dataset.

    Args:
        dataset: A `torch.utils.data.Dataset` with a length, of signals, of tuples that begin with one, or of
            dictionaries; or a `datasets.Dataset` of Hugging Face. Arrays are taken as they are, NaN = missing; images
            of Pillow become [-1, 1], transparent pixels missing.
        column: Where examples are dictionaries, which of their entries is the signal; by default the only one that is
            an array or an image.

    Returns:
        float32 (n, *shape).

    Raises:
        InputError: If the dataset has no length or no examples, a signal cannot be told, or shapes differ.
    """
    if isinstance(dataset, torch.utils.data.DataLoader):
        raise InputError("dataset: a DataLoader may shuffle and repeat; pass the dataset itself, loader.dataset")
    try:
        n = len(dataset)
    except TypeError:
        raise InputError("dataset: its length is not known; pass a dataset that is indexed by 0 ... n - 1") from None
    if n == 0:
        raise InputError("dataset: holds no examples")
    first = _array_of(dataset[0], column, 0)
    stacked = np.empty((n, *first.shape), np.float32)
    for index in range(n):
        signal = first if index == 0 else _array_of(dataset[index], column, index)
        is_grey = signal.ndim == 3 and signal.shape[0] == 1 and signal.shape[1:] == first.shape[1:]
        if signal.shape != first.shape and not (is_grey and len(first) == 3):
            raise InputError(
                f"dataset[{index}]: expected the shape of dataset[0], {first.shape}, got {signal.shape}; "
                "crop or scale all to one"
            )
        stacked[index] = signal
    return stacked
