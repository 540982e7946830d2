"""Short chains against the linear oracle, and the noise that stands for a field."""

from itertools import islice

import pytest
import torch

import abpnet
from abpnet import factor_analysis, residuals, short_chains
from abpnet.explaining import regress
from abpnet.networks import LinearNetwork, ObjectNetwork, initialise
from abpnet.observations import Mask
from abpnet.residuals import equivalent_noise
from abpnet.short_chains import noise_for, short_draws

SHAPE, D = (2, 6, 6), 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_case(n=7, noise_std=0.3):
    model = abpnet.GeneratorModel(
        initialise(LinearNetwork(D, SHAPE), seeded()), (D,), emission=abpnet.Gaussian(noise_std)
    )
    y = torch.randn(n, *SHAPE, generator=seeded(1))
    observed = torch.rand(n, 1, *SHAPE[1:], generator=seeded(2)) < 0.5
    linear = regress(model, torch.randn(500, D, generator=seeded(3)))
    return model, linear, torch.where(observed, y, 0.0), Mask(observed)


@pytest.mark.parametrize("n_steps", [0, short_chains.N_STEPS])
@pytest.mark.parametrize("noise_std", [0.3, 1.5])
def test_draws_have_the_moments_of_the_exact_posterior_under_the_equivalent_noise(noise_std, n_steps, monkeypatch):
    monkeypatch.setattr("abpnet.short_chains.N_STEPS", n_steps)
    model, linear, y, seen = linear_case()
    draws = torch.stack(list(islice(short_draws(model, linear, noise_std, y, seen, seeded()), 600)))
    layer = model.network.loadings
    exact = factor_analysis.FactorAnalysis(layer.weight.detach(), layer.bias.detach(), torch.full((72,), noise_std**2))
    belief = factor_analysis.posterior(exact, y.flatten(1), seen.observed.expand_as(y).flatten(1))
    deviation = belief.covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert ((draws.mean(0) - belief.mean).abs() / deviation).max() < 0.2
    for row in range(len(y)):
        covariance = torch.cov(draws[:, row].T)
        assert (covariance - belief.covariance[row]).norm() / belief.covariance[row].norm() < 0.25


def test_steps_go_from_the_line_towards_the_network():
    """A network that bends away from its line: the steps lower the energy of where they start."""
    network = initialise(ObjectNetwork(D, (1, 8, 8), 16), seeded())
    model = abpnet.GeneratorModel(network, (D,), emission=abpnet.Gaussian(0.3))
    truth = torch.randn(20, D, generator=seeded(1))
    with torch.no_grad():
        y = network(truth)
    linear = regress(model, torch.randn(500, D, generator=seeded(2)))
    seen = abpnet.Complete()

    def energy(n_steps):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("abpnet.short_chains.N_STEPS", n_steps)
            draws = torch.cat(list(islice(short_draws(model, linear, 0.3, y, seen, seeded()), 5)))
        with torch.no_grad():
            return float(model.energy(draws, y.repeat(5, 1, 1, 1), seen).mean())

    assert energy(short_chains.N_STEPS) < energy(0)


@pytest.mark.parametrize("junk", [7.0, -1e10])
def test_hidden_values_never_enter(junk):
    model, linear, y, seen = linear_case()
    spoiled = y.masked_fill(~seen.observed.expand_as(y), junk)
    clean = next(short_draws(model, linear, 0.5, y, seen, seeded()))
    assert torch.equal(next(short_draws(model, linear, 0.5, spoiled, seen, seeded())), clean)


def field_of(covariance):
    return residuals.ResidualField(torch.fft.rfft2(covariance).real)


def test_white_residuals_are_their_own_equivalent():
    covariance = torch.zeros(2, 2, 12, 12)
    covariance[0, 0, 0, 0] = covariance[1, 1, 0, 0] = 0.49
    patterns = torch.randn(4, *SHAPE, generator=seeded())
    observed = torch.rand(5, 1, 6, 6, generator=seeded()) < 0.4
    assert equivalent_noise(field_of(covariance), patterns, observed) == pytest.approx(0.7, rel=1e-4)


def test_the_equivalent_noise_is_that_of_the_dense_formula():
    noise = torch.randn(300, 2, 9, 9, generator=seeded())
    blurred = noise[..., 1:-2, 1:-2] + noise[..., 1:-2, 2:-1] + noise[..., 2:-1, 1:-2]
    field = residuals.estimate(blurred, torch.ones(300, 1, 6, 6, dtype=torch.bool))
    patterns = torch.randn(4, *SHAPE, generator=seeded(1))
    observed = torch.rand(5, 1, 6, 6, generator=seeded(2)) < 0.6
    unit = torch.eye(72).view(72, *SHAPE)
    dense = residuals.apply_covariance(field, unit).reshape(72, 72)
    above = below = 0.0
    for mask in observed:
        seen = (patterns * mask).reshape(4, 72)
        above += float((seen @ dense @ seen.T).trace())
        below += float(seen.square().sum())
    assert equivalent_noise(field, patterns, observed) == pytest.approx((above / below) ** 0.5, rel=1e-4)
    smooth = torch.ones(1, *SHAPE)
    alone = float(field.covariance[:, :, 0, 0].diagonal().mean()) ** 0.5
    assert equivalent_noise(field, smooth, torch.ones(1, 1, 6, 6, dtype=torch.bool)) > 1.3 * alone, (
        "neighbours err alike"
    )


def test_it_is_measured_through_the_masks_of_the_images():
    _, linear, y, seen = linear_case(50)
    field = residuals.estimate(torch.randn(50, *SHAPE, generator=seeded(5)).cumsum(3), seen.observed)
    patterns = linear.loadings.T.unflatten(1, SHAPE)
    some = noise_for(linear, field, y, seen)
    assert some == pytest.approx(equivalent_noise(field, patterns, seen.observed), rel=0.03), "a part is enough"
    smooth = linear._replace(loadings=torch.ones_like(linear.loadings))
    whole = noise_for(smooth, field, y, abpnet.Complete())
    assert whole > noise_for(smooth, field, y, seen), "the more is observed, the more neighbours err alike"


def test_nothing_stands_for_residuals_that_mislead_nobody():
    _, linear, y, seen = linear_case(50)
    field = residuals.estimate(torch.randn(50, *SHAPE, generator=seeded(5)), seen.observed)
    assert noise_for(linear, field, y, Mask(torch.zeros_like(seen.observed))) is None, "nothing was observed"
    assert noise_for(linear._replace(loadings=linear.loadings * torch.nan), field, y, seen) is None, "it diverged"
