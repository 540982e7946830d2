"""The adversarial network finds a distribution whose moments are known."""

import math

import pytest
import torch

from abpnet.baselines import dcgan
from abpnet.networks import ObjectNetwork, VectorNetwork


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_losses_are_those_of_the_papers():
    real, made = torch.tensor([[0.3], [-1.0]]), torch.tensor([[2.0], [0.1], [-0.7]])
    judgement, deception = dcgan.losses(real, made)
    probable, mistaken = real.sigmoid(), made.sigmoid()
    torch.testing.assert_close(judgement, -probable.log().mean() - (1 - mistaken).log().mean())
    torch.testing.assert_close(deception, -mistaken.log().mean())


def test_the_steepness_of_a_line_is_the_square_of_its_slope():
    slope = torch.tensor([[1.0, -2.0, 0.5]], requires_grad=True)
    signals = torch.randn(6, 3, generator=seeded()).requires_grad_()
    steepness = dcgan._steepness(signals @ slope.T, signals)
    torch.testing.assert_close(steepness.detach(), torch.tensor(5.25))
    (gradient,) = torch.autograd.grad(steepness, slope)
    torch.testing.assert_close(gradient, 2 * slope.detach())


def test_the_penalty_keeps_the_discriminator_from_winning(monkeypatch):
    y = 5.0 + 0.1 * torch.randn(64, 2, generator=seeded())
    steepness = {}
    for penalty in (0.0, 10.0):
        monkeypatch.setattr(dcgan, "STEEPNESS_PENALTY", penalty)
        network = VectorNetwork(2, (2,), width=16)
        learned = dcgan.learn(y, network, generator=seeded(), max_iter=10, learning_rate=2e-3)
        at = y.clone().requires_grad_()
        steepness[penalty] = float(dcgan._steepness(learned.discriminator(at), at).detach())
    assert steepness[10.0] < 0.3 * steepness[0.0], steepness


def test_it_finds_the_mean_and_covariance_of_the_data():
    root = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    mean = torch.tensor([2.0, -1.0])
    y = mean + torch.randn(1000, 2, generator=seeded(1)) @ root.T
    learned = dcgan.learn(y, VectorNetwork(2, (2,), width=32), generator=seeded(), max_iter=120, learning_rate=1e-3)
    samples = dcgan.sample(learned, 2000, seeded(2))
    # The two go round in circles about the truth.
    torch.testing.assert_close(samples.mean(0), mean, atol=0.5, rtol=0)
    torch.testing.assert_close(torch.cov(samples.T), root @ root.T, atol=0.4, rtol=0)
    # Where neither can win the discriminator is undecided: both losses are multiples of log 2.
    assert abs(learned.history[-1]["discriminator"] - 2 * math.log(2)) < 0.2
    assert abs(learned.history[-1]["generator"] - math.log(2)) < 0.3


def test_it_learns_images_and_the_same_again():
    y = torch.rand(70, 1, 16, 16, generator=seeded(3)) - 0.5

    def learn():
        return dcgan.learn(y, ObjectNetwork(3, (1, 16, 16), width=16), generator=seeded(), max_iter=2)

    once, again = learn(), learn()
    for one, other in ((once.model, again.model), (once.discriminator, again.discriminator)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    samples = dcgan.sample(once, 5, seeded())
    assert samples.shape == (5, 1, 16, 16)
    assert [row["iteration"] for row in once.history] == [1, 2]
    assert all(weight.requires_grad for weight in once.discriminator.parameters())


def test_the_generator_does_not_change_the_discriminator():
    y = torch.rand(10, 2, generator=seeded(3))
    learned = dcgan.learn(y, VectorNetwork(2, (2,), width=8), generator=seeded(), max_iter=3, learning_rate=0.0)
    other = dcgan.learn(y, VectorNetwork(2, (2,), width=8), generator=seeded(), max_iter=1, learning_rate=0.0)
    assert torch.equal(dcgan.sample(learned, 3, seeded()), dcgan.sample(other, 3, seeded()))


def test_it_stops_in_time_and_refuses_missing_entries():
    y = torch.rand(10, 2, generator=seeded())
    learned = dcgan.learn(y, VectorNetwork(2, (2,)), generator=seeded(), max_iter=10**6, max_seconds=0.05)
    assert learned.history[-1]["seconds"] >= 0.05
    y[0, 0] = math.nan
    with pytest.raises(ValueError, match="missing"):
        dcgan.learn(y, VectorNetwork(2, (2,)), generator=seeded())
