import numpy as np
import pytest
from PIL import Image

from abpnet.data.limits import Limits
from abpnet.errors import InputError
from abpnet.figures import HIDDEN_COLOUR, colours
from abpnet.web.pictures import as_images, enlarged, fit, map_colours, read_upload


def test_small_pictures_become_squares_of_their_pixels_and_large_ones_stay():
    picture = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    larger = enlarged(picture, 21)
    assert larger.shape == (12, 20, 3)
    np.testing.assert_array_equal(larger[::4, ::4], picture)
    assert (larger[:4, :4] == picture[0, 0]).all()
    assert enlarged(picture, 4) is not None
    np.testing.assert_array_equal(enlarged(picture, 4), picture)


def test_missing_pixels_have_a_colour_of_their_own():
    image = np.array([[[-1, 1], [np.nan, 0]]], np.float32)
    assert colours(image).tolist() == [[[0] * 3, [255] * 3], [list(HIDDEN_COLOUR), [128] * 3]]


def test_maps_go_from_black_to_nearly_white():
    picture = map_colours(np.array([[0.0, 0.1, 0.3, 5.0]]), 0.3).astype(int)
    brightness = picture.sum(2)[0]
    assert brightness[0] < 10
    assert (np.diff(brightness[:3]) > 0).all()
    assert (picture[0, 2] == picture[0, 3]).all()


def test_signals_without_channels_get_one():
    assert as_images(np.zeros((2, 4, 5))).shape == (2, 1, 4, 5)
    assert as_images(np.zeros((2, 3, 4, 5))).shape == (2, 3, 4, 5)


def test_what_fits_is_not_touched():
    image = np.random.default_rng(0).uniform(-1, 1, (1, 6, 4)).astype(np.float32)
    fitted = fit(image, (1, 6, 4))
    np.testing.assert_array_equal(fitted.image, image)
    assert fitted.note == ""
    np.testing.assert_array_equal(fit(image, (6, 4)).image, image)
    np.testing.assert_array_equal(fit(image, (3, 6, 4)).image, np.repeat(image, 3, 0))


def test_the_middle_is_scaled_and_said_so():
    picture = np.full((1, 20, 40), -1, np.float32)
    picture[:, :, 10:30] = 1  # the middle square
    fitted = fit(picture, (1, 8, 8))
    assert (fitted.image > 0.8).all()
    assert "resized from 40 x 20 to 8 x 8 pixels" in fitted.note
    coloured = np.stack([picture[0], -picture[0], picture[0]])
    assert "resized" in fit(coloured, (1, 8, 8)).note
    assert "shades of grey" in fit(coloured, (1, 8, 8)).note


def test_a_scaled_pixel_is_known_only_if_all_it_is_made_of_is():
    picture = np.zeros((3, 32, 32), np.float32)
    picture[:, :16] = np.nan
    image = fit(picture, (3, 8, 8)).image
    assert np.isnan(image[:, :4]).all()
    assert (image[:, 6:] == 0).all()


def test_an_upload_is_read_with_its_holes(tmp_path):
    rgba = np.full((6, 5, 4), 255, np.uint8)
    rgba[0, 0, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "holes.png")
    image = read_upload(tmp_path / "holes.png")
    assert image.shape == (3, 6, 5)
    assert np.isnan(image[:, 0, 0]).all()
    assert (image[:, 1:] == 1).all()


def test_a_large_upload_keeps_its_proportions(tmp_path):
    Image.fromarray(np.zeros((500, 4000), np.uint8)).save(tmp_path / "wide.png")
    assert read_upload(tmp_path / "wide.png").shape == (1, 128, 1024)


def test_a_bad_upload_is_refused_by_its_own_name(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"^text\.png: not an image"):
        read_upload(tmp_path / "text.png")
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(InputError, match=r"^large\.png: more than the 2,000 pixels allowed"):
        read_upload(tmp_path / "large.png", Limits(max_pixels=2000))
