import shlex

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from abpnet.data import draw_mask, pepper, region
from abpnet.data.limits import Limits
from abpnet.errors import InputError


def rng(seed=0):
    return np.random.default_rng(seed)


def covered_by_holes(hidden, block):
    """The hidden pixels of one image that lie in a wholly hidden square, cut at the border or not."""
    height, width = hidden.shape
    covered = np.zeros_like(hidden)
    for top in range(1 - block, height):
        for left in range(1 - block, width):
            square = (slice(max(top, 0), top + block), slice(max(left, 0), left + block))
            if hidden[square].all():
                covered[square] = True
    return covered


@settings(deadline=None, max_examples=80)
@given(
    n=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    fraction=st.floats(0, 1),
    data=st.data(),
)
def test_pepper_hides_exactly_the_fraction_of_every_image(n, channels, height, width, fraction, data):
    block = data.draw(st.integers(1, min(height, width)))
    observed = pepper((n, channels, height, width), fraction, block, rng())
    assert observed.dtype == bool
    assert observed.shape == (n, 1, height, width)
    assert ((~observed).sum((1, 2, 3)) == round(fraction * height * width)).all()


@pytest.mark.parametrize("block", [1, 2, 3, 5])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_all_that_pepper_hides_lies_in_whole_squares_but_for_the_last_one(block, fraction):
    uncut = 0
    for image in ~pepper((10, 3, 24, 20), fraction, block, rng(1))[:, 0]:
        assert (image & ~covered_by_holes(image, block)).sum() < block**2
        uncut += np.lib.stride_tricks.sliding_window_view(image, (block, block)).all((2, 3)).any()
    assert uncut >= 5  # most images have a square that no border cuts


def test_pepper_draws_every_image_its_own_mask_and_the_same_again_from_the_same_seed():
    first, again, other = (pepper((3, 1, 16, 16), 0.5, 3, rng(seed)) for seed in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()
    assert (first[1] != first[2]).any()


def test_pepper_hides_corners_edges_and_centre_alike():
    n = 3000
    frequency = (~pepper((n, 1, 9, 9), 0.5, 3, rng(4))).mean((0, 1))
    for row, column in [(0, 0), (0, 8), (8, 0), (8, 8), (0, 4), (4, 0), (4, 4)]:
        assert abs(frequency[row, column] - 40 / 81) < 5 * np.sqrt(0.25 / n)


@settings(deadline=None, max_examples=50)
@given(height=st.integers(1, 10), width=st.integers(1, 10), seed=st.integers(0, 1000), data=st.data())
def test_region_hides_exactly_one_square(height, width, seed, data):
    side = data.draw(st.integers(1, min(height, width)))
    observed = region((3, 3, height, width), side, rng(seed))
    assert observed.shape == (3, 1, height, width)
    for hidden in ~observed[:, 0]:
        rows, columns = hidden.any(1).nonzero()[0], hidden.any(0).nonzero()[0]
        assert np.ptp(rows) == np.ptp(columns) == side - 1
        assert hidden.sum() == side**2


def test_region_lies_everywhere_with_equal_chance():
    n, places = 4000, 16
    hidden = ~region((n, 1, 6, 6), 3, rng(5))[:, 0]
    tops, lefts = hidden.any(2).argmax(1), hidden.any(1).argmax(1)
    counts = np.bincount(tops * 4 + lefts, minlength=places)
    assert len(counts) == places
    assert np.abs(counts - n / places).max() < 5 * np.sqrt(n / places)


@pytest.mark.parametrize(
    ("specification", "direct"),
    [
        ("pepper:0.5", lambda: pepper((4, 3, 8, 9), 0.5, 3, rng(6))),
        ("pepper:.25:2", lambda: pepper((4, 3, 8, 9), 0.25, 2, rng(6))),
        ("pepper:0", lambda: np.ones((4, 1, 8, 9), bool)),
        ("region:5", lambda: region((4, 3, 8, 9), 5, rng(6))),
        ("region:8", lambda: region((4, 3, 8, 9), 8, rng(6))),
        ("nan", lambda: np.ones((4, 1, 8, 9), bool)),
    ],
)
def test_specification_draws_what_it_says(specification, direct):
    np.testing.assert_array_equal(draw_mask(specification, (4, 3, 8, 9), rng(6)), direct())


@pytest.mark.parametrize(
    "specification",
    [
        "", "pepper", "pepper:", "pepper:1", "pepper:1.5", "pepper:-0.1", "pepper:half", "pepper:nan", "pepper:inf",
        "pepper:0.5:0", "pepper:0.5:-3", "pepper:0.5:9", "pepper:0.5:1.5", "pepper:0.5:", "pepper:0.5:3:1",
        "region", "region:", "region:0", "region:-2", "region:9", "region:10", "region:2.5", "region:2:2",
        "nan:1", "NaN", "pepper 0.5", "mask.npy", "salt:0.5",
    ],
)  # fmt: skip
def test_bad_specification_is_refused_and_repeated(specification):
    with pytest.raises(InputError, match="expected pepper:FRACTION") as refusal:
        draw_mask(specification, (4, 3, 8, 9), rng())
    assert f"--mask {specification}:" in str(refusal.value)


def test_region_as_large_as_the_image_is_refused():
    with pytest.raises(InputError, match="region:8"):
        draw_mask("region:8", (1, 1, 8, 8), rng())


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
@pytest.mark.parametrize("name", ["mask.png", "MASK.PNG", "pepper:0.5.png"])
def test_picture_holds_for_all_images_with_white_observed(tmp_path, mode, name):
    observed = rng(7).random((4, 5)) > 0.5
    Image.fromarray(np.where(observed, 255, 0).astype(np.uint8)).convert(mode).save(tmp_path / name)
    mask = draw_mask(str(tmp_path / name), (3, 3, 4, 5), rng())
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, np.broadcast_to(observed, (3, 1, 4, 5)))


def picture(tmp_path, pixels):
    path = tmp_path / "mask.png"
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("pixels", "complaint"),
    [
        ([[0, 255, 254]], "black .* and white"),
        ([[0, 255, 128]], "black .* and white"),
        ([[0, 0, 0]], "every pixel"),
        ([[0, 255]], r"2 x 1 .* 3 x 1"),
        ([[0], [255], [255]], r"1 x 3 .* 3 x 1"),
    ],
)
def test_unfit_picture_is_refused_by_name(tmp_path, pixels, complaint):
    path = picture(tmp_path, pixels)
    with pytest.raises(InputError, match=complaint) as refusal:
        draw_mask(str(path), (2, 1, 1, 3), rng())
    assert str(path) in str(refusal.value)


def test_what_mends_a_mask_blurred_by_jpeg_is_told_and_mends_it(tmp_path):
    observed = rng(8).random((4, 4)).repeat(6, 0).repeat(6, 1) > 0.5
    path = tmp_path / "holes here's one.JPG"
    Image.fromarray(np.where(observed, 255, 0).astype(np.uint8)).save(path, quality=80)
    with pytest.raises(InputError, match=r"\d+ of its 576 pixels") as refusal:
        draw_mask(str(path), (1, 1, 24, 24), rng())
    assert "JPEG blurs edges" in str(refusal.value)
    words = shlex.split(str(refusal.value)[str(refusal.value).index("for example: ") :].removeprefix("for example: "))
    assert words[:2] == ["python", "-c"]
    exec(words[2])
    mask = draw_mask(str(tmp_path / "holes here's one-binary.png"), (1, 1, 24, 24), rng())
    np.testing.assert_array_equal(mask[0, 0], observed)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "webp", "bmp", "pgm", "gif"])
def test_a_mask_is_a_picture_of_any_kind_that_is_black_and_white_only(tmp_path, suffix):
    observed = rng(9).random((2, 2)).repeat(8, 0).repeat(8, 1) > 0.5  # whole blocks, which JPEG keeps
    path = tmp_path / f"mask.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
    Image.fromarray(np.where(observed, 255, 0).astype(np.uint8)).save(path, **options)
    np.testing.assert_array_equal(draw_mask(str(path), (1, 1, 16, 16), rng())[0, 0], observed)


def test_a_file_without_an_ending_is_a_picture_unless_its_name_is_a_mask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nan", "pepper:0.5", "notes.txt"):
        (tmp_path / name).write_text("no picture")
    assert draw_mask("nan", (1, 1, 4, 4), rng()).all()
    assert draw_mask("pepper:0.5", (1, 1, 4, 4), rng()).sum() == 8
    with pytest.raises(InputError, match=r"notes\.txt: not an image"):
        draw_mask("notes.txt", (1, 1, 4, 4), rng())
    with pytest.raises(InputError, match=r"mask\.jpg: no such file"):
        draw_mask("mask.jpg", (1, 1, 4, 4), rng())


def test_large_masks_are_refused_like_large_images(tmp_path):
    path = picture(tmp_path, [[0, 255]])
    with pytest.raises(InputError, match="--max-pixels"):
        draw_mask(str(path), (1, 1, 1, 2), rng(), Limits(max_pixels=1))


def test_transparent_mask_is_refused(tmp_path):
    path = picture(tmp_path, [[[255, 255, 255, 255], [255, 255, 255, 0]]])
    with pytest.raises(InputError, match=r"mask\.png"):
        draw_mask(str(path), (1, 1, 1, 2), rng())


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 255)])
def test_coloured_mask_is_refused(tmp_path, colour):
    path = picture(tmp_path, [[colour, (255, 255, 255), (0, 0, 0)]])
    with pytest.raises(InputError, match=r"mask\.png"):
        draw_mask(str(path), (1, 1, 1, 3), rng())


@pytest.mark.parametrize("content", [None, b"", b"text"])
def test_unreadable_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "mask.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"mask\.png"):
        draw_mask(str(path), (1, 1, 4, 4), rng())
