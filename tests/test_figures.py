import numpy as np
import pytest
from PIL import Image

from abpnet import figures
from abpnet.figures import GAP, HIDDEN_COLOUR, grid, rows_of_images, save_curves, save_picture, save_sounds


def images(n, channels=1, height=3, width=4, seed=0):
    whole = np.random.default_rng(seed).integers(0, 256, (n, channels, height, width))
    return whole, (whole / 127.5 - 1).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("n", "n_columns", "n_rows"), [(6, 3, 2), (5, 3, 2), (1, 1, 1), (2, 4, 1)])
def test_grid_lays_every_image_row_by_row_on_white(channels, scale, n, n_columns, n_rows):
    whole, pixels = images(n, channels)
    canvas = grid(pixels, n_columns, scale)
    height, width = 3 * scale, 4 * scale
    assert canvas.dtype == np.uint8
    assert canvas.shape == (n_rows * (height + GAP) + GAP, n_columns * (width + GAP) + GAP, 3)
    seen = np.zeros(canvas.shape[:2], bool)
    for index, image in enumerate(whole):
        top = GAP + index // n_columns * (height + GAP)
        left = GAP + index % n_columns * (width + GAP)
        expected = np.broadcast_to(image, (3, 3, 4)).transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
        np.testing.assert_array_equal(canvas[top : top + height, left : left + width], expected)
        seen[top : top + height, left : left + width] = True
    assert (canvas[~seen] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_pixel_missing_in_any_channel_is_shown_in_its_colour_and_no_other(channels):
    whole, pixels = images(1, channels)
    pixels[0, -1, 1, 2] = np.nan
    canvas = grid(pixels, 1)[GAP:-GAP, GAP:-GAP]
    assert tuple(canvas[1, 2]) == HIDDEN_COLOUR
    canvas[1, 2] = whole[0, :, 1, 2]
    np.testing.assert_array_equal(canvas, np.broadcast_to(whole[0], (3, 3, 4)).transpose(1, 2, 0))


def test_drawing_leaves_the_callers_images_alone():
    _, pixels = images(2)
    pixels[0, 0, 0, 0] = np.nan
    before = pixels.copy()
    grid(pixels, 2)
    np.testing.assert_array_equal(pixels, before)


def test_values_outside_of_the_range_are_clipped():
    canvas = grid(np.array([[[[-3.0, 3.0]]]]), 1)
    assert canvas[GAP, GAP : GAP + 2, 0].tolist() == [0, 255]


def test_labelled_rows_are_grids_below_one_another_with_room_for_the_longest_label():
    rows = {"truth": images(3)[1], "a much longer label": images(3, seed=1)[1]}
    canvas = rows_of_images(rows, scale=2)
    strips = [grid(row, 3, 2) for row in rows.values()]
    margin = canvas.shape[1] - strips[0].shape[1]
    np.testing.assert_array_equal(canvas[:, margin:], np.concatenate(strips))
    for labels in np.split(canvas[:, :margin], 2):
        assert labels.min() < 128  # there is a label
        assert (labels[:, -1] == 255).all()  # not cut off by the images


def test_columns_are_headed_above_the_same_rows():
    rows = {"one": images(3, width=30)[1], "two": images(3, width=30, seed=1)[1]}
    plain, headed = rows_of_images(rows), rows_of_images(rows, columns=["-1", "0", "+1"])
    header, below = headed[: -len(plain)], headed[-len(plain) :]
    np.testing.assert_array_equal(below, plain)
    margin = plain.shape[1] - grid(rows["one"], 3).shape[1]
    assert (header[:, :margin] == 255).all()
    for place in range(3):
        left = margin + GAP + place * (30 + GAP)
        inked = np.flatnonzero((header[:, left : left + 30] < 128).any((0, 2)))
        assert (inked.min() + inked.max()) / 2 == pytest.approx(14.5, abs=2)  # in the middle of its column


def test_saved_picture_is_read_back_as_it_was(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_picture(tmp_path / "picture.png", pixels)
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_curves_are_drawn_and_depend_on_the_history(tmp_path):
    def draw(name, *errors):
        history = [
            {"iteration": index, "error": error, "latent_std": 1.0, "latent_divergence": 0.1, "seconds": 1.0}
            for index, error in enumerate(errors)
        ]
        save_curves(tmp_path / name, history)
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"
            return np.asarray(picture.convert("RGB")).astype(int)

    falling, rising = draw("falling.png", 0.3, 0.2, 0.1), draw("rising.png", 0.1, 0.2, 0.3)
    assert falling.shape == rising.shape
    third = falling.shape[1] // 3
    assert (falling[:, :third] != rising[:, :third]).any()  # the first panel shows the error
    np.testing.assert_array_equal(falling[:, third + 20 :], rising[:, third + 20 :])


def test_curves_need_no_display(monkeypatch, tmp_path):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    row = {"iteration": 1, "error": 0.1, "latent_std": 1.0, "latent_divergence": 0.0}
    figures.save_curves(tmp_path / "curves.png", [row])
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_a_tone_is_a_bright_line_where_its_frequency_is(tmp_path):
    rate = 8000
    time = np.arange(2 * rate) / rate
    tones = {"low": 0.5 * np.sin(2 * np.pi * 500 * time), "high, shorter": 0.5 * np.sin(2 * np.pi * 3000 * time[:rate])}
    save_sounds(tmp_path / "sounds.png", tones, rate)
    picture = np.asarray(Image.open(tmp_path / "sounds.png").convert("L")).astype(float)
    height, width = picture.shape
    places = []
    for row in (0, 1):
        # The spectrogram's inside, without its frame: dark but for the tone.
        part = picture[row * height // 2 : (row + 1) * height // 2, int(0.6 * width) : int(0.9 * width)]
        dark = np.flatnonzero(part.mean(1) < 128)
        inside = part[dark.min() : dark.max() + 1].mean(1)
        places.append(1 - inside.argmax() / len(inside))
    assert places == pytest.approx([500 / 4000, 3000 / 4000], abs=0.06)
