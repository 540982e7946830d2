"""Versions of images: what they keep, how far they go, and what missing pixels do."""

import numpy as np
import pytest

from abpnet.data import Variation, vary

STILL = Variation(shift=0.0, turn=0.0, zoom=0.0, bend=0.0, light=0.0)


@pytest.fixture(scope="module")
def images():
    """Smooth images of 40 pixels a side: a blob each, a little off the centre."""
    rows, columns = np.mgrid[:40, :40]
    centres = np.random.default_rng(0).uniform(15, 25, (6, 3, 2))
    distance = (rows - centres[..., 0, None, None]) ** 2 + (columns - centres[..., 1, None, None]) ** 2
    return (1.6 * np.exp(-distance / 60) - 0.8).astype(np.float32)


def centre(images):
    """Mean position of each image's light above the background, (n, 2)."""
    light = (images - images.min((-2, -1), keepdims=True)).mean(1)
    places = np.stack([(light * np.arange(40)[:, None]).sum((1, 2)), (light * np.arange(40)).sum((1, 2))], 1)
    return places / light.sum((1, 2))[:, None]


def test_the_images_themselves_come_first_to_the_bit(images):
    versions = vary(images, 3)
    assert versions.shape == (18, 3, 40, 40)
    assert versions.dtype == np.float32
    assert np.array_equal(versions[:6], images)
    for version in (versions[6:12], versions[12:]):
        assert 0.005 < np.abs(version - images).mean() < 0.15
    assert not np.array_equal(versions[6:12], versions[12:])
    assert np.array_equal(vary(images, 1), images)


def test_the_seed_alone_decides(images):
    assert np.array_equal(vary(images, 2, seed=3), vary(images, 2, seed=3))
    assert not np.array_equal(vary(images, 2, seed=3), vary(images, 2, seed=4))


def test_nothing_moves_without_variation(images):
    assert np.abs(vary(images, 2, variation=STILL)[6:] - images).max() < 1e-5


def test_shifts_stay_within_their_bound_and_use_it(images):
    versions = vary(images, 40, variation=Variation(shift=0.1, turn=0.0, zoom=0.0, bend=0.0, light=0.0))
    moved = centre(versions[6:]) - np.tile(centre(images), (39, 1))
    assert 3 < np.abs(moved).max() < 4.4, "a tenth of 40 pixels"
    assert np.abs(moved.mean(0)).max() < 0.6


def test_turns_are_in_degrees():
    rows, columns = np.mgrid[:41, :41] - 20
    bar = np.exp(-(rows**2) / 20 - columns**2 / 400)[None].astype(np.float32) - 0.5
    versions = vary(bar, 200, variation=Variation(shift=0.0, turn=20.0, zoom=0.0, bend=0.0, light=0.0))[1:] + 0.5
    xy, xx, yy = ((versions * moment).sum((1, 2)) for moment in (rows * columns, columns**2, rows**2))
    angles = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
    assert 18 < np.abs(angles).max() < 21.5, "read off what is blurred a little by the turn"
    assert np.abs(angles).mean() == pytest.approx(10, abs=1.5)


def test_light_changes_contrast_and_stays_in_range(images):
    versions = vary(images, 40, variation=Variation(shift=0.0, turn=0.0, zoom=0.0, bend=0.0, light=0.5))[6:]
    contrast = versions.std((1, 2, 3)) / np.tile(images.std((1, 2, 3)), 39)
    assert contrast.min() < 0.75
    assert contrast.max() > 1.1
    assert np.abs(versions).max() <= 1


def test_missing_pixels_spoil_what_is_made_of_them_and_nothing_else(images):
    missing = np.zeros(images.shape, bool)
    missing[:, :, 10:13, 20:24] = True
    versions = vary(np.where(missing, np.nan, images), 3)
    whole = vary(images, 3)
    lost = np.isnan(versions)
    assert np.array_equal(lost[:6], missing)
    assert missing.mean() < lost[6:].mean() < 10 * missing.mean()
    assert np.array_equal(versions[~lost], whole[~lost])


def test_images_without_channels_keep_their_shape(images):
    versions = vary(images[:, 0], 2)
    assert versions.shape == (12, 40, 40)
    assert np.array_equal(versions, vary(images[:, :1], 2)[:, 0])


@pytest.mark.parametrize("count", [0, -1, True])
def test_impossible_numbers_of_versions_are_refused(images, count):
    with pytest.raises(ValueError, match="n_versions must be a whole number of at least 1"):
        vary(images, count)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"expected images of shape .* got \(7,\)"):
        vary(np.zeros((3, 7)), 2)
