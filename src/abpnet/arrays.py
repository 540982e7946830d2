"""What callers hand over and get back: arrays or tensors, seeds, and the shape of the signals behind measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abpnet.disk import Rows
from abpnet.emissions import noise_stds
from abpnet.errors import InputError
from abpnet.observations import Complete, Observation, Projection, check_mask, measure, unmasked
from abpnet.values import named, real, real_tensor, sizes_of

__all__ = [
    "check_measurements",
    "check_range",
    "check_size",
    "converter",
    "factors_of",
    "fill_in",
    "mean_of",
    "resized",
    "seed_of",
    "signal_shape",
    "smallest_noise",
    "without_hidden",
]


# Factors farther from 0 than that are a mistake; signals that are larger than so many standard deviations of the noise
# have squares that float32 hardly holds.
FARTHEST, LARGEST = 1e6, 1e12


def without_hidden(name: str, X: Any, observation: Observation) -> Any:
    """X as it came, tensors as arrays; with a mask, as an array of float32 with NaN wherever it hides.

    What stands under a mask is neither looked at nor complained about.

    Args:
        name: Of the argument.
        X: Numbers of any kind, see `values.real`.
        observation: Whose mask it is.

    Raises:
        ValueError: If X holds no real numbers, or the mask does not fit it.
    """
    X = real(name, X)
    if observation.observed is None:
        return X
    X = np.asarray(X)
    check_mask(observation.observed.shape, X.shape)
    hidden = ~observation.observed.cpu().numpy()
    with named(name), np.errstate(over="ignore"):
        return np.where(hidden, np.nan, np.where(hidden, 0, X)).astype(np.float32)


def factors_of(name: str, values: Any, latent_shape: tuple[int, ...], n: int | None = None) -> Tensor:
    """Factors (n, *latent_shape), of any kind of numbers, as a float32 tensor on the CPU.

    Raises:
        ValueError: If they are of another shape or number, not finite, or too far from 0.
    """
    z = real_tensor(name, values)
    if z.shape[1:] != latent_shape or len(z) == 0 or n not in (None, len(z)):
        raise InputError(f"{name} must be ({n or 'n'}, *{latent_shape}), got {tuple(z.shape)}")
    farthest = float(z.abs().max())
    if farthest > FARTHEST:
        raise InputError(f"{name}: found {farthest:.4g}; factors have a standard deviation of about 1")
    return z


def resized(latent_shape: tuple[int, ...], sizes: Any) -> tuple[int, ...]:
    """Shape of factors whose map has other sizes: height and width, or length.

    Raises:
        ValueError: If they are none, or of another number.
    """
    given = sizes_of("latent_shape", sizes)
    if len(given) != len(latent_shape) - 1:
        raise InputError(f"latent_shape={given}: expected {len(latent_shape) - 1} sizes for factors {latent_shape}")
    return (latent_shape[0], *given)


def check_measurements(name: str, Y: np.ndarray, observation: Observation, signal_shape: tuple[int, ...]) -> None:
    """Refuse measurements of another shape than those of signals.

    Raises:
        ValueError: If they are.
    """
    expected = tuple(measure(unmasked(observation), torch.zeros(1, *signal_shape)).shape[1:])
    if Y.shape[1:] != expected:
        raise ValueError(
            f"{name}: signals of shape {signal_shape} give measurements of shape {expected}, got {Y.shape[1:]}"
        )


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
    """The seed itself, or one drawn as scikit-learn understands None and `numpy.random.RandomState`.

    Raises:
        ValueError: If it is none of these, or has more than 64 bits.
    """
    if isinstance(random_state, (int, np.integer)):
        if not -(2**63) <= random_state < 2**64:
            raise InputError(f"random_state must have at most 64 bits, got {random_state}")
        return int(random_state)
    from sklearn.utils import check_random_state  # half a second that `import abpnet` need not take

    with named("random_state"):
        return int(check_random_state(random_state).randint(2**31 - 1))


def check_size(name: str, X: np.ndarray, noise_std: float) -> None:
    """Refuse numbers that float32 cannot square in units of the noise; NaN = missing.

    Raises:
        ValueError: If there are any.
    """
    largest = np.nanmax(np.abs(X), initial=0.0)
    if largest > LARGEST * noise_std:
        raise InputError(
            f"{name}: found {largest:.4g}, more than {LARGEST:g} times the noise's {noise_std:g}; scale the numbers"
        )


def smallest_noise(emission: Any) -> float:
    """Least standard deviation of an emission's noise; 1 where it has none."""
    return min(noise_stds(emission), default=getattr(emission, "noise_std", 1.0))


def check_range(name: str, X: np.ndarray) -> None:
    """Refuse signals that leave [-1, 1]; NaN = missing.

    Raises:
        ValueError: If they do.
    """
    low, high = np.nanmin(X, initial=0.0), np.nanmax(X, initial=0.0)
    if low < -1 or high > 1:
        raise ValueError(
            f"{name} must lie in [-1, 1], found {low:.4g} to {high:.4g}; for whole numbers 0..255 pass "
            f"{name} / 127.5 - 1"
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
