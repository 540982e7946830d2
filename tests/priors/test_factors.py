"""Priors of independent factors, against torch.distributions and numerical integration."""

import math

import pytest
import torch
from torch.distributions import Categorical, Laplace, MixtureSameFamily, Normal, StudentT

from abpnet import priors

SPARSE = priors.SpikeAndSlab(share=0.3, spike=0.2)
CASES = {
    "normal": (priors.StandardNormal(), Normal(0.0, 1.0)),
    "heavy-tailed": (priors.HeavyTailed(), StudentT(4.0, 0.0, math.sqrt(0.5))),
    "nearly normal": (priors.HeavyTailed(df=30.0), StudentT(30.0, 0.0, math.sqrt(28 / 30))),
    "double-exponential": (priors.DoubleExponential(), Laplace(0.0, math.sqrt(0.5))),
    "sparse": (
        SPARSE,
        MixtureSameFamily(
            Categorical(torch.tensor([0.3, 0.7])), Normal(torch.zeros(2), torch.tensor([SPARSE.slab, 0.2]))
        ),
    ),
}


@pytest.fixture(params=CASES, ids=CASES)
def case(request):
    return CASES[request.param]


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3, 3), (6, 1)])
def test_log_density_is_that_of_independent_factors(case, shape):
    prior, known = case
    z = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.log_prob(z), known.log_prob(z).flatten(1).sum(1), rtol=1e-5, atol=1e-5)


def test_gradient_is_that_of_the_density(case):
    prior, known = case
    z = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (gradient,) = torch.autograd.grad(prior.log_prob(z).sum(), z)
    (expected,) = torch.autograd.grad(known.log_prob(z).sum(), z)
    torch.testing.assert_close(gradient, expected)


def test_samples_are_distributed_as_the_density_says(case):
    """The distribution function at many places, within 5 standard errors; and variance 1."""
    prior, _ = case
    n, grid = 100_000, torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    below = torch.cumulative_trapezoid(prior.log_prob(grid[:, None]).exp(), grid)
    sample = prior.sample((n, 2), torch.Generator().manual_seed(2)).double()
    assert sample.shape == (n, 2)
    for place in (-4.0, -1.5, -0.6, -0.1, 0.0, 0.1, 0.6, 1.5, 4.0):
        expected = below[round((place + 30) * 1000) - 1]
        error = (expected * (1 - expected) / n).sqrt()
        assert ((sample < place).double().mean(0) - expected).abs().max() < 5 * error, place
    density = prior.log_prob(grid[:, None]).exp()
    lost = 0.01 if prior == priors.HeavyTailed() else 1e-4  # beyond 30 deviations
    assert torch.trapezoid(density * grid**2, grid) == pytest.approx(1.0, abs=lost)
    assert abs(sample.clamp(-3, 3).prod(1).mean()) < 5 / math.sqrt(n), "factors are independent"


def test_generator_alone_decides_the_sample(case):
    prior, _ = case
    torch.manual_seed(3)
    first = prior.sample([3, 2], torch.Generator().manual_seed(4))
    global_state = torch.get_rng_state()
    assert torch.equal(first, prior.sample([3, 2], torch.Generator().manual_seed(4)))
    assert torch.equal(torch.get_rng_state(), global_state)
    assert not torch.equal(first, prior.sample([3, 2], torch.Generator().manual_seed(5)))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: priors.HeavyTailed(df=2.0), "df"),
        (lambda: priors.HeavyTailed(df=math.inf), "df"),
        (lambda: priors.SpikeAndSlab(share=0.0), "share"),
        (lambda: priors.SpikeAndSlab(spike=1.0), "spike"),
    ],
)
def test_parameters_out_of_range_are_refused(build, name):
    with pytest.raises(ValueError, match=name):
        build()
