from dataclasses import replace

import numpy as np
import pytest
import torch

import abpnet
from abpnet.errors import InputError
from abpnet.observations import Mask
from abpnet.recipes import RECIPES
from abpnet.residuals import ResidualField
from abpnet.tasks.complete import CompleteSettings
from abpnet.whitening import find_neighbours, neighbours_of, whitening


def field_of(height, width, length=2.0):
    """Exponential correlations, three channels that share most of their variance, and a little white noise."""
    down, along = (torch.fft.fftfreq(2 * side, 1 / (2 * side)) for side in (height, width))
    distance = torch.hypot(down[:, None], along[None])
    channels = torch.tensor([[1.0, 0.8, 0.7], [0.8, 1.2, 0.8], [0.7, 0.8, 0.9]])
    covariance = channels[:, :, None, None] * (torch.exp(-distance / length) + 0.05 * (distance == 0))
    return ResidualField(torch.fft.rfft2(covariance).real)


def dense(field, pixels, width):
    """The covariance matrix of all channels at some pixels."""
    down = pixels[:, None] // width - pixels // width
    along = pixels[:, None] % width - pixels % width
    matrix = field.covariance[:, :, down, along]
    return matrix.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_residuals_of_the_field_become_white(share):
    generator, n = torch.Generator().manual_seed(0), 8000
    observed = torch.rand(1, 1, 12, 10, generator=generator) < share
    pixels = observed.flatten().nonzero()[:, 0]
    field = field_of(12, 10)
    matrix = dense(field, pixels, 10)
    values = torch.zeros(n, 3, 120)
    white = torch.randn(n, len(matrix), generator=generator)
    values[:, :, pixels] = (white @ torch.linalg.cholesky(matrix).T).unflatten(1, (3, -1))
    values[:, :, ~observed.flatten()] = 1e6  # filters must not see what is hidden
    many = whitening(field, find_neighbours(observed), 0.2).select(torch.zeros(n, dtype=torch.long))
    whitened = many(values.unflatten(2, (12, 10))).flatten(1) / 0.2
    covariance = whitened.T @ whitened / n
    # Five standard errors of a variance, and of the typical covariance of two independent normal numbers; the rest of
    # the allowance is that a pixel has ten neighbours and no more.
    assert (covariance.diagonal() - 1).abs().max() < 5 * (2 / n) ** 0.5 + 0.02
    off = covariance - covariance.diagonal().diag()
    assert off.square().mean().sqrt() < 1.1 * n**-0.5 + 0.005


def test_images_with_fewer_observed_pixels_are_padded_without_weight():
    observed = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    observed[0, 0, ::2] = True
    observed[1, 0, 3, 3] = True
    observation = whitening(field_of(8, 8), find_neighbours(observed), 1.0)
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whitened = observation(x)
    assert whitened.shape == (3, 3, 32)
    assert (whitened[1, :, 1:] == 0).all()
    assert (whitened[2] == 0).all()
    assert (whitened[0] != 0).all()
    torch.testing.assert_close(observation.select(torch.tensor([1]))(x[1:2]), whitened[1:2])


def test_pixels_observed_in_some_channels_only_are_refused_by_whitening_and_kriged_instead():
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(6, 3, 8, 8, generator=generator) - 0.5
    by_channel = torch.rand(y.shape, generator=generator) < 0.15
    with pytest.raises(InputError, match="choose 'kriged'"):
        neighbours_of(y, Mask(by_channel))
    whole = by_channel[:, :1].expand(y.shape)
    assert (neighbours_of(y, Mask(whole)).pattern >= 0).all()
    shown = {name: np.where(seen, y, np.nan) for name, seen in (("channels", by_channel), ("pixels", whole))}
    settings = CompleteSettings(source="builtin:digits")
    assert CompleteSettings(source="builtin:digits", residuals="white").recipe(shown["pixels"]) == "partial"
    assert settings.recipe(shown["channels"]) == "kriged"
    assert settings.recipe(shown["pixels"]) == "whitened"
    assert settings.recipe(np.where(torch.rand(6, 1, 8, 8, generator=generator) < 0.6, y, np.nan)) == "kriged"


def test_too_few_passes_for_a_field_while_learning_still_give_one_in_the_end():
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(20, 1, 16, 16, generator=generator) - 0.5).numpy()
    images[:, :, ::2] = np.nan
    net = abpnet.GeneratorNetwork(2, recipe="whitened", max_iter=1, verbose=False).fit(images)
    assert net.state_.residuals is None
    assert net.residuals_ is not None


def test_noise_is_not_learned_twice():
    with pytest.raises(ValueError, match="learn_noise"):
        replace(RECIPES["whitened"], learn_noise=True)
