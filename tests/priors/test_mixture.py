"""Gaussian mixtures, against torch.distributions and data of known groups."""

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from abpnet.priors import Mixture, fit_mixture

WEIGHTS, MEANS = torch.tensor([0.25, 0.75]), torch.tensor([[3.0, 0.0], [-1.0, 1.0]])
ROOTS = torch.tensor([[[0.5, 0.0], [0.2, 0.4]], [[0.3, 0.0], [-0.2, 0.6]]])


@pytest.fixture
def mixture():
    return Mixture(WEIGHTS.log(), MEANS, ROOTS)


def test_log_density(mixture):
    known = MixtureSameFamily(Categorical(WEIGHTS), MultivariateNormal(MEANS, scale_tril=ROOTS))
    z = 2 * torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixture.log_prob(z), known.log_prob(z))


def test_fit_finds_the_groups_that_samples_came_from(mixture):
    z = mixture.sample((20_000, 2), torch.Generator().manual_seed(1))
    found = fit_mixture(z, 2)
    order = found.means[:, 0].argsort(descending=True)
    torch.testing.assert_close(found.log_weights.exp()[order], WEIGHTS, rtol=0, atol=0.02)
    torch.testing.assert_close(found.means[order], MEANS, rtol=0, atol=0.03)
    torch.testing.assert_close(found.roots[order], ROOTS, rtol=0, atol=0.03)


def test_more_components_than_examples_are_refused():
    with pytest.raises(ValueError, match="n_components must be 1 to the number of examples, 5; got 6"):
        fit_mixture(torch.zeros(5, 2), 6)
