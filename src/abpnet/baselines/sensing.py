"""Other ways to recover signals x from linear measurements y = A x of them.

Every method takes measurements, (n, *measured), and returns (n, *shape), NaN for signals that it was not run on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from abpnet import factor_analysis
from abpnet.explaining import linear_measured
from abpnet.observations import Observation

__all__ = ["lasso_of_cosines", "least_norm", "principal_components"]

CONJUGATE_STEPS, RIDGE = 100, 1e-4
# Lasso takes seconds for each image: it is run on the first ones, and its penalty chosen on fewer.
MOST_SIGNALS_LASSO, SIGNALS_FOR_PENALTY = 20, 3
# The matrix of all cosines' measurements must fit in memory.
MOST_ENTRIES_LASSO = 4e7
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001)
HELD_BACK = 0.1
LASSO_ITERATIONS = 300


def _transpose(operator: Observation, v: Tensor, shape: Sequence[int]) -> Tensor:
    """`A^T v`, by back-propagation."""
    with torch.enable_grad():
        x = torch.zeros(len(v), *shape, requires_grad=True)
        (transposed,) = torch.autograd.grad(operator(x), x, v)
    return transposed


@torch.no_grad()
def least_norm(y: np.ndarray, operator: Observation, shape: Sequence[int]) -> np.ndarray:
    """The shortest signals that give the measurements: `A^T (A A^T)^-1 y`, by conjugate gradients.

    Args:
        y: (n, *measured).
        operator: A, linear.
        shape: Shape of one signal.
    """
    target = torch.from_numpy(y)
    dims = tuple(range(1, target.dim()))

    def apply(v: Tensor) -> Tensor:
        return operator(_transpose(operator, v, shape)) + RIDGE * v

    solution, residual = torch.zeros_like(target), target.clone()
    direction, length = residual.clone(), residual.square().sum(dims, keepdim=True)
    for _ in range(CONJUGATE_STEPS):
        image = apply(direction)
        step = length / (direction * image).sum(dims, keepdim=True).clamp(min=1e-20)
        solution, residual = solution + step * direction, residual - step * image
        new_length = residual.square().sum(dims, keepdim=True)
        direction = residual + new_length / length.clamp(min=1e-20) * direction
        length = new_length
    return _transpose(operator, solution, shape).numpy()


def lasso_of_cosines(y: np.ndarray, operator: Observation, shape: Sequence[int]) -> tuple[str, np.ndarray] | None:
    """Signals of few cosines: Lasso (Tibshirani 1996) in the discrete cosine transform of each channel.

    The penalty is chosen on measurements that are held back.

    Args:
        y: (n, *measured).
        operator: A, linear.
        shape: Shape of one signal, (channels, height, width).

    Returns:
        The method with its penalty, and the signals; None if the matrix of the problem would be too large.
    """
    from scipy.fft import idctn
    from sklearn.linear_model import Lasso

    size, measured = math.prod(shape), y[:MOST_SIGNALS_LASSO].reshape(min(len(y), MOST_SIGNALS_LASSO), -1)
    if size * measured.shape[1] > MOST_ENTRIES_LASSO:
        return None
    cosines = idctn(np.eye(size, dtype=np.float32).reshape(size, *shape), axes=(-2, -1), norm="ortho")
    rows = [operator(torch.from_numpy(part)).flatten(1).numpy() for part in np.array_split(cosines, 16)]
    matrix = np.asfortranarray(np.concatenate(rows).T)

    def solve(kept: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
        scaled = penalty * np.abs(matrix[kept].T @ target[kept]).max() / kept.sum()
        lasso = Lasso(alpha=scaled, fit_intercept=False, max_iter=LASSO_ITERATIONS, tol=1e-3)
        return lasso.fit(matrix[kept], target[kept]).coef_

    import warnings

    from sklearn.exceptions import ConvergenceWarning

    everything = np.ones(measured.shape[1], bool)
    kept = np.random.default_rng(0).random(measured.shape[1]) >= HELD_BACK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        errors = {
            penalty: sum(
                np.square(matrix[~kept] @ solve(kept, target, penalty) - target[~kept]).sum()
                for target in measured[:SIGNALS_FOR_PENALTY]
            )
            for penalty in PENALTIES
        }
        best = min(errors, key=lambda penalty: errors[penalty])
        coefficients = np.stack([solve(everything, target, best) for target in measured])
    recovered = np.full((len(y), *shape), np.nan, np.float32)
    recovered[: len(measured)] = idctn(coefficients.reshape(-1, *shape), axes=(-2, -1), norm="ortho")
    return f"Lasso, cosines (penalty {best}, first {len(measured)} images)", recovered


def principal_components(
    y: np.ndarray, operator: Observation, clean: np.ndarray, latent_dim: int, noise_std: float
) -> np.ndarray:
    """An oracle: probabilistic principal components of clean signals, then the posterior mean given measurements.

    Args:
        y: (n, *measured).
        operator: A, linear.
        clean: (m, *shape) signals that nobody who has measurements alone has.
        latent_dim: Number of components.
        noise_std: Standard deviation of the noise of the measurements.
    """
    flat = torch.from_numpy(clean).flatten(1)
    linear = factor_analysis.fit(flat, min(latent_dim, len(clean) - 1), max_iter=5)
    measured = linear_measured(linear, operator, clean.shape[1:])
    if measured is None:
        raise ValueError("the operator is not known to be linear")
    measured = measured._replace(noise_variance=measured.noise_variance + noise_std**2)
    factors = factor_analysis.posterior(measured, torch.from_numpy(y).flatten(1)).mean
    return factor_analysis.predict(linear, factors).unflatten(1, clean.shape[1:]).numpy()
