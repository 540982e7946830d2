"""Operators are what they say: linear, of the right length, with the gradient of their transpose."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from abpnet.operators import down_sampling, fourier_projection, gaussian_blur, visible_pixels

SHAPE = (3, 16, 12)
OPERATORS = {
    "fourier": fourier_projection(SHAPE, 100),
    "blur": gaussian_blur(1.3),
    "down-sampling": down_sampling(4),
    "visible pixels": visible_pixels(torch.arange(16 * 12).reshape(16, 12) % 3 == 0),
}


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_linear_and_measures_each_example_by_itself(name):
    operator = OPERATORS[name]
    x, other = randn(4, *SHAPE).double(), randn(4, *SHAPE, seed=1).double()
    torch.testing.assert_close(operator(2 * x - other), 2 * operator(x) - operator(other))
    torch.testing.assert_close(operator(x)[2:3], operator(x[2:3]))
    assert operator.linear
    assert operator.observed is None


@pytest.mark.parametrize("size", [30, 31])
def test_all_coefficients_together_are_an_orthonormal_transform(size):
    matrix = fourier_projection((size,), size)(torch.eye(size).double())
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size).double())


def test_fourier_projections_preserve_squared_length_on_average():
    x = randn(1, 3, 4, seed=3)
    ratios = [fourier_projection((3, 4), 5, seed)(x).square().sum() / x.square().sum() for seed in range(400)]
    ratios = torch.stack(ratios)
    assert abs(ratios.mean() - 1) < 5 * ratios.std() / math.sqrt(400)
    assert ratios.std() > 0.1, "every seed draws its own"


def test_fourier_projections_need_no_matrix():
    shape = (3, 256, 256)
    assert fourier_projection(shape, 1000)(torch.zeros(1, *shape)).shape == (1, 1000)


@pytest.mark.parametrize("sigma", [0.5, 1.3, 3.0])
def test_blur_agrees_with_scipy(sigma):
    x = randn(2, 1, 24, 20).double()
    expected = gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="mirror", radius=math.ceil(3 * sigma))
    np.testing.assert_allclose(gaussian_blur(sigma)(x).numpy(), expected, atol=1e-7)


def test_down_sampling_takes_means():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert down_sampling(2)(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: fourier_projection((4,), 5),
        lambda: fourier_projection((4,), 0),
        lambda: gaussian_blur(0.0),
        lambda: down_sampling(0),
    ],
)
def test_what_cannot_be_is_named(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_hidden_pixels_are_not_measured():
    mask = torch.zeros(16, 12, dtype=torch.bool)
    mask[2, 3] = mask[5, 7] = True
    x = randn(2, *SHAPE)
    hidden = torch.where(mask, x, torch.nan)
    torch.testing.assert_close(visible_pixels(mask)(hidden), torch.stack([x[:, :, 2, 3], x[:, :, 5, 7]], 2))
    with pytest.raises(ValueError, match="every pixel"):
        visible_pixels(torch.zeros(4, 4, dtype=torch.bool))


@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_are_those_of_the_transpose(name):
    operator = OPERATORS[name]
    x, y = randn(2, *SHAPE).requires_grad_(), randn(2, *SHAPE, seed=1)
    measured = operator(x)
    v = torch.randn(measured.shape, generator=torch.Generator().manual_seed(2))
    (transposed,) = torch.autograd.grad(measured, x, v)
    torch.testing.assert_close((operator(y) * v).sum(), (y * transposed).sum(), atol=1e-3, rtol=1e-4)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        visible_pixels(torch.ones(4, 4, dtype=torch.bool))(randn(2, *SHAPE))
    with pytest.raises(ValueError, match="a blur"):
        gaussian_blur(1.0)(randn(2, 1, 3, 9))


def test_grey_images_without_a_channel_axis_can_be_masked():
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[1, 2] = True
    x = randn(2, 4, 5)
    torch.testing.assert_close(visible_pixels(mask)(x), x[:, 1, 2:3])
