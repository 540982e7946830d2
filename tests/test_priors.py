import math

import pytest
import torch
from torch.distributions import Normal

from abpnet.priors import StandardNormal


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3, 3), (6, 1)])
def test_log_density_is_that_of_independent_standard_normals(shape):
    z = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(z).flatten(1).sum(1)
    torch.testing.assert_close(StandardNormal().log_prob(z), expected, rtol=1e-13, atol=1e-13)


def test_gradient_of_the_log_density_is_minus_z():
    z = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (gradient,) = torch.autograd.grad(StandardNormal().log_prob(z).sum(), z)
    assert torch.equal(gradient, -z)


def test_samples_have_the_moments_of_the_standard_normal():
    n = 200_000
    sample = StandardNormal().sample((n, 2), torch.Generator().manual_seed(2)).double()
    assert sample.shape == (n, 2)
    assert sample.mean(0).abs().max() < 5 / math.sqrt(n)
    assert (sample.square().mean(0) - 1).abs().max() < 5 * math.sqrt(2 / n)
    assert (sample**3).mean(0).abs().max() < 5 * math.sqrt(15 / n)
    assert ((sample**4).mean(0) - 3).abs().max() < 5 * math.sqrt(96 / n)
    assert abs(sample.prod(1).mean()) < 5 / math.sqrt(n)


def test_generator_alone_decides_the_sample():
    torch.manual_seed(3)
    first = StandardNormal().sample([3, 2], torch.Generator().manual_seed(4))
    global_state = torch.get_rng_state()
    second = StandardNormal().sample([3, 2], torch.Generator().manual_seed(4))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert not torch.equal(first, StandardNormal().sample([3, 2], torch.Generator().manual_seed(5)))
