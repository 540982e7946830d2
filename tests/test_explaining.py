"""Explaining with fixed weights: where the search starts is the linear posterior, whatever else is in the batch."""

import numpy as np
import pytest
import torch

import abpnet
from abpnet import factor_analysis as fa
from abpnet.emissions import Bernoulli
from abpnet.explaining import BATCH, decode, explain, linear_start, random_starts, regress
from abpnet.networks import LinearNetwork, auto_network, initialise
from abpnet.observations import Complete, Mask, Operator, Projection
from abpnet.operators import fourier_projection


def linear_case(n=3 * BATCH + 5, latent_dim=4, size=40):
    generator = torch.Generator().manual_seed(0)
    network = initialise(LinearNetwork(latent_dim, (size,)), generator)
    model = abpnet.GeneratorModel(network, (latent_dim,), emission=abpnet.Gaussian(0.5))
    z = torch.randn(n, latent_dim, generator=generator)
    y = model.network(z).detach() + 0.5 * torch.randn(n, size, generator=generator)
    observed = torch.rand(n, size, generator=generator) < 0.6
    return model, z, y.masked_fill(~observed, 0.0), observed


def test_regression_on_the_chains_finds_a_linear_network():
    model, z, _, _ = linear_case()
    linear = regress(model, z)
    torch.testing.assert_close(linear.loadings, model.network.loadings.weight.detach(), atol=5e-3, rtol=0)
    torch.testing.assert_close(linear.noise_variance, torch.full((40,), 0.25), atol=1e-3, rtol=0)


def test_start_is_the_posterior_mean_given_what_was_observed():
    model, z, y, observed = linear_case()
    linear = regress(model, z)
    start = linear_start(linear, y, Mask(observed), (4,), (40,))
    exact = fa.posterior(fa.FactorAnalysis(*(part.double() for part in linear)), y.double(), observed)
    torch.testing.assert_close(start, exact.mean.float(), atol=1e-6, rtol=0)


def test_start_does_not_depend_on_the_place_in_the_batch():
    model, z, y, observed = linear_case()
    linear = regress(model, z)
    start = linear_start(linear, y, Mask(observed), (4,), (40,))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    assert torch.equal(linear_start(linear, y[order], Mask(observed[order]), (4,), (40,)), start[order])
    for row in range(0, len(y), 20):
        assert torch.equal(
            linear_start(linear, y[row : row + 1], Mask(observed[row : row + 1]), (4,), (40,))[0], start[row]
        )


def test_start_is_the_mean_of_the_prior_where_no_line_applies():
    model, z, y, _ = linear_case()
    assert torch.equal(linear_start(None, y, Complete(), (4,), (40,)), torch.zeros(len(y), 4))
    unknown = Operator(lambda x: x)
    assert torch.equal(linear_start(regress(model, z), y, unknown, (4,), (40,)), torch.zeros(len(y), 4))
    assert torch.equal(linear_start(regress(model, z), y, Mask(y != 0, unknown), (4,), (40,)), torch.zeros(len(y), 4))


@pytest.mark.parametrize(
    "operator", [Projection.random((40,), 30), fourier_projection((40,), 30)], ids=["stored", "fourier"]
)
def test_start_from_linear_measurements_is_close_to_their_posterior_mean(operator):
    model, z, _, _ = linear_case()
    linear = regress(model, z)
    generator = torch.Generator().manual_seed(2)
    y = operator(model.network(z).detach() + 0.5 * torch.randn(len(z), 40, generator=generator))
    matrix = operator(torch.eye(40)).T.double()
    loadings, mean = matrix @ linear.loadings.double(), matrix @ linear.mean.double()
    noise = 0.25 * matrix @ matrix.T  # not diagonal: the start takes its diagonal alone
    covariance = loadings @ loadings.T + noise
    exact = (y.double() - mean) @ torch.linalg.solve(covariance, loadings)
    start = linear_start(linear, y, operator, (4,), (40,)).double()
    assert (start - exact).square().mean() < 0.1 * exact.square().mean()


# Matrix products of these widths round by the address of a row; see `SteadyLinear`.
@pytest.mark.parametrize("latent_dim", [1, 2, 5, 7, 10, 13])
@pytest.mark.parametrize("shape", [(5,), (30,), (1, 8, 8), (1, 16, 16)], ids=str)
def test_factors_do_not_depend_on_the_place_in_the_batch_whatever_the_widths(shape, latent_dim):
    generator = torch.Generator().manual_seed(0)
    model = abpnet.GeneratorModel(initialise(auto_network((latent_dim,), shape), generator), (latent_dim,))
    y = torch.rand(BATCH + 6, *shape, generator=generator) * 2 - 1
    observed = torch.rand(y.shape, generator=generator) < 0.7
    start = torch.zeros(len(y), latent_dim)

    def modes(rows):
        return explain(model, y[rows], Mask(observed[rows]), start[rows], n_steps=10)

    z, order = modes(torch.arange(len(y))), torch.randperm(len(y), generator=generator)
    assert torch.equal(modes(order), z[order])
    for row in (0, 7, 63, 66):
        assert torch.equal(modes(torch.tensor([row]))[0], z[row])


@pytest.mark.parametrize(("latent_shape", "size"), [((4,), BATCH), ((4, 2, 2), 1)])
def test_maps_of_factors_make_large_signals_and_are_decoded_one_at_a_time(latent_shape, size):
    seen = []

    class Noting(torch.nn.Module):
        def forward(self, z):
            seen.append(len(z))
            return z

    decode(abpnet.GeneratorModel(Noting(), latent_shape), torch.zeros(3, *latent_shape))
    assert set(seen) == {size}


class Squares(torch.nn.Module):
    """f(z) = z^2: explaining y by z is as good as by -z, and 0 lies on the ridge between them."""

    def forward(self, z):
        return z.square()


def test_restarts_leave_the_ridge_and_keep_the_lowest_energy():
    y, noise_std = torch.linspace(0.5, 3, BATCH + 3)[:, None].repeat(1, 16), 0.5
    stuck = abpnet.infer(Squares(), y, latent_shape=(16,), noise_std=noise_std)
    assert torch.equal(stuck, torch.zeros(len(y), 16)), "the gradient is 0 there"
    generator = torch.Generator().manual_seed(0)
    z = abpnet.infer(Squares(), y, latent_shape=(16,), noise_std=noise_std, n_restarts=4, generator=generator)
    # Where the energy (y - z^2)^2 / (2 sigma^2) + z^2 / 2 is least.
    torch.testing.assert_close(z.square(), y - noise_std**2 / 2, atol=2e-3, rtol=0)

    model = abpnet.GeneratorModel(Squares(), (16,), emission=abpnet.Gaussian(noise_std))
    generator = torch.Generator().manual_seed(0)
    starts = [torch.zeros(len(y), 16), *(draw.expand(len(y), 16) for draw in random_starts(model, 4, generator))]
    searched = [explain(model, y, Complete(), start.contiguous(), n_steps=20) for start in starts]
    energies = torch.stack([model.energy(one, y) for one in searched])
    short = explain(model, y, Complete(), starts[0], n_steps=20, restarts=torch.stack([s[0] for s in starts[1:]]))
    assert torch.equal(model.energy(short, y), energies.min(0).values)
    assert len(energies.argmin(0).unique()) > 1


def test_no_row_of_a_restarted_search_depends_on_another_or_on_what_is_hidden():
    model, _, y, observed = linear_case(n=BATCH + 5)
    network = torch.nn.Sequential(model.network, torch.nn.Tanh())

    def modes(values, rows):
        generator = torch.Generator().manual_seed(3)
        kept = {"latent_shape": (4,), "n_restarts": 2, "generator": generator, "n_steps": 15}
        return abpnet.infer(network, values[rows], observation=Mask(observed[rows]), **kept)

    everything = torch.arange(len(y))
    z, order = modes(y, everything), torch.randperm(len(y), generator=torch.Generator().manual_seed(4))
    assert torch.equal(modes(y, order), z[order])
    for row in (0, 30, BATCH + 4):
        assert torch.equal(modes(y, torch.tensor([row]))[0], z[row])
    for junk in (torch.nan, 1e30):
        assert torch.equal(modes(y.masked_fill(~observed, junk), everything), z)


def test_restarts_need_a_source_of_chance_and_a_number():
    y = torch.zeros(2, 16)
    with pytest.raises(ValueError, match="generator"):
        abpnet.infer(Squares(), y, latent_shape=(16,), n_restarts=2)
    with pytest.raises(ValueError, match="n_restarts must be at least 0, got -1"):
        abpnet.infer(Squares(), y, latent_shape=(16,), n_restarts=-1)


class LinearByKind(torch.nn.Module):
    """f(z, kind, shift) = W_kind z + shift."""

    def __init__(self):
        super().__init__()
        self.loadings = torch.nn.Parameter(torch.randn(3, 40, 16, generator=torch.Generator().manual_seed(0)))

    def forward(self, z, kind, shift):
        return torch.einsum("nij,nj->ni", self.loadings[kind], z) + shift


def conditional_case(n=BATCH + 7):
    generator = torch.Generator().manual_seed(1)
    kind, shift = torch.randint(3, (n,), generator=generator), torch.randn(n, 40, generator=generator)
    y = torch.randn(n, 40, generator=generator)
    return LinearByKind(), y, (kind, shift)


def test_a_conditional_decoder_explains_each_example_under_its_own_conditions():
    decoder, y, (kind, shift) = conditional_case()
    hidden = torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    missing = y.masked_fill(hidden, torch.nan)
    z = abpnet.infer(decoder, missing, latent_shape=(16,), noise_std=0.5, conditions=(kind, shift), n_steps=1000)
    for each in range(3):
        linear = fa.FactorAnalysis(decoder.loadings[each].detach(), torch.zeros(40), torch.full((40,), 0.25))
        rows = kind == each
        exact = fa.posterior(linear, (y - shift)[rows], ~hidden[rows]).mean
        torch.testing.assert_close(z[rows], exact, atol=5e-3, rtol=0)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(3))
    conditions = (kind[order], shift[order])
    again = abpnet.infer(
        decoder, missing[order], latent_shape=(16,), noise_std=0.5, conditions=conditions, n_steps=1000
    )
    torch.testing.assert_close(again, z[order], atol=1e-5, rtol=0)


def test_conditions_are_one_for_each_example():
    decoder, y, (kind, shift) = conditional_case()
    with pytest.raises(ValueError, match=r"conditions\[1\] must have one row for each of 71 examples, got .*\(3, 40\)"):
        abpnet.infer(decoder, y, latent_shape=(16,), conditions=(kind, shift[:3]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"n_steps": -1}, "n_steps must be at least 1, got -1"),
        ({"n_steps": 2.5}, "n_steps must be a whole number of at least 1, got 2.5"),
        ({"start": torch.zeros(4, 4)}, r"start must be \(5, \*\(4,\)\), got \(4, 4\)"),
        ({"start": torch.zeros(5, 3)}, r"start must be \(5, \*\(4,\)\), got \(5, 3\)"),
        ({"start": torch.full((5, 4), torch.nan)}, "start: must be finite in float32, found nan"),
        ({"latent_shape": (3,)}, r"the decoder cannot take factors of latent_shape=\(3,\) .*mat1"),
        ({"y": np.zeros((5, 40), np.float32)}, "y must be a torch.Tensor, got ndarray; pass torch.as_tensor"),
    ],
)
def test_what_cannot_be_inferred_from_is_named(settings, message, types_unchecked):
    network = initialise(LinearNetwork(4, (40,)), torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        abpnet.infer(network, **{"y": torch.zeros(5, 40), "latent_shape": (4,)} | settings)


def test_observations_that_the_emission_cannot_have_made_are_not_explained():
    network = initialise(LinearNetwork(4, (40,)), torch.Generator().manual_seed(0))
    model = abpnet.GeneratorModel(network, (4,), emission=Bernoulli())
    y = torch.zeros(5, 40)
    expected = abpnet.infer(model, y.index_fill(1, torch.tensor(3), torch.nan), n_steps=3)
    y[:, 3] = 7
    with pytest.raises(ValueError, match="Bernoulli expects 0 or 1, got 7"):
        abpnet.infer(model, y, n_steps=3)
    observed = torch.arange(40) != 3
    assert torch.equal(abpnet.infer(model, y, observation=Mask(observed[None]), n_steps=3), expected)
