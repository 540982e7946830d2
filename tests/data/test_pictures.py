"""Odd pictures: read as what they are or refused by name, before anything large is decoded."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, __version__, features

from abpnet.data import load_image
from abpnet.data.images import to_uint8
from abpnet.data.limits import Limits
from pixels import random_pixels, refusal_of, scaled

COLOURS = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]], [[0, 255, 0], [0, 0, 255], [255, 255, 0]]], np.uint8)
SINCE_13 = pytest.mark.skipif(int(__version__.split(".")[0]) < 13, reason="such TIFF files are read from Pillow 13 on")


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    """A PNG file of 8 bits and three channels, with chunks of any content behind its header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def refused(path, **options):
    message = refusal_of(load_image, path, **options)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("mode", ["PA", pytest.param("YCbCr", marks=SINCE_13), "LAB", "RGBX", "CMYK"])
def test_colours_of_rare_modes_are_those_that_were_meant(tmp_path, mode):
    colours = 60 + COLOURS // 2  # of which the rarest mode holds all
    picture = Image.fromarray(colours)
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    elif mode == "PA":
        picture = picture.quantize(6).convert("PA")
    else:
        picture = picture.convert(mode)
    read = to_uint8(load_image(saved(tmp_path / "image.tif", picture))).transpose(1, 2, 0)
    error = np.abs(read.astype(int) - colours).max()
    assert error <= {"YCbCr": 4, "LAB": 4}.get(mode, 0)  # both hold differences of colours, rounded


def test_transparent_pixels_of_a_palette_are_missing(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image = load_image(saved(tmp_path / "image.png", picture, transparency=bytes([255, 128, 0])))
    assert np.isnan(image).all(0).tolist() == [[False, True, True]]
    np.testing.assert_array_equal(to_uint8(image[:, 0, 0]), [10, 20, 30])


@SINCE_13
def test_premultiplied_grey_is_read_with_its_transparency(tmp_path):
    # Two samples a pixel, the second of associated alpha: tag 338 of TIFF is 1.
    path = saved(tmp_path / "image.tif", Image.fromarray(random_pixels(2, 3, 2), "LA"))
    content = path.read_bytes()
    tag = struct.pack("<HHII", 338, 3, 1, 2)
    assert content.count(tag) == 1
    pixels = np.array([[[90, 255], [0, 0], [30, 255]], [[7, 255], [3, 100], [255, 255]]], np.uint8)
    Image.fromarray(pixels, "LA").save(path)
    path.write_bytes(path.read_bytes().replace(tag, struct.pack("<HHII", 338, 3, 1, 1)))
    assert Image.open(path).mode == "La"
    expected = np.where(pixels[..., 1] == 255, scaled(pixels[..., 0]), np.nan)
    np.testing.assert_array_equal(load_image(path), expected[None])


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_of_both_byte_orders(tmp_path, order):
    values = np.array([[0, 257, 40000, 65535]], f"{order}u2")
    mode = {"<": "I;16", ">": "I;16B"}[order]
    picture = Image.frombytes(mode, (4, 1), values.tobytes())
    path = saved(tmp_path / "image.tif", picture)
    assert Image.open(path).mode == mode
    np.testing.assert_array_equal(to_uint8(load_image(path)), [[[0, 1, 156, 255]]])


@pytest.mark.parametrize(
    ("tags", "said"),
    [({262: 0}, "0 is white"), ({339: 2}, "a sign"), ({258: 12}, "12 bits")],
)
def test_sixteen_bit_pixels_that_would_be_misread_are_refused(tmp_path, tags, said):
    path = tmp_path / "image.tif"
    picture = Image.fromarray(random_pixels(4, 4).astype(np.uint16) * 257)
    if 258 in tags:  # Pillow writes no 12 bits; sixteen rows of them are where eight would be
        content = saved(path, picture).read_bytes()
        sixteen, twelve = (struct.pack("<HHII", 258, 3, 1, bits) for bits in (16, 12))
        assert content.count(sixteen) == 1
        path.write_bytes(content.replace(sixteen, twelve))
    else:
        saved(path, picture, tiffinfo=tags)
    assert said in refused(path)


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_several_pictures_in_one_file_are_not_one(tmp_path, kind):
    frames = [Image.fromarray(random_pixels(4, 4, 3, seed=seed)) for seed in range(3)]
    path = saved(tmp_path / f"several.{kind}", frames[0], save_all=True, append_images=frames[1:])
    assert "several" in refused(path).removeprefix(str(path))
    alone = load_image(saved(tmp_path / f"one.{kind}", frames[0], save_all=True))
    assert alone.shape == (3, 4, 4)


def test_the_preview_behind_a_photograph_is_no_picture_of_its_own(tmp_path):
    first, second = (Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (200, 10))
    path = saved(tmp_path / "camera.jpg", first, format="MPO", save_all=True, append_images=[second])
    assert Image.open(path).n_frames == 2
    assert (to_uint8(load_image(path)) > 190).all()


def test_a_smaller_version_behind_a_page_of_tiff_is_no_page(tmp_path):
    page, small = Image.fromarray(random_pixels(8, 8)), Image.fromarray(random_pixels(4, 4))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    path = saved(tmp_path / "image.tif", page, save_all=True, append_images=[small])
    assert Image.open(path).n_frames == 2
    np.testing.assert_array_equal(to_uint8(load_image(path))[0], np.asarray(page))


@pytest.mark.parametrize("kind", ["eps", "ico", "tga", "pcx"])
def test_kinds_that_are_not_read_are_refused_by_content_whatever_their_name(tmp_path, kind):
    path = tmp_path / "image.png"
    Image.fromarray(random_pixels(16, 16, 3)).save(path, kind)
    assert "PNG, JPEG" in refused(path)


def test_a_wrong_ending_does_not_matter(tmp_path):
    path = saved(tmp_path / "image.jpg", Image.fromarray(COLOURS), format="PNG")
    np.testing.assert_array_equal(to_uint8(load_image(path)), COLOURS.transpose(2, 0, 1))


def test_one_pixel_is_an_image(tmp_path):
    path = saved(tmp_path / "image.png", Image.new("L", (1, 1), 255))
    assert load_image(path).tolist() == [[[1.0]]]
    assert (load_image(path, size=8) == 1).all()


def traced(path):
    """What is said of a file, and the most bytes that were held meanwhile; Pillow's own memory is not seen."""
    tracemalloc.start()
    try:
        return refused(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_a_bomb_of_pixels_is_refused_by_its_header(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size, chunk(b"IDAT", zlib.compress(bytes(1000)))))
    message, most = traced(path)
    assert "67,108,864 pixels allowed" in message
    assert "--max-pixels" in message
    assert most < 2**20


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_bomb_of_text_is_refused(tmp_path, kind):
    text = zlib.compress(bytes(2**24), 9)
    before = b"name\0\1\0\0\0" if kind == b"iTXt" else b"name\0\0"
    path = tmp_path / "bomb.png"
    path.write_bytes(png(1, 1, chunk(kind, before + text), chunk(b"IDAT", zlib.compress(bytes(4)))))
    message, most = traced(path)
    assert "MAX_TEXT_CHUNK" in message
    assert most < 2**23


def test_a_bomb_of_scans_is_refused_and_what_stands_behind_the_picture_is_not_looked_at(tmp_path):
    stream = io.BytesIO()
    Image.new("L", (64, 64), 128).save(stream, "jpeg", progressive=True)
    content, end = stream.getvalue()[:-2], b"\xff\xd9"
    scan = content[content.rindex(b"\xff\xda") :]
    path = tmp_path / "image.jpg"
    path.write_bytes(content + 20 * scan + end + bytes(2**16) + 100 * scan)
    assert load_image(path).shape == (1, 64, 64)
    path.write_bytes(content + 100 * scan + end)
    assert "50 scans" in refused(path)


def test_limits_hold_for_what_is_decoded_and_for_what_it_becomes(tmp_path):
    path = saved(tmp_path / "image.png", Image.fromarray(random_pixels(10, 10, 3)))
    assert load_image(path, limits=Limits(max_bytes=1200)).shape == (3, 10, 10)
    assert "--max-gigabytes" in refused(path, limits=Limits(max_bytes=1199))
    assert load_image(path, limits=Limits(max_bytes=400), size=4).shape == (3, 4, 4)
    assert "--max-gigabytes" in refused(path, limits=Limits(max_bytes=399), size=4)


def test_larger_limits_than_those_of_pillow_hold_and_leave_these_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = saved(tmp_path / "image.png", Image.fromarray(random_pixels(10, 10)))
    assert load_image(path).shape == (1, 10, 10)
    assert "pixels allowed" in refused(path, limits=Limits(max_pixels=99))
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.skipif(not features.check("webp"), reason="Pillow without WebP")
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "gif", "webp", "bmp", "ppm"])
def test_no_part_of_a_file_is_a_picture(tmp_path, kind):
    path = saved(tmp_path / "image.png", Image.fromarray(random_pixels(12, 12, 3)), format=kind)
    content = path.read_bytes()
    for length in range(0, int(0.9 * len(content)), len(content) // 15):
        path.write_bytes(content[:length])
        refused(path)
