import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from sklearn.datasets import load_digits

from abpnet.data import digits, load_image, load_images, save_image, texture_photograph
from abpnet.data.images import to_uint8
from abpnet.data.limits import Limits
from abpnet.errors import InputError
from pixels import random_pixels, refusal_of, scaled


def write(path, pixels, mode=None, **options):
    Image.fromarray(pixels, mode).save(path, **options) if mode else Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_colour_pixels_are_read_exactly_from_lossless_formats(tmp_path, suffix):
    pixels = random_pixels(5, 7, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    image = load_image(write(tmp_path / f"image.{suffix}", pixels, **options))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, scaled(pixels).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_grey_modes_give_one_channel(tmp_path, mode):
    grey = random_pixels(4, 6)
    if mode == "1":
        grey = np.where(grey > 127, 255, 0).astype(np.uint8)
    picture = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    assert picture.mode == mode
    picture.save(tmp_path / "image.png")
    np.testing.assert_array_equal(load_image(tmp_path / "image.png"), scaled(grey)[None])


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA", "CMYK"])
def test_colour_modes_give_three_channels(tmp_path, mode):
    corners = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)
    pixels = corners.reshape(2, 3, 3)
    picture = Image.fromarray(pixels)
    picture = picture.quantize(6) if mode == "P" else picture.convert(mode)
    assert picture.mode == mode
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    picture.save(path)
    np.testing.assert_array_equal(load_image(path), scaled(pixels).transpose(2, 0, 1))


def test_sixteen_bits_are_rounded_to_the_nearest_of_eight(tmp_path):
    Image.fromarray(np.array([[0, 128, 129, 65535, 40000]], np.uint16)).save(tmp_path / "image.png")
    np.testing.assert_array_equal(to_uint8(load_image(tmp_path / "image.png")), [[[0, 0, 1, 255, 156]]])


@pytest.mark.parametrize("kind", ["16-bit PGM", "32-bit TIFF", "real TIFF"])
def test_deep_grey_images_are_never_silently_clipped(tmp_path, kind):
    values = np.array([[0, 20_000, 40_000, 65_535]], np.uint16)
    if kind == "16-bit PGM":
        path = tmp_path / "image.pgm"
        path.write_bytes(b"P5 4 1 65535\n" + values.astype(">u2").tobytes())
    else:
        path = tmp_path / "image.tif"
        Image.fromarray((values / 65535).astype(np.float32) if "real" in kind else values.astype(np.int32)).save(path)
    try:
        image = load_image(path)
    except InputError:
        return
    assert len(np.unique(image)) == 4


def test_jpeg_is_read_close_to_what_was_written(tmp_path):
    pixels = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    image = load_image(write(tmp_path / "image.JPG", pixels, quality=95))
    assert np.abs(to_uint8(image).transpose(1, 2, 0).astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_pixels_that_are_not_fully_opaque_are_missing_and_the_others_exact(tmp_path, mode):
    pixels = random_pixels(2, 3, len(mode))
    pixels[..., -1] = [[255, 0, 255], [254, 255, 128]]
    image = load_image(write(tmp_path / "image.png", pixels, mode))
    expected = scaled(pixels[..., :-1])
    expected[pixels[..., -1] < 255] = np.nan
    np.testing.assert_array_equal(image, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["palette", "grey", "colour"])
def test_a_colour_declared_transparent_is_missing(tmp_path, kind):
    grey = np.array([[10, 20, 30]], np.uint8)
    if kind == "palette":
        picture, transparency = Image.fromarray(np.stack([grey] * 3, -1)).quantize(3), None
        transparency = picture.getpixel((1, 0))
    elif kind == "grey":
        picture, transparency = Image.fromarray(grey), 20
    else:
        picture, transparency = Image.fromarray(np.stack([grey] * 3, -1)), (20, 20, 20)
    picture.save(tmp_path / "image.png", transparency=transparency)
    image = load_image(tmp_path / "image.png")
    assert np.isnan(image).tolist() == [[[False, True, False]]] * len(image)
    np.testing.assert_array_equal(image[:, 0, [0, 2]], np.broadcast_to(scaled(grey[0, [0, 2]]), (len(image), 2)))


def test_scaling_never_mixes_in_the_colour_of_transparent_pixels(tmp_path):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, :15] = (255, 0, 0, 255)
    pixels[:, 15:] = (0, 255, 0, 0)
    image = load_image(write(tmp_path / "image.png", pixels, "RGBA"), size=8)
    observed = ~np.isnan(image[0])
    assert observed[:, :3].all(), "all that these cover is known"
    assert not observed[:, 3:].any()
    np.testing.assert_array_equal(image[:, observed], np.broadcast_to([[1.0], [-1.0], [-1.0]], (3, observed.sum())))


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_images_are_turned_as_their_exif_data_say(tmp_path, orientation):
    pixels = random_pixels(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = load_image(write(tmp_path / "image.png", pixels, exif=exif))
    np.testing.assert_array_equal(image, scaled(TURNED[orientation](pixels)).transpose(2, 0, 1))


def test_crop_cuts_the_rectangle_and_size_the_central_square(tmp_path):
    pixels = random_pixels(6, 9, 3)
    path = write(tmp_path / "image.png", pixels)
    np.testing.assert_array_equal(load_image(path, crop=(2, 1, 7, 4)), scaled(pixels[1:4, 2:7]).transpose(2, 0, 1))
    np.testing.assert_array_equal(load_image(path, crop=(0, 0, 9, 6)), scaled(pixels).transpose(2, 0, 1))
    whole = np.full((4, 10, 3), 255, np.uint8)
    whole[:, 3:7] = (10, 20, 30)
    square = load_image(write(tmp_path / "wide.png", whole), size=4)
    np.testing.assert_array_equal(square, np.broadcast_to(scaled(whole[0, 3])[:, None, None], (3, 4, 4)))


@pytest.mark.parametrize("crop", [(-1, 0, 2, 2), (0, 0, 4, 2), (2, 0, 2, 2), (0, 2, 3, 1), (0, 0, 3, 3)])
def test_crop_outside_of_the_image_is_refused_with_its_size(tmp_path, crop):
    path = write(tmp_path / "image.png", random_pixels(2, 3, 3))
    message = refusal_of(load_image, path, crop=crop)
    assert str(path) in message
    assert "3 x 2" in message


@pytest.mark.parametrize("content", [b"", b"dear diary, this is no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_file_that_is_no_image_is_refused_by_name(tmp_path, content):
    path = tmp_path / "diary.png"
    path.write_bytes(content)
    assert str(path) in refusal_of(load_image, path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm", "tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_image_is_refused_by_name(tmp_path, suffix, share):
    path = write(tmp_path / f"half.{suffix}", random_pixels(40, 40, 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert str(path) in refusal_of(load_image, path)


@settings(deadline=None, max_examples=150)
@given(position=st.integers(0, 400), value=st.integers(0, 255), length=st.integers(0, 3))
def test_damaged_bytes_never_raise_anything_else(tmp_path_factory, position, value, length):
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    write(path, random_pixels(9, 9, 3))
    content = bytearray(path.read_bytes())
    content[position : position + length] = bytes([value]) * length
    path.write_bytes(content)
    try:
        message = str(load_image(path).shape) + str(path)
    except InputError as refusal:
        message = str(refusal)
    assert str(path) in message


def test_absent_file_and_folder_are_refused_by_name(tmp_path):
    for function, path in [
        (load_image, tmp_path / "no.png"),
        (load_image, tmp_path),
        (load_images, tmp_path / "no folder"),
        (load_images, tmp_path / "no.npz"),
        (load_images, tmp_path / "no.npy"),
    ]:
        assert str(path) in refusal_of(function, path)


@pytest.mark.parametrize("limit", [99, 60, 20])  # Pillow warns above the limit, and raises above twice the limit
def test_enormous_image_is_refused_by_name_and_setting(tmp_path, limit):
    path = write(tmp_path / "huge.png", random_pixels(10, 10))
    message = refusal_of(load_image, path, limits=Limits(max_pixels=limit))
    assert str(path) in message
    assert "--max-pixels" in message
    assert load_image(path, limits=Limits(max_pixels=100)).shape == (1, 10, 10)


def test_folder_is_read_in_the_order_of_names_whatever_else_lies_there(tmp_path):
    images = {name: random_pixels(4, 5, 3, seed=seed) for seed, name in enumerate(["b.png", "a.PNG", "c.bmp"])}
    for name, pixels in images.items():
        write(tmp_path / name, pixels)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "subfolder").mkdir()
    loaded = load_images(tmp_path)
    assert loaded.names == ["a", "b", "c"]
    assert loaded.pixels.dtype == np.float32
    np.testing.assert_array_equal(to_uint8(loaded.pixels[0]), images["a.PNG"].transpose(2, 0, 1))
    np.testing.assert_array_equal(to_uint8(loaded.pixels[2]), images["c.bmp"].transpose(2, 0, 1))
    assert load_images(str(tmp_path), limit=2).names == ["a", "b"]


def test_grey_images_join_colour_ones_in_three_equal_channels(tmp_path):
    grey = random_pixels(3, 3)
    write(tmp_path / "a.png", grey)
    write(tmp_path / "b.png", random_pixels(3, 3, 3))
    pixels = load_images(tmp_path).pixels
    assert pixels.shape == (2, 3, 3, 3)
    np.testing.assert_array_equal(to_uint8(pixels[0]), np.broadcast_to(grey, (3, 3, 3)))


def test_folder_of_grey_images_stays_grey(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.png", random_pixels(3, 3))
    assert load_images(tmp_path).pixels.shape == (2, 1, 3, 3)


def test_folder_without_images_is_refused_by_name(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert str(tmp_path) in refusal_of(load_images, tmp_path)


def test_images_of_different_sizes_are_refused_unless_scaled(tmp_path):
    write(tmp_path / "a.png", random_pixels(4, 6, 3))
    odd = write(tmp_path / "b.png", random_pixels(6, 4, 3))
    message = refusal_of(load_images, tmp_path)
    assert str(odd) in message
    assert "4 x 6" in message
    assert "6 x 4" in message
    assert load_images(tmp_path, size=4).pixels.shape == (2, 3, 4, 4)


def test_damaged_file_in_a_folder_is_refused_by_its_own_name(tmp_path):
    write(tmp_path / "a.png", random_pixels(4, 4, 3))
    (tmp_path / "b.png").write_text("text")
    assert str(tmp_path / "b.png") in refusal_of(load_images, tmp_path)


def test_picture_is_no_source_of_many_images(tmp_path):
    path = write(tmp_path / "a.png", random_pixels(4, 4))
    assert str(path) in refusal_of(load_images, path)


def test_builtin_digits_are_those_of_scikit_learn():
    pixels = digits()
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal((pixels[:, 0] + 1) * 8, load_digits().images)
    some = load_images("builtin:digits", limit=3)
    np.testing.assert_array_equal(some.pixels, pixels[:3])
    assert some.names == ["digit_0000", "digit_0001", "digit_0002"]


@pytest.mark.parametrize("name", ["brick", "grass", "gravel"])
def test_builtin_texture_is_the_central_square_at_half_resolution(name):
    import skimage.data

    whole, middle = texture_photograph(name, 256), texture_photograph(name, 10)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole[:, 123:133, 123:133], middle)
    corner = getattr(skimage.data, name)()[:2, :2].astype(float).mean() / 127.5 - 1
    assert whole[0, 0, 0] == pytest.approx(corner, abs=1e-6)


@pytest.mark.parametrize(("name", "size"), [("wood", 64), ("brick", 0), ("brick", 257)])
def test_unknown_texture_or_size_is_refused(name, size):
    with pytest.raises(ValueError, match=f"{name}.*{size}"):
        texture_photograph(name, size)


@settings(deadline=None, max_examples=25)
@given(whole=hnp.arrays(np.uint8, st.sampled_from([(1, 2, 3), (3, 2, 3), (3, 3, 1), (1, 1, 1), (2, 5)])))
def test_saved_image_is_read_back_as_it_was(tmp_path_factory, whole):
    path = tmp_path_factory.getbasetemp() / "round_trip.png"
    save_image(path, scaled(whole))
    np.testing.assert_array_equal(to_uint8(load_image(path)), whole if whole.ndim == 3 else whole[None])


def test_every_whole_number_survives_the_way_to_real_numbers_and_back():
    whole = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(scaled(whole)), whole)
    np.testing.assert_array_equal(to_uint8(np.array([-1.7, 1.2])), [0, 255])


def test_hidden_files_are_no_images(tmp_path):
    save_image(tmp_path / "one.png", np.zeros((1, 8, 8)))
    (tmp_path / "._one.png").write_bytes(b"left by another system")
    assert load_images(tmp_path).names == ["one"]


def test_a_picture_is_scaled_to_a_width_and_a_height(tmp_path):
    pixels = np.zeros((40, 40), np.uint8)
    pixels[10:30] = 200  # of which the middle strip has the proportions
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", size=(12, 6))
    assert image.shape == (1, 6, 12)
    assert (image > 0.2).all()
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", size=(9, 9)), load_image(tmp_path / "a.png", size=9))
