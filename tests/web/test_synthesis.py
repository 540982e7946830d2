import numpy as np
import pytest

from abpnet.errors import InputError
from abpnet.web import synthesis
from abpnet.web.served import find_runs


def network_of(path):
    return find_runs([path])[0].network()


def test_images_are_samples(colour):
    network = network_of(colour)
    images = synthesis.new_images(network, 3, 7)
    np.testing.assert_array_equal(images, network.sample(3, random_state=7))
    with pytest.raises(InputError, match="how many must be 1 to 100"):
        synthesis.new_images(network, 101, 0)


@pytest.mark.parametrize("size", [(64, 128), (70, 33)])
def test_a_texture_has_the_size_that_was_asked_for(texture, size):
    network = network_of(texture)
    image = synthesis.new_texture(network, *size, 0)
    assert image.shape == (1, *size)
    assert np.isfinite(image).all()
    assert (image != synthesis.new_texture(network, *size, 1)).any()
    with pytest.raises(InputError, match="width must be 32 to 2,048"):
        synthesis.new_texture(network, 64, 4096, 0)


def test_a_sound_has_the_length_that_was_asked_for(sound):
    network = network_of(sound)
    samples, rate = synthesis.new_sound(network, 1.5, 0)
    assert (len(samples), rate) == (12000, 8000)
    assert np.abs(samples).max() <= 1
    with pytest.raises(InputError, match="seconds must be"):
        synthesis.new_sound(network, 1e6, 0)


def test_a_video_moves_as_the_run_found_it_to(video):
    (run,) = find_runs([video])
    clip = synthesis.new_video(run, 30, 0)
    assert clip.frames.shape == (30, 1, 16, 16)
    assert clip.frame_rate == run.result()["frame_rate"]
    assert (clip.frames[0] != clip.frames[1]).any()
    # The run's own synthesis, from the same seed and as its GIF keeps it.
    from PIL import Image

    with Image.open(video / "synthesis.gif") as kept:
        first = np.asarray(kept.convert("L")) / 127.5 - 1
    np.testing.assert_allclose(clip.frames[0, 0].clip(-1, 1), first, atol=0.02)


def test_a_video_without_paths_says_so(video, tmp_path):
    import shutil

    shutil.copytree(video, tmp_path / "old")
    (tmp_path / "old" / "paths.npz").unlink()
    with pytest.raises(InputError, match=r"old keeps no paths\.npz"):
        synthesis.new_video(find_runs([tmp_path / "old"])[0], 10, 0)
