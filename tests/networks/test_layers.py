"""Layers against what they stand for."""

import pytest
import torch
import torch.nn.functional as F

from abpnet.networks.layers import EnlargingConvolution, first_maps


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 5)])
def test_enlarging_is_repetition_then_convolution(size):
    layer = EnlargingConvolution(3, 4)
    x = randn(2, 3, *size)
    repeated = F.interpolate(x, scale_factor=2, mode="nearest")
    # A deconvolution superposes its basis functions: as a convolution its kernel is turned by half a circle.
    expected = F.conv2d(repeated, layer.weight.transpose(0, 1).flip(2, 3), layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_enlarging_answers_a_constant_with_a_constant():
    layer = EnlargingConvolution(3, 4)
    inside = layer(randn(1, 3, 1, 1).expand(1, 3, 6, 6))[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(inside, inside[:, :, :1, :1].expand_as(inside), rtol=0, atol=1e-5)


def test_gradients_reach_all_weights():
    layer = EnlargingConvolution(3, 4)
    (layer(randn(2, 3, 4, 4)) * randn(2, 4, 8, 8, seed=1)).sum().backward()
    assert (layer.weight.grad != 0).all()
    assert (layer.bias.grad != 0).all()


@pytest.mark.parametrize(
    ("width", "channels"), [(512, [512, 256, 128, 64]), (64, [64, 32, 16, 16]), (8, [8, 8, 8, 8]), (1, [1, 1, 1, 1])]
)
def test_channels_halve_as_far_as_16_and_never_exceed_the_first(width, channels):
    assert first_maps((3, 64, 80), width) == (channels, [4, 5])
