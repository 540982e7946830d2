import math

import pytest
import torch
from torch.distributions import Normal

from abpnet.emissions import Gaussian


@pytest.mark.parametrize("noise_std", [0.01, 0.3, 2.5])
def test_log_density_is_that_of_the_normal_distribution_for_each_entry(noise_std):
    generator = torch.Generator().manual_seed(0)
    y, x = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
    expected = Normal(x, noise_std).log_prob(y)
    torch.testing.assert_close(Gaussian(noise_std).log_prob(y, x), expected, rtol=1e-12, atol=1e-12)


def test_gradient_of_the_log_density_is_the_scaled_residual():
    y, x = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(Gaussian(0.4).log_prob(y, x).sum(), x)
    torch.testing.assert_close(gradient, (y - x.detach()) / 0.16, rtol=1e-12, atol=1e-12)


def test_samples_have_the_moments_of_the_emission():
    n, noise_std = 200_000, 0.3
    x = torch.tensor([-0.7, 0.2]).expand(n, 2)
    noise = (Gaussian(noise_std).sample(x, torch.Generator().manual_seed(2)) - x).double() / noise_std
    assert noise.mean(0).abs().max() < 5 / math.sqrt(n)
    assert (noise.square().mean(0) - 1).abs().max() < 5 * math.sqrt(2 / n)
    assert ((noise**4).mean(0) - 3).abs().max() < 5 * math.sqrt(96 / n)


def test_sample_keeps_type_and_shape_and_depends_on_the_generator_alone():
    x = torch.zeros(2, 3, dtype=torch.float64)
    first, second = (Gaussian().sample(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.dtype == torch.float64
    assert first.shape == x.shape
    assert torch.equal(first, second)
    assert not torch.equal(first, Gaussian().sample(x, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("noise_std", [0.0, -0.1, math.nan, math.inf, -math.inf])
def test_impossible_noise_is_refused_with_its_value(noise_std):
    with pytest.raises(ValueError, match="noise_std") as refusal:
        Gaussian(noise_std)
    assert repr(noise_std) in str(refusal.value)
