"""Residuals seen through measurements, against the dense formulas of a field that is known."""

import warnings

import numpy as np
import pytest
import torch

import abpnet
from abpnet import projected_residuals
from abpnet.baselines.sensing import least_norm, smooth_field
from abpnet.chance import seed_for
from abpnet.networks import LinearNetwork, initialise
from abpnet.observations import Mask, Operator, Projection
from abpnet.operators import down_sampling, fourier_projection, gaussian_blur
from abpnet.projected_residuals import estimate_projected, matrix_of, project
from abpnet.residuals import WHITE
from fields import dense, draws_of, field_of

SIDES = 12, 10
SHAPE = (3, *SIDES)
FIELD = field_of(*SIDES)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "operator",
    [
        Projection.random(SHAPE, 40),
        fourier_projection(SHAPE, 40),
        gaussian_blur(1.0),
        down_sampling(2),
        Operator(lambda x: x[:, 0], linear=True),
    ],
)
def test_the_matrix_measures_as_the_operator_does(operator):
    x = torch.randn(5, *SHAPE, generator=seeded())
    torch.testing.assert_close(x.flatten(1) @ matrix_of(operator, SHAPE).T, operator(x).flatten(1), atol=1e-4, rtol=0)


def test_there_is_no_matrix_where_it_is_not_known_or_too_large(monkeypatch):
    projection, halved = Projection.random(SHAPE, 40), down_sampling(2)
    assert matrix_of(Operator(torch.tanh), SHAPE) is None
    assert matrix_of(Mask(torch.ones(1, 40), projection), SHAPE) is None
    assert matrix_of(abpnet.Complete(), SHAPE) is None
    monkeypatch.setattr(projected_residuals, "MOST_ENTRIES", 40 * 360 - 1)
    assert matrix_of(projection, SHAPE) is None
    assert matrix_of(halved, SHAPE) is None
    monkeypatch.setattr(projected_residuals, "MOST_ENTRIES", 90 * 360)
    assert matrix_of(projection, SHAPE) is not None
    monkeypatch.setattr(projected_residuals, "MOST_MEASUREMENTS", 39)
    assert matrix_of(projection, SHAPE) is None


@pytest.mark.parametrize("noise_std", [0.0, 0.7])
def test_the_conditional_mean_is_that_of_the_dense_formula(noise_std):
    operator, x = Projection.random(SHAPE, 50), draws_of(FIELD, 4, SIDES)
    seen = project(FIELD, noise_std, operator, SHAPE)
    a, k = operator.matrix.double(), dense(FIELD, *SIDES)
    inner = a @ k @ a.T + noise_std**2 * torch.eye(50)
    expected = (k @ a.T @ torch.linalg.solve(inner, operator(x).double().T)).T
    torch.testing.assert_close(seen.conditional_mean(operator(x)).flatten(1).double(), expected, atol=1e-3, rtol=0)


def test_whitened_residuals_are_white_and_the_whitened_operator_measures_alike():
    operator, x = down_sampling(2), draws_of(FIELD, 4000, SIDES)
    y = operator(x) + 0.3 * torch.randn(4000, 3, 6, 5, generator=seeded())
    seen = project(FIELD, 0.3, operator, SHAPE)
    white, through = seen.whiten(y, abpnet.Gaussian(0.5))
    spread = torch.linalg.eigvalsh(torch.cov(white.T)) / 0.25
    assert 0.7 < spread.min() < spread.max() < 1.35  # Marchenko and Pastur: .73 to 1.31 for 90 of 4,000
    clean, _ = seen.whiten(operator(x[:5]), abpnet.Gaussian(0.5))
    torch.testing.assert_close(through(x[:5]), clean, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("n", [30, 600])
@pytest.mark.parametrize("make", [lambda: Projection.random(SHAPE, 60), lambda: fourier_projection(SHAPE, 60)])
def test_a_field_learned_from_measurements_recovers_nearly_as_well_as_the_true_one(make, n):
    operator = make()
    told, x = draws_of(FIELD, n, SIDES), draws_of(FIELD, 100, SIDES, seed=1)
    field, noise_std = estimate_projected(operator(told), matrix_of(operator, SHAPE), SHAPE)

    def error(recovered):
        return float((recovered - x).square().mean())

    learned = error(project(field, noise_std, operator, SHAPE).conditional_mean(operator(x)))
    exact = error(project(FIELD, 0.0, operator, SHAPE).conditional_mean(operator(x)))
    assert exact < learned < 1.05 * exact
    assert learned < 0.75 * error(torch.from_numpy(least_norm(operator(x).numpy(), operator, SHAPE)))
    (_, (again,)) = smooth_field([operator(told).numpy()], operator, SHAPE)
    expected = project(field, noise_std, operator, SHAPE).conditional_mean(operator(told))
    np.testing.assert_array_equal(again, expected.numpy())


def test_noise_of_the_measurements_is_told_from_the_field():
    smooth = field_of(*SIDES, length=4.0, white=0.01)
    y = gaussian_blur(1.0)(draws_of(smooth, 500, SIDES))
    y = y + 0.3 * torch.randn(y.shape, generator=seeded(3))
    _, noise_std = estimate_projected(y.flatten(1), matrix_of(gaussian_blur(1.0), SHAPE), SHAPE)
    assert noise_std == pytest.approx(0.3, rel=0.1)


def test_grey_images_have_one_channel_of_residuals():
    operator = Projection.random((1, *SIDES), 30)
    x = draws_of(FIELD, 200, SIDES)[:, :1]
    field, noise_std = estimate_projected(operator(x), operator.matrix, (1, *SIDES))
    recovered = project(field, noise_std, operator, (1, *SIDES)).conditional_mean(operator(x))
    assert (recovered - x).square().mean() < 0.8 * x.square().mean()


def linear_estimator(operator, field):
    """An estimator of a linear network and a field, both known."""
    x = draws_of(FIELD, 12, SIDES).clamp(-1, 1)
    with torch.device("meta"):
        network = LinearNetwork(3, SHAPE)
    settings = {"recipe": "kriged", "max_iter": 1, "precision": "float32", "device": "cpu", "verbose": False}
    net = abpnet.GeneratorNetwork(3, network, **settings).fit(operator(x), observation=operator)
    initialise(net.model_.network, seeded(5))
    net.residuals_, net.measurement_noise_ = field, 0.2
    return net


def loadings_and_mean(net):
    """Of the linear network, in float64."""
    layer = net.model_.network.loadings
    return layer.weight.detach().double(), layer.bias.detach().double()


def exact_mean(net, matrix, y):
    """Posterior mean of the signals behind measurements of noise .2, by the dense formula."""
    (w, b), a = loadings_and_mean(net), matrix.double()
    signals = w @ w.T + dense(FIELD, *SIDES)
    inner = a @ signals @ a.T + 0.2**2 * torch.eye(len(a))
    return b + (signals @ a.T @ torch.linalg.solve(inner, (y.double() - b @ a.T).T)).T


def test_recovery_is_the_posterior_mean_of_factors_and_residuals_together(monkeypatch):
    monkeypatch.setattr("abpnet.fitted.POSTERIOR_DRAWS", 250)
    operator = Projection.random(SHAPE, 50)
    net = linear_estimator(operator, FIELD)
    _, b = loadings_and_mean(net)
    y = torch.randn(4, 50, generator=seeded(6))
    expected = exact_mean(net, operator.matrix, y)
    recovered = torch.from_numpy(net.recover(y.numpy(), operator)).flatten(1).double()
    assert (recovered - expected).square().mean() < 1e-2 * (expected - b).square().mean()


def test_lost_measurements_are_left_out_of_the_posterior_mean(monkeypatch):
    monkeypatch.setattr("abpnet.fitted.POSTERIOR_DRAWS", 250)
    operator = Projection.random(SHAPE, 50)
    net = linear_estimator(operator, FIELD)
    w, b = loadings_and_mean(net)
    y = torch.randn(4, 50, generator=seeded(6))
    lost = torch.zeros(4, 50, dtype=torch.bool)
    lost[1, 7] = lost[2, 10:40] = lost[3, :] = True
    recovered = net.recover(y.masked_fill(lost, torch.nan).numpy(), operator).reshape(4, -1)
    for row in range(3):
        kept = ~lost[row]
        expected = exact_mean(net, operator.matrix[kept], y[row : row + 1, kept])[0]
        gap = torch.from_numpy(recovered[row]).double() - expected
        assert gap.square().mean() < 3e-2 * (expected - b).square().mean(), row
    of_prior = torch.from_numpy(recovered[3]).double() - b
    assert of_prior.square().mean() < 0.02 * w.square().sum(1).mean(), "nothing is known of the last"
    monkeypatch.setattr("abpnet.fitted.POSTERIOR_DRAWS", 3)
    recovered = net.recover(y.masked_fill(lost, torch.nan).numpy(), operator).reshape(4, -1)
    elsewhere = net.recover(torch.where(lost, 1e30, y).numpy(), abpnet.Mask(~lost, operator)).reshape(4, -1)
    np.testing.assert_array_equal(elsewhere, recovered)


def test_the_field_is_learned_from_examples_with_all_measurements(monkeypatch):
    operator = Projection.random(SHAPE, 60)
    y = operator(draws_of(FIELD, 40, SIDES).div(4).clamp(-1, 1))
    y[:, 3] = y[0, 8] = torch.nan  # of all examples, and of one
    net = abpnet.GeneratorNetwork(2, recipe="kriged", noise_std=0.6, max_iter=1, precision="float32", verbose=False)
    learned_from = []

    def watch(residuals, matrix, shape):
        residual = torch.cat(list(residuals))
        learned_from.append((residual.shape, matrix.shape))
        return estimate_projected(residual, matrix, shape)

    monkeypatch.setattr("abpnet.learning.estimate_projected_in_parts", watch)
    assert net.fit(y.numpy(), observation=operator).residuals_ is not None
    assert learned_from == [((39, 59), (59, 360))]
    y[:30, 8] = torch.nan
    with pytest.warns(UserWarning, match="only 10 of 40 examples"):
        net.fit(y.numpy(), observation=operator)
    assert net.residuals_ is None


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_blurs_that_leave_little_have_a_field(sigma):
    """The covariance of what was measured is all but singular."""
    x = draws_of(field_of(*SIDES, length=6.0, white=1e-6), 60, SIDES)
    blur = gaussian_blur(sigma)
    matrix = matrix_of(blur, SHAPE)
    field, noise_std = estimate_projected(blur(x).flatten(1), matrix, SHAPE)
    spectrum = torch.linalg.eigvalsh(field.spectrum.permute(2, 3, 0, 1))
    variance = field.covariance[:, :, 0, 0].diagonal().mean()
    assert spectrum.min() > 0.99 * WHITE / (1 + WHITE) * variance, "kriging needs some white noise"
    recovered = project(field, noise_std, blur, SHAPE).conditional_mean(blur(x).flatten(1))
    assert (recovered - x).square().mean() < (blur(x) - x).square().mean()


def test_what_measures_nothing_and_what_returns_other_numbers():
    assert matrix_of(Projection(torch.zeros(3, 12)), (1, 3, 4)) is None
    double = Operator(lambda x: x.double().flatten(1)[:, :5], linear=True)
    assert matrix_of(double, (1, 3, 4)).dtype == torch.float32


def test_a_field_learned_from_measurements_fills_in_pixels_as_well():
    smooth = draws_of(field_of(*SIDES, length=6.0, white=1e-6), 60, SIDES).div(4).clamp(-1, 1)
    operator = Projection.random(SHAPE, 100)
    net = abpnet.GeneratorNetwork(2, recipe="indirect", noise_std=0.3, max_iter=2, precision="float32", verbose=False)
    net.fit(operator(smooth), observation=operator)
    hidden = torch.rand(60, 1, *SIDES, generator=seeded(8)) < 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = net.impute(smooth.masked_fill(hidden, torch.nan))
    hidden = hidden.expand_as(smooth)
    assert (filled - smooth)[hidden].square().mean() < 0.5 * smooth[hidden].square().mean()


def test_what_is_known_of_the_residuals_is_saved(tmp_path):
    operator = Projection.random(SHAPE, 50)
    net = linear_estimator(operator, None)
    y = torch.randn(4, 50, generator=seeded(6)).numpy()
    without = net.recover(y, operator)
    net = linear_estimator(operator, FIELD)
    recovered = net.recover(y, operator)
    assert not np.allclose(recovered, without)
    net.save(tmp_path / "model")
    np.testing.assert_array_equal(
        abpnet.GeneratorNetwork.load(tmp_path / "model", device="cpu").recover(y, operator), recovered
    )


def test_learning_from_projections_finds_the_field():
    x = draws_of(FIELD, 100, SIDES).div(4).clamp(-1, 1)
    operator = Projection.random(SHAPE, 60)
    net = abpnet.GeneratorNetwork(2, recipe="kriged", noise_std=0.6, max_iter=3, precision="float32", verbose=False)
    net.fit(operator(x), observation=operator)
    kriged = net.recover(operator(x), operator)
    net.residuals_ = None
    white = net.recover(operator(x), operator)
    assert (kriged - x).square().mean() < 0.85 * (white - x).square().mean()


def test_samples_projections_and_weights_are_of_different_chance():
    assert len({seed_for(purpose, seed) for purpose in ("samples", "projections") for seed in range(100)}) == 200
    plain = torch.randn(30, 20, generator=seeded()).flatten()
    projection = Projection.random((20,), 30, random_state=0).matrix.flatten()
    assert abs(torch.corrcoef(torch.stack([plain, projection]))[0, 1]) < 0.2
