"""How latent factors move: vector auto-regression, fitted, stabilised and simulated.

`z_t - m = A_1 (z_{t-1} - m) + ... + A_p (z_{t-p} - m) + e_t`, `e_t ~ N(0, Q)`. At order 1 that is
`z_{t+1} = A z_t + c + e_t` with `c = (I - A) m`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import linalg

__all__ = [
    "VectorAutoregression",
    "fit_autoregression",
    "match_covariance",
    "matching_map",
    "matrix_power",
    "moments",
    "stabilise",
    "stationary_autoregression",
]

# Relative to the mean variance of the factors: covariances of fewer observations than factors stay invertible.
RIDGE = 1e-6


@dataclass(frozen=True)
class VectorAutoregression:
    """A stationary process, if all its roots lie within the unit circle.

    Attributes:
        mean: m, (d,).
        transitions: A_1 ... A_p, (p, d, d).
        innovation: Q, (d, d).
    """

    mean: Float[np.ndarray, "d"]
    transitions: Float[np.ndarray, "p d d"]
    innovation: Float[np.ndarray, "d d"]

    @property
    def order(self) -> int:
        """p."""
        return len(self.transitions)

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned: m, A and the symmetric Q."""
        d = len(self.mean)
        return d + self.transitions.size + d * (d + 1) // 2

    @property
    def companion(self) -> Float[np.ndarray, "pd pd"]:
        """The matrix that moves the last p states, newest first, one step on; A itself at order 1."""
        p, d = self.transitions.shape[:2]
        matrix = np.eye(p * d, k=-d)
        matrix[:d] = np.concatenate(list(self.transitions), 1)
        return matrix

    @property
    def spectral_radius(self) -> float:
        """Greatest modulus of the companion's eigenvalues; below 1 the process is stationary."""
        return float(np.abs(np.linalg.eigvals(self.companion)).max())

    def covariance(self) -> Float[np.ndarray, "pd pd"]:
        """Stationary covariance S of the last p states: `S = F S F^T + G Q G^T`, a discrete Lyapunov equation.

        Raises:
            ValueError: If the process is not stationary.
        """
        if self.spectral_radius >= 1:
            raise ValueError(f"spectral radius {self.spectral_radius:.4f}: the process is not stationary; stabilise it")
        noise = np.zeros_like(self.companion)
        noise[: len(self.mean), : len(self.mean)] = self.innovation
        covariance = linalg.solve_discrete_lyapunov(self.companion, noise)
        return (covariance + covariance.T) / 2

    def simulate(self, n_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
        """A path of any length, started in the stationary distribution.

        Args:
            n_frames: Its length.
            rng: Source of chance.
        """
        p, d = self.transitions.shape[:2]
        past = matrix_power(self.covariance(), 0.5) @ rng.standard_normal(p * d)
        noise = rng.standard_normal((n_frames, d)) @ matrix_power(self.innovation, 0.5)
        path = np.concatenate([past.reshape(p, d)[::-1], np.empty((n_frames, d))])
        for t, innovation in enumerate(noise, start=p):
            path[t] = innovation + sum(
                transition @ path[t - lag] for lag, transition in enumerate(self.transitions, start=1)
            )
        return self.mean + path[p:]


def matrix_power(covariance: Float[np.ndarray, "d d"], power: float) -> Float[np.ndarray, "d d"]:
    """A power of a symmetric positive matrix; what rounding made negative counts as (almost) 0."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, values.max() * 1e-12) ** power) @ vectors.T


def moments(segments: Sequence[Float[np.ndarray, "_ d"]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of all states of all segments."""
    together = np.concatenate(segments)
    centred = together - together.mean(0)
    return together.mean(0), centred.T @ centred / len(centred)


def fit_autoregression(
    segments: Sequence[Float[np.ndarray, "_ d"]], order: int = 1, ridge: float = RIDGE
) -> VectorAutoregression:
    """Least squares, that is maximum likelihood given the first p states of each segment.

    `[A_1 ... A_p] = (sum_t z_t s_t^T) (sum_t s_t s_t^T)^-1`, s_t the p states before z_t, all less their mean; Q is the
    mean of `e_t e_t^T` with as many degrees of freedom as are left (Luetkepohl 2005, section 3.2).

    Args:
        segments: (n_i, d) each, without gaps within a segment; one mean for all.
        order: p.
        ridge: Added to the second moments of s, relative to the mean variance.

    Raises:
        ValueError: If there are not more transitions than coefficients in each equation.
    """
    mean, covariance = moments(segments)
    d = len(mean)
    centred = [np.asarray(segment, np.float64) - mean for segment in segments]
    now = np.concatenate([segment[order:] for segment in centred])
    before = np.concatenate(
        [np.concatenate([s[order - lag : len(s) - lag] for lag in range(1, order + 1)], 1) for s in centred]
    )
    n_free = len(now) - order * d - 1
    if n_free < 1:
        raise ValueError(f"{len(now)} transitions of {d} factors at order {order}: at least {order * d + 2} are needed")
    gram = before.T @ before + ridge * len(now) * covariance.trace() / d * np.eye(order * d)
    coefficients = linalg.solve(gram, before.T @ now, assume_a="pos").T
    residual = now - before @ coefficients.T
    transitions = coefficients.reshape(d, order, d).transpose(1, 0, 2)
    return VectorAutoregression(mean, transitions, residual.T @ residual / n_free)


def stabilise(process: VectorAutoregression, largest: float) -> VectorAutoregression:
    """The same process with every root of greater modulus moved radially to `largest`.

    Each mode keeps its pattern and its frequency, and only those that grow, or last too long, change. The coefficients
    follow from the p d pairs (root w_i, pattern v_i), `w^p v = A_1 w^(p-1) v + ... + A_p v`, in one linear system.

    Args:
        process: Stationary or not; returned as it is if no root is too large.
        largest: Modulus allowed, below 1.
    """
    roots, vectors = np.linalg.eig(process.companion)
    modulus = np.abs(roots)
    if modulus.max() <= largest:
        return process
    roots = np.where(modulus > largest, roots * largest / np.maximum(modulus, largest), roots)
    p, d = process.transitions.shape[:2]
    patterns = vectors[-d:]  # of the oldest state: an eigenvector is (w^(p-1) v, ..., w v, v)
    states = np.concatenate([patterns * roots**power for power in range(p - 1, -1, -1)])
    coefficients = np.linalg.solve(states.T, (patterns * roots**p).T).T.real
    return replace(process, transitions=coefficients.reshape(d, p, d).transpose(1, 0, 2))


def matching_map(covariance: Float[np.ndarray, "d d"], wanted: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The linear map L with `L S L^T = S'` that moves states least: optimal transport between normal distributions.

    `S^(-1/2) (S^(1/2) S' S^(1/2))^(1/2) S^(-1/2)` (Dowson and Landau 1982).

    Args:
        covariance: S.
        wanted: S'.
    """
    root, inverse = matrix_power(covariance, 0.5), matrix_power(covariance, -0.5)
    return inverse @ matrix_power(root @ wanted @ root, 0.5) @ inverse


def match_covariance(process: VectorAutoregression, covariance: Float[np.ndarray, "d d"]) -> VectorAutoregression:
    """The same process in other coordinates, in which its stationary covariance is the given one.

    `A' = L A L^-1`, `Q' = L Q L^T`, L of `matching_map`: roots, and with them frequencies and decay times, stay.

    Args:
        process: Stationary.
        covariance: Positive definite.
    """
    d = len(process.mean)
    change = matching_map(process.covariance()[:d, :d], covariance)
    transitions = change @ process.transitions @ np.linalg.inv(change)
    return replace(process, transitions=transitions, innovation=change @ process.innovation @ change.T)


def stationary_autoregression(
    segments: Sequence[Float[np.ndarray, "_ d"]], order: int = 1, ridge: float = RIDGE
) -> VectorAutoregression:
    """The fitted process, made stationary, with exactly the mean and the covariance of the segments.

    Networks are learned for factors that are distributed as the inferred ones are: factors elsewhere make bad frames.
    A mode that lasts longer than the longest segment cannot be told from one that lasts as long, so no root is larger
    than 1 - 1 / (its length).

    Args:
        segments: (n_i, d) each.
        order: p.
        ridge: As in `fit_autoregression`.
    """
    longest = max(len(segment) for segment in segments)
    process = stabilise(fit_autoregression(segments, order, ridge), 1 - 1 / longest)
    return match_covariance(process, moments(segments)[1])
