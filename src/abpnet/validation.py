"""What an estimator is given to learn from or to explain: checked, and its missing entries masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data
from torch import Tensor

from abpnet.arrays import check_measurements, check_range, converter, without_hidden
from abpnet.disk import Rows, RowsOnDisk, is_on_disk
from abpnet.emissions import ADDITIVE, check_data
from abpnet.estimator_settings import emission_of
from abpnet.observations import Complete, Observation, as_observation, hide_missing, unmasked

__all__ = ["validated"]


def _checked(estimator: Any, X: Any, observation: Observation, reset: bool) -> Tensor:
    """Float32 numbers in range, possible and of the right shape, NaN = missing or hidden.

    Raises:
        ValueError: If they are not.
    """
    X = without_hidden(X, observation)
    if not isinstance(unmasked(observation), Complete):
        X = check_array(X, dtype=np.float32, ensure_all_finite="allow-nan", allow_nd=True)
        if not reset:
            check_measurements(X, observation, estimator.signal_shape_)
        return _as_tensor(X)
    X = validate_data(estimator, X, reset=reset, dtype=np.float32, ensure_all_finite="allow-nan", allow_nd=True)
    emission = emission_of(estimator.emission, float(estimator.noise_std))
    if X.ndim > 2 and isinstance(emission, ADDITIVE):
        check_range(X)
    if not reset and X.shape[1:] != estimator.signal_shape_:
        raise ValueError(f"expected signals of shape {estimator.signal_shape_}, got {X.shape[1:]}")
    y = _as_tensor(X)
    check_data(emission, y, ~y.isnan())
    return y


def _as_tensor(X: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(X, requirements=["C", "W"]))


Converter = Callable[[Tensor], Any]


@overload
def validated(
    estimator: Any, X: Any, observation: Any, *, reset: bool = False
) -> tuple[Tensor, Observation, Converter]: ...
@overload
def validated(
    estimator: Any, X: Any, observation: Any, *, reset: bool = False, may_stay_on_disk: Literal[True]
) -> tuple[Rows, Observation, Converter]: ...
def validated(
    estimator: Any, X: Any, observation: Any, *, reset: bool = False, may_stay_on_disk: bool = False
) -> tuple[Rows, Observation, Converter]:
    """Finite observations, how they came about, and how to give back results in the kind X came in.

    Args:
        estimator: A `GeneratorNetwork`.
        X: (n, *measured), NaN = missing.
        observation: How X came about, as for `as_observation`.
        reset: Whether to learn from X; otherwise X has to fit what was learned.
        may_stay_on_disk: Whether a memory-mapped X is only looked through, some rows at a time, and left where it is.

    Raises:
        ValueError: If X cannot be used.
    """
    convert, observation = converter(X), as_observation(observation)
    if may_stay_on_disk and is_on_disk(X):
        rows = RowsOnDisk(X, observation, lambda some, seen: _checked(estimator, some, seen, reset))
        y: Rows = rows
        seen, any_observed = rows.observation, rows.any_observed
    else:
        y, seen = hide_missing(_checked(estimator, X, observation, reset), observation)
        any_observed = seen.observed is None or bool(seen.observed.any())
    if reset and not any_observed:
        raise ValueError("nothing in X was observed; learning needs at least one entry")
    return y, seen, convert
