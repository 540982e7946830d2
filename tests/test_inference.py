"""Samplers against posteriors known exactly: the linear network, and a skewed target."""

import functools
import math

import numpy as np
import pytest
import torch

import abpnet
from abpnet import factor_analysis as fa
from abpnet.inference import (
    energies,
    energy_and_gradient,
    find_mode,
    gradient_descent,
    langevin,
    metropolis,
    precondition,
)
from abpnet.networks import LinearNetwork, initialise
from abpnet.observations import Complete, Mask
from moments import assert_mean

N_CHAINS = 200
NOISE_STD = 0.7


def linear_case(masked: bool = False, latent_dim: int = 3, size: int = 6):
    """A linear model, one observation seen by many chains, and the exact posterior."""
    generator = torch.Generator().manual_seed(0)
    network = initialise(LinearNetwork(latent_dim, (size,)), generator)
    with torch.no_grad():
        network.loadings.bias.normal_(generator=generator)
    model = abpnet.GeneratorModel(network, (latent_dim,), emission=abpnet.Gaussian(NOISE_STD))
    y = model.sample(1, generator) + NOISE_STD * torch.randn(1, size, generator=generator)
    observed = (
        torch.tensor([[True, False, True, True, False, True]]) if masked else torch.ones(1, size, dtype=torch.bool)
    )
    linear = fa.FactorAnalysis(
        network.loadings.weight.detach(), network.loadings.bias.detach(), torch.full((size,), NOISE_STD**2)
    )
    exact = fa.posterior(linear, y, observed)
    observation = Mask(observed.expand(N_CHAINS, -1)) if masked else Complete()
    values = torch.where(observed, y, 0.0).expand(N_CHAINS, -1)
    energy = functools.partial(model.energy, y=values, observation=observation)
    return model, energy, observation, exact


def draw(energy, z, n_draws, thin=1, warm_up=200, **settings):
    """(n_draws, n_chains, d) states of chains."""
    z = langevin(energy, z, n_steps=warm_up, **settings)
    states = []
    for _ in range(n_draws):
        z = langevin(energy, z, n_steps=thin, **settings)
        states.append(z)
    return torch.stack(states).numpy()


@pytest.mark.parametrize("preconditioned", [False, True], ids=["plain", "preconditioned"])
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_langevin_draws_from_the_exact_posterior_of_the_linear_network(masked, preconditioned):
    model, energy, observation, exact = linear_case(masked)
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(N_CHAINS, 3, generator=generator)
    root, step_size = None, 0.1
    if preconditioned:
        root, step_size = precondition(model.latent_precision(z, generator, observation, scores_per_factor=5)), 0.2
    draws = draw(energy, z, 400, thin=8, step_size=step_size, generator=generator, root=root)
    mean, covariance = exact.mean[0].numpy(), exact.covariance[0].numpy()
    for i in range(3):
        assert_mean(draws[:, :, i], mean[i])
        for j in range(i + 1):
            centred = (draws[:, :, i] - mean[i]) * (draws[:, :, j] - mean[j])
            assert_mean(centred, covariance[i, j])


@pytest.mark.parametrize("step_size", [0.5, 1.0, 1.5])
def test_steps_in_the_exact_metric_leave_no_bias_at_any_length(step_size):
    _, energy, _, exact = linear_case()
    generator = torch.Generator().manual_seed(1)
    root = torch.linalg.cholesky(exact.covariance[0])
    z = exact.mean + torch.randn(N_CHAINS, 3, generator=generator)
    draws = draw(energy, z, 300, thin=2, warm_up=40, step_size=step_size, generator=generator, root=root)
    mean, covariance = exact.mean[0].numpy(), exact.covariance[0].numpy()
    for i in range(3):
        assert_mean(draws[:, :, i], mean[i])
        for j in range(i + 1):
            assert_mean((draws[:, :, i] - mean[i]) * (draws[:, :, j] - mean[j]), covariance[i, j])


def test_half_of_the_way_to_the_mode_in_one_step():
    _, energy, _, exact = linear_case()
    root = torch.linalg.cholesky(exact.covariance[0])
    z = exact.mean + torch.randn(N_CHAINS, 3, generator=torch.Generator().manual_seed(1))
    moved = langevin(energy, z, step_size=1.0, n_steps=1, generator=torch.Generator(), temperature=0.0, root=root)
    torch.testing.assert_close(moved, (z + exact.mean) / 2, rtol=1e-4, atol=1e-4)


def test_acceptance_is_that_of_metropolis_and_hastings():
    """By the definition: densities of the step and of its return, with the target's at both ends."""
    generator = torch.Generator().manual_seed(1)
    root = torch.tensor([[0.9, 0.0], [0.3, 0.5]])
    metric, step_size, temperature = root @ root.T, 0.8, 1.3

    def energy(z):
        return (z**4).sum(1) / 4 + z[:, 0] * z[:, 1]

    start = torch.randn(50, 2, generator=generator)
    noise = torch.Generator().manual_seed(5)
    settings = {"step_size": step_size, "temperature": temperature, "root": root}
    reached = langevin(energy, start, n_steps=1, generator=noise, **settings)
    told = []
    langevin(energy, start, n_steps=2, generator=noise.manual_seed(5), watch=told.append, **settings)

    def log_step(origin, destination):
        _, gradient = energy_and_gradient(energy, origin)
        covariance = step_size**2 * temperature * (1 - step_size**2 / 4) * metric
        mean = origin - 0.5 * step_size**2 * gradient @ metric
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(destination)

    difference = (energy(start) - energy(reached)) / temperature
    expected = (difference + log_step(reached, start) - log_step(start, reached)).exp().clamp(max=1)
    torch.testing.assert_close(told[0], expected, rtol=1e-3, atol=1e-4)
    assert 0.1 < told[0].mean() < 0.95


def test_steps_in_the_exact_metric_are_always_accepted_and_others_less():
    _, energy, _, exact = linear_case()
    generator, told = torch.Generator().manual_seed(1), {}
    z = exact.mean + torch.randn(N_CHAINS, 3, generator=generator) @ torch.linalg.cholesky(exact.covariance[0]).T
    for name, root, step_size in (
        ("exact", torch.linalg.cholesky(exact.covariance[0]), 1.4),
        ("short", None, 0.05),
        ("long", None, 0.9),
    ):
        told[name] = []
        langevin(energy, z, step_size=step_size, n_steps=9, generator=generator, root=root, watch=told[name].append)
        assert len(told[name]) == 8
    exact, short, long = (torch.stack(told[name]) for name in ("exact", "short", "long"))
    assert exact.min() > 0.999
    assert short.mean() > 0.98
    assert long.mean() < 0.6


def test_what_is_watched_does_not_change():
    generator, told = torch.Generator(), []
    outcomes = [
        langevin(
            skewed_energy, torch.zeros(9, 1), step_size=0.3, n_steps=3, generator=generator.manual_seed(0), **watch
        )
        for watch in ({}, {"watch": told.append})
    ]
    assert torch.equal(*outcomes)
    assert len(told) == 2


def test_a_step_to_where_the_energy_is_no_number_is_never_accepted():
    told = []
    langevin(
        lambda z: torch.where(z[:, 0] > 0, torch.nan, z.square().sum(1)),
        torch.full((20, 1), -0.1),
        step_size=1.0,
        n_steps=2,
        generator=torch.Generator().manual_seed(0),
        watch=told.append,
    )
    assert (told[0] == 0).any()
    assert torch.isfinite(told[0]).all()


def skewed_energy(z):
    """z = log of an exponential variable: mean -gamma, variance pi^2 / 6, and far from symmetric."""
    return (z.exp() - z).sum(1)


def test_langevin_draws_from_a_skewed_target():
    generator = torch.Generator().manual_seed(2)
    draws = draw(skewed_energy, torch.zeros(500, 1), 800, thin=10, warm_up=2000, step_size=0.08, generator=generator)[
        :, :, 0
    ]
    mean, variance = -np.euler_gamma, math.pi**2 / 6
    assert_mean(draws, mean)
    assert_mean((draws - mean) ** 2, variance)
    skewness = -2 * 1.2020569031595942  # third central moment: -2 zeta(3)
    assert_mean((draws - mean) ** 3, skewness, least_effective=500)


def draw_by_metropolis(misfit, z, n_draws, **settings):
    states = []
    for _ in range(n_draws):
        z = metropolis(misfit, z, **settings)
        states.append(z)
    return torch.stack(states[n_draws // 10 :]).numpy()


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("step_size", [0.3, 1.0])
def test_metropolis_draws_from_the_exact_posterior_of_the_linear_network(masked, step_size):
    _, energy, _, exact = linear_case(masked)
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(N_CHAINS, 3, generator=generator)

    def misfit(z):
        return energy(z) - 0.5 * z.square().sum(1)

    draws = draw_by_metropolis(misfit, z, 500, step_size=step_size, n_steps=8, generator=generator)
    mean, covariance = exact.mean[0].numpy(), exact.covariance[0].numpy()
    for i in range(3):
        assert_mean(draws[:, :, i], mean[i])
        for j in range(i + 1):
            assert_mean((draws[:, :, i] - mean[i]) * (draws[:, :, j] - mean[j]), covariance[i, j])


def test_metropolis_draws_from_a_skewed_target_with_a_jump():
    """N(0, 1) times exp(-exp(z)), and five times as likely above 0.3 as below: moments by quadrature."""

    def misfit(z):
        return (z.exp() - math.log(5.0) * (z > 0.3)).sum(1)

    grid = torch.linspace(-9, 5, 200_001, dtype=torch.float64)
    density = (-0.5 * grid.square() - misfit(grid[:, None])).exp()
    density /= density.sum()
    moments = [float((density * grid**k).sum()) for k in (1, 2, 3)]
    generator = torch.Generator().manual_seed(2)
    draws = draw_by_metropolis(misfit, torch.zeros(500, 1), 600, step_size=0.8, n_steps=2, generator=generator)
    for power, moment in enumerate(moments, 1):
        assert_mean(draws[:, :, 0] ** power, moment)
    assert_mean(draws[:, :, 0] > 0.3, float(density[grid > 0.3].sum()))


def test_metropolis_without_observations_keeps_the_prior_and_accepts_everything():
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(1000, 4, generator=generator)
    told = []
    settings = {"step_size": 0.6, "n_steps": 1, "generator": generator}
    moved = metropolis(lambda z: torch.zeros(len(z)), z, watch=told.append, **settings)
    assert torch.equal(told[0], torch.ones(1000))
    assert (moved != z).all()
    correlation = float((moved * z).mean())
    assert correlation == pytest.approx(0.8, abs=0.05)
    assert float(moved.var()) == pytest.approx(1.0, abs=0.08)


def test_metropolis_never_moves_to_where_the_misfit_is_not_a_number():
    generator = torch.Generator().manual_seed(4)
    z = -torch.rand(50, 1, generator=generator)
    moved = metropolis(
        lambda z: torch.where(z[:, 0] > 0, torch.nan, 0.0), z, step_size=0.9, n_steps=20, generator=generator
    )
    assert (moved <= 0).all()
    assert (moved != z).all()


def test_bias_of_the_step_shrinks_as_theory_says():
    """On N(0, 1) a step s has the stationary variance 1 / (1 - s^2 / 4)."""
    for step_size in (1.2, 0.6, 0.3):
        generator = torch.Generator().manual_seed(3)
        draws = draw(
            lambda z: 0.5 * z.square().sum(1), torch.zeros(2000, 1), 300, step_size=step_size, generator=generator
        )
        assert_mean(draws[:, :, 0] ** 2, 1 / (1 - step_size**2 / 4))


def test_temperature_scales_the_variance():
    generator = torch.Generator().manual_seed(4)
    draws = draw(
        lambda z: 0.5 * z.square().sum(1),
        torch.zeros(2000, 1),
        300,
        step_size=0.4,
        generator=generator,
        temperature=0.25,
    )
    assert_mean(draws[:, :, 0] ** 2, 0.25 / (1 - 0.4**2 / 4))


def test_temperature_zero_is_gradient_descent_to_the_bit():
    _, energy, _, _ = linear_case()
    z = torch.randn(N_CHAINS, 3, generator=torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(6)
    before = generator.get_state()
    cold = langevin(energy, z, step_size=0.1, n_steps=20, generator=generator, temperature=0.0)
    assert torch.equal(cold, gradient_descent(energy, z, step_size=0.1, n_steps=20))
    assert torch.equal(generator.get_state(), before), "no noise is drawn at temperature 0"
    expected = z
    for _ in range(20):
        expected = expected - 0.005 * energy_and_gradient(energy, expected)[1]
    torch.testing.assert_close(cold, expected)


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_mode_of_the_linear_network_is_its_posterior_mean(masked):
    _, energy, _, exact = linear_case(masked)
    z, lowest = find_mode(energy, torch.zeros(N_CHAINS, 3), n_steps=500)
    torch.testing.assert_close(z, exact.mean.expand(N_CHAINS, -1), atol=1e-3, rtol=0)
    torch.testing.assert_close(lowest, energy(z).detach())


def test_the_search_for_the_mode_returns_the_best_point_it_visited():
    def steep(z):  # the first steps are far too long for this valley, and the search ends before it comes back
        return 500 * z.square().sum(1)

    start = torch.linspace(-0.02, 0.02, 9)[:, None]
    z, lowest = find_mode(steep, start, n_steps=3, learning_rate=1.0)
    torch.testing.assert_close(z, start)
    torch.testing.assert_close(lowest, steep(start))


# From one score of each of many examples, or from several of few.
@pytest.mark.parametrize("n_examples", [N_CHAINS, 7])
def test_fisher_information_gives_the_exact_posterior_precision_of_the_linear_network(n_examples):
    model, _, observation, exact = linear_case(masked=True)
    observation = observation.select(torch.arange(n_examples))
    generator = torch.Generator().manual_seed(7)
    z = torch.zeros(n_examples, 3)
    estimates = torch.stack(
        [model.latent_precision(z, generator, observation, scores_per_factor=50) for _ in range(400)]
    )
    standard_error = estimates.std(0) / 20
    assert ((estimates.mean(0) - exact.precision[0]).abs() < 5 * standard_error).all()


def test_a_fully_hidden_example_draws_from_the_prior():
    model, _, _, _ = linear_case()
    nothing = Mask(torch.zeros(N_CHAINS, 6, dtype=torch.bool))
    energy = functools.partial(model.energy, y=torch.zeros(N_CHAINS, 6), observation=nothing)
    generator = torch.Generator().manual_seed(8)
    draws = draw(energy, torch.zeros(N_CHAINS, 3), 500, thin=5, step_size=0.3, generator=generator)
    for i in range(3):
        assert_mean(draws[:, :, i], 0.0)
        assert_mean(draws[:, :, i] ** 2, 1 / (1 - 0.3**2 / 4))


def test_examples_do_not_depend_on_one_another():
    _, energy, _, _ = linear_case()
    z = torch.randn(N_CHAINS, 3, generator=torch.Generator().manual_seed(9))
    other = z.clone()
    other[1:] = 7.0
    for algorithm in (
        functools.partial(gradient_descent, step_size=0.1, n_steps=5),
        functools.partial(find_mode, n_steps=5),
    ):
        first, second = algorithm(energy, z), algorithm(energy, other)
        first, second = (x[0] if isinstance(x, tuple) else x for x in (first, second))
        assert torch.equal(first[0], second[0])


def test_a_map_of_factors_is_preconditioned_position_by_position():
    precision = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
    root = precondition(precision)

    def energy(z):
        return 0.5 * torch.einsum("nchw,cd,ndhw->n", z, precision, z)

    generator = torch.Generator().manual_seed(10)
    z = torch.zeros(500, 2, 2, 3)
    draws = draw(energy, z, 200, step_size=0.1, thin=10, warm_up=500, generator=generator, root=root)
    covariance = torch.linalg.inv(precision).numpy()
    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert_mean((draws[:, :, i, 1, 2] * draws[:, :, j, 1, 2]), covariance[i, j])


def test_truncation_never_fires_in_equilibrium(monkeypatch):
    _, energy, _, exact = linear_case()
    root = precondition(exact.precision[0])
    start = exact.mean + torch.randn(N_CHAINS, 3, generator=torch.Generator().manual_seed(11)) @ root.T
    outcomes = []
    for longest in (energies.LONGEST_GRADIENT, 1e9):
        monkeypatch.setattr(energies, "LONGEST_GRADIENT", longest)
        generator = torch.Generator().manual_seed(12)
        outcomes.append(langevin(energy, start, step_size=0.5, n_steps=500, generator=generator, root=root))
    assert torch.equal(*outcomes)


def test_a_chain_that_starts_badly_comes_back():
    """On z^4 / 4 the drift of a fixed step overshoots ever further; truncated, it does not."""

    def energy(z):
        return 0.25 * z.pow(4).sum(1)

    start, generator = torch.full((50, 1), 1e3), torch.Generator().manual_seed(13)
    settings = {"step_size": 0.5, "n_steps": 2000, "generator": generator}
    assert not langevin(energy, start, **settings).isfinite().all()
    assert langevin(energy, start, root=torch.eye(1), **settings).abs().max() < 5
