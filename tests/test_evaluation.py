"""Decoders judged on signals they were not learned from; a linear one against the closed form."""

import numpy as np
import pytest
import torch
from torch import nn

import abpnet
from abpnet import factor_analysis, metrics
from abpnet.evaluation import evaluate
from abpnet.factor_analysis import FactorAnalysis
from abpnet.networks import LinearNetwork, initialise
from abpnet.observations import Projection

SIGMA = 0.2


@pytest.fixture
def oracle():
    """A linear network, signals of its own, and the closed form."""
    generator = torch.Generator().manual_seed(0)
    network = initialise(LinearNetwork(3, (40,)), generator)
    z = torch.randn(30, 3, generator=generator)
    x = network(z).detach() + SIGMA * torch.randn(30, 40, generator=generator)
    loadings = network.loadings.weight.detach()
    linear = FactorAnalysis(loadings, torch.zeros(40), torch.full((40,), SIGMA**2))
    return network, x, linear


def explained(linear, y):
    return factor_analysis.predict(linear, factor_analysis.posterior(linear, y).mean).numpy()


def test_a_linear_decoder_is_explained_exactly(oracle):
    network, x, linear = oracle
    mask = torch.rand(30, 40, generator=torch.Generator().manual_seed(1)) < 0.5
    projection = Projection.random((40,), 10)
    judged = evaluate(network, x, latent_shape=(3,), noise_std=SIGMA, mask=mask, projection=projection)
    assert judged.reconstruction == pytest.approx(metrics.error(explained(linear, x), x.numpy()), rel=1e-3)
    incomplete = torch.where(mask, x, torch.nan)
    completed = metrics.error(explained(linear, incomplete), x.numpy(), ~mask.numpy())
    assert judged.completion == pytest.approx(completed, rel=1e-3)
    measured = FactorAnalysis(projection.matrix @ linear.loadings, torch.zeros(10), torch.full((10,), 4 * SIGMA**2))
    z = factor_analysis.posterior(measured, projection(x)).mean
    recovered = metrics.error(factor_analysis.predict(linear, z).numpy(), x.numpy())
    assert judged.recovery == pytest.approx(recovered, rel=1e-3)
    assert judged.reconstruction < judged.completion < judged.recovery


def test_only_what_is_asked_for_is_judged(oracle):
    network, x, _ = oracle
    judged = evaluate(network, x, latent_shape=(3,))
    assert judged.reconstruction > 0
    assert judged.completion is judged.recovery is None


def test_any_module_will_do_and_is_left_alone(oracle):
    _, x, _ = oracle
    generator = torch.Generator().manual_seed(2)
    foreign = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 40)).train()
    with torch.no_grad():
        for parameter in foreign.parameters():
            parameter.normal_(generator=generator)
    before = {name: tensor.clone() for name, tensor in foreign.state_dict().items()}
    judged = evaluate(foreign, x, latent_shape=(3,))
    assert 0 < judged.reconstruction < np.inf
    assert foreign.training
    for name, tensor in foreign.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_module_without_weights_will_do():
    class Repeat(nn.Module):
        def forward(self, z):
            return z.repeat(1, 10)

    signals = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).repeat(1, 10)
    assert evaluate(Repeat(), signals, latent_shape=(4,), noise_std=0.01).reconstruction < 1e-3


def test_hidden_entries_influence_nothing(oracle):
    network, x, _ = oracle
    mask = torch.rand(30, 40, generator=torch.Generator().manual_seed(1)) < 0.5
    model = abpnet.GeneratorModel(network, (3,), emission=abpnet.Gaussian(SIGMA))
    judged = evaluate(model, x, mask=mask)
    # The completion does not see what it is scored against: other hidden values change the score, not the signals.
    shifted = evaluate(model, torch.where(mask, x, x + 1000.0), mask=mask)
    assert shifted.completion == pytest.approx(500, abs=5)
    assert judged.completion < 1


def test_a_plain_module_needs_its_latent_shape(oracle):
    network, x, _ = oracle
    with pytest.raises(ValueError, match="latent_shape is needed"):
        evaluate(network, x)


class Shifted(nn.Module):
    """f(z, shift) = W z + shift."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, z, shift):
        return self.network(z) + shift


def test_a_conditional_decoder_is_judged_under_its_conditions(oracle):
    network, x, _ = oracle
    shift = torch.randn(30, 40, generator=torch.Generator().manual_seed(3))
    mask = torch.rand(30, 40, generator=torch.Generator().manual_seed(1)) < 0.5
    plain = evaluate(network, x, latent_shape=(3,), noise_std=SIGMA, mask=mask)
    given = {"latent_shape": (3,), "noise_std": SIGMA, "mask": mask, "conditions": (shift,)}
    shifted = evaluate(Shifted(network), x + shift, **given)
    assert shifted.reconstruction == pytest.approx(plain.reconstruction, rel=1e-3)
    assert shifted.completion == pytest.approx(plain.completion, rel=1e-3)


class Winding(nn.Module):
    """f(z) = sin(3 W z): a curled surface, on which searches get stuck."""

    def __init__(self):
        super().__init__()
        self.waves = nn.Parameter(3 * torch.randn(3, 40, generator=torch.Generator().manual_seed(0)))

    def forward(self, z):
        return (z @ self.waves).sin()


def test_restarts_find_what_one_search_does_not():
    decoder, generator = Winding(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        x = decoder(torch.randn(30, 3, generator=generator))
    once = evaluate(decoder, x, latent_shape=(3,), noise_std=SIGMA, n_steps=100)
    again = {"n_restarts": 30, "generator": generator}
    often = evaluate(decoder, x, latent_shape=(3,), noise_std=SIGMA, n_steps=100, **again)
    assert often.reconstruction < 0.7 * once.reconstruction
