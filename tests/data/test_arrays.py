"""Images in .npy and .npz files."""

import zipfile

import numpy as np
import pytest

from abpnet.data import load_images
from abpnet.data.images import to_uint8
from abpnet.errors import InputError
from pixels import random_pixels, refusal_of, scaled


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("layout", ["n h w", "n c h w", "n h w c", "n 1 h w", "n h w 1"])
def test_arrays_of_every_layout_become_channels_first(tmp_path, suffix, layout):
    channels = 1 if "c" not in layout else 3
    pixels = random_pixels(2, channels, 5, 6)
    stored = pixels[:, 0] if layout == "n h w" else pixels.transpose(0, 2, 3, 1) if layout[-1] in "c1" else pixels
    path = tmp_path / f"images.{suffix}"
    np.save(path, stored) if suffix == "npy" else np.savez(path, faces=stored, labels=np.arange(2))
    loaded = load_images(path)
    assert loaded.pixels.dtype == np.float32
    assert loaded.names == ["000000", "000001"]
    np.testing.assert_array_equal(to_uint8(loaded.pixels), pixels)
    np.testing.assert_allclose(loaded.pixels, scaled(pixels), atol=1e-7)
    assert len(load_images(path, limit=1).pixels) == 1


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_real_numbers_are_kept_with_nan_as_missing(tmp_path, kind):
    pixels = np.array([[[-1, 0.5], [np.nan, 1]]], kind)
    np.save(tmp_path / "images.npy", pixels)
    loaded = load_images(tmp_path / "images.npy").pixels
    assert loaded.dtype == np.float32
    assert loaded.dtype.isnative
    np.testing.assert_array_equal(loaded, pixels[:, None].astype(np.float32))


BAD_ARRAYS = {
    "object": np.array([[[{}]]], object),
    "text": np.array([[["a"]]]),
    "complex": np.zeros((2, 4, 4), complex),
    "flat": np.zeros((4, 4), np.uint8),
    "two channels": np.zeros((2, 2, 4, 4), np.uint8),
    "five axes": np.zeros((2, 3, 3, 4, 4), np.uint8),
    "no images": np.zeros((0, 4, 4), np.uint8),
    "above 1": np.array([[[0.0, 1.5]]]),
    "below -1": np.array([[[0.0, -1.001]]]),
    "infinite": np.array([[[0.0, np.inf]]]),
    "above 255": np.array([[[0, 256]]]),
    "below 0": np.array([[[-1, 3]]]),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_array_that_holds_no_images_is_refused_by_name(tmp_path, kind, suffix):
    path = tmp_path / f"images.{suffix}"
    np.save(path, BAD_ARRAYS[kind]) if suffix == "npy" else np.savez(path, faces=BAD_ARRAYS[kind])
    assert str(path) in refusal_of(load_images, path)


def test_two_arrays_in_one_file_are_refused_by_their_names(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, faces=np.zeros((2, 4, 4), np.uint8), houses=np.zeros((2, 4, 4), np.uint8))
    message = refusal_of(load_images, path)
    assert str(path) in message
    assert "faces" in message
    assert "houses" in message


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 no zip", b"\x93NUMPY\x01\x00"])
def test_file_that_is_no_array_is_refused_by_name(tmp_path, suffix, content):
    path = tmp_path / f"images.{suffix}"
    path.write_bytes(content)
    assert str(path) in refusal_of(load_images, path)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_truncated_array_is_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"images.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, random_pixels(4, 8, 8))
    path.write_bytes(path.read_bytes()[:200])
    assert str(path) in refusal_of(load_images, path)


def test_zip_file_of_something_else_is_refused_by_name(tmp_path):
    path = tmp_path / "images.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no arrays here")
    assert str(path) in refusal_of(load_images, path)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_images_without_pixels_are_refused_by_name(tmp_path, kind):
    np.save(tmp_path / "images.npy", np.zeros((3, 0, 5), kind))
    with pytest.raises(InputError, match=r"images\.npy"):
        load_images(tmp_path / "images.npy")


def test_size_and_crop_do_not_apply_to_arrays(tmp_path):
    np.save(tmp_path / "images.npy", random_pixels(2, 4, 4))
    for options in ({"size": 2}, {"crop": (0, 0, 2, 2)}):
        assert "images.npy" in refusal_of(load_images, tmp_path / "images.npy", **options)
