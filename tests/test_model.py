import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import abpnet
from abpnet.inference import energy_and_gradient, langevin
from abpnet.model import frozen_decoder
from abpnet.networks import LinearNetwork, ObjectNetwork, initialise
from abpnet.observations import Complete, Mask, Projection, hide_missing


def make_model(shape=(1, 8, 8), width=32):
    network = initialise(ObjectNetwork(3, shape, width), torch.Generator().manual_seed(0))
    return abpnet.GeneratorModel(network, (3,), emission=abpnet.Gaussian(0.3))


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def z():
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_energy_is_the_negative_log_joint_density(model, z, y):
    likelihood = torch.distributions.Normal(model(z), 0.3).log_prob(y).flatten(1).sum(1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(model.energy(z, y), -likelihood - prior)


def test_energy_over_observed_entries_only(model, z, y):
    observed = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(3)) < 0.5
    entries = torch.distributions.Normal(model(z), 0.3).log_prob(y)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    expected = -(entries * observed).flatten(1).sum(1) - prior
    torch.testing.assert_close(model.energy(z, y, Mask(observed)), expected)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([math.nan, 1e30, -1e30, math.inf, 0.5]), st.integers(0, 2**20))
def test_hidden_values_never_influence_anything(junk, seed):
    model = make_model()
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(4, 1, 8, 8, generator=generator) * 2 - 1
    observed = torch.rand(4, 1, 8, 8, generator=generator) < 0.5
    z = torch.randn(4, 3, generator=generator)

    def outcome(values):
        finite, observation = hide_missing(values, Mask(observed))
        energy = lambda factors: model.energy(factors, finite, observation)  # noqa: E731
        noise = torch.Generator().manual_seed(7)
        return (*energy_and_gradient(energy, z), langevin(energy, z, step_size=0.1, n_steps=5, generator=noise))

    for clean, dirty in zip(outcome(y), outcome(torch.where(observed, y, junk)), strict=True):
        assert torch.equal(clean, dirty)


def test_everything_observed_is_complete_data_to_the_bit(model, z, y):
    everything = Mask(torch.ones(4, 1, 8, 8, dtype=torch.bool))
    for masked, complete in zip(
        energy_and_gradient(lambda f: model.energy(f, y, everything), z),
        energy_and_gradient(lambda f: model.energy(f, y, Complete()), z),
        strict=True,
    ):
        assert torch.equal(masked, complete)


def test_the_identity_projection_is_complete_data(model, z, y):
    identity = Projection(torch.eye(64))
    for projected, complete in zip(
        energy_and_gradient(lambda f: model.energy(f, y.flatten(1), identity), z),
        energy_and_gradient(lambda f: model.energy(f, y), z),
        strict=True,
    ):
        torch.testing.assert_close(projected, complete)


def test_energies_of_examples_do_not_depend_on_one_another(model, z, y):
    other_z, other_y = z.clone(), y.clone()
    other_z[1:], other_y[1:] = 2.0, -1.0
    assert torch.equal(model.energy(z, y)[0], model.energy(other_z, other_y)[0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_inference_leaves_weights_and_buffers_as_they_are(precision):
    layers = [nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 6)]
    model = abpnet.GeneratorModel(nn.Sequential(*layers).train(), (3,))
    model.network[3].eval()  # a layer may be in another mode than the rest
    modes = [module.training for module in model.network]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    z, y = torch.randn(4, 3), torch.randn(4, 6)
    decoder = frozen_decoder(model.network, precision)
    moved = langevin(
        lambda f: model.energy(f, y, decoder=decoder), z, step_size=0.1, n_steps=5, generator=torch.Generator()
    )
    assert not torch.equal(moved, z)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(weight.grad is None for weight in model.parameters())
    assert [module.training for module in model.network] == modes, "modes are put back"
    other = torch.cat([z[:1], 5 * z[1:]])
    assert torch.equal(decoder(z)[0], decoder(other)[0]), "batch normalisation and dropout do not couple examples"


def test_float32_decoder_is_exact_and_bfloat16_close(model, z):
    with torch.no_grad():
        exact = model(z)
        assert torch.equal(frozen_decoder(model.network)(z), exact)
        rounded = frozen_decoder(model.network, "bfloat16")(z)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0)


def test_samples_come_from_the_generator_alone(model):
    first, again, other = (model.sample(2, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_samples_of_the_linear_model_have_its_covariance():
    network = initialise(LinearNetwork(2, (4,)), torch.Generator().manual_seed(0))
    model = abpnet.GeneratorModel(network, (2,))
    x = model.sample(20000, torch.Generator().manual_seed(1))
    loadings = network.loadings.weight.detach()
    expected = loadings @ loadings.T
    standard_error = (torch.outer(expected.diag(), expected.diag()) + expected**2).sqrt() / math.sqrt(20000)
    assert ((torch.cov(x.T) - expected).abs() < 5 * standard_error).all()
