"""Folders of images: what is read of them, what is refused, and what can be left out."""

import os

import numpy as np
import pytest
from PIL import Image

from abpnet.data import load_images
from abpnet.data.images import to_uint8
from abpnet.data.limits import Limits
from pixels import random_pixels, refusal_of


def write(path, *shape, seed=0):
    Image.fromarray(random_pixels(*(shape or (4, 4)), seed=seed)).save(path)


@pytest.fixture
def mixed(tmp_path):
    """Two good images among bad ones of many kinds; b and e are good."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a empty.png").touch()
    write(folder / "b.png", seed=1)
    (folder / "c text.png").write_text("no picture")
    os.mkfifo(folder / "d pipe.png")
    write(folder / "e ünïcode 图.png", seed=2)
    (folder / "f folder.png").mkdir()
    (folder / "g broken.png").symlink_to("nowhere.png")
    (folder / "h loop.png").symlink_to("h loop.png")
    write(tmp_path / "outside.png", seed=3)
    (folder / "i outside.png").symlink_to(tmp_path / "outside.png")
    write(folder / "j large.png", 40, 40)
    return folder


LIMITS = Limits(max_pixels=1000)


def test_bad_files_are_left_out_by_name_and_reason_if_asked_for(mixed):
    images = load_images(mixed, limits=LIMITS, on_bad_file="skip")
    assert images.names == ["b", "e ünïcode 图"]
    np.testing.assert_array_equal(to_uint8(images.pixels)[:, 0], [random_pixels(4, 4, seed=seed) for seed in (1, 2)])
    reasons = {os.path.relpath(one.file, mixed): one.reason for one in images.skipped}
    for name, reason in {
        "a empty.png": "is empty",
        "c text.png": "not an image",
        "d pipe.png": "is a pipe",
        "f folder.png": "is a folder",
        "g broken.png": "link to nothing",
        "h loop.png": "symbolic links",
        "i outside.png": "--follow-links",
        "j large.png": "--max-pixels",
    }.items():
        assert reason in reasons.pop(name)
    assert not reasons


def test_the_first_bad_file_is_an_error_otherwise(mixed):
    message = refusal_of(load_images, mixed, limits=LIMITS)
    assert message.startswith(str(mixed / "a empty.png"))
    assert "--on-bad-file skip" in message


def test_a_folder_of_bad_files_is_an_error_anyway(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no picture")
    message = refusal_of(load_images, tmp_path, on_bad_file="skip")
    assert "none of its 2 images" in message
    assert "not an image" in message


def test_as_many_good_images_are_read_as_asked_for(mixed):
    images = load_images(mixed, limits=LIMITS, on_bad_file="skip", limit=1)
    assert images.names == ["b"]
    assert [os.path.basename(one.file) for one in images.skipped] == ["a empty.png"]


def test_images_of_another_size_are_no_bad_files(tmp_path):
    write(tmp_path / "a.png", 4, 4)
    write(tmp_path / "b.png", 4, 5)
    assert "5 x 4 pixels" in refusal_of(load_images, tmp_path, on_bad_file="skip")


def test_links_are_read_within_the_folder_and_out_of_it_if_asked_for(tmp_path):
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    write(folder / "below" / "real.png", seed=1)
    write(tmp_path / "outside.png", seed=2)
    (tmp_path / "folder beside").mkdir()
    (folder / "a.png").symlink_to("below/real.png")
    assert load_images(folder).names == ["a"]
    (tmp_path / "a link to the folder").symlink_to(folder)
    assert load_images(tmp_path / "a link to the folder").names == ["a"]
    write(tmp_path / "folder beside" / "real.png", seed=3)
    for name, target in (("b.png", "../outside.png"), ("c.png", "../folder beside/real.png")):
        (folder / name).symlink_to(target)
        message = refusal_of(load_images, folder)
        assert message.startswith(str(folder / name))
        assert "--follow-links" in message
        (folder / name).rename(folder / f".{name}")
    for name in ("b.png", "c.png"):
        (folder / f".{name}").rename(folder / name)
    followed = load_images(folder, follow_links=True)
    assert followed.names == ["a", "b", "c"]
    expected = [random_pixels(4, 4, seed=seed) for seed in (1, 2, 3)]
    np.testing.assert_array_equal(to_uint8(followed.pixels)[:, 0], expected)


def test_all_images_together_are_checked_once_the_first_is_known(tmp_path, monkeypatch):
    for index in range(5):
        write(tmp_path / f"{index}.png", *((4, 4) if index < 4 else (4, 4, 3)))
    grey, colour = 5 * 16 * 4, 5 * 3 * 16 * 4
    assert load_images(tmp_path, limits=Limits(max_bytes=colour)).pixels.nbytes == colour
    assert len(load_images(tmp_path, limits=Limits(max_bytes=grey), limit=4).pixels) == 4
    assert str(tmp_path) in refusal_of(load_images, tmp_path, limits=Limits(max_bytes=colour - 1))
    read = []
    monkeypatch.setattr("abpnet.data.images.decode", lambda path, limits: read.append(path) or Image.new("L", (4, 4)))
    message = refusal_of(load_images, tmp_path, limits=Limits(max_bytes=grey - 1), on_bad_file="skip")
    assert message.startswith(f"{tmp_path}: ")
    assert "--max-gigabytes" in message
    assert len(read) == 1


def test_grey_images_before_and_behind_coloured_ones_are_the_same(tmp_path):
    for name, shape in (("a", (4, 4)), ("b", (4, 4, 3)), ("c", (4, 4))):
        write(tmp_path / f"{name}.png", *shape)
    pixels = load_images(tmp_path).pixels
    np.testing.assert_array_equal(pixels[0], pixels[2])
    np.testing.assert_array_equal(to_uint8(pixels[1]), random_pixels(4, 4, 3).transpose(2, 0, 1))


def test_a_folder_that_may_not_be_listed_is_refused_by_name(tmp_path, monkeypatch):
    def deny(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)
    message = refusal_of(load_images, tmp_path)
    assert message.startswith(str(tmp_path))
    assert "Permission denied" in message


@pytest.mark.parametrize("name", ["pipe", "pipe.npy", "pipe.npz"])
def test_a_pipe_is_no_source_and_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert refusal_of(load_images, tmp_path / name).startswith(str(tmp_path / name))


def test_long_names_become_numbers(tmp_path):
    for name in ("图" * 80 + ".png", "b.png"):
        write(tmp_path / name)
    assert load_images(tmp_path).names == ["000000", "000001"]


def test_each_image_is_looked_at_once(tmp_path, monkeypatch):
    looked_at = []
    pixels = Image.new("L", (2, 2))
    for index in range(100):
        (tmp_path / f"{index:03d}.png").write_bytes(b"x")
    monkeypatch.setattr("abpnet.data.images.decode", lambda path, limits: looked_at.append(path.name) or pixels)
    assert len(load_images(tmp_path).pixels) == 100
    assert looked_at == sorted(looked_at)
    assert len(set(looked_at)) == len(looked_at) == 100
