"""Samplers against the linear posterior, complete and masked, and a skewed target (others: test_inference.py)."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from abpnet.inference import adapt_step_size, hamiltonian, mala, precondition, ridge, underdamped
from moments import assert_mean
from test_inference import N_CHAINS, linear_case, skewed_energy


def by_underdamped(energy, z, **settings):
    return underdamped(energy, z, **settings).z


def adapted(sampler, energy, z, *, generator, n_steps, root=None, target):
    """A sampler whose step size each chain finds in its first use."""
    found = adapt_step_size(
        partial(sampler, energy, generator=generator, root=root), z, step_size=0.5, n_steps=150, target=target
    )
    return partial(sampler, energy, generator=generator, root=root, n_steps=n_steps, step_size=found.step_size), found.z


# The step size with a metric and without one for the linear network; that for the skewed target; steps between draws.
SAMPLERS = {
    "mala": (mala, 1.0, 0.4, 1.0, 3),
    "hamiltonian": (hamiltonian, 0.5, 0.15, 0.4, 1),
    "underdamped": (by_underdamped, 0.3, 0.05, 0.08, 8),
}


def draws_of(sampler, energy, z, n_draws, warm_up, **settings):
    z = sampler(energy, z, **settings | {"n_steps": warm_up})
    states = []
    for _ in range(n_draws):
        z = sampler(energy, z, **settings)
        states.append(z)
    return torch.stack(states).numpy()


def assert_posterior(draws, exact):
    mean, covariance = exact.mean[0].numpy(), exact.covariance[0].numpy()
    for i in range(3):
        assert_mean(draws[:, :, i], mean[i])
        for j in range(i + 1):
            assert_mean((draws[:, :, i] - mean[i]) * (draws[:, :, j] - mean[j]), covariance[i, j])


@pytest.mark.parametrize("preconditioned", [False, True], ids=["plain", "preconditioned"])
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_linear_oracle(name, masked, preconditioned):
    sampler, with_metric, without, _, n_steps = SAMPLERS[name]
    model, energy, observation, exact = linear_case(masked)
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(N_CHAINS, 3, generator=generator)
    root = None
    if preconditioned:
        root = precondition(model.latent_precision(z, generator, observation, scores_per_factor=5))
    step_size = with_metric if preconditioned else without
    settings = {"step_size": step_size, "n_steps": n_steps, "generator": generator, "root": root}
    assert_posterior(draws_of(sampler, energy, z, 200, 100, **settings), exact)


@pytest.mark.parametrize("name", SAMPLERS)
def test_skewed_target(name):
    sampler, _, _, step_size, n_steps = SAMPLERS[name]
    generator = torch.Generator().manual_seed(2)
    settings = {"step_size": step_size, "n_steps": n_steps, "generator": generator}
    draws = draws_of(sampler, skewed_energy, torch.zeros(500, 1), 400, 400, **settings)[:, :, 0]
    mean, variance, skewness = -np.euler_gamma, math.pi**2 / 6, -2 * 1.2020569031595942
    assert_mean(draws, mean)
    assert_mean((draws - mean) ** 2, variance)
    assert_mean((draws - mean) ** 3, skewness, least_effective=500)


@pytest.mark.parametrize(("sampler", "target"), [(mala, 0.6), (hamiltonian, 0.8)], ids=["mala", "hamiltonian"])
def test_each_chain_finds_the_step_that_is_accepted_as_often_as_asked_for(sampler, target):
    """Posteriors of very different widths, side by side."""
    scale = torch.logspace(-2, 1, 60)

    def energy(z):
        return 0.5 * (z / scale[:, None]).square().sum(1)

    generator, told = torch.Generator().manual_seed(3), []
    z = scale[:, None] * torch.randn(60, 4, generator=generator)
    move, z = adapted(sampler, energy, z, generator=generator, n_steps=200, target=target)
    moved = move(z, watch=told.append)
    assert abs(torch.stack(told).mean() - target) < 0.1
    spread = (moved / scale[:, None]).square().mean()
    assert 0.5 < spread < 1.6
    ratio = move.keywords["step_size"] / scale
    assert ratio.max() / ratio.min() < 4, "steps go with the width"


@pytest.mark.parametrize("sampler", [mala, hamiltonian], ids=["mala", "hamiltonian"])
def test_chains_come_back_from_far_away(sampler):
    z = torch.full((50, 1), 40.0)  # where the gradient is e^40
    settings = {"step_size": 0.5, "n_steps": 400, "generator": torch.Generator().manual_seed(4)}
    if sampler is hamiltonian:
        z = torch.full((50, 1), 4.0)  # no proposal is accepted from farther
    assert sampler(skewed_energy, z, **settings).abs().max() < 15


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_ridge_regression_finds_the_mode_of_a_linear_network_in_one_step(masked):
    model, energy, observation, exact = linear_case(masked)
    z = 3 * torch.randn(N_CHAINS, 3, generator=torch.Generator().manual_seed(5))
    precision = partial(model.local_precision, y=energy.keywords["y"], observation=observation)
    mode, lowest = ridge(energy, z, precision=precision, n_steps=1)
    torch.testing.assert_close(mode, exact.mean.expand_as(mode), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(lowest, energy(exact.mean.expand_as(z)), rtol=1e-4, atol=1e-3)


def test_ridge_regression_never_climbs():
    """Even where the precision it is told is wrong."""
    z = torch.linspace(-6, 3, 50)[:, None]
    before, reached = skewed_energy(z), []
    for _ in range(8):
        z, after = ridge(skewed_energy, z, precision=lambda z: torch.ones(len(z), 1, 1), n_steps=1)
        assert (after <= before + 1e-6).all()
        before = after
        reached.append(float(after.max()))
    assert reached[-1] == pytest.approx(1.0, abs=1e-3), "the mode of exp(z) - z is at 0"
