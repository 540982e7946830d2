"""Other ways to fill in what is missing.

Every imputer takes training and new data, (n, D) with NaN where nothing was observed, and returns both filled in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from abpnet import factor_analysis
from abpnet.baselines import low_rank

__all__ = ["IMPUTERS", "Imputation", "impute_by", "impute_by_factor_analysis"]

RANKS = (2, 5, 10, 20, 40, 80)
# The time of chained regressions grows steeply with the number of columns, that of neighbours with rows^2 * columns
# (a minute at 1,000 rows of 12,288).
MOST_COLUMNS_ITERATIVE, MOST_WORK_NEIGHBOURS = 128, 2 * 10**10
# So does that of factor analysis with its rank: the rank is chosen on as many columns as this, drawn at random.
MOST_COLUMNS_FOR_RANK = 1024


class Imputation(NamedTuple):
    """Data filled in by one method.

    Attributes:
        name: The method and what it chose.
        train: (n, D) training data without NaN; None if the method was not run.
        new: (m, D) new data without NaN.
        seconds: Spent on both.
    """

    name: str
    train: np.ndarray | None
    new: np.ndarray | None
    seconds: float


def _fill(values: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), estimate, values)


def _by_mean(train: np.ndarray, new: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    observed = ~np.isnan(train)
    mean = np.where(observed, train, 0).sum(0) / np.maximum(observed.sum(0), 1)
    return "mean fill", _fill(train, mean), _fill(new, mean)


def _by_neighbours(train: np.ndarray, new: np.ndarray) -> tuple[str, np.ndarray, np.ndarray] | None:
    from sklearn.impute import KNNImputer

    if len(train) ** 2 * train.shape[1] > MOST_WORK_NEIGHBOURS:
        return None
    imputer = KNNImputer(keep_empty_features=True).fit(train)
    return "KNNImputer (k = 5)", imputer.transform(train), _transform(imputer, new)


def _by_chained_regressions(train: np.ndarray, new: np.ndarray) -> tuple[str, np.ndarray, np.ndarray] | None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (scikit-learn's way to unlock it)
    from sklearn.impute import IterativeImputer

    if train.shape[1] > MOST_COLUMNS_ITERATIVE:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        imputer = IterativeImputer(random_state=0, keep_empty_features=True)
        filled = imputer.fit_transform(train)
        return "IterativeImputer (Bayesian ridge)", filled, _transform(imputer, new)


def _transform(imputer: object, new: np.ndarray) -> np.ndarray:
    return imputer.transform(new) if len(new) else new  # type: ignore[attr-defined]


def _fill_linearly(model: factor_analysis.FactorAnalysis, values: np.ndarray) -> np.ndarray:
    y = torch.from_numpy(values)
    return _fill(values, factor_analysis.predict(model, factor_analysis.posterior(model, y).mean).numpy())


def impute_by_factor_analysis(train: np.ndarray, new: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """Linear factor analysis with missing entries, its rank chosen on observed entries that were held back."""
    rng = np.random.default_rng(0)
    some = np.sort(rng.permutation(train.shape[1])[:MOST_COLUMNS_FOR_RANK])
    few = train[:, some]
    held_back = ~np.isnan(few) & (rng.random(few.shape) < 0.05)
    kept = torch.from_numpy(np.where(held_back, np.nan, few))
    errors = {}
    for rank in (rank for rank in RANKS if rank < min(train.shape)):
        model = factor_analysis.fit(kept, rank, isotropic=False, max_iter=20)
        filled = factor_analysis.predict(model, factor_analysis.posterior(model, kept).mean).numpy()
        errors[rank] = np.abs(filled - few)[held_back].mean()
    best = min(errors, key=lambda rank: errors[rank]) if errors else 1
    model = factor_analysis.fit(torch.from_numpy(train), best, isotropic=False, max_iter=30)
    return f"linear factor analysis (d = {best})", _fill_linearly(model, train), _fill_linearly(model, new)


def _by_iterative_components(train: np.ndarray, new: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    rank = low_rank.choose_rank(train, np.random.default_rng(0))
    components, filled = low_rank.fit(train, rank)
    return f"iterative PCA (d = {rank})", filled, low_rank.complete(new, components)


Imputer = Callable[[np.ndarray, np.ndarray], tuple[str, np.ndarray, np.ndarray] | None]
IMPUTERS: dict[str, Imputer] = {
    "mean fill": _by_mean,
    "KNNImputer": _by_neighbours,
    "IterativeImputer": _by_chained_regressions,
    "iterative PCA": _by_iterative_components,
    "linear factor analysis": impute_by_factor_analysis,
}


def impute_by(name: str, train: np.ndarray, new: np.ndarray) -> Imputation:
    """Fill in data by one of the `IMPUTERS`, if it can handle their number of columns.

    Args:
        name: Of the method.
        train: (n, D) float32, NaN = missing.
        new: (m, D) float32, m may be 0.
    """
    start = time.monotonic()
    outcome = IMPUTERS[name](train, new)
    if outcome is None:
        return Imputation(f"{name} (not run: {len(train):,} rows of {train.shape[1]:,} columns)", None, None, 0.0)
    return Imputation(*outcome, time.monotonic() - start)
