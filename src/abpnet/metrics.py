"""Metrics of signals in [-1, 1], and of the chains against the prior."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

__all__ = ["DYNAMIC_RANGE", "difference_of_statistics", "error", "latent_moments", "psnr"]

DYNAMIC_RANGE = 2.0


def _difference(estimate: np.ndarray, truth: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    if estimate.shape != truth.shape:
        raise ValueError(f"signals of shape {estimate.shape} cannot be compared with the truth of shape {truth.shape}")
    difference = estimate - truth
    chosen = difference.ravel() if where is None else difference[np.broadcast_to(where, difference.shape)]
    if chosen.size == 0:
        raise ValueError("no entry to compare: `where` selects nothing")
    return chosen


def error(estimate: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """Mean absolute difference per entry as a fraction of the dynamic range (2 for signals in [-1, 1]).

    Args:
        estimate: Recovered signals.
        truth: True signals of the same shape.
        where: True where to compare, broadcastable to the signals; everywhere by default.

    Raises:
        ValueError: If the shapes differ or nothing is compared.
    """
    return float(np.abs(_difference(estimate, truth, where)).mean() / DYNAMIC_RANGE)


def psnr(estimate: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB: `10 log10(range^2 / mean squared difference)`.

    Args:
        estimate: Recovered signals.
        truth: True signals of the same shape.
        where: True where to compare, broadcastable to the signals; everywhere by default.

    Raises:
        ValueError: If the shapes differ or nothing is compared.
    """
    mean_square = np.square(_difference(estimate, truth, where)).mean()
    return float(10 * np.log10(DYNAMIC_RANGE**2 / mean_square)) if mean_square > 0 else float("inf")


def latent_moments(parts: Iterable[Tensor]) -> dict[str, float]:
    """How far the chains of all examples, taken together, stand from the prior N(0, I).

    Args:
        parts: (n, d, *map) latent factors of some examples at a time; positions of a map count as examples.

    Returns:
        `latent_mean` and `latent_std` over all factors, and `latent_divergence`: the Kullback-Leibler divergence of
        the normal distribution with each factor's mean and variance from N(0, 1), averaged over factors, in nats;
        `(v + m^2 - 1 - log v) / 2`.
    """
    sums = squares = torch.zeros((), dtype=torch.float64)
    count = 0
    for part in parts:
        factors = part.transpose(0, 1).flatten(1).double()
        sums, squares = sums + factors.sum(1), squares + factors.square().sum(1)
        count += factors.shape[1]
    mean, square = sums / count, squares / count
    variance = (square - mean.square()).clamp(min=torch.finfo(torch.float32).tiny)
    divergence = 0.5 * (variance + mean.square() - 1 - variance.log())
    return {
        "latent_mean": float(mean.mean()),
        "latent_std": float((square.mean() - mean.mean().square()).clamp(min=0).sqrt()),
        "latent_divergence": float(divergence.mean()),
    }


def difference_of_statistics(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """Root mean square difference of each kind of statistics, and under "distance" the mean of all kinds.

    Args:
        one: Statistics of a signal, those of one kind under one name.
        other: Those of another signal.
    """
    kinds = {kind: float(np.sqrt(np.square(values - other[kind]).mean())) for kind, values in one.items()}
    return {"distance": float(np.mean(list(kinds.values()))), **kinds}
