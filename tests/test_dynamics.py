"""Vector auto-regression against closed forms."""

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from abpnet.dynamics import (
    VectorAutoregression,
    fit_autoregression,
    matching_map,
    stabilise,
    stationary_autoregression,
)
from moments import effective_sample_size

SIGMAS = 5.0


def process(order=1, radius=0.9, d=3, seed=0):
    """A stationary process whose roots are of the given modulus at most."""
    rng = np.random.default_rng(seed)
    raw = VectorAutoregression(rng.normal(size=d), rng.normal(size=(order, d, d)), np.cov(rng.normal(size=(d, 4 * d))))
    scale = radius / raw.spectral_radius
    powers = scale ** np.arange(1, order + 1)
    return VectorAutoregression(raw.mean, raw.transitions * powers[:, None, None], raw.innovation)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_known_coefficients_are_found_within_standard_errors(order):
    truth = process(order)
    n = 20_000
    path = truth.simulate(n, np.random.default_rng(1))
    found = fit_autoregression([path[:7000], path[7000:]], order)
    # Asymptotic covariance of the coefficients: Q_ii times the inverse of the states' covariance, over n.
    errors = np.sqrt(np.outer(np.diag(truth.innovation), np.diag(np.linalg.inv(truth.covariance()))) / n)
    errors = errors.reshape(3, order, 3).transpose(1, 0, 2)
    assert (np.abs(found.transitions - truth.transitions) < SIGMAS * errors).all()
    assert errors.max() < 0.02
    spread = np.sqrt((truth.innovation**2 + np.outer(*[np.diag(truth.innovation)] * 2)) / n)
    assert (np.abs(found.innovation - truth.innovation) < SIGMAS * spread).all()


def test_least_squares_in_its_closed_form():
    z = np.random.default_rng(0).normal(size=(40, 2)).cumsum(0)
    found = fit_autoregression([z], ridge=0.0)
    before, now = z[:-1] - z.mean(0), z[1:] - z.mean(0)
    expected, _, _, _ = np.linalg.lstsq(before, now, rcond=None)
    assert np.allclose(found.transitions[0], expected.T)
    residual = now - before @ expected
    assert np.allclose(found.innovation, residual.T @ residual / (39 - 3))
    ridge = fit_autoregression([z], ridge=0.1)
    penalty = 0.1 * 39 * np.trace(np.cov(z.T, bias=True)) / 2 * np.eye(2)
    assert np.allclose(ridge.transitions[0].T, np.linalg.solve(before.T @ before + penalty, before.T @ now))


def test_no_transition_leads_from_one_segment_to_the_next():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 30, 2))
    far = second + 1e3 * np.array([1, -1])
    together = fit_autoregression([first, far], ridge=0.0)
    mean = np.concatenate([first, far]).mean(0)
    before = np.concatenate([first[:-1], far[:-1]]) - mean
    now = np.concatenate([first[1:], far[1:]]) - mean
    assert np.allclose(together.transitions[0].T, np.linalg.lstsq(before, now, rcond=None)[0], atol=1e-6)


def test_too_few_transitions():
    z = np.random.default_rng(0).normal(size=(9, 4))
    fit_autoregression([z], 1)
    with pytest.raises(ValueError, match="10 are needed"):
        fit_autoregression([z], 2)


@pytest.mark.parametrize("order", [1, 2])
def test_stabilising_moves_only_the_roots_that_are_too_large(order):
    explosive = process(order, radius=1.2)
    stable = stabilise(explosive, 0.95)
    before, after = (
        sorted(np.linalg.eigvals(p.companion), key=lambda w: (round(np.angle(w), 6), abs(w)))
        for p in (explosive, stable)
    )
    expected = [w * min(1, 0.95 / abs(w)) for w in before]
    assert sum(abs(w) > 0.95 for w in before) >= 1
    assert np.allclose(after, sorted(expected, key=lambda w: (round(np.angle(w), 6), abs(w))), atol=1e-8)
    assert stable.spectral_radius == pytest.approx(0.95)
    assert np.array_equal(stable.innovation, explosive.innovation)


def test_a_stable_process_is_left_alone():
    stable = process(2, radius=0.9)
    assert stabilise(stable, 0.95) is stable


def test_an_explosive_process_has_no_stationary_covariance():
    with pytest.raises(ValueError, match="stabilise"):
        process(radius=1.01).covariance()


def test_the_stationary_covariance_solves_the_lyapunov_equation():
    one = process()
    assert np.allclose(one.covariance(), solve_discrete_lyapunov(one.transitions[0], one.innovation))
    two = process(2)
    covariance, (first, second) = two.covariance(), two.transitions
    now, lagged = covariance[:3, :3], covariance[:3, 3:]
    # Yule-Walker: G_1 = A_1 G_0 + A_2 G_1^T, G_0 = A_1 G_1^T + A_2 G_2^T + Q with G_2 = A_1 G_1 + A_2 G_0.
    assert np.allclose(lagged, first @ now + second @ lagged.T)
    assert np.allclose(now, first @ lagged.T + second @ (first @ lagged + second @ now).T + two.innovation)


@pytest.mark.parametrize("order", [1, 2])
def test_simulated_moments_are_the_stationary_ones(order):
    truth = process(order)
    paths = np.stack([truth.simulate(2000, np.random.default_rng(seed)) for seed in range(20)], 1) - truth.mean
    expected = truth.covariance()[:3, :3]
    for i in range(3):
        series = paths[:, :, i]
        error = series.std() / np.sqrt(effective_sample_size(series))
        assert abs(series.mean()) < SIGMAS * error
        for j in range(3):
            product = paths[:, :, i] * paths[:, :, j]
            effective = effective_sample_size(product)
            assert effective > 1000
            assert abs(product.mean() - expected[i, j]) < SIGMAS * product.std() / np.sqrt(effective)


def test_paths_start_in_the_stationary_distribution():
    truth = process(2, radius=0.97)
    starts = np.stack([truth.simulate(2, np.random.default_rng(seed)) for seed in range(4000)]) - truth.mean
    covariance, expected = starts.reshape(4000, 6).T @ starts.reshape(4000, 6) / 4000, truth.covariance()
    expected = np.block([[expected[3:, 3:], expected[3:, :3]], [expected[:3, 3:], expected[:3, :3]]])  # oldest first
    spread = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / 4000)
    assert (np.abs(covariance - expected) < SIGMAS * spread).all()


def test_the_map_between_covariances_is_symmetric():
    one, other = (np.cov(np.random.default_rng(seed).normal(size=(3, 9))) for seed in (1, 2))
    change = matching_map(one, other)
    assert np.allclose(change, change.T)
    assert np.allclose(change @ one @ change.T, other)


@pytest.mark.parametrize("order", [1, 2])
def test_what_drifts_away_is_simulated_without_blowing_up(order):
    rng = np.random.default_rng(0)
    z = np.exp(np.linspace(0, 3, 60))[:, None] * rng.normal(size=4) + 0.1 * rng.normal(size=(60, 4))
    assert fit_autoregression([z], order).spectral_radius > 1
    stationary = stationary_autoregression([z], order)
    assert stationary.spectral_radius < 1
    assert np.allclose(stationary.covariance()[:4, :4], np.cov(z.T, bias=True))
    path = stationary.simulate(20_000, rng)
    assert (np.abs(path - z.mean(0)) / z.std(0)).max() < 6


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_stationary_fit_has_the_moments_of_the_segments_and_the_steps_too(order):
    rng = np.random.default_rng(3)
    segments = [process(2, radius=0.99, seed=1).simulate(n, rng) for n in (80, 50)]
    fitted = stationary_autoregression(segments, order)
    together = np.concatenate(segments)
    covariance = fitted.covariance()
    assert np.allclose(fitted.mean, together.mean(0))
    assert np.allclose(covariance[:3, :3], np.cov(together.T, bias=True))
    lagged = covariance[:3, 3:6] if order > 1 else fitted.transitions[0] @ covariance
    steps = 2 * np.diag(covariance[:3, :3] - lagged)
    observed = np.concatenate([np.diff(segment, axis=0) for segment in segments])
    assert np.allclose(steps, observed.var(0), rtol=0.3)


def test_the_stationary_fit_of_one_factor_in_closed_form():
    z = np.random.default_rng(0).standard_normal((30, 1)).cumsum(0)
    fitted, centred = stationary_autoregression([z]), z[:, 0] - z.mean()
    correlation = centred[1:] @ centred[:-1] / np.sqrt((centred[1:] ** 2).sum() * (centred[:-1] ** 2).sum())
    assert fitted.transitions.item() == pytest.approx(correlation)
    assert fitted.innovation.item() == pytest.approx(z.var() * (1 - correlation**2))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_stationary_fit_is_consistent(order):
    truth = process(order)
    found = stationary_autoregression([truth.simulate(40_000, np.random.default_rng(1))], order)
    errors = np.sqrt(np.outer(np.diag(truth.innovation), np.diag(np.linalg.inv(truth.covariance()))) / 40_000)
    errors = errors.reshape(3, order, 3).transpose(1, 0, 2)
    assert (np.abs(found.transitions - truth.transitions) < 2 * SIGMAS * errors).all()
    assert np.allclose(found.innovation, truth.innovation, atol=0.05 * np.trace(truth.innovation))
    with pytest.raises(ValueError, match="are needed"):
        stationary_autoregression([np.ones((3 * order + 4, 3))], order)


def test_the_same_seed_gives_the_same_path():
    paths = [process().simulate(50, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(paths[0], paths[1])
    assert not np.allclose(paths[0], paths[2])
