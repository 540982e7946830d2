"""Scaling with holes against the formula, and what is missing has no part in it."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from abpnet.data.images import from_picture, load_image
from abpnet.data.scaling import scaled

SIDES = 48, 40


def smooth(n_channels=3):
    """Colours that vary slowly."""
    down, along = np.meshgrid(*(np.linspace(0, 2, side) for side in SIDES), indexing="ij")
    return np.stack([np.sin(down + k) + np.cos(along * (k + 1)) for k in range(n_channels)]).astype(np.float32)


def lanczos(x):
    """Kernel of three lobes."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def test_weights_are_those_of_the_known_pixels_normalized():
    rng = np.random.default_rng(0)
    picture, known = rng.normal(size=(1, *SIDES)), np.ones(SIDES, bool)
    known[10:17, 9:22] = False
    found = scaled(picture, known, 10, 12)  # a quarter each way
    weights = [lanczos((np.arange(side) + 0.5 - 4 * (np.arange(side // 4)[:, None] + 0.5)) / 4) for side in SIDES]
    seen = weights[0] @ np.where(known, picture[0], 0) @ weights[1].T
    expected = seen / (weights[0] @ known @ weights[1].T)
    wholly_known = known.reshape(12, 4, 10, 4).all((1, 3))
    np.testing.assert_array_equal(~np.isnan(found[0]), wholly_known)
    np.testing.assert_allclose(found[0][wholly_known], expected[wholly_known], atol=1e-5)


def test_what_is_missing_has_no_part_in_it():
    picture, known = smooth(), np.random.default_rng(1).random(SIDES) < 0.995
    answers = []
    for value in (0.0, np.nan, 1e30):
        answers.append(scaled(np.where(known, picture, np.float32(value)), known, 10, 12))
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
    assert 0.05 < np.isnan(answers[0]).mean() < 0.15


@pytest.mark.parametrize("size", [(10, 12), (20, 12), (13, 31), (80, 96), (1, 1)])
def test_where_all_is_known_it_is_what_pillow_makes_of_the_middle(size):
    picture = smooth()
    found = scaled(picture, np.ones(SIDES, bool), *size)
    for ours, channel in zip(found, picture, strict=True):
        theirs = ImageOps.fit(Image.fromarray(channel), size, Image.Resampling.LANCZOS)
        np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-4)


def test_beside_a_hole_pixels_are_known_and_right():
    """Nothing but what a hole touches is lost: no lines beside it, nor rings around it."""
    picture = (127.5 + 60 * smooth()).clip(0, 255)
    known = np.ones(SIDES, bool)
    known[8:20, 12:24] = False
    whole = scaled(picture, np.ones(SIDES, bool), 10, 12)
    found = scaled(picture, known, 10, 12)
    lost = np.isnan(found)
    assert lost[:, 2:5, 3:6].all()
    assert lost.sum() == 3 * 9
    assert np.abs(found - whole)[~lost].max() < 4, "of 255 shades"


def test_a_scaled_photograph_with_a_hole_loses_the_hole_alone(tmp_path):
    rgba = np.full((96, 96, 4), 255, np.uint8)
    rgba[..., :3] = np.random.default_rng(0).integers(0, 256, (96, 96, 3))
    rgba[24:48, 36:60] = 0
    Image.fromarray(rgba).save(tmp_path / "holes.png")
    missing = np.isnan(load_image(tmp_path / "holes.png", size=32)[0])
    assert missing[8:16, 12:20].all()
    assert missing.sum() == 64


def test_an_opaque_picture_with_transparency_is_scaled_as_one_without():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8))
    expected = from_picture("a", picture, size=16)
    np.testing.assert_array_equal(from_picture("a", picture.convert("RGBA"), size=16), expected)
