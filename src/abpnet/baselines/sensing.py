"""Other ways to recover signals x from linear measurements y = A x of them.

Recovered signals are (n, *shape), NaN where a method was not run on them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abpnet import factor_analysis
from abpnet.observations import Observation
from abpnet.projected_residuals import estimate_projected, matrix_of, project

__all__ = ["BASES", "lasso", "least_norm", "principal_components", "smooth_field"]

# Relative to the mean variance of the measurements, where their matrix is stored; and where it is not.
STORED_RIDGE = 1e-9
CONJUGATE_STEPS, RIDGE = 100, 1e-4
# Lasso takes seconds for each image: it is run on the first ones, and its penalty chosen on fewer.
MOST_SIGNALS_LASSO, SIGNALS_FOR_PENALTY = 50, 10
WAVELET, WAVELET_LENGTH = "db4", 8
# The matrix of all basis functions' measurements must fit in memory.
MOST_ENTRIES_LASSO = 4e7
PENALTIES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
HELD_BACK = 0.1
# Brightness, red against blue, green against both: orthonormal, and nearly uncorrelated in photographs.
OPPONENT_COLOURS = np.array([[2, 2, 2], [6**0.5, 0, -(6**0.5)], [2**0.5, -(8**0.5), 2**0.5]], np.float32) / 12**0.5
# Basis functions measured at a time.
UNITS = 512
LASSO_ITERATIONS = 300


def _transpose(operator: Observation, v: Tensor, shape: Sequence[int]) -> Tensor:
    """`A^T v`, by back-propagation."""
    with torch.enable_grad():
        x = torch.zeros(len(v), *shape, requires_grad=True)
        (transposed,) = torch.autograd.grad(operator(x), x, v)
    return transposed


@torch.no_grad()
def least_norm(y: np.ndarray, operator: Observation, shape: Sequence[int], noise_std: float = 0.0) -> np.ndarray:
    """The shortest signals that give the measurements: `A^T (A A^T + r I)^-1 y`.

    r is the variance of the noise over that of a pixel, and enough to be solvable.

    Solved directly where A is no larger than `matrix_of` allows, by conjugate gradients elsewhere.

    Args:
        y: (n, *measured).
        operator: A, linear.
        shape: Shape of one signal.
        noise_std: Standard deviation of the noise of the measurements.
    """
    if len(y) == 0:
        return np.zeros((0, *shape), np.float32)
    target = torch.from_numpy(y)
    noise_share = noise_std**2 / max(float(target.square().mean()), 1e-12)
    matrix = matrix_of(operator, shape)
    if matrix is not None:
        exact = matrix.double()
        products = exact @ exact.T
        products.diagonal().add_((STORED_RIDGE + noise_share) * products.diagonal().mean())
        weights = torch.linalg.solve(products, target.flatten(1).double().T)
        return (weights.T @ exact).float().unflatten(1, tuple(shape)).numpy()
    dims = tuple(range(1, target.dim()))

    def product(v: Tensor) -> Tensor:
        return operator(_transpose(operator, v, shape))

    ridge = (RIDGE + noise_share) * (product(target) * target).sum() / target.square().sum().clamp(min=1e-12)

    def apply(v: Tensor) -> Tensor:
        return product(v) + ridge * v

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


def _cosines(coefficients: np.ndarray) -> np.ndarray:
    from scipy.fft import idctn

    return idctn(coefficients, axes=(-2, -1), norm="ortho")


def _wavelets(coefficients: np.ndarray) -> np.ndarray:
    import pywt

    sides = coefficients.shape[-2:]
    level = 0
    # At every level sides must be even, and no shorter than the wavelet, for the transform to be orthonormal.
    while all(side % 2 ** (level + 1) == 0 and side >> level >= WAVELET_LENGTH for side in sides):
        level += 1
    if level == 0:
        return coefficients
    corner = [side >> level for side in sides]
    parts: list[Any] = [coefficients[..., : corner[0], : corner[1]]]
    for down, right in ([side >> depth for side in sides] for depth in range(level, 0, -1)):
        horizontal = coefficients[..., down : 2 * down, :right]
        vertical = coefficients[..., :down, right : 2 * right]
        diagonal = coefficients[..., down : 2 * down, right : 2 * right]
        parts.append((horizontal, vertical, diagonal))
    return pywt.waverec2(parts, WAVELET, mode="periodization", axes=(-2, -1))


def _colours(coefficients: np.ndarray) -> np.ndarray:
    """Channels of opponent colours to red, green and blue; any other number of channels stays as it is."""
    if coefficients.shape[-3] != len(OPPONENT_COLOURS):
        return coefficients
    return np.einsum("ij,...ihw->...jhw", OPPONENT_COLOURS, coefficients)


# From coefficients (..., height, width) in an orthonormal basis to images.
BASES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"cosines": _cosines, "wavelets": _wavelets}


def lasso(
    ys: Sequence[np.ndarray], operator: Observation, shape: Sequence[int], basis: str
) -> tuple[str, list[np.ndarray]] | None:
    """Signals that are sparse in a basis: Lasso (Tibshirani 1996) for the coefficients of each channel.

    Three channels are taken for red, green and blue, and become opponent colours first: sparser than they are.

    The penalty is chosen on measurements of the first set that are held back.

    Args:
        ys: Sets of measurements, (n, *measured) each.
        operator: A, linear.
        shape: Shape of one signal, (channels, height, width).
        basis: "cosines" (discrete cosine transform) or "wavelets" (Daubechies, 4 vanishing moments).

    Returns:
        The method with its penalty, and the signals of each set; None if the matrix of the problem would be too large.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    of_basis, size = BASES[basis], math.prod(shape)
    n_measured = math.prod(ys[0].shape[1:])
    flat = [y[:MOST_SIGNALS_LASSO].reshape(-1, n_measured) for y in ys]
    if size * n_measured > MOST_ENTRIES_LASSO:
        return None

    def synthesise(coefficients: np.ndarray) -> np.ndarray:
        return of_basis(_colours(coefficients))

    rows = []
    for places in torch.arange(size).split(UNITS):
        units = torch.nn.functional.one_hot(places, size).float().view(-1, *shape).numpy()
        rows.append(operator(torch.from_numpy(synthesise(units))).flatten(1).numpy())
    matrix = np.asfortranarray(np.concatenate(rows).T)

    def solve(kept: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
        scaled = penalty * np.abs(matrix[kept].T @ target[kept]).max(initial=0) / max(kept.sum(), 1)
        if scaled == 0:  # nothing was measured but zeros
            return np.zeros(size, np.float32)
        model = Lasso(alpha=scaled, fit_intercept=False, max_iter=LASSO_ITERATIONS, tol=1e-3)
        return model.fit(matrix[kept], target[kept]).coef_

    def recover(measured: np.ndarray, n: int, penalty: float) -> np.ndarray:
        recovered = np.full((n, *shape), np.nan, np.float32)
        everything = np.ones(n_measured, bool)
        for index, target in enumerate(measured):
            recovered[index] = synthesise(solve(everything, target, penalty).reshape(shape))
        return recovered

    kept = np.random.default_rng(0).random(n_measured) >= HELD_BACK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        errors = {
            penalty: sum(
                np.square(matrix[~kept] @ solve(kept, target, penalty) - target[~kept]).sum()
                for target in flat[0][:SIGNALS_FOR_PENALTY]
            )
            for penalty in PENALTIES
        }
        best = min(errors, key=lambda penalty: errors[penalty])
        signals = [recover(measured, len(y), best) for measured, y in zip(flat, ys, strict=True)]
    few = f", first {MOST_SIGNALS_LASSO} images" if max(map(len, ys)) > MOST_SIGNALS_LASSO else ""
    return f"Lasso, {basis} (penalty {best}{few})", signals


def smooth_field(
    ys: Sequence[np.ndarray], operator: Observation, shape: Sequence[int]
) -> tuple[str, list[np.ndarray]] | None:
    """Images as draws of one stationary Gaussian field, learned from the measurements: their conditional means.

    What is left of our model if there are no factors; see `projected_residuals`.

    Args:
        ys: Sets of measurements, (n, *measured) each; the first one is learned from.
        operator: A, linear.
        shape: Shape of one image, (channels, height, width).

    Returns:
        The method, and the images of each set; None if A is larger than `matrix_of` allows.
    """
    matrix = matrix_of(operator, shape)
    if matrix is None:
        return None
    field, noise_std = estimate_projected(torch.from_numpy(ys[0]), matrix, shape)
    seen = project(field, noise_std, operator, shape)
    assert seen is not None
    return "smooth Gaussian field", [seen.conditional_mean(torch.from_numpy(y)).numpy() for y in ys]


def principal_components(
    ys: Sequence[np.ndarray], operator: Observation, clean: np.ndarray, latent_dim: int, noise_std: float
) -> tuple[str, list[np.ndarray]] | None:
    """An oracle: probabilistic principal components of clean signals, then the posterior mean given measurements.

    Args:
        ys: Sets of measurements, (n, *measured) each.
        operator: A, linear.
        clean: (m, *shape) signals that nobody who has measurements alone has.
        latent_dim: Number of components.
        noise_std: Standard deviation of the noise of the measurements.

    Returns:
        The method, and the signals of each set; None if A is larger than `matrix_of` allows.
    """
    matrix = matrix_of(operator, clean.shape[1:])
    if matrix is None:
        return None
    n_components = min(latent_dim, len(clean) - 1)
    linear = factor_analysis.fit(torch.from_numpy(clean).flatten(1), n_components, max_iter=5)
    loadings, mean, variance = (parameter.double() for parameter in linear)
    exact = matrix.double()
    # Covariance of signals and measurements: (W W^T + Psi) A^T.
    shared = loadings @ (exact @ loadings).T + variance[:, None] * exact.T
    covariance = exact @ shared
    covariance.diagonal().add_(noise_std**2 + STORED_RIDGE * covariance.diagonal().mean())
    gain = torch.linalg.solve(covariance, shared.T)
    signals = [mean + (torch.from_numpy(y).flatten(1).double() - exact @ mean) @ gain for y in ys]
    return (
        f"principal components of clean images (oracle, d = {n_components})",
        [signal.float().unflatten(1, clean.shape[1:]).numpy() for signal in signals],
    )
