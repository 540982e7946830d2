import numpy as np
import pytest

from abpnet.baselines import inpainting
from abpnet.baselines.inpainting import biharmonic


def planes(n=3, channels=3, side=12):
    """Images that are linear in the place, which a biharmonic surface continues exactly; with a hole each."""
    rng = np.random.default_rng(0)
    down, right = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    slopes = rng.uniform(-0.4, 0.4, (2, n, channels, 1, 1))
    images = (slopes[0] * down + slopes[1] * right).astype(np.float32)
    holed = images.copy()
    for index, image in enumerate(holed):
        image[:, 3 + index : 6 + index, 4:7] = np.nan
    return images, holed


@pytest.mark.parametrize("channels", [1, 3])
def test_planes_are_continued_and_observed_pixels_kept(channels):
    images, holed = planes(channels=channels)
    name, filled = biharmonic(holed)
    assert name == "biharmonic inpainting"
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled, images, atol=1e-3)
    np.testing.assert_array_equal(filled[~np.isnan(holed)], holed[~np.isnan(holed)])


def test_channels_may_be_hidden_each_by_itself():
    images, holed = planes()
    holed[0, 1] = images[0, 1]
    _, filled = biharmonic(holed)
    np.testing.assert_allclose(filled, images, atol=1e-3)


def test_whole_images_stay_as_they_are():
    images, _ = planes()
    np.testing.assert_array_equal(biharmonic(images)[1], images)


def test_more_than_there_is_time_for_is_left_out_and_said(monkeypatch):
    _, holed = planes()
    monkeypatch.setattr(inpainting, "MOST_HIDDEN", 2 * 9)
    name, filled = biharmonic(holed)
    assert name == "biharmonic inpainting, first 2 images"
    assert np.isfinite(filled[:2]).all()
    assert np.isnan(filled[2]).all()


def test_the_order_in_memory_does_not_matter():
    _, holed = planes()
    as_files_are_read = np.moveaxis(np.ascontiguousarray(np.moveaxis(holed, 1, -1)), -1, 1)
    assert not as_files_are_read.flags.c_contiguous
    np.testing.assert_array_equal(biharmonic(as_files_are_read)[1], biharmonic(holed)[1])
