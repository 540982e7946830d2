"""Recurrent prior: its density, its samples, and that learning finds what an auto-regression cannot say."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch

from abpnet.priors import Autoregression, Recurrence
from moments import assert_mean


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def turning():
    return torch.tensor([[0.7, -0.5], [0.5, 0.7]])


def remembering(transition, scale=1.0):
    """A recurrence whose memory says something."""
    prior = Recurrence(Autoregression(transition), 5, seeded(0))
    torch.nn.init.normal_(prior.memory.readout.weight, std=scale, generator=seeded(1))
    return prior


def test_it_starts_as_the_auto_regression():
    linear = Autoregression(turning())
    prior = Recurrence(copy.deepcopy(linear), 5, seeded(0))
    z = torch.randn(6, 2, 7, generator=seeded(1))
    assert torch.equal(prior.log_prob(z), linear.log_prob(z))
    assert torch.equal(prior.sample((4, 2, 6), seeded(2)), linear.sample((4, 2, 6), seeded(2)))
    torch.testing.assert_close(prior.expected_next(z), linear.expected_next(z))


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_density_integrates_to_one(scale):
    prior = remembering(torch.tensor([[0.6]]), scale)
    line = torch.arange(-12.0, 12.0, 0.05)
    z = torch.cartesian_prod(line, line).unsqueeze(1)
    assert float(prior.log_prob(z).detach().double().exp().sum()) * 0.05**2 == pytest.approx(1, abs=1e-4)


def test_density_is_the_product_of_those_of_each_step():
    prior = remembering(turning())
    z, innovation = prior.sample((9, 2, 6), seeded(2)), torch.eye(2) - turning() @ turning().mT
    with torch.no_grad():
        expected = prior.expected_next(z)
        off = z[:, :, 1:] - expected[:, :, :-1]
    steps = torch.distributions.MultivariateNormal(torch.zeros(2), innovation).log_prob(off.mT).sum(1)
    start = torch.distributions.Normal(0.0, 1.0).log_prob(z[:, :, 0]).sum(1)
    torch.testing.assert_close(prior.log_prob(z).detach(), start + steps, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior.expected_next(z[:, :, :4]), expected[:, :, :4])
    assert torch.equal(prior.log_prob(z[:, :, :1]), Autoregression(turning()).log_prob(z[:, :, :1]))


def test_gradient_of_the_density_has_mean_zero_under_samples():
    """`E[d log p(z; W) / dW] = 0`, along some directions of all weights."""
    prior = remembering(turning())
    log_prob = prior.log_prob(prior.sample((4000, 2, 8), seeded(3)))
    # Gradients of sums of densities are linear in how much each counts; so another gradient tells each one's.
    counts = torch.ones(4000, requires_grad=True)
    scores = torch.autograd.grad(log_prob, list(prior.parameters()), counts, create_graph=True)
    for seed in range(5):
        along = sum((score * torch.randn(score.shape, generator=seeded(seed))).sum() for score in scores)
        (slopes,) = torch.autograd.grad(along, counts, retain_graph=True)
        assert_mean(slopes.numpy()[:, None], 0.0)


def second_order(last, before, noise):
    """Variance 1, `z_(t+1) = 1.08 z_t - .8 z_(t-1) + .48 e`."""
    return 1.08 * last - 0.8 * before + 0.48 * noise


def bent(last, before, noise):
    """A parabola over the last state: hardly correlated with it, but foretold by it."""
    return 1.0 - 0.9 * last**2 + 0.1 * noise


def sequences(step: Callable, seed, n=200, length=30):
    """Sequences (n, 1, length) of a system that has run for long, and its innovations."""
    noise = torch.randn(50 + length, n, 1, generator=seeded(seed))
    path = [torch.zeros(n, 1), torch.zeros(n, 1)]
    for innovation in noise:
        path.append(step(path[-1], path[-2], innovation))
    return torch.stack(path[-length:], 2), noise[-length:].permute(1, 2, 0)


def learned(prior, z):
    optimizer = torch.optim.Adam(prior.parameters(), lr=2e-2)
    for _ in range(300):
        optimizer.zero_grad()
        (-prior.log_prob(z).mean()).backward()
        optimizer.step()
    return prior


@pytest.mark.parametrize(("step", "noise_std"), [(second_order, 0.48), (bent, 0.1)], ids=["order 2", "bent"])
def test_learning_finds_what_an_auto_regression_cannot_say(step, noise_std):
    z, _ = sequences(step, 0)
    others, innovations = sequences(step, 1)
    linear = learned(Autoregression(torch.zeros(1, 1)), z)
    recurrent = learned(Recurrence(Autoregression(torch.zeros(1, 1)), 16, seeded(0)), z)
    start = torch.distributions.Normal(0.0, 1.0).log_prob(others[:, 0, 0])
    steps = torch.distributions.Normal(0.0, 1.0).log_prob(innovations[:, 0, 1:]) - np.log(noise_std)
    best, ours, theirs = (
        float(log_prob.detach().mean())
        for log_prob in (start + steps.sum(1), recurrent.log_prob(others), linear.log_prob(others))
    )
    assert theirs < best, "there is something to be found"
    assert 0.7 < (ours - theirs) / (best - theirs) < 1


def test_no_sequence_blows_up_whatever_the_weights():
    prior = remembering(0.9 * torch.eye(2), 50.0)
    most = torch.linalg.vector_norm(prior.memory.readout.weight.abs().sum(1)).detach()
    assert prior.sample((20, 2, 500), seeded(0)).abs().max() < (most + 10) / (1 - 0.9)


def test_the_same_seeds_give_the_same_bits():
    first, again, other = (
        Recurrence(Autoregression(turning()), 5, seeded(seed)).memory.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["recurrence.weight_ih_l0"], other["recurrence.weight_ih_l0"])
    prior = remembering(turning())
    assert torch.equal(prior.sample((3, 2, 9), seeded(1)), prior.sample((3, 2, 9), seeded(1)))
    assert not torch.equal(prior.sample((3, 2, 9), seeded(1)), prior.sample((3, 2, 9), seeded(2)))
