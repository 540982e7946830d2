"""What callers hand over and get back: arrays or tensors, seeds, and the shape of the signals behind measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abpnet.disk import Rows
from abpnet.observations import Complete, Observation, Projection, check_mask, unmasked

__all__ = [
    "check_count",
    "check_factors",
    "check_measurements",
    "check_range",
    "converter",
    "fill_in",
    "mean_of",
    "seed_of",
    "signal_shape",
    "to_tensor",
    "without_hidden",
]


def to_tensor(values: Any) -> Tensor:
    """Values of any kind as a float32 tensor on the CPU."""
    values = values.detach().cpu() if isinstance(values, Tensor) else np.asarray(values)
    return torch.as_tensor(values, dtype=torch.float32)


def without_hidden(X: Any, observation: Observation) -> Any:
    """X as it came, tensors as arrays; with a mask, as an array of float32 with NaN wherever it hides.

    What stands under a mask is neither looked at nor complained about.

    Raises:
        ValueError: If the mask does not fit X.
    """
    if isinstance(X, Tensor):
        X = (X.float() if X.is_floating_point() else X).detach().cpu().numpy()
    if observation.observed is None:
        return X
    X = np.asarray(X)
    check_mask(observation.observed.shape, X.shape)
    hidden = ~observation.observed.cpu().numpy()
    return np.where(hidden, np.nan, np.where(hidden, 0, X)).astype(np.float32)


def check_count(name: str, count: Any) -> None:
    """Refuse anything but a whole number of at least 1.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(count, Integral) or isinstance(count, bool):
        raise ValueError(f"{name} must be a whole number of at least 1, got {count!r}")
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")


def check_factors(name: str, z: Tensor, latent_shape: tuple[int, ...], n: int | None = None) -> None:
    """Refuse factors of another shape or number.

    Raises:
        ValueError: If they are.
    """
    if z.shape[1:] != latent_shape or len(z) == 0 or n not in (None, len(z)):
        raise ValueError(f"{name} must be ({n or 'n'}, *{latent_shape}), got {tuple(z.shape)}")


def check_measurements(Y: np.ndarray, observation: Observation, signal_shape: tuple[int, ...]) -> None:
    """Refuse measurements of another shape than those of signals.

    Raises:
        ValueError: If they are.
    """
    expected = tuple(unmasked(observation)(torch.zeros(1, *signal_shape)).shape[1:])
    if Y.shape[1:] != expected:
        raise ValueError(f"signals of shape {signal_shape} give measurements of shape {expected}, got {Y.shape[1:]}")


def mean_of(signals: Iterable[Tensor]) -> Tensor:
    """Their mean, held one at a time."""
    iterator = iter(signals)
    total, count = next(iterator).clone(), 1
    for signal in iterator:
        total, count = total.add_(signal), count + 1
    return total / count


def converter(like: Any) -> Callable[[Tensor], Any]:
    """How to give back results: tensors for tensors, arrays for everything else."""
    return (lambda result: result) if isinstance(like, Tensor) else (lambda result: result.numpy())


def seed_of(random_state: Any) -> int:
    """The seed itself, or one drawn as scikit-learn understands None and `numpy.random.RandomState`."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    from sklearn.utils import check_random_state  # half a second that `import abpnet` need not take

    return int(check_random_state(random_state).randint(2**31 - 1))


def check_range(X: np.ndarray) -> None:
    """Refuse signals that leave [-1, 1]; NaN = missing.

    Raises:
        ValueError: If they do.
    """
    low, high = np.nanmin(X, initial=0.0), np.nanmax(X, initial=0.0)
    if low < -1 or high > 1:
        raise ValueError(
            f"X must lie in [-1, 1], found {low:.4g} to {high:.4g}; for whole numbers 0..255 pass X / 127.5 - 1"
        )


def signal_shape(y: Rows, observation: Observation) -> tuple[int, ...] | None:
    """Shape of the signals behind measurements; None if only the network can tell."""
    measured = unmasked(observation)
    if isinstance(measured, Complete):
        return tuple(y.shape[1:])
    if isinstance(measured, Projection):
        return measured.shape
    return None


def fill_in(y: Tensor, observation: Observation, estimate: Tensor) -> Tensor:
    """What was observed, and the estimate elsewhere."""
    return y if observation.observed is None else torch.where(observation.observed, y, estimate)
