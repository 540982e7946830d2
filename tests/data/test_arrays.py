"""Images in .npy and .npz files."""

import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from abpnet.data import load_images
from abpnet.data.images import to_uint8
from abpnet.data.limits import Limits
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


def npy_of(header, content=b"", version=(1, 0)):
    """A .npy file with any text for a header."""
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header + content


def header_of(shape, descr="'|u1'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def written(tmp_path, suffix, *contents, method=zipfile.ZIP_DEFLATED):
    """A file of one array, or a .npz file of several, whatever they are."""
    path = tmp_path / f"images{suffix}"
    if suffix == ".npy":
        path.write_bytes(contents[0])
    else:
        with zipfile.ZipFile(path, "w", method) as archive:
            for index, content in enumerate(contents):
                archive.writestr(f"array{index}.npy", content)
    return path


def refused_in_little_memory(path, **options):
    tracemalloc.start()
    try:
        message = refusal_of(load_images, path, **options)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_announces_too_much_is_refused_before_memory_is_taken(tmp_path, suffix):
    path = written(tmp_path, suffix, npy_of(header_of((10**9, 1000, 1000))))
    assert "--max-gigabytes" in refused_in_little_memory(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_announces_more_than_the_file_holds_is_refused_before_memory_is_taken(tmp_path, suffix):
    path = written(tmp_path, suffix, npy_of(header_of((1000, 1000, 1000)), bytes(999)))
    message = refused_in_little_memory(path)
    assert "999 bytes" in message
    assert "1,000,000,000" in message


def test_what_stands_behind_an_array_is_not_left_out_in_silence(tmp_path):
    path = tmp_path / "images.npy"
    with path.open("wb") as file:
        np.save(file, random_pixels(2, 4, 4))
        np.save(file, random_pixels(2, 4, 4))
    assert "its header announces 32" in refusal_of(load_images, path)


HEADERS = {
    "its own length": npy_of(b"", version=(2, 0))[:8] + struct.pack("<I", 2**32 - 1),
    "an unknown version": npy_of(header_of((1, 2, 2)), bytes(4), version=(9, 0)),
    "a negative axis": npy_of(header_of((1, -2, -2)), bytes(4)),
    "no numbers": npy_of(header_of("('a', 2, 2)"), bytes(4)),
    "brackets without end": npy_of(b"(" * 1000),
    "signs without end": npy_of(b"-" * 9000 + b"1"),
    "a call": npy_of(header_of("__import__('os').getcwd()"), bytes(4)),
    "objects": npy_of(header_of((1, 2, 2), "'|O'"), b"cos\ngetcwd\n(tR."),
    "objects in a record": npy_of(header_of((1, 2, 2), "[('a', '|O')]"), bytes(32)),
    "numbers of arrays": npy_of(header_of((1, 2, 2), "'(2,2)u1'"), bytes(16)),
    "dates": npy_of(header_of((1, 2, 2), "'<M8[s]'"), bytes(32)),
    "bytes": npy_of(header_of((1, 2, 2), "'|S1'"), bytes(4)),
}


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("kind", HEADERS)
def test_headers_of_anything_else_than_plain_numbers_are_refused(tmp_path, suffix, kind):
    refused_in_little_memory(written(tmp_path, suffix, HEADERS[kind]))


def test_pickled_objects_are_not_loaded(tmp_path):
    canary = tmp_path / "canary"
    pickled = f"cbuiltins\nopen\n(V{canary}\nVw\ntR.".encode()
    array = npy_of(header_of((1,), "'|O'"), pickled)
    for path in (written(tmp_path, ".npy", pickled), written(tmp_path, ".npy", array)):
        refusal_of(load_images, path)
        refusal_of(load_images, written(tmp_path, ".npz", path.read_bytes()))
    assert not canary.exists()
    pickle.loads(pickled)
    assert canary.exists()


@pytest.mark.parametrize("announced", [10**8, 10**12])
def test_a_bomb_of_zeros_is_refused_before_it_is_decompressed(tmp_path, announced):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.npy", "w") as member:
        member.write(npy_of(header_of((announced // 10**4, 100, 100))))
        for _ in range(30):
            member.write(bytes(10**6))
    assert path.stat().st_size < 2**16
    refused_in_little_memory(path, limits=Limits(max_bytes=10**9))


def test_of_a_large_array_the_first_images_can_be_read(tmp_path):
    pixels = random_pixels(50, 8, 8)
    np.save(tmp_path / "images.npy", pixels)
    np.savez_compressed(tmp_path / "images.npz", images=pixels)
    limits = Limits(max_bytes=5 * 8 * 8 * 4)
    for path in (tmp_path / "images.npy", tmp_path / "images.npz"):
        assert "--max-gigabytes" in refusal_of(load_images, path, limits=limits)
        some = load_images(path, limits=limits, limit=5)
        np.testing.assert_array_equal(to_uint8(some.pixels)[:, 0], pixels[:5])


def test_arrays_are_read_in_pieces_that_fit_together(tmp_path, monkeypatch):
    monkeypatch.setattr("abpnet.data.array_files.CHUNK", 200)
    for pixels in (random_pixels(50, 8, 8), np.asfortranarray(random_pixels(50, 8, 8)), random_pixels(9, 5, 5, 3)):
        np.savez_compressed(tmp_path / "images.npz", images=pixels)
        expected = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(to_uint8(load_images(tmp_path / "images.npz").pixels), expected)


def test_an_array_with_columns_first_counts_whole_whatever_is_read_of_it(tmp_path):
    np.save(tmp_path / "images.npy", np.asfortranarray(random_pixels(50, 8, 8)))
    limits = Limits(max_bytes=50 * 64 + 4 * 64)
    assert len(load_images(tmp_path / "images.npy", limits=limits, limit=1).pixels) == 1
    assert "--max-gigabytes" in refusal_of(load_images, tmp_path / "images.npy", limits=limits, limit=2)


def test_true_is_white_and_false_is_black(tmp_path):
    np.save(tmp_path / "images.npy", np.array([[[True, False]]]))
    assert load_images(tmp_path / "images.npy").pixels.tolist() == [[[[1.0, -1.0]]]]


def test_content_counts_and_not_the_ending(tmp_path):
    with (tmp_path / "images.npz").open("wb") as file:
        np.save(file, random_pixels(2, 4, 4))
    with (tmp_path / "images.npy").open("wb") as file:
        np.savez(file, images=random_pixels(2, 4, 4))
    for name in ("images.npz", "images.npy"):
        np.testing.assert_array_equal(to_uint8(load_images(tmp_path / name).pixels)[:, 0], random_pixels(2, 4, 4))


def test_odd_zip_files_are_refused(tmp_path):
    array = npy_of(header_of((1, 2, 2)), bytes(4))
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("images.npy", array)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("images.npy", array)
    assert "2 arrays named images" in refusal_of(load_images, tmp_path / "twice.npz")
    assert "unusual" in refusal_of(load_images, written(tmp_path, ".npz", array, method=zipfile.ZIP_LZMA))
    assert "1,001 arrays" in refusal_of(load_images, written(tmp_path, ".npz", *[array] * 1001))
    inner = written(tmp_path, ".npz", array).read_bytes()
    with zipfile.ZipFile(tmp_path / "nested.npz", "w") as archive:
        archive.writestr("inner.npz", inner)
    assert "found none" in refusal_of(load_images, tmp_path / "nested.npz")
    encrypted = bytearray(written(tmp_path, ".npz", array).read_bytes())
    encrypted[encrypted.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "encrypted.npz").write_bytes(encrypted)
    assert "encrypted" in refusal_of(load_images, tmp_path / "encrypted.npz")


def test_damaged_bytes_within_a_zip_file_are_noticed(tmp_path):
    path = written(tmp_path, ".npz", npy_of(header_of((9, 8, 8)), bytes(range(192)) * 3), method=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(range(50, 90)))] ^= 1
    path.write_bytes(content)
    assert "CRC" in refusal_of(load_images, path)
