"""Annealed importance sampling against the linear network's exact likelihood, and bounds from both sides."""

import numpy as np
import pytest
import torch

import abpnet
from abpnet import factor_analysis as fa
from abpnet.explaining import explain
from abpnet.likelihood import Annealing, bounds, log_likelihood
from abpnet.networks import LinearNetwork, VectorNetwork, initialise
from abpnet.observations import Complete, Mask

NOISE_STD = 0.5


def linear_case(latent_dim, n=8, masked=False):
    """A linear model of twice as many entries as factors, and 10 more; examples of it; and their exact likelihood."""
    generator, size = torch.Generator().manual_seed(latent_dim), 2 * latent_dim + 10
    network = initialise(LinearNetwork(latent_dim, (size,)), generator)
    model = abpnet.GeneratorModel(network, (latent_dim,), emission=abpnet.Gaussian(NOISE_STD))
    z = model.prior.sample((n, latent_dim), generator)
    with torch.no_grad():
        y = model.emission.sample(model(z), generator)
    observed = torch.rand(y.shape, generator=generator) < 0.6 if masked else None
    weights, bias = network.loadings.weight.detach(), network.loadings.bias.detach()
    linear = fa.FactorAnalysis(weights, bias, torch.full((size,), NOISE_STD**2))
    exact = fa.log_likelihood(fa.FactorAnalysis(*(part.double() for part in linear)), y.double(), observed)
    values = y if observed is None else torch.where(observed, y, 0.0)
    seen = Complete() if observed is None else Mask(observed)
    mode = fa.posterior(linear, values, observed).mean
    return model, z, values, seen, mode, exact


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("latent_dim", [2, 10, 50])
@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_linear_network_within_one_percent(start, latent_dim, masked):
    model, _, y, seen, mode, exact = linear_case(latent_dim, masked=masked)
    # A percent of few entries is a tenth of a nat. The normal approximation of a linear posterior is exact.
    n_temperatures = 10 if start == "posterior" else 400 if latent_dim == 2 else 100
    found = log_likelihood(model, y, seen, mode, Annealing(start=start, n_temperatures=n_temperatures))
    error = (found - exact).abs() / exact.abs()
    print(f"{start} d = {latent_dim}: {error.mean():.2%} on average, {error.max():.2%} at most")
    assert error.mean() < 0.01
    if start == "posterior":
        assert error.max() < 1e-4


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_bounds_of_a_network_of_two_layers_are_close(masked):
    generator = torch.Generator().manual_seed(0)
    network = initialise(VectorNetwork(4, (20,), width=32, n_hidden=1), generator)
    model = abpnet.GeneratorModel(network, (4,), emission=abpnet.Gaussian(0.3))
    z = model.prior.sample((16, 4), generator)
    with torch.no_grad():
        y = model.emission.sample(model(z), generator)
    observed = torch.rand(y.shape, generator=generator) < (0.5 if masked else 2.0)
    y, seen = torch.where(observed, y, 0.0), Mask(observed)
    mode = explain(model, y, seen, torch.zeros(16, 4))
    lower, upper = bounds(model, z, y, seen, mode, Annealing(start="prior", n_temperatures=200))
    gap = upper - lower
    print(f"gap {gap.mean():.3f} nats on average, {gap.abs().max():.3f} at most")
    assert -0.05 < gap.mean() < 1
    assert gap.abs().max() < 1


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_one_dimension_by_quadrature(start):
    """A bent network and a discrete emission."""
    network = initialise(VectorNetwork(1, (6,), width=16), torch.Generator().manual_seed(1))
    model = abpnet.GeneratorModel(network, (1,), emission=abpnet.Bernoulli())
    y = (torch.rand(5, 6, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    grid = torch.linspace(-9, 9, 20_001)[:, None]
    with torch.no_grad():
        joint = torch.stack([-model.energy(grid, one.expand(len(grid), 6)) for one in y]).double()
    exact = joint.logsumexp(1) + np.log(18 / 20_000)
    found = log_likelihood(model, y, Complete(), torch.zeros(5, 1), Annealing(n_chains=64, start=start))
    assert (found - exact).abs().max() < 0.05


def test_no_example_depends_on_another_and_hidden_values_on_nothing():
    model, _, y, seen, mode, _ = linear_case(3, n=20, masked=True)
    few = Annealing(n_chains=8, n_temperatures=5, start="prior")
    together = log_likelihood(model, y, seen, mode, few)
    rows = torch.tensor([7, 3])
    assert torch.equal(log_likelihood(model, y[rows], seen.select(rows), mode[rows], few), together[rows])
    assert torch.equal(log_likelihood(model, y, seen, mode, few), together)
    assert not torch.equal(log_likelihood(model, y, seen, mode, few, seed=1), together)


def test_estimators_score_what_they_know_above_what_they_do_not():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((60, 2)) @ rng.standard_normal((2, 8)) + 0.1 * rng.standard_normal((60, 8))).astype("f4")
    network = abpnet.GeneratorNetwork(2, noise_std=0.2, max_iter=40, precision="float32", verbose=False).fit(x)
    holes = np.where(rng.random(x.shape) < 0.3, np.nan, x)
    few = Annealing(n_temperatures=10)
    known, other = x[:16], rng.permuted(x[:16], axis=1)
    for some in (known, holes[:16]):
        strange = np.where(np.isnan(some), np.nan, other)
        better = network.score_samples(some, annealing=few) - network.score_samples(strange, annealing=few)
        assert better.shape == (16,)
        assert better.mean() > 2, "entries in another order fit worse"


def test_the_score_is_the_mean_over_examples(search_shortened):
    x = np.random.default_rng(0).standard_normal((20, 8)).astype("f4")
    network = abpnet.GeneratorNetwork(2, max_iter=2, precision="float32", verbose=False).fit(x)
    assert network.score(x) == pytest.approx(float(network.score_samples(x).mean()))


@pytest.mark.parametrize("setting", [{"n_chains": 1}, {"n_temperatures": 0}, {"n_leapfrog": 0}, {"start": "mode"}])
def test_settings_that_cannot_be_used_are_named(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Annealing(**setting)


def test_the_posterior_is_approximated_under_the_normal_prior_alone():
    model, _, y, seen, mode, _ = linear_case(2)
    model.prior = abpnet.HeavyTailed()
    assert log_likelihood(model, y, seen, mode).isfinite().all()
    with pytest.raises(ValueError, match="start='posterior' needs a standard normal prior"):
        log_likelihood(model, y, seen, mode, Annealing(start="posterior"))
