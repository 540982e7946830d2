"""Other ways to recover signals are what they say, so that beating them means something."""

import numpy as np
import pytest
import torch

from abpnet import factor_analysis
from abpnet.baselines import sensing
from abpnet.baselines.sensing import BASES, lasso, least_norm, principal_components, smooth_field
from abpnet.observations import Operator, Projection
from abpnet.operators import down_sampling, gaussian_blur

SHAPE = (1, 8, 8)


def measured(x, operator):
    return operator(torch.from_numpy(x)).numpy()


def test_least_norm_is_the_pseudoinverse():
    x = np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32)
    operator = Projection.random(SHAPE, 30)
    y = measured(x, operator)
    expected = y @ np.linalg.pinv(operator.matrix.numpy()).T
    np.testing.assert_allclose(least_norm(y, operator, SHAPE).reshape(5, -1), expected, atol=1e-4)


def test_least_norm_allows_for_noise(monkeypatch):
    """Without that, what a blur has all but deleted would be noise times a thousand."""
    x = np.random.default_rng(0).uniform(-1, 1, (5, 1, 4, 4)).repeat(4, 2).repeat(4, 3).astype(np.float32)
    blur = gaussian_blur(1.0)
    y = measured(x, blur) + np.random.default_rng(1).normal(0, 0.01, x.shape).astype(np.float32)
    error = np.abs(least_norm(y, blur, x.shape[1:], 0.01) - x).mean()
    assert error < 0.2 * np.abs(least_norm(y, blur, x.shape[1:]) - x).mean()
    monkeypatch.setattr(sensing, "matrix_of", lambda *_: None)
    assert np.abs(least_norm(y, blur, x.shape[1:], 0.01) - x).mean() < 1.5 * error
    y += np.random.default_rng(2).normal(0, 0.2, x.shape).astype(np.float32)
    error = np.abs(least_norm(y, blur, x.shape[1:], 0.2) - x).mean()
    assert error < 0.5 * np.abs(least_norm(y, blur, x.shape[1:]) - x).mean()


def test_least_norm_of_means_repeats_them():
    x = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    operator = down_sampling(2)
    y = measured(x, operator)
    np.testing.assert_allclose(least_norm(y, operator, SHAPE), y.repeat(2, 2).repeat(2, 3), atol=2e-3)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("sides", [(8, 8), (32, 16), (7, 8), (24, 40)])
def test_bases_are_orthonormal(basis, sides):
    rows = BASES[basis](np.eye(sides[0] * sides[1]).reshape(-1, *sides)).reshape(-1, sides[0] * sides[1])
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-6)


def test_wavelets_are_local_and_smooth_images_need_few():
    line = np.linspace(-1, 1, 32)
    image = np.exp(-((line[:, None] - 0.2) ** 2 + line[None] ** 2) / 0.1)
    matrix = BASES["wavelets"](np.eye(1024).reshape(-1, 32, 32)).reshape(-1, 1024)
    coefficients = np.sort(np.abs(matrix @ image.ravel()))[::-1]
    assert np.square(coefficients[100:]).sum() < 0.01 * np.square(image).sum()
    assert ((np.abs(matrix) > 1e-9).mean(1) < 0.1).mean() > 0.7


@pytest.mark.parametrize("basis", BASES)
def test_lasso_finds_few_functions_of_its_basis_that_least_norm_does_not(basis):
    rng = np.random.default_rng(1)
    coefficients = np.zeros((4, 64), np.float32)
    for row in coefficients:
        row[rng.permutation(64)[:3]] = rng.choice([-2, 2], 3)
    x = BASES[basis](coefficients.reshape(4, *SHAPE))
    operator = Projection.random(SHAPE, 32)
    y = measured(x, operator)
    name, (first, second) = lasso([y[:3], y[3:]], operator, SHAPE, basis)
    assert name.startswith(f"Lasso, {basis} (penalty")
    recovered = np.concatenate([first, second])
    assert np.abs(recovered - x).mean() < 0.1 * np.abs(least_norm(y, operator, SHAPE) - x).mean()


def test_lasso_is_run_on_the_first_signals_alone_and_only_where_it_fits(monkeypatch):
    monkeypatch.setattr(sensing, "MOST_SIGNALS_LASSO", 2)
    operator = Projection.random(SHAPE, 20)
    y = measured(np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32), operator)
    name, (recovered, few, none) = lasso([y, y[:1], y[:0]], operator, SHAPE, "cosines")
    assert "first 2 images" in name
    assert np.isfinite(few).all()
    assert none.shape == (0, *SHAPE)
    assert np.isfinite(recovered[:2]).all()
    assert np.isnan(recovered[2:]).all()
    monkeypatch.setattr(sensing, "MOST_ENTRIES_LASSO", 64 * 20 - 1)
    assert lasso([y], operator, SHAPE, "cosines") is None


def test_principal_components_of_clean_signals_recover_signals_of_their_kind():
    rng = np.random.default_rng(2)
    patterns = rng.standard_normal((3, 64))
    clean, x = (
        (rng.standard_normal((n, 3)) @ patterns + 0.01 * rng.standard_normal((n, 64))).astype(np.float32)
        for n in (200, 10)
    )
    operator = Projection.random(SHAPE, 12)
    y = measured(x.reshape(10, *SHAPE), operator)
    name, (recovered, none) = principal_components([y, y[:0]], operator, clean.reshape(200, *SHAPE), 3, 0.0)
    assert "d = 3" in name
    assert none.shape == (0, *SHAPE)
    assert np.abs(recovered.reshape(10, 64) - x).mean() < 0.05 * np.abs(x).mean()


def test_principal_components_give_the_exact_posterior_mean_under_noise():
    rng = np.random.default_rng(3)
    clean = (rng.standard_normal((300, 64)) * np.linspace(2, 0.2, 64)).astype(np.float32).reshape(-1, *SHAPE)
    operator = Projection.random(SHAPE, 20)
    y = measured(clean[:5], operator) + 0.4 * rng.standard_normal((5, 20)).astype(np.float32)
    _, (recovered,) = principal_components([y], operator, clean, 10, 0.4)
    w, mean, variance = (
        part.double() for part in factor_analysis.fit(torch.from_numpy(clean).flatten(1), 10, max_iter=5)
    )
    a = operator.matrix.double()
    signals = w @ w.T + torch.diag(variance)
    gain = signals @ a.T @ torch.linalg.inv(a @ signals @ a.T + 0.16 * torch.eye(20))
    expected = mean + (torch.from_numpy(y).double() - mean @ a.T) @ gain.T
    np.testing.assert_allclose(recovered.reshape(5, 64), expected.numpy(), atol=1e-4)


def test_methods_that_need_a_matrix_are_not_run_without_one():
    clean = np.random.default_rng(0).standard_normal((9, *SHAPE)).astype(np.float32)
    assert principal_components([clean], Operator(torch.tanh), clean, 2, 0.0) is None
    assert smooth_field([clean], Operator(torch.tanh), SHAPE) is None


def test_least_norm_without_a_matrix_is_that_with_one(monkeypatch):
    x = np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32)
    operator = Projection.random(SHAPE, 20)
    y = measured(x, operator)
    stored = least_norm(y, operator, SHAPE)
    monkeypatch.setattr("abpnet.projected_residuals.MOST_ENTRIES", 0)
    np.testing.assert_allclose(least_norm(y, operator, SHAPE), stored, atol=2e-3)
    assert least_norm(y[:0], operator, SHAPE).shape == (0, *SHAPE)


def test_least_norm_undoes_a_blur_that_loses_nothing():
    x = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    operator = gaussian_blur(0.6)
    np.testing.assert_allclose(least_norm(measured(x, operator), operator, SHAPE), x, atol=2e-3)


@pytest.mark.parametrize("basis", BASES)
def test_lasso_of_nothing_is_nothing(basis):
    operator = Projection.random(SHAPE, 20)
    _, (recovered,) = lasso([np.zeros((2, 20), np.float32)], operator, SHAPE, basis)
    assert (recovered == 0).all()


def test_lasso_finds_colours_that_go_together():
    rng = np.random.default_rng(2)
    coefficients = np.zeros((4, 64), np.float32)
    for row in coefficients:
        row[rng.permutation(64)[:4]] = rng.choice([-2, 2], 4)
    grey = BASES["cosines"](coefficients.reshape(4, *SHAPE)).repeat(3, 1)
    operator = Projection.random(grey.shape[1:], 30)  # enough for four numbers of one channel, not of three
    y = measured(grey, operator)
    _, (recovered,) = lasso([y], operator, grey.shape[1:], "cosines")
    assert np.abs(recovered - grey).mean() < 0.1 * np.abs(least_norm(y, operator, grey.shape[1:]) - grey).mean()
    assert np.abs(recovered - recovered.mean(1, keepdims=True)).mean() < 0.02 * np.abs(grey).mean()
