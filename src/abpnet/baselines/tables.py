"""Other ways to fill in tables: scikit-learn's imputers, which see the same columns, coded the same way, as ours.

Of a category they get one column for each level but the last, which the others determine (with all of them,
IterativeImputer never leaves the mean), and the most likely level is filled in; grades and counts are rounded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from abpnet.data.tables import Table

__all__ = ["TABLE_IMPUTERS", "impute_table"]

N_TREES, FOREST_ROUNDS = 50, 5


def _mean() -> Any:
    from sklearn.impute import SimpleImputer

    return SimpleImputer(keep_empty_features=True)


def _neighbours() -> Any:
    from sklearn.impute import KNNImputer

    return KNNImputer(keep_empty_features=True)


def _chained_regressions(**settings: Any) -> Any:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (scikit-learn's way to unlock it)
    from sklearn.impute import IterativeImputer

    return IterativeImputer(random_state=0, keep_empty_features=True, **settings)


def _forests() -> Any:
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(N_TREES, n_jobs=1, random_state=0)
    return _chained_regressions(estimator=forest, max_iter=FOREST_ROUNDS)


TABLE_IMPUTERS: dict[str, Callable[[], Any]] = {
    "mean fill": _mean,
    "KNNImputer": _neighbours,
    "IterativeImputer": _chained_regressions,
    "random forests": _forests,
}


def impute_table(method: str, table: Table, X: Any) -> Any:
    """The table with its missing cells filled in by one of the `TABLE_IMPUTERS`.

    Args:
        method: Its name.
        table: How the columns are coded.
        X: Data frame, or array of numbers.
    """
    matrix = table.encode(X).astype(np.float64)
    mean, std = np.nanmean(matrix, 0), np.nanstd(matrix, 0)
    std[std == 0] = 1.0
    spans = [column.span for column in table.columns if column.span.stop - column.span.start > 1]
    kept = np.setdiff1d(np.arange(matrix.shape[1]), [span.stop - 1 for span in spans])
    filled = np.zeros_like(matrix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that chained regressions have not converged
        filled[:, kept] = TABLE_IMPUTERS[method]().fit_transform(((matrix - mean) / std)[:, kept])
    filled[:, kept] = filled[:, kept] * std[kept] + mean[kept]
    for span in spans:
        filled[:, span.stop - 1] = 1 - filled[:, span.start : span.stop - 1].sum(1)
    return table.fill_in(X, filled)
