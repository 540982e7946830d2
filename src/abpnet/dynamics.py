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
    "matching",
    "matching_map",
    "matrix_power",
    "moments",
    "stabilise",
    "stationary_autoregression",
]

# Relative to the mean variance of the factors: covariances of fewer observations than factors stay invertible.
RIDGE = 1e-6
# Of partial autocorrelations: rounding must not carry a norm to 1.
LARGEST_NORM = 1 - 1e-9


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


def matching(
    simulated: Sequence[Float[np.ndarray, "_ d"]], segments: Sequence[Float[np.ndarray, "_ d"]]
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]]:
    """m and L with which `m + L s` has mean and covariance of the segments, for states s as the simulated ones are."""
    (mean, covariance), (wanted_mean, wanted) = moments(simulated), moments(segments)
    change = matching_map(covariance, wanted)
    return wanted_mean - change @ mean, change


def stationary_autoregression(segments: Sequence[Float[np.ndarray, "_ d"]], order: int = 1) -> VectorAutoregression:
    """The stationary process with the mean, the covariance and the partial autocorrelations of the segments.

    Networks are learned for factors that are distributed as the inferred ones are; factors elsewhere make bad frames.
    And what moves slowly must go on to do so: a slow mode's root is known up to the clip's length only, but if its
    variance is to be kept, a root a little too small makes steps many times too long. Least squares gives neither.

    Stationary processes of covariance G correspond to sequences of matrices of norm below 1, the partial
    autocorrelations `P_k`: correlations of z_t with z_(t-k), both less what the states between them tell, each in
    units of its own covariance (Morf, Vieira, Lee and Kailath 1978). Estimated as `F^(-1/2) C B^(-1/2)`, with the
    covariances F, B and C of forward residuals, backward residuals and of the two, their norms are below 1 whatever
    the data, so nothing is left to be stabilised. From them follow the coefficients, by the recursion of Whittle
    (1963). At order 1: `A = G^(1/2) P_1 G^(-1/2)`, `Q = G - A G A^T`.

    Args:
        segments: (n_i, d) each, without gaps within a segment; one mean for all.
        order: p.

    Raises:
        ValueError: If there are not enough states for norms below 1.
    """
    mean, forward = moments(segments)
    d = len(mean)
    n_known, needed = sum(max(0, len(segment) - order) for segment in segments), (order + 1) * d + 2
    if n_known < needed:
        raise ValueError(f"{n_known} transitions of {d} factors at order {order}: at least {needed} are needed")
    centred = [np.asarray(segment, np.float64) - mean for segment in segments]
    backward = forward
    ahead, back = np.empty((0, d, d)), np.empty((0, d, d))  # coefficients that foretell, and that look back
    for _ in range(order):
        pairs = [_residuals(segment, ahead, back) for segment in centred]
        now, before = (np.concatenate(part) for part in zip(*pairs, strict=True))
        partial = matrix_power(now.T @ now, -0.5) @ (now.T @ before) @ matrix_power(before.T @ before, -0.5)
        cross = matrix_power(forward, 0.5) @ (partial * LARGEST_NORM) @ matrix_power(backward, 0.5)
        last_ahead, last_back = np.linalg.solve(backward, cross.T).T, np.linalg.solve(forward, cross).T
        ahead, back = (
            np.concatenate([ahead - last_ahead @ back[::-1], last_ahead[None]]),
            np.concatenate([back - last_back @ ahead[::-1], last_back[None]]),
        )
        forward, backward = forward - last_ahead @ cross.T, backward - last_back @ cross
        forward, backward = (forward + forward.T) / 2, (backward + backward.T) / 2
    return VectorAutoregression(mean, ahead, forward)


def _residuals(z: np.ndarray, ahead: np.ndarray, back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the k states between z_t and z_(t-k-1) leave of either, for all t."""
    k, n = len(ahead), len(z)
    now, before = z[k + 1 :].copy(), z[: n - k - 1].copy()
    for lag in range(1, k + 1):
        now -= z[k + 1 - lag : n - lag] @ ahead[lag - 1].T
        before -= z[lag : n - k - 1 + lag] @ back[lag - 1].T
    return now, before
