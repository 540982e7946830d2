"""Other ways to recover signals are what they say, so that beating them means something."""

import numpy as np
import pytest
import torch
from scipy.fft import idctn

from abpnet.baselines import sensing
from abpnet.baselines.sensing import lasso_of_cosines, least_norm, principal_components
from abpnet.observations import Operator, Projection
from abpnet.operators import down_sampling

SHAPE = (1, 8, 8)


def measured(x, operator):
    return operator(torch.from_numpy(x)).numpy()


def test_least_norm_is_the_pseudoinverse():
    x = np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32)
    operator = Projection.random(SHAPE, 30)
    y = measured(x, operator)
    expected = y @ np.linalg.pinv(operator.matrix.numpy()).T
    np.testing.assert_allclose(least_norm(y, operator, SHAPE).reshape(5, -1), expected, atol=2e-3)


def test_least_norm_of_means_repeats_them():
    x = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    operator = down_sampling(2)
    y = measured(x, operator)
    np.testing.assert_allclose(least_norm(y, operator, SHAPE), y.repeat(2, 2).repeat(2, 3), atol=2e-3)


def test_lasso_finds_few_cosines_that_least_norm_does_not():
    rng = np.random.default_rng(1)
    coefficients = np.zeros((4, 64), np.float32)
    for row in coefficients:
        row[rng.permutation(64)[:3]] = rng.choice([-2, 2], 3)
    x = idctn(coefficients.reshape(4, *SHAPE), axes=(-2, -1), norm="ortho")
    operator = Projection.random(SHAPE, 32)
    y = measured(x, operator)
    name, recovered = lasso_of_cosines(y, operator, SHAPE)
    assert "penalty" in name
    assert np.abs(recovered - x).mean() < 0.1 * np.abs(least_norm(y, operator, SHAPE) - x).mean()


def test_lasso_is_run_on_the_first_signals_alone_and_only_where_it_fits(monkeypatch):
    monkeypatch.setattr(sensing, "MOST_SIGNALS_LASSO", 2)
    operator = Projection.random(SHAPE, 20)
    y = measured(np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32), operator)
    name, recovered = lasso_of_cosines(y, operator, SHAPE)
    assert "first 2 images" in name
    assert np.isfinite(recovered[:2]).all()
    assert np.isnan(recovered[2:]).all()
    monkeypatch.setattr(sensing, "MOST_ENTRIES_LASSO", 64 * 20 - 1)
    assert lasso_of_cosines(y, operator, SHAPE) is None


def test_principal_components_of_clean_signals_recover_signals_of_their_kind():
    rng = np.random.default_rng(2)
    patterns = rng.standard_normal((3, 64))
    clean, x = (
        (rng.standard_normal((n, 3)) @ patterns + 0.01 * rng.standard_normal((n, 64))).astype(np.float32)
        for n in (200, 10)
    )
    operator = Projection.random(SHAPE, 12)
    y = measured(x.reshape(10, *SHAPE), operator)
    recovered = principal_components(y, operator, clean.reshape(200, *SHAPE), 3, 0.0)
    assert np.abs(recovered.reshape(10, 64) - x).mean() < 0.05 * np.abs(x).mean()


def test_an_operator_not_known_to_be_linear_is_refused():
    clean = np.random.default_rng(0).standard_normal((9, *SHAPE)).astype(np.float32)
    with pytest.raises(ValueError, match="linear"):
        principal_components(clean, Operator(torch.tanh), clean, 2, 0.0)
