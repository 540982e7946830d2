"""What a table says about how much can be learned from it: cells held back, and how well they are predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float

from abpnet import factor_analysis
from abpnet.data.tables import Table
from abpnet.factor_analysis import FactorAnalysis

__all__ = ["LATENT_DIMS", "choose_latent_dim", "hold_back", "unexplained"]

LATENT_DIMS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)
LINEAR_ITERATIONS = 60
# More factors are not tried once these explain so much less than fewer did.
WORSE = 1.05


def hold_back(
    table: Table, matrix: Float[np.ndarray, "n D"], share: float, rng: np.random.Generator
) -> Bool[np.ndarray, "n D"]:
    """Observed cells drawn at random, of each row at most all but one; of a category all of its columns.

    Args:
        table: What the matrix holds.
        matrix: Rows, NaN = missing.
        share: Of the cells.
        rng: Source of chance.
    """
    chosen = np.zeros(matrix.shape, bool)
    for column in table.in_matrix:
        chosen[:, column.span] = rng.random((len(matrix), 1)) < share
    observed = ~np.isnan(matrix)
    chosen &= observed
    chosen[~(observed & ~chosen).any(1)] = False
    return chosen


def unexplained(
    table: Table,
    matrix: Float[np.ndarray, "n D"],
    guess: Float[np.ndarray, "n D"],
    where: Bool[np.ndarray, "n D"],
) -> float | None:
    """Mean squared error of a guess at some cells, as a share of the variance of each column: 1 = no better than means.

    None if there are no such cells, or none of columns that vary.

    Args:
        table: What the matrix holds.
        matrix: Rows, NaN = missing.
        guess: Expected rows.
        where: Cells to look at.
    """
    total, count = 0.0, 0
    for column in table.in_matrix:
        rows = where[:, column.first]
        if not rows.any():
            continue
        variance = float(np.nanvar(matrix[:, column.span], axis=0).sum())
        if variance > 0:
            total += float(np.square(guess - matrix)[rows, column.span].sum()) / variance
            count += int(rows.sum())
    return total / count if count else None


def _fit_linear(matrix: Float[np.ndarray, "n D"], latent_dim: int) -> FactorAnalysis:
    """Factor analysis with noise of each column's own, fitted where all columns vary alike."""
    empty = np.isnan(matrix).all(0)  # all its cells were held back
    std = torch.from_numpy(np.nanstd(np.where(empty, np.float32(0), matrix), axis=0)).double()
    std = torch.where(std > 0, std, 1.0)
    linear = factor_analysis.fit(
        torch.from_numpy(matrix).double() / std, latent_dim, isotropic=False, max_iter=LINEAR_ITERATIONS, tolerance=1e-3
    )
    return FactorAnalysis(linear.loadings * std[:, None], linear.mean * std, linear.noise_variance * std.square())


def _most_factors(n_columns: int) -> int:
    """Ledermann's (1937) bound: more factors could explain any covariance of so many columns."""
    return max(1, int(n_columns + 0.5 - 0.5 * math.sqrt(8 * n_columns + 1)))


def choose_latent_dim(
    table: Table,
    matrix: Float[np.ndarray, "n D"],
    held_back: list[Bool[np.ndarray, "n D"]],
    latent_dims: Sequence[int],
) -> tuple[int, list[FactorAnalysis]]:
    """Of how many factors factor analysis predicts cells held back best; and the fits to what is left of the matrix.

    Args:
        table: What the matrix holds.
        matrix: Rows, NaN = missing.
        held_back: Cells, for each of the fits.
        latent_dims: Numbers to choose from, ascending; of several, none above Ledermann's bound.
    """
    best: tuple[float, int, list[FactorAnalysis]] | None = None  # of equally good ones the first
    for latent_dim in latent_dims:
        if best is not None and latent_dim > _most_factors(matrix.shape[1]):
            break
        errors, fits = [], []
        for cells in held_back:
            shown = np.where(cells, np.nan, matrix)
            fits.append(_fit_linear(shown, latent_dim))
            belief = factor_analysis.posterior(fits[-1], torch.from_numpy(shown).double())
            guess = factor_analysis.predict(fits[-1], belief.mean).numpy()
            errors.append(unexplained(table, matrix, guess, cells))
        known = [error for error in errors if error is not None]
        error = float(np.mean(known)) if known else math.inf
        if best is None or error < best[0]:
            best = error, latent_dim, fits
        elif not error <= WORSE * best[0] or math.isinf(error):
            break
    assert best is not None
    return best[1], best[2]
