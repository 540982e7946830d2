import math

import pytest
import torch

from abpnet.emissions import (
    Bernoulli,
    Block,
    ChannelGaussian,
    Columns,
    Gaussian,
    Poisson,
    noise_stds,
    residual_sums,
    with_noise,
    with_noise_moved,
)

MIXED = Columns((Block(0, 2, ChannelGaussian((0.5, 2.0))), Block(2, 3, Poisson()), Block(3, 4, Bernoulli())))
NOISES = {"scalar": (Gaussian(0.3), (0.3,)), "columns": (MIXED, (0.5, 2.0)), "none": (Poisson(), ())}


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_told_and_replaced(name):
    emission, stds = NOISES[name]
    assert noise_stds(emission) == stds
    twice = tuple(2 * std for std in stds)
    assert noise_stds(with_noise(emission, twice)) == twice
    assert with_noise(emission, stds) == emission


@pytest.mark.parametrize("shape", [(30, 2), (30, 2, 4, 5)])
@pytest.mark.parametrize("share", [0.6, None])
def test_sums_of_residuals_are_those_of_what_was_observed(shape, share):
    generator = torch.Generator().manual_seed(0)
    difference = torch.randn(shape, generator=generator)
    observed = None if share is None else torch.rand(shape, generator=generator) < share
    seen = torch.ones(shape, dtype=torch.bool) if observed is None else observed
    difference = torch.where(seen, difference, 0.0)
    by_channel = residual_sums(ChannelGaussian((1.0, 1.0)), difference, int(seen.sum()), observed)
    for channel in range(2):
        values = difference[:, channel][seen[:, channel]]
        torch.testing.assert_close(
            by_channel[:, channel], torch.stack([values.square().sum(), torch.tensor(len(values))])
        )
    total = residual_sums(Gaussian(1.0), difference, int(seen.sum()), observed)
    torch.testing.assert_close(total, by_channel.sum(1, keepdim=True))


def test_only_columns_with_noise_are_summed_and_moved():
    difference = torch.tensor([[1.0, 2.0, 5.0, 5.0], [3.0, 0.0, 5.0, 5.0]])
    sums = residual_sums(MIXED, difference, 8, torch.tensor([[True, True, True, True], [True, False, True, True]]))
    torch.testing.assert_close(sums, torch.tensor([[10.0, 4.0], [2.0, 1.0]]))
    moved = with_noise_moved(MIXED, sums, 0.9)
    expected = (math.sqrt(0.9 * 0.25 + 0.1 * 5), math.sqrt(0.9 * 4 + 0.1 * 4))
    assert noise_stds(moved) == pytest.approx(expected)
    assert moved.blocks[1:] == MIXED.blocks[1:]


def test_what_was_not_observed_leaves_its_noise_alone_and_none_vanishes():
    moved = with_noise_moved(ChannelGaussian((0.5, 0.5)), torch.tensor([[0.0, 0.0], [0.0, 9.0]]), 0.0)
    assert noise_stds(moved) == (0.5, 0.01)
