"""Linear factor analysis in closed form: the oracle of the non-linear model, and where its chains start.

`y = W z + b + e`, `z ~ N(0, I)`, `e_j ~ N(0, psi_j)`. Given W, b and psi, the posterior and the likelihood are known
exactly; maximum-likelihood W, b and psi are found by the EM algorithm of Rubin and Thayer (1982), here with missing
entries: every sum runs over what was observed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["FactorAnalysis", "Posterior", "expectation_maximisation", "fit", "log_likelihood", "posterior", "predict"]

# Outer products of loadings are formed for this many numbers at a time, which bounds memory at about 0.5 GB.
CHUNK = 2**26
SMALLEST_VARIANCE = 1e-6
# Keeps regressions on fewer examples than factors solvable.
JITTER = 1e-10


class FactorAnalysis(NamedTuple):
    """Parameters of the linear model.

    Attributes:
        loadings: W.
        mean: b.
        noise_variance: psi, equal in all entries if isotropic (probabilistic PCA).
    """

    loadings: Float[Tensor, "D d"]
    mean: Float[Tensor, "D"]
    noise_variance: Float[Tensor, "D"]


class Posterior(NamedTuple):
    """Exact p(z | observed y) = N(mean, covariance).

    Attributes:
        mean: Of each example.
        covariance: Of each example; a single one if all examples were completely observed.
        precision: Inverse of the covariance.
    """

    mean: Float[Tensor, "n d"]
    covariance: Float[Tensor, "m d d"]
    precision: Float[Tensor, "m d d"]


def _observed(y: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Finite values (0 where missing) and the mask as 0/1 weights of the same type, None if complete."""
    observed = ~y.isnan() if observed is None else observed.bool() & ~y.isnan()
    if observed.all():
        return y, None
    return torch.where(observed, y, torch.zeros_like(y)), observed.expand_as(y).to(y.dtype)


def _weighted_outer_products(weights: Tensor, vectors: Tensor) -> Tensor:
    """Sum over j of weights[i, j] vectors[j] vectors[j]^T, shape (n, d, d), in chunks of j."""
    n_vectors, dim = vectors.shape
    total = vectors.new_zeros(weights.shape[0], dim * dim)
    for rows in torch.arange(n_vectors).split(max(1, CHUNK // dim**2)):
        chunk = vectors[rows]
        total += weights[:, rows] @ (chunk.unsqueeze(2) * chunk.unsqueeze(1)).flatten(1)
    return total.unflatten(1, (dim, dim))


def _posterior(model: FactorAnalysis, y: Tensor, weights: Tensor | None) -> Posterior:
    scaled = model.loadings / model.noise_variance.sqrt().unsqueeze(1)
    rows = y.new_ones(1, y.shape[1]) if weights is None else weights
    precision = torch.eye(scaled.shape[1]).to(y) + _weighted_outer_products(rows, scaled)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision))
    residual = (y - model.mean) if weights is None else (y - model.mean) * weights
    evidence = (residual / model.noise_variance) @ model.loadings
    return Posterior((covariance @ evidence.unsqueeze(2)).squeeze(2), covariance, precision)


def posterior(model: FactorAnalysis, y: Float[Tensor, "n D"], observed: Bool[Tensor, "m D"] | None = None) -> Posterior:
    """Exact posterior of the factors given what was observed.

    Args:
        model: The linear model.
        y: Flattened signals; NaN = missing.
        observed: True = observed; in addition to NaN.
    """
    return _posterior(model, *_observed(y, observed))


def predict(model: FactorAnalysis, z: Float[Tensor, "n d"]) -> Float[Tensor, "n D"]:
    """`W z + b`."""
    return z @ model.loadings.T + model.mean


def _log_likelihood(model: FactorAnalysis, y: Tensor, weights: Tensor | None, belief: Posterior) -> Tensor:
    residual = y - model.mean
    log_variance = model.noise_variance.log()
    if weights is None:
        entries, log_variances = y.new_tensor(y.shape[1]), log_variance.sum()
    else:
        residual = residual * weights
        entries, log_variances = weights.sum(1), weights @ log_variance
    evidence = (residual / model.noise_variance) @ model.loadings
    # Woodbury: the quadratic form and the determinant of the D x D covariance from the d x d precision.
    quadratic = (residual.square() / model.noise_variance).sum(1) - (evidence * belief.mean).sum(1)
    log_determinant = log_variances + torch.linalg.slogdet(belief.precision).logabsdet
    return -0.5 * (entries * math.log(2 * math.pi) + log_determinant + quadratic)


def log_likelihood(
    model: FactorAnalysis, y: Float[Tensor, "n D"], observed: Bool[Tensor, "m D"] | None = None
) -> Float[Tensor, "n"]:
    """Exact log p(observed y) of each example, in nats.

    Args:
        model: The linear model.
        y: Flattened signals; NaN = missing.
        observed: True = observed; in addition to NaN.
    """
    values, weights = _observed(y, observed)
    return _log_likelihood(model, values, weights, _posterior(model, values, weights))


def _principal_components(y: Tensor, weights: Tensor | None, latent_dim: int) -> FactorAnalysis:
    """Probabilistic PCA of the mean-filled data (Tipping and Bishop 1999), where EM starts."""
    n, size = y.shape
    counts = y.new_full((size,), n) if weights is None else weights.sum(0)
    mean = y.sum(0) / counts.clamp(min=1)
    centred = (y - mean) if weights is None else (y - mean) * weights
    wide = n < size
    gram = centred @ centred.T if wide else centred.T @ centred
    values, vectors = torch.linalg.eigh(gram / n)
    values, vectors = values.flip(0)[:latent_dim].clamp(min=0), vectors.flip(1)[:, :latent_dim]
    rest = ((centred.square().sum() / n - values.sum()) / max(size - latent_dim, 1)).clamp(min=SMALLEST_VARIANCE)
    if wide:
        vectors = centred.T @ vectors / (n * values.clamp(min=SMALLEST_VARIANCE)).sqrt()
    loadings = vectors * (values - rest).clamp(min=float(rest) * 1e-2).sqrt()
    padding = loadings.new_zeros(size, latent_dim - loadings.shape[1])
    return FactorAnalysis(torch.cat([loadings, padding], 1), mean, rest.expand(size).clone())


def _maximisation(y: Tensor, weights: Tensor | None, belief: Posterior, isotropic: bool) -> FactorAnalysis:
    """Weighted regression of every entry on the augmented factors (z, 1)."""
    n, size = y.shape
    factors = torch.cat([belief.mean, belief.mean.new_ones(n, 1)], 1)
    covariance = torch.nn.functional.pad(belief.covariance, (0, 1, 0, 1))
    products = factors.T @ y  # (d + 1, D): y is 0 where it was not observed
    if weights is None:
        moments = factors.T @ factors + covariance.sum(0) * (n / covariance.shape[0])
        moments += JITTER * n * torch.eye(len(moments)).to(y)
        coefficients = torch.linalg.solve(moments, products).T
        counts = y.new_full((size,), n)
    else:
        coefficients = y.new_empty(size, factors.shape[1])
        second_moments = (factors.unsqueeze(2) * factors.unsqueeze(1) + covariance).flatten(1)
        identity = torch.eye(factors.shape[1]).to(y)
        counts = weights.sum(0)
        for columns in torch.arange(size).split(max(1, CHUNK // factors.shape[1] ** 2)):
            moments = (weights[:, columns].T @ second_moments).unflatten(1, identity.shape)
            moments += JITTER * n * identity
            moments = torch.where(counts[columns, None, None] > 0, moments, identity)  # never observed: no loadings
            coefficients[columns] = torch.linalg.solve(moments, products[:, columns].T)
    # E sum_i m_ij (y_ij - w_j^T z_i)^2 = sum_i m_ij y_ij^2 - w_j^T sum_i m_ij y_ij E z_i, at the regression's solution.
    squares = y.square().sum(0) - (coefficients * products.T).sum(1)
    variance = squares.sum() / counts.sum() if isotropic else squares / counts.clamp(min=1)
    variance = variance.clamp(min=SMALLEST_VARIANCE).expand(size).clone()
    return FactorAnalysis(coefficients[:, :-1], coefficients[:, -1], variance)


def expectation_maximisation(
    y: Float[Tensor, "n D"],
    latent_dim: int,
    observed: Bool[Tensor, "m D"] | None = None,
    isotropic: bool = True,
) -> Iterator[tuple[FactorAnalysis, float]]:
    """EM for factor analysis with missing entries (Rubin and Thayer 1982), without end.

    Args:
        y: Flattened signals; NaN = missing.
        latent_dim: Number of factors d.
        observed: True = observed; in addition to NaN.
        isotropic: One noise variance for all entries (probabilistic PCA) or one for each (factor analysis).

    Yields:
        The parameters, in the type of y, and the mean log-likelihood per example that they reach; it never falls.
    """
    # Residual variances are differences of large sums: in float32 they cancel and the likelihood falls by tens of nats.
    values, weights = _observed(y.double(), observed)
    model = _principal_components(values, weights, latent_dim)
    while True:
        belief = _posterior(model, values, weights)
        likelihood = float(_log_likelihood(model, values, weights, belief).mean())
        yield FactorAnalysis(*(parameter.to(y.dtype) for parameter in model)), likelihood
        model = _maximisation(values, weights, belief, isotropic)


def fit(
    y: Float[Tensor, "n D"],
    latent_dim: int,
    observed: Bool[Tensor, "m D"] | None = None,
    isotropic: bool = True,
    max_iter: int = 100,
    tolerance: float = 1e-4,
) -> FactorAnalysis:
    """Maximum-likelihood factor analysis of data with missing entries.

    Args:
        y: Flattened signals; NaN = missing.
        latent_dim: Number of factors d.
        observed: True = observed; in addition to NaN.
        isotropic: One noise variance for all entries (probabilistic PCA) or one for each (factor analysis).
        max_iter: Most EM iterations.
        tolerance: EM stops once an iteration gains less than this many nats per example.
    """
    previous = -math.inf
    steps = expectation_maximisation(y, latent_dim, observed, isotropic)
    model, likelihood = next(steps)
    for _ in range(max_iter):
        if likelihood - previous < tolerance:
            break
        previous = likelihood
        model, likelihood = next(steps)
    return model
