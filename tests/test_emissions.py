import math

import numpy as np
import pytest
import torch
from torch import distributions
from torch.distributions import Normal

from abpnet.chance import Share
from abpnet.emissions import (
    Bernoulli,
    Block,
    Categorical,
    ChannelGaussian,
    Columns,
    Emission,
    Gaussian,
    Laplace,
    Ordinal,
    Poisson,
    StudentT,
    check_data,
)

THRESHOLDS = (-1.0, 0.2, 2.5)


def graded(x):
    """Probabilities of the grades: differences of sigmoids."""
    below = (torch.tensor([-math.inf, *THRESHOLDS, math.inf]).double() - x.unsqueeze(-1)).sigmoid()
    return distributions.Categorical(probs=below.diff(dim=-1))


# Each emission beside torch's distribution of the same measured signal; that of a category is one of whole groups.
TWINS = {
    "gaussian": (Gaussian(0.4), lambda x: Normal(x, 0.4)),
    "student": (StudentT(0.4, df=5.0), lambda x: distributions.StudentT(5.0, x, 0.4 * math.sqrt(3 / 5))),
    "channels": (
        ChannelGaussian((0.1, 0.5, 2.0)),
        lambda x: Normal(x, torch.tensor([0.1, 0.5, 2.0]).to(x).view(-1, *[1] * (x.dim() - 2))),
    ),
    "bernoulli": (Bernoulli(), lambda x: distributions.Bernoulli(logits=x)),
    "categorical": (Categorical(), lambda x: distributions.OneHotCategorical(logits=x.movedim(1, -1))),
    "ordinal": (Ordinal(THRESHOLDS), graded),
    "poisson": (Poisson(), lambda x: distributions.Poisson(x.exp())),
}
EMISSIONS = {name: emission for name, (emission, _) in TWINS.items()} | {
    "laplace": Laplace(0.4),
    "columns": Columns((Block(0, 1, Poisson()), Block(1, 3, Categorical()))),
}


@pytest.mark.parametrize("shape", [(50, 3), (20, 3, 4)])
@pytest.mark.parametrize("name", TWINS)
def test_log_densities_are_those_of_torch(name, shape):
    emission, twin = TWINS[name]
    x = 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = emission.sample(x, torch.Generator().manual_seed(1))
    log_prob, expected = emission.log_prob(y, x), twin(x)
    if name == "categorical":
        log_prob, expected = log_prob.sum(1), expected.log_prob(y.movedim(1, -1))
    else:
        expected = expected.log_prob(y)
    torch.testing.assert_close(log_prob, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", EMISSIONS)
def test_samples_scatter_about_the_mean_alike_in_every_share_of_a_batch(name):
    n, emission = 100_000, EMISSIONS[name]
    assert isinstance(emission, Emission)
    x = torch.tensor([-0.7, 0.2, 1.9], dtype=torch.float64)
    y = emission.sample(x.expand(n, 3), torch.Generator().manual_seed(2))
    assert y.dtype == x.dtype
    surplus = (y.mean(0) - emission.mean(x[None])[0]).abs()
    assert (surplus < 5 * y.std(0) / math.sqrt(n)).all()
    if name in TWINS and name not in ("categorical", "ordinal"):  # of which torch knows no variance
        variance = TWINS[name][1](x[None]).variance[0]
        fourth = (y - y.mean(0)).pow(4).mean(0)
        assert ((y.var(0) - variance).abs() < 5 * (fourth - variance**2).sqrt() / math.sqrt(n)).all()
    chance = torch.Generator().manual_seed(2)
    assert torch.equal(emission.sample(x.expand(9, 3), Share(chance, slice(4, 13), n)), y[4:13])


@pytest.mark.parametrize("name", EMISSIONS)
def test_hidden_entries_have_finite_densities_and_gradients_however_far_off(name):
    x = torch.tensor([[-1e3, 0.0, 1e3]], requires_grad=True)
    log_prob = EMISSIONS[name].log_prob(torch.zeros(1, 3), x)
    (gradient,) = torch.autograd.grad(log_prob.sum(), x)
    assert log_prob.isfinite().all()
    assert gradient.isfinite().all()


def test_columns_join_their_blocks():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 6, generator=generator)
    blocks = (Block(0, 2, ChannelGaussian((0.2, 3.0))), Block(2, 3, Bernoulli()), Block(3, 6, Categorical()))
    y = Columns(blocks).sample(x, generator)
    parts = [block.emission.log_prob(y[:, block.first : block.end], x[:, block.first : block.end]) for block in blocks]
    assert torch.equal(Columns(blocks).log_prob(y, x), torch.cat(parts, 1))


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: StudentT(0.3, df=2.0), "df"),
        (lambda: ChannelGaussian((0.3, 0.0)), "noise_stds"),
        (lambda: ChannelGaussian(()), "noise_stds"),
        (lambda: Ordinal(()), "thresholds"),
        (lambda: Ordinal((1.0, 1.0)), "thresholds"),
        (lambda: Ordinal((1.0, math.inf)), "thresholds"),
        (lambda: Columns(()), "blocks"),
        (lambda: Columns((Block(0, 1, Poisson()), Block(2, 3, Poisson()))), "blocks"),
        (lambda: Columns((Block(0, 1, Poisson()),)).mean(torch.zeros(2, 3)), "columns"),
    ],
)
def test_settings_that_cannot_be_are_refused(build, named):
    with pytest.raises(ValueError, match=named):
        build()


NAN = math.nan
# Data that an emission cannot have made, and what its refusal says.
IMPOSSIBLE = {
    "no answer": (Bernoulli(), [[0, 1, 5]], "Bernoulli expects 0 or 1, got 5"),
    "half an answer": (Bernoulli(), [[0, 1, 0.5]], "Bernoulli expects 0 or 1, got 0.5"),
    "grade below 0": (Ordinal((-0.5, 0.5)), [[0, 2, -1]], "Ordinal expects whole numbers from 0 to 2, got -1"),
    "grade too high": (Ordinal((-0.5, 0.5)), [[0, 2, 7]], "Ordinal expects whole numbers from 0 to 2, got 7"),
    "between grades": (Ordinal((-0.5, 0.5)), [[0, 2, 1.5]], "Ordinal expects whole numbers from 0 to 2, got 1.5"),
    "count below 0": (Poisson(), [[0, 3, -2]], "Poisson expects whole numbers from 0 on, got -2"),
    "part of a count": (Poisson(), [[0, 3, 0.25]], "Poisson expects whole numbers from 0 on, got 0.25"),
    "endless count": (Poisson(), [[0, 3, math.inf]], "Poisson expects whole numbers from 0 on, got inf"),
    "no category": (Categorical(), [[1, 0, 0], [0, 0, 0]], "Categorical expects a single 1 among .* got 0, 0, 0"),
    "two categories": (Categorical(), [[1, 0, 1]], "Categorical expects a single 1 among .* got 1, 0, 1"),
    "plain numbers": (
        Categorical(),
        [[0.5, 0.25, 0.25]],
        "Categorical expects .* got 0.5, 0.25, 0.25",
    ),
    "half hidden": (Categorical(), [[0, 1, 0], [0, 1, NAN]], "Categorical expects .* got 0, 1, nan"),
    "maps": (Categorical(), [[[1, 0], [0, 2], [0, 0]]], "Categorical expects .* got 0, 2, 0"),
    "columns": (
        Columns((Block(0, 2, Gaussian()), Block(2, 4, Poisson()))),
        [[0.5, -3, 1, -1]],
        "columns 2 to 3: Poisson expects whole numbers from 0 on, got -1",
    ),
    "too few columns": (Columns((Block(0, 2, Gaussian()), Block(2, 4, Poisson()))), [[0, 1, 1]], r"expected \(n, 4\)"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_data_that_cannot_be_are_named(case):
    emission, y, message = IMPOSSIBLE[case]
    y = torch.tensor(y, dtype=torch.float32)
    with pytest.raises(ValueError, match=message):
        check_data(emission, y, ~y.isnan())
    if not y.isnan().any():
        with pytest.raises(ValueError, match=message):
            check_data(emission, y, None)


@pytest.mark.parametrize("hidden", [0.0, NAN, 1e30])
@pytest.mark.parametrize("name", EMISSIONS)
def test_what_an_emission_makes_passes_its_check_whatever_is_hidden(name, hidden):
    generator = torch.Generator().manual_seed(0)
    y = EMISSIONS[name].sample(torch.randn(30, 3, generator=generator), generator)
    check_data(EMISSIONS[name], y, None)
    observed = torch.rand(30, 1, generator=generator) < 0.5
    check_data(EMISSIONS[name], torch.where(observed, y, hidden), observed)


@pytest.mark.parametrize(("kind", "name"), [(Ordinal, "thresholds"), (ChannelGaussian, "noise_stds")])
def test_settings_may_be_lists_or_arrays(kind, name, types_unchecked):
    for values in ([0.25, 1], np.array([0.25, 1], np.float32), torch.tensor([0.25, 1])):
        emission = kind(values)
        assert emission == kind((0.25, 1.0))
        assert all(type(value) is float for value in getattr(emission, name))
        assert emission.log_prob(torch.zeros(2, 2), torch.zeros(2, 2)).isfinite().all()


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


@pytest.mark.parametrize("emission", [Gaussian, Laplace, StudentT])
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
