"""A recurrent transition: never explodes, keeps moments, finds what is not linear."""

import numpy as np
import pytest
import torch

from abpnet.dynamics import VectorAutoregression, moments
from abpnet.recurrent import RecurrentTransition, fit_recurrent
from moments import assert_stationary_moments


def bent_path(n, seed=0):
    """A process whose next state is a parabola over the last one: hardly correlated with it, but foretold by it."""
    rng = np.random.default_rng(seed)
    z = np.zeros((n, 2))
    for t in range(1, n):
        z[t] = 1 - 1.3 * z[t - 1] ** 2 + 0.02 * rng.standard_normal(2)
    return z @ np.array([[1.0, 0.5], [0.0, 1.0]]) + np.array([1.0, -2.0])


@pytest.fixture(scope="module")
def fitted():
    z = bent_path(200)
    return z, fit_recurrent([z[:100], z[100:]], torch.Generator().manual_seed(0))


def test_it_foretells_what_an_auto_regression_cannot(fitted):
    _, process = fitted
    assert process.held_back < 0.7


def test_stationary_moments_are_those_of_the_paths(fitted):
    z, process = fitted
    mean, covariance = moments([z])
    paths = np.stack([process.simulate(2000, np.random.default_rng(seed)) for seed in range(5)], 1)
    assert_stationary_moments(paths, mean, covariance)


def test_on_a_linear_process_it_is_hardly_worse_than_the_auto_regression():
    rng = np.random.default_rng(0)
    truth = VectorAutoregression(np.zeros(2), np.array([[[0.8, 0.3], [-0.3, 0.8]]]), np.eye(2))
    process = fit_recurrent([truth.simulate(200, rng)], torch.Generator().manual_seed(0))
    assert 0.8 < process.held_back <= 1.0


def test_it_starts_as_the_auto_regression_and_never_explodes():
    transition = RecurrentTransition(0.9 * torch.eye(3), 5, torch.Generator().manual_seed(0))
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    expected, hidden = transition(z[:, None])
    assert torch.allclose(expected[:, 0], 0.9 * z)
    torch.nn.init.constant_(transition.memory.readout.weight, 50.0)  # the worst of all weights
    with torch.no_grad():
        for _ in range(500):
            following, hidden = transition(z[:, None], hidden)
            z = following[:, 0]
    assert z.abs().max() <= 50 * 5 / (1 - 0.9) + 1e-3


def test_the_same_seeds_give_the_same_bits(monkeypatch):
    monkeypatch.setattr("abpnet.recurrent.MOST_STEPS", 30)
    z = bent_path(60)
    first, again, other = (
        fit_recurrent([z], torch.Generator().manual_seed(seed)).simulate(20, np.random.default_rng(3))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
