import math

import pytest
import torch

from abpnet import factor_analysis as fa
from abpnet.emissions import Bernoulli, Block, ChannelGaussian, Columns
from abpnet.entrywise import entry_information, masked_roots
from abpnet.factor_analysis import FactorAnalysis
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.networks import LinearNetwork, initialise

STDS = (0.5, 1.0, 2.0, 0.7)


def linear_model(emission):
    network = initialise(LinearNetwork(3, (4,)), torch.Generator().manual_seed(0))
    return GeneratorModel(network, (3,), emission=emission)


def test_information_of_the_linear_network_is_that_of_its_loadings():
    model, generator = linear_model(ChannelGaussian(STDS)), torch.Generator().manual_seed(1)
    n = 20_000
    z = torch.randn(n, 3, generator=generator)
    information = entry_information(model, z, generator, frozen_decoder(model.network))
    weight = model.network.loadings.weight.detach()
    exact = torch.einsum("ji,jk->jik", weight, weight) / torch.tensor(STDS).square().view(-1, 1, 1)
    # Squared scores of normal noise have mean 1 and variance 2 in units of the variance, and are independent.
    torch.testing.assert_close(information, exact, rtol=5 * math.sqrt(2 / n), atol=0)


def test_information_of_categories_is_the_variance_of_what_is_seen():
    emission = Columns((Block(0, 2, ChannelGaussian((1.0, 1.0))), Block(2, 4, Bernoulli())))
    model, generator = linear_model(emission), torch.Generator().manual_seed(1)
    z = torch.zeros(20_000, 3)
    information = entry_information(model, z, generator, frozen_decoder(model.network))
    weight, bias = model.network.loadings.weight.detach()[3], model.network.loadings.bias.detach()[3]
    variance = bias.sigmoid() * (1 - bias.sigmoid())
    torch.testing.assert_close(information[3], variance * torch.outer(weight, weight), rtol=0.1, atol=0)


def test_metrics_are_the_posterior_covariances_of_what_was_observed():
    model, generator = linear_model(ChannelGaussian(STDS)), torch.Generator().manual_seed(1)
    weight = model.network.loadings.weight.detach()
    information = torch.einsum("ji,jk->jik", weight, weight) / torch.tensor(STDS).square().view(-1, 1, 1)
    observed = torch.rand(6, 4, generator=generator) < 0.5
    observed[0], observed[1] = False, True
    roots = masked_roots(information, observed, 6)
    linear = FactorAnalysis(weight.double(), torch.zeros(4).double(), torch.tensor(STDS).double().square())
    y = torch.where(observed, 0.0, torch.nan).double()
    exact = fa.posterior(linear, y).covariance
    torch.testing.assert_close((roots @ roots.mT).double(), exact, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(roots[0], torch.eye(3))


@pytest.mark.parametrize("observed", [None, torch.ones(1, 4, dtype=torch.bool)])
def test_one_mask_for_all_gives_one_metric_for_all(observed):
    roots = masked_roots(torch.ones(4, 3, 3), observed, 5)
    assert roots.shape == (5, 3, 3)
    assert (roots == roots[0]).all()
