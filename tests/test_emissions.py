import math

import pytest
import torch
from torch.distributions import Normal

from abpnet.emissions import Gaussian, Laplace


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


@pytest.mark.parametrize("emission", [Gaussian, Laplace])
@pytest.mark.parametrize("noise_std", [0.0, -0.1, math.nan, math.inf, -math.inf])
def test_impossible_noise_is_refused_with_its_value(emission, noise_std):
    with pytest.raises(ValueError, match="noise_std") as refusal:
        emission(noise_std)
    assert repr(noise_std) in str(refusal.value)


@pytest.mark.parametrize("noise_std", [0.01, 0.3, 2.5])
def test_laplace_noise_has_the_standard_deviation_it_says(noise_std):
    emission = Laplace(noise_std)
    residual = noise_std * torch.linspace(-25, 25, 400_001, dtype=torch.float64)
    density = emission.log_prob(residual, torch.zeros_like(residual)).exp()
    assert float(torch.trapezoid(density, residual)) == pytest.approx(1, abs=1e-6)
    assert math.sqrt(float(torch.trapezoid(density * residual**2, residual))) == pytest.approx(noise_std, rel=1e-6)


def test_laplace_noise_pulls_with_the_same_force_however_far_off():
    emission = Laplace(0.3)
    x = torch.tensor([0.0, 0.02, 1.0, 5.0, -5.0], dtype=torch.float64, requires_grad=True)
    (pull,) = torch.autograd.grad(emission.log_prob(torch.zeros(5, dtype=torch.float64), x).sum(), x)
    assert float(pull[0]) == 0
    assert float(pull[1]) == pytest.approx(-0.02 / math.hypot(0.02, 0.2 * emission.scale) / emission.scale)
    torch.testing.assert_close(pull[2:], torch.tensor([-1.0, -1.0, 1.0]).double() / emission.scale, rtol=1e-3, atol=0)


def test_laplace_samples_follow_their_density():
    n, emission = 200_000, Laplace(0.3)
    noise = emission.sample(torch.full((n, 1), 0.7), torch.Generator().manual_seed(2)).double()[:, 0] - 0.7
    grid = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    density = emission.log_prob(grid, torch.zeros_like(grid)).exp()
    for power in (1, 2, 4):
        moment = float(torch.trapezoid(density * grid**power, grid))
        spread = math.sqrt(float(torch.trapezoid(density * grid ** (2 * power), grid)) / n)
        assert float((noise**power).mean()) == pytest.approx(moment, abs=5 * spread + 2e-4 * abs(moment))
    assert len(noise.abs().unique()) > n / 4, "any number may come, not those of a table alone"
    for bound in (-0.4, -0.05, 0.0, 0.02, 0.3):
        below = float(torch.trapezoid(density[grid <= bound], grid[grid <= bound]))
        assert float((noise <= bound).double().mean()) == pytest.approx(below, abs=5 / math.sqrt(n))
