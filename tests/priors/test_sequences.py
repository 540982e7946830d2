"""Auto-regressive prior: its density, its samples, and that learning finds the motion."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from abpnet.priors import Autoregression


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def transition():
    turn = torch.tensor([[0.8, -0.5, 0.0], [0.5, 0.8, 0.0], [0.0, 0.3, 0.2]])
    return turn * 0.9


def joint_covariance(transition, length):
    """Covariance of a stationary sequence, (length d, length d), one state after another: A^k for k steps apart."""
    powers = [torch.linalg.matrix_power(transition, k) for k in range(length)]
    rows = [torch.cat([powers[i - j] if i >= j else powers[j - i].mT for j in range(length)], 1) for i in range(length)]
    return torch.cat(rows)


def test_any_stationary_transition_comes_back(transition):
    torch.testing.assert_close(Autoregression(transition).transition.detach(), transition, rtol=1e-5, atol=1e-5)


def test_log_density_is_that_of_the_joint_normal_distribution(transition):
    length = 5
    joint = MultivariateNormal(torch.zeros(15), joint_covariance(transition, length))
    z = torch.randn(7, 3, length, generator=seeded(0))
    expected = joint.log_prob(z.mT.flatten(1))
    torch.testing.assert_close(Autoregression(transition).log_prob(z).detach(), expected, rtol=1e-4, atol=1e-4)


def test_samples_have_the_covariance_of_the_sequence(transition):
    n, length = 40_000, 4
    sample = Autoregression(transition).sample((n, 3, length), seeded(1)).mT.flatten(1)
    expected = joint_covariance(transition, length)
    error = ((1 + expected.square()) / n).sqrt()
    assert ((sample.T @ sample / n - expected).abs() < 5 * error).all()


def test_maximum_likelihood_finds_the_motion(transition):
    z = Autoregression(transition).sample((400, 3, 50), seeded(2))
    prior = Autoregression(torch.zeros(3, 3))
    optimizer = torch.optim.LBFGS(prior.parameters(), max_iter=200)

    def loss():
        optimizer.zero_grad()
        value = -prior.log_prob(z).mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert (prior.transition.detach() - transition).abs().max() < 0.02


def test_what_grows_is_refused():
    with pytest.raises(ValueError, match=r"singular values below 1, got 1\.2"):
        Autoregression(1.2 * torch.eye(2))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 2, 4, 1)])
def test_sequences_of_other_factors_are_refused(shape):
    prior = Autoregression(torch.zeros(2, 2))
    for use in (lambda: prior.sample(shape, torch.Generator()), lambda: prior.check(shape)):
        with pytest.raises(ValueError, match=r"needs latent_dim=\(2, length\)"):
            use()
