"""Principal components: of complete data, and of data with missing entries, by turns filled in and decomposed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.utils.extmath import randomized_svd

__all__ = ["Components", "choose_rank", "complete", "fit", "reconstruct"]

RANKS = (2, 5, 10, 20, 40, 80)
MOST_ROUNDS = 100
# Filling and decomposing go on until a round moves the missing entries by less than this, relative to their spread.
TOLERANCE = 1e-3
HELD_BACK = 0.05


class Components(NamedTuple):
    """An affine subspace.

    Attributes:
        mean: Of the completed data.
        directions: Orthonormal rows, strongest first.
    """

    mean: Float[np.ndarray, "D"]
    directions: Float[np.ndarray, "rank D"]

    def project(self, values: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
        """The nearest points of the subspace."""
        return (values - self.mean) @ self.directions.T @ self.directions + self.mean


def _decompose(values: np.ndarray, rank: int) -> Components:
    mean = values.mean(0)
    return Components(mean, randomized_svd(values - mean, rank, random_state=0)[2])


def _moved(before: np.ndarray, after: np.ndarray, missing: np.ndarray) -> float:
    if not missing.any():
        return 0.0
    return float(np.abs(after - before)[missing].mean() / (before.std() + np.finfo(before.dtype).tiny))


def fit(
    values: Float[np.ndarray, "n D"], rank: int, start: Float[np.ndarray, "n D"] | None = None
) -> tuple[Components, Float[np.ndarray, "n D"]]:
    """Alternate between the best subspace for the filled-in data and filling in from it (Mazumder et al. 2010, with a
    fixed rank in place of a threshold).

    Args:
        values: NaN = missing.
        rank: Dimension of the subspace, less than n and D.
        start: What missing entries are filled with at first; the mean of their column by default.

    Returns:
        The subspace, and the data filled in from it.
    """
    missing = np.isnan(values)
    if start is None:
        counts = np.maximum((~missing).sum(0), 1)
        start = np.broadcast_to(np.where(missing, 0, values).sum(0) / counts, values.shape)
    filled = np.where(missing, start, values).astype(values.dtype)
    for _ in range(MOST_ROUNDS):
        components = _decompose(filled, rank)
        better = np.where(missing, components.project(filled), values)
        moved = _moved(filled, better, missing)
        filled = better
        if moved < TOLERANCE:
            break
    return components, filled


def complete(values: Float[np.ndarray, "n D"], components: Components) -> Float[np.ndarray, "n D"]:
    """Fill in other data from a known subspace.

    Args:
        values: NaN = missing.
        components: From `fit`.
    """
    missing = np.isnan(values)
    filled = np.where(missing, components.mean, values).astype(values.dtype)
    for _ in range(MOST_ROUNDS):
        better = np.where(missing, components.project(filled), values)
        moved = _moved(filled, better, missing)
        filled = better
        if moved < TOLERANCE:
            break
    return filled


def choose_rank(values: Float[np.ndarray, "n D"], rng: np.random.Generator) -> int:
    """The one of `RANKS` that best predicts observed entries that were held back.

    Args:
        values: NaN = missing.
        rng: Draws the entries that are held back.
    """
    held_back = ~np.isnan(values) & (rng.random(values.shape) < HELD_BACK)
    kept = np.where(held_back, np.nan, values).astype(values.dtype)
    errors: dict[int, float] = {}
    filled: np.ndarray | None = None
    for rank in (rank for rank in RANKS if rank < min(values.shape)):
        _, filled = fit(kept, rank, filled)
        errors[rank] = float(np.abs(filled - values)[held_back].mean()) if held_back.any() else 0.0
    return min(errors, key=lambda rank: errors[rank]) if errors else 1


def reconstruct(
    train: Float[np.ndarray, "n *shape"], new: Float[np.ndarray, "m *shape"], n_components: int
) -> Float[np.ndarray, "m *shape"]:
    """New signals from their principal components, those of complete training signals.

    Args:
        train: Signals that the components are of.
        new: Signals to reconstruct.
        n_components: How many; fewer if there are not as many.
    """
    from sklearn.decomposition import PCA

    vectors = train.reshape(len(train), -1)
    components = PCA(min(n_components, *vectors.shape), random_state=0).fit(vectors)
    return components.inverse_transform(components.transform(new.reshape(len(new), -1))).reshape(new.shape)
