"""What users of scikit-learn do with any estimator."""

import numpy as np
import pandas as pd
import pytest
from sklearn import set_config
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from abpnet.estimator import GeneratorNetwork
from abpnet.likelihood import Annealing
from abpnet.tables import TableImputer

FAST = {"latent_dim": 2, "max_iter": 5, "precision": "float32", "verbose": False}


def of_two_factors(n=60, seed=0):
    """Vectors of six numbers that two factors explain, and what depends on the first of them."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, 2))
    x = factors @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(n, 6))
    return x.astype(np.float32), factors[:, 0] > 0


@pytest.mark.parametrize("given", ["array", "frame"])
def test_factors_come_as_data_frames(given):
    x, _ = of_two_factors()
    x = pd.DataFrame(x, index=range(100, 160)).add_prefix("column ") if given == "frame" else x
    net = GeneratorNetwork(**FAST).set_output(transform="pandas").fit(x)
    found = net.transform(x)
    assert list(found.columns) == ["generatornetwork0", "generatornetwork1"]
    assert list(found.index) == list(x.index if given == "frame" else range(60))
    np.testing.assert_array_equal(found, GeneratorNetwork(**FAST).fit(x).transform(x))
    set_config(transform_output="pandas")
    try:
        assert isinstance(GeneratorNetwork(**FAST).fit_transform(x), pd.DataFrame)
    finally:
        set_config(transform_output="default")


def test_a_pipeline_predicts_from_factors():
    x, is_above = of_two_factors()
    x[::3, 0] = np.nan
    model = make_pipeline(GeneratorNetwork(**FAST), LogisticRegression())
    assert cross_val_score(model, x, is_above, cv=3).mean() > 0.85


def test_scaled_columns_and_imputed_tables_in_one_pipeline():
    x, is_above = of_two_factors()
    frame = pd.DataFrame(x).add_prefix("column ")
    frame.iloc[::4, 1] = np.nan
    imputed = TableImputer(max_iter=5, random_state=0)
    steps = make_column_transformer((StandardScaler(), ["column 0"]), (imputed, [f"column {k}" for k in range(1, 6)]))
    model = make_pipeline(steps, LogisticRegression())
    assert model.fit(frame, is_above).score(frame, is_above) > 0.8


def test_the_number_of_factors_is_found_by_the_likelihood(monkeypatch):
    x, _ = of_two_factors()
    few = Annealing(n_chains=2, n_temperatures=20)
    scores = GeneratorNetwork.score_samples
    monkeypatch.setattr(
        GeneratorNetwork, "score_samples", lambda self, X, random_state=0: scores(self, X, random_state, few)
    )
    search = GridSearchCV(GeneratorNetwork(**FAST | {"noise_std": 0.1, "max_iter": 30}), {"latent_dim": [1, 2]}, cv=2)
    search.fit(x)
    assert search.best_params_ == {"latent_dim": 2}
    assert search.best_estimator_.transform(x).shape == (60, 2)
