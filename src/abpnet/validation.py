"""What an estimator is given to learn from or to explain: checked, and its missing entries masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data
from torch import Tensor

from abpnet.arrays import check_measurements, check_range, check_size, converter, smallest_noise, without_hidden
from abpnet.data.datasets import is_dataset, stack_dataset
from abpnet.disk import Rows, RowsOnDisk, is_on_disk
from abpnet.emissions import ADDITIVE, check_data
from abpnet.errors import InputError
from abpnet.estimator_settings import emission_of
from abpnet.observations import Complete, Observation, as_observation, hide_missing, unmasked
from abpnet.values import named

__all__ = ["validated"]


def _checked(estimator: Any, name: str, X: Any, observation: Observation, reset: bool) -> Tensor:
    """Float32 numbers in range, possible and of the right shape, NaN = missing or hidden.

    Raises:
        ValueError: If they are not.
    """
    X = without_hidden(name, X, observation)
    if np.ndim(X) < 2:
        raise InputError(
            f"{name} must be (n, *shape), got an array of shape {np.shape(X)}. Reshape your data: a single signal is "
            f"{name}[None]"
        )
    if np.ndim(X) > 2 and 0 in np.shape(X):
        raise InputError(f"{name}: holds nothing, found 0 sample(s) or sides of length 0 in shape {np.shape(X)}")
    emission = emission_of(estimator.emission, float(estimator.noise_std))
    kinds: dict[str, Any] = {"dtype": np.float32, "ensure_all_finite": "allow-nan", "allow_nd": True}
    direct = isinstance(unmasked(observation), Complete)
    with named(name), np.errstate(over="ignore", invalid="ignore"):
        X = validate_data(estimator, X, reset=reset, **kinds) if direct else check_array(X, input_name=name, **kinds)
    if not direct and not reset:
        check_measurements(name, X, observation, estimator.signal_shape_)
    if direct and X.ndim > 2 and isinstance(emission, ADDITIVE):
        check_range(name, X)
    if direct and not reset and X.shape[1:] != estimator.signal_shape_:
        raise ValueError(f"{name}: expected signals of shape {estimator.signal_shape_}, got {X.shape[1:]}")
    check_size(name, X, smallest_noise(emission))
    y = _as_tensor(X)
    if direct:
        check_data(emission, y, ~y.isnan())
    return y


def _as_tensor(X: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(X, requirements=["C", "W"]))


Converter = Callable[[Tensor], Any]


@overload
def validated(
    estimator: Any, X: Any, observation: Any, *, name: str = "X", reset: bool = False
) -> tuple[Tensor, Observation, Converter]: ...
@overload
def validated(
    estimator: Any, X: Any, observation: Any, *, name: str = "X", reset: bool = False, may_stay_on_disk: Literal[True]
) -> tuple[Rows, Observation, Converter]: ...
def validated(
    estimator: Any, X: Any, observation: Any, *, name: str = "X", reset: bool = False, may_stay_on_disk: bool = False
) -> tuple[Rows, Observation, Converter]:
    """Finite observations, how they came about, and how to give back results in the kind X came in.

    Args:
        estimator: A `GeneratorNetwork`.
        X: (n, *measured), NaN = missing, or a dataset of them, see `data.stack_dataset`.
        observation: How X came about, as for `as_observation`.
        name: Of the argument.
        reset: Whether to learn from X; otherwise X has to fit what was learned.
        may_stay_on_disk: Whether a memory-mapped X is only looked through, some rows at a time, and left where it is.

    Raises:
        ValueError: If X cannot be used.
    """
    X = stack_dataset(X) if is_dataset(X) else X
    convert, observation = converter(X), as_observation(observation)
    if may_stay_on_disk and is_on_disk(X):
        rows = RowsOnDisk(X, observation, lambda some, seen: _checked(estimator, name, some, seen, reset))
        y: Rows = rows
        seen, any_observed = rows.observation, rows.any_observed
    else:
        y, seen = hide_missing(_checked(estimator, name, X, observation, reset), observation)
        any_observed = seen.observed is None or bool(seen.observed.any())
    if reset and not any_observed:
        raise ValueError("nothing in X was observed; learning needs at least one entry")
    return y, seen, convert
