"""Intervals and pooled estimates, where the truth is known."""

from itertools import islice

import numpy as np
import pytest
import torch

import abpnet
from abpnet.networks import VectorNetwork, initialise
from abpnet.observations import Mask
from abpnet.posterior import chain_starts, posterior_draws
from abpnet.uncertainty import Interval, coverage, credible_interval, noise_scale, pool


@pytest.mark.parametrize(("n_draws", "level"), [(19, 0.9), (50, 0.9), (9, 0.8), (400, 0.5)])
def test_another_draw_falls_into_the_interval_as_often_as_it_says(n_draws, level):
    rng = np.random.default_rng(0)
    draws, truth = rng.standard_normal((n_draws, 20_000)), rng.standard_normal(20_000)
    found = coverage(truth, credible_interval(draws, level))
    assert abs(found - level) < 5 * np.sqrt(level * (1 - level) / 20_000)


def test_as_much_is_left_out_below_as_above():
    interval = credible_interval(np.arange(1.0, 20.0)[:, None], 0.9)
    assert interval == Interval(np.array([1.0]), np.array([19.0]))


def test_coverage_of_some_entries():
    interval = Interval(np.zeros(4), np.ones(4))
    truth = np.array([0.5, 2.0, 1.0, -1.0])
    assert coverage(truth, interval) == 0.5
    assert coverage(truth, interval, np.array([True, False, True, False])) == 1.0


def test_simulated_data_of_a_known_generator_are_covered():
    """Hidden entries lie in intervals of level .9 as often as that: starts, sampler, mask, noise."""
    generator = torch.Generator().manual_seed(0)
    network = initialise(VectorNetwork(3, (20,), width=32), generator)
    model = abpnet.GeneratorModel(network, (3,), emission=abpnet.Gaussian(0.2))
    n = 250
    z = model.prior.sample((n, 3), generator)
    with torch.no_grad():
        truth = model.emission.sample(model(z), generator)
    observed = torch.rand(truth.shape, generator=generator) < 0.5
    y, seen = torch.where(observed, truth, 0.0), Mask(observed)
    starts = chain_starts(model, y, seen, abpnet.explaining.explain(model, y, seen, torch.zeros(n, 3)), 4, generator)
    drawn = []
    for factors in islice(posterior_draws(model, y, seen, starts, generator), 60):
        with torch.no_grad():
            drawn.append(model.emission.sample(model(factors), generator).numpy())
    found = coverage(truth.numpy(), credible_interval(np.stack(drawn)), ~observed.numpy())
    print(f"coverage {found:.4f}")
    assert 0.87 < found < 0.93


@pytest.mark.parametrize("true_scale", [0.0, 0.4, 1.0, 2.5])
def test_the_scale_of_noise_is_found_from_held_out_entries(true_scale):
    """Signals that are sure to .5; noise of 1 times the scale."""
    rng, n = np.random.default_rng(0), 40_000
    signals, noise = 0.5 * rng.standard_normal((39, n)), rng.standard_normal((39, n))
    truth = 0.5 * rng.standard_normal(n) + true_scale * rng.standard_normal(n)
    found = noise_scale(signals, signals + noise, truth)
    assert found == pytest.approx(true_scale, abs=0.06 + 0.1 * (true_scale == 0))


def test_pooled_intervals_hold_the_true_mean_and_those_of_single_imputations_do_not():
    """Half of the values are missing, and are drawn from their posterior given a model that is known."""
    rng, n, trials = np.random.default_rng(1), 40, 1000
    x = rng.standard_normal((trials, n))
    y = 2 + x + rng.standard_normal((trials, n))
    seen = rng.random((trials, n)) < 0.5
    m, estimates, variances = 20, [], []
    for _ in range(m):
        filled = y.copy()
        for trial in range(trials):
            a, b = x[trial, seen[trial]], y[trial, seen[trial]]
            design = np.stack([np.ones_like(a), a], 1)
            gram = np.linalg.inv(design.T @ design)
            beta = rng.multivariate_normal(gram @ design.T @ b, gram)  # noise of variance 1 is known
            fresh = ~seen[trial]
            filled[trial, fresh] = beta[0] + beta[1] * x[trial, fresh] + rng.standard_normal(fresh.sum())
        estimates.append(filled.mean(1))
        variances.append(filled.var(1, ddof=1) / n)
    pooled = pool(np.stack(estimates), np.stack(variances))
    held = ((pooled.low < 2) & (pooled.high > 2)).mean()
    alone = (np.abs(estimates[0] - 2) < 1.96 * np.sqrt(variances[0])).mean()
    assert 0.935 < held < 0.975
    assert alone < 0.92, "one imputation passes for data"


def test_nothing_missing_leaves_the_analysis_as_it_was():
    pooled = pool(np.full((5, 2), 3.0), np.full((5, 2), 0.25))
    np.testing.assert_allclose(pooled.estimate, 3.0)
    np.testing.assert_allclose(pooled.std_error, 0.5)
    np.testing.assert_allclose(pooled.high, 3 + 1.959964 * 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: credible_interval(np.zeros((18, 1)), 0.9), "needs 19 draws or more, got 18"),
        (lambda: credible_interval(np.zeros((18, 1)), 1.0), "level must be above 0 and below 1"),
        (lambda: coverage(np.zeros(1), Interval(np.zeros(1), np.ones(1)), np.array([False])), "no entries"),
        (lambda: pool(np.zeros((1, 2)), np.zeros((1, 2))), "m at least 2"),
        (lambda: pool(np.zeros((3, 2)), np.zeros((3, 1))), "one shape"),
        (lambda: pool(np.zeros((3, 2)), np.zeros((3, 2)), 0.0), "level must be"),
    ],
)
def test_what_cannot_be_told_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
