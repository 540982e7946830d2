from dataclasses import replace

import numpy as np
import pytest
import torch

from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.data.builtin import texture_photograph
from abpnet.observations import hide_missing
from abpnet.texture_statistics import TextureStatistics, gabor_filters

COARSEST = 2 * 2**4


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def photograph(name="gravel", size=128):
    return torch.from_numpy(texture_photograph(name, size).copy())


def coloured(image):
    """Grey to colour: tinted by position-independent non-linear curves, so that the colours are no multiples."""
    return torch.cat([image, 0.7 * image.square() - 0.3, (0.5 * image + 0.2 * image.roll(3, 2)).tanh()])


def squared_error(statistics, images):
    with torch.no_grad():
        return (statistics(images) - statistics.target).square().sum(1)


@pytest.fixture(scope="module")
def gravel():
    return TextureStatistics.of(photograph())


@pytest.fixture(scope="module", params=["grey", "colour"])
def case(request):
    image = photograph() if request.param == "grey" else coloured(photograph())
    return TextureStatistics.of(image), image


def test_the_image_explains_itself_exactly_with_its_borders_left_out(case):
    statistics, image = case
    assert statistics.target.shape[0] == 1
    assert float(squared_error(replace(statistics, periodic=False), image[None])) < 1e-9


def test_the_image_is_nearest_then_other_pieces_of_it_then_noise_of_the_same_spectrum_then_another_material(gravel):
    large = photograph(size=256)
    pieces = torch.stack([large[:, i : i + 128, j : j + 128] for i in (0, 128) for j in (0, 128)])
    rng = np.random.default_rng(0)
    noise = torch.stack([torch.from_numpy(phase_randomised(photograph().numpy(), rng)) for _ in range(4)])
    itself = squared_error(gravel, photograph()[None]).mean()
    others, spectral = squared_error(gravel, pieces).mean(), squared_error(gravel, noise).mean()
    material = squared_error(gravel, photograph("grass")[None]).mean()
    assert 2 * itself < others < 0.75 * spectral < material
    assert squared_error(gravel, 0.3 * randn(1, 1, 128, 128)) > 10 * spectral


def test_statistics_of_any_size_can_be_compared(case):
    statistics, _ = case
    n_colours = len(statistics.mean)
    for size in [(64, 64), (96, 160), (128, 130)]:
        measured = statistics(randn(2, n_colours, *size))
        assert measured.shape == (2, statistics.target.shape[1])
        assert measured.isfinite().all()


def test_a_shift_around_the_torus_changes_nothing(case):
    statistics, image = case
    shifted = image[None].roll((COARSEST, 3 * COARSEST), (2, 3))
    torch.testing.assert_close(statistics(shifted), statistics(image[None]), rtol=0, atol=1e-4)
    assert squared_error(statistics, image.flip(1)[None]) > 2 * squared_error(statistics, image[None])


def test_tiling_the_torus_changes_nothing(gravel):
    image = photograph()[None]
    torch.testing.assert_close(gravel(image.tile(1, 1, 2, 3)), gravel(image), rtol=0, atol=1e-4)


def test_the_same_image_always_has_the_same_statistics(case):
    statistics, image = case
    before = torch.get_rng_state()
    assert torch.equal(statistics(image[None]), statistics(image[None]))
    assert torch.equal(TextureStatistics.of(image).target, statistics.target)
    assert torch.equal(before, torch.get_rng_state())


def test_images_of_a_batch_do_not_depend_on_one_another(gravel):
    x = randn(3, 1, 64, 64)
    changed = x.clone()
    changed[1] *= 5
    assert torch.equal(gravel(x)[[0, 2]], gravel(changed)[[0, 2]])


def test_descent_on_the_pixels_lowers_the_error(case):
    statistics, image = case
    x = (0.1 * randn(1, *image.shape)[..., :64, :64]).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.02)
    errors = []
    for _ in range(15):
        error = (statistics(x) - statistics.target).square().sum()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert (x.grad != 0).all()
    assert errors[-1] < 0.2 * errors[0]


def test_gradient_agrees_with_differences():
    statistics = TextureStatistics.of(photograph(size=64))
    double = replace(
        statistics,
        levels=tuple(type(level)(*(tensor.double() for tensor in level)) for level in statistics.levels),
        **{name: getattr(statistics, name).double() for name in ("mean", "unmixing", "scales", "target")},
    )
    x = (0.3 * randn(1, 1, 32, 32)).double().requires_grad_()
    direction = randn(1, 1, 32, 32, seed=1).double()

    def error(x):
        return (double(x) - double.target).square().sum()

    (gradient,) = torch.autograd.grad(error(x), x)
    with torch.no_grad():
        slope = (error(x + 1e-6 * direction) - error(x - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-4, atol=0)


def test_brightness_contrast_and_colour_are_seen(case):
    statistics, image = case
    itself = squared_error(statistics, image[None])
    for changed in (image + 0.3, 0.7 * image, image.flip(0) if len(image) > 1 else -image):
        assert squared_error(statistics, changed[None]) > itself + 0.1


def test_it_is_an_observation_like_the_others(gravel):
    assert gravel.observed is None
    assert gravel.select(torch.tensor([0])) is gravel
    _, observation = hide_missing(gravel.target.expand(3, -1), gravel)
    assert observation is gravel
    moved = gravel.to(torch.device("meta"))
    assert moved.target.is_meta
    assert moved.levels[0].filters.is_meta


def test_filters_have_length_one_and_ignore_brightness():
    filters = gabor_filters()
    torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(len(filters)))
    assert filters.flatten(1).sum(1).abs().max() < 1e-5


def test_a_constant_image_and_grey_in_three_channels_stay_finite():
    for image in (torch.full((1, 64, 64), 0.2), photograph(size=64).expand(3, -1, -1)):
        statistics = TextureStatistics.of(image)
        assert statistics(randn(1, *image.shape)).isfinite().all()
        assert squared_error(statistics, image[None]).isfinite().all()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (48, 64), (128, 40)])
def test_every_size_can_be_learned_from(size):
    statistics = TextureStatistics.of(photograph()[:, : size[0], : size[1]])
    assert statistics.target.isfinite().all()
    assert statistics(randn(1, 1, 64, 64)).isfinite().all()


@pytest.mark.parametrize("shape", [(64, 64), (1, 1, 1, 64, 64), (1, 31, 64), (2, 1, 31, 64)])
def test_what_is_no_image_or_too_small_is_refused(shape):
    with pytest.raises(ValueError, match="sides of at least 32"):
        TextureStatistics.of(torch.zeros(shape))


def test_several_photographs_have_their_statistics_each_and_the_filters_of_all():
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    images[1] *= 0.5
    statistics = TextureStatistics.of(images)
    assert statistics.target.shape[0] == 3
    alone = TextureStatistics.of(images[:1])
    assert alone.target.shape == statistics.target[:1].shape
    # Directions of the whitening are known up to a turn, which leaves distances as they are.
    again = TextureStatistics.of(images[[1, 2, 0]]).target[[2, 0, 1]]
    torch.testing.assert_close(
        torch.cdist(again, again), torch.cdist(statistics.target, statistics.target), rtol=1e-2, atol=1e-3
    )
