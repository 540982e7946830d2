"""TableImputer: missing cells of a table filled in by generator networks, as a scikit-learn transformer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Hashable, Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from abpnet.arrays import seed_of
from abpnet.chance import seed_for
from abpnet.data.series import is_frame
from abpnet.data.tables import Kind, Table
from abpnet.errors import InputError
from abpnet.interruption import delay_interruption
from abpnet.learning_state import Iteration
from abpnet.tables.learning import Pass, TableLearning
from abpnet.tables.models import draw, expect
from abpnet.values import check_between, check_count, check_flag, named, real, shown

__all__ = ["TableImputer"]

# Steps of the chains that are averaged into one posterior mean.
POSTERIOR_DRAWS = 20


class TableImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fills in the missing cells of a table: numbers, counts, ordered grades and categories in one model.

    Each row is `y ~ p(y | f(z))`, `z ~ N(0, I)`, with a network f and for each column the emission of its kind; learned
    by alternating back-propagation from the observed cells alone. Missing numbers become their posterior mean,
    categories the most probable one, grades and counts the whole number closest to their mean. A category of which the
    networks predicted no more of the cells held back than its most frequent value would have becomes that value.

    Pandas data frames come back as such, with their types; arrays hold numbers.

    Args:
        latent_dim: Number of latent factors; None = as many as predict best cells that are held back.
        kinds: Of columns about which their values mislead, by name, or by index of an array: "number", "count", "grade"
            or "category" (see `abpnet.data.tables.Table.describe`).
        n_networks: Networks that are averaged.
        width: Hidden units of each.
        whole: Whether grades and counts are filled in as whole numbers; else by their mean.
        max_iter: Passes over the rows at most.
        max_seconds: Seconds of learning at most.
        random_state: Seed (or `numpy.random.RandomState`) of all chance in `fit`.
        verbose: Show progress.

    Attributes:
        table_: How columns are encoded.
        models_: The networks.
        latent_dim_: Number of latent factors.
        unexplained_: Mean squared error at cells held back as a share of the columns' variance: 1 = as the means do.
            Of several passes the best, so that new rows are told a little worse. None if no cell could be held back.
        unexplained_by_column_: The same of each column by name; None where no cell of it was held back.
        usual_: Categories that are filled in by their most frequent level, by name; and its place.
        n_iter_: Passes that were run.
        history_: One dictionary per pass.
    """

    def __init__(
        self,
        latent_dim: int | None = None,
        kinds: Mapping[Hashable, Kind] | None = None,
        n_networks: int = 3,
        width: int = 64,
        whole: bool = True,
        max_iter: int = 200,
        max_seconds: float | None = None,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.kinds = kinds
        self.n_networks = n_networks
        self.width = width
        self.whole = whole
        self.max_iter = max_iter
        self.max_seconds = max_seconds
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> TableImputer:
        """Learn from a table, missing cells included.

        Ctrl-C ends learning after the current pass and keeps what was learned; in the first one it stops at once.

        Args:
            X: A pandas data frame, or an array of numbers; missing = NaN, None, NA.
            y: Ignored.

        Raises:
            ValueError: If X or a setting cannot be used.
        """
        check_flag("verbose", self.verbose)
        with delay_interruption() as interruption, closing(self.iterations(X)) as iterations:
            shown: Iterator[Iteration] = iterations
            if self.verbose:
                from abpnet.progress import show_progress

                shown = show_progress(iterations, title="table", max_iter=self.max_iter, max_seconds=self.max_seconds)
            for _ in shown:
                if interruption.requested():
                    break
            iterations.close()
            if interruption.requested():
                warnings.warn("learning was interrupted; the imputer keeps what it learned", stacklevel=2)
        return self

    def iterations(self, X: Any, checkpoint: tuple[dict[str, Tensor], dict[str, Any]] | None = None) -> Generator[Pass]:
        """The loop of `fit`, one pass at a time; whenever the caller stops, the imputer is fitted.

        Args:
            X: As in `fit`.
            checkpoint: `state_.tensors()` and `state_.facts()` of an earlier run on the same table to go on from.
        """
        self._check_settings()
        X = self._checked(X, reset=True)
        self.table_ = Table.describe(X, self.kinds)
        self.state_ = TableLearning(
            self.table_,
            self.table_.encode(X),
            latent_dim=self.latent_dim,
            width=self.width,
            n_networks=self.n_networks,
            seed=seed_of(self.random_state),
        )
        if checkpoint is not None:
            self.state_.restore(*checkpoint)
        try:
            yield from self.state_.passes(self.max_iter, self.max_seconds)
        finally:
            self._conclude()

    def _conclude(self) -> None:
        """Keep the networks as they were when they predicted best."""
        learning = self.state_
        self.models_ = learning.models(learning.best.networks)
        self.latent_dim_, self.n_iter_ = learning.latent_dim, learning.iteration
        self.unexplained_, self.history_ = learning.best.unexplained, list(learning.history)
        self.unexplained_by_column_, self.usual_ = learning.unexplained_by_column(), learning.told_worse()
        del self.state_

    def transform(self, X: Any) -> Any:
        """The table with its missing cells filled in; deterministic, and no row depends on the others.

        Categories and grades that `fit` did not see, or only rarely (see `MOST_CATEGORIES`), stay, and tell nothing.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        return self.table_.fill_in(X, self._expected(X), self.whole)

    def impute(self, X: Any, n_imputations: int | None = None, random_state: Any = 0) -> Any:
        """The table filled in by `transform`, or a list of tables filled in by posterior draws, noise included.

        The draws are of one network after another, so that what is not known of these shows as well.

        Args:
            X: As in `transform`.
            n_imputations: How many draws; None = none.
            random_state: Seed of the draws.
        """
        if n_imputations is None:
            return self.transform(X)
        check_is_fitted(self)
        check_count("n_imputations", n_imputations)
        X = self._checked(X, reset=False)
        matrix, seed = self.table_.encode(X), seed_of(random_state)
        drawn: list[Any] = [None] * n_imputations
        for first, fitted in enumerate(self.models_[:n_imputations]):
            rows = draw(fitted, matrix, torch.Generator().manual_seed(seed_for(f"draws of network {first}", seed)))
            for index in range(first, n_imputations, len(self.models_)):
                drawn[index] = self.table_.fill_in(X, next(rows))
        return drawn

    def _expected(self, X: Any) -> Float[np.ndarray, "n D"]:
        matrix = self.table_.encode(X)
        expected = np.mean([expect(fitted, matrix, POSTERIOR_DRAWS) for fitted in self.models_], axis=0)
        for column in self.table_.columns:
            if column.name in self.usual_:
                expected[:, column.span] = column.coded(np.array([self.usual_[column.name]]))
        return expected

    def _checked(self, X: Any, reset: bool) -> Any:
        if is_frame(X):
            with named("X"):
                validate_data(self, X, reset=reset, skip_check_array=True)
            if not len(X.columns):
                raise InputError("X: found a table without columns")
            if len(X) < (2 if reset else 1):
                raise InputError(
                    f"X: found a table with {len(X)} row(s) while a minimum of {2 if reset else 1} is required"
                )
            return X
        least, settings = 2 if reset else 1, {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
        X = real("X", X)
        with named("X"), np.errstate(over="ignore", invalid="ignore"):
            return validate_data(self, X, reset=reset, ensure_min_samples=least, **settings)

    def _check_settings(self) -> None:
        for name in ("latent_dim", "n_networks", "width", "max_iter"):
            value = getattr(self, name)
            if name != "latent_dim" or value is not None:
                check_count(name, value)
        if self.max_seconds is not None:
            check_between("max_seconds", self.max_seconds, 0, math.inf)
        check_flag("whole", self.whole)
        if self.kinds is not None and not isinstance(self.kinds, Mapping):
            raise InputError(f"kinds must be a table of columns and their kinds, got {shown(self.kinds)}")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags
