"""Reading and writing videos."""

import numpy as np
import pytest
from PIL import Image

from abpnet.data.builtin import waves
from abpnet.data.videos import load_clip, save_gif, save_mp4
from abpnet.errors import InputError


def moving(n=20, height=32, width=48, channels=3):
    """Smooth colours that change from frame to frame, as codecs like them."""
    t, y, x = np.mgrid[:n, :height, :width] / 10.0
    colours = [np.sin(t + x), np.cos(2 * t - y), np.sin(t + x + y)]
    return (0.8 * np.stack(colours[:channels], 1)).astype(np.float32)


def test_a_written_mp4_reads_back(tmp_path):
    frames = moving()
    save_mp4(tmp_path / "clip.mp4", frames, 30.0)
    clip = load_clip(tmp_path / "clip.mp4")
    assert clip.frames.shape == frames.shape
    assert clip.frames.dtype == np.float32
    assert clip.frame_rate == pytest.approx(30.0)
    assert np.abs(clip.frames - frames).mean() < 0.04, "colour is stored at half the resolution"
    order = np.abs(clip.frames[:, None] - frames[None]).mean((2, 3, 4)).argmin(1)
    assert np.array_equal(order, np.arange(len(frames)))


def test_odd_sides_and_odd_rates(tmp_path):
    frames = moving(height=31, width=47)
    save_mp4(tmp_path / "clip.mp4", frames, 30000 / 1001)
    clip = load_clip(tmp_path / "clip.mp4")
    assert clip.frames.shape == (20, 3, 32, 48)
    assert clip.frame_rate == pytest.approx(29.97, abs=0.01)
    assert np.abs(clip.frames[..., :31, :47] - frames).mean() < 0.04
    assert np.abs(clip.frames[..., 31, :47] - frames[..., 30, :]).mean() < 0.1, "the last row, once more"


def test_a_written_gif_reads_back(tmp_path):
    frames = moving(channels=1)
    save_gif(tmp_path / "clip.gif", frames, 10.0)
    clip = load_clip(tmp_path / "clip.gif")
    assert clip.frames.shape == frames.shape, "grey stays grey"
    assert clip.frame_rate == pytest.approx(10.0)
    assert np.abs(clip.frames - frames).mean() < 0.02


def test_the_central_square_is_scaled_and_frames_are_limited(tmp_path):
    frames = moving(height=32, width=64)
    frames[..., :16] = frames[..., 48:] = 1.0  # outside the central square
    save_mp4(tmp_path / "clip.mp4", frames, 25.0)
    clip = load_clip(tmp_path / "clip.mp4", size=16, limit=7, frame_rate=12.0)
    assert clip.frames.shape == (7, 3, 16, 16)
    assert clip.frame_rate == 12.0
    inner = frames[:7, :, :, 16:48].reshape(7, 3, 16, 2, 16, 2).mean((3, 5))
    assert np.abs(clip.frames - inner)[..., 1:-1].mean() < 0.05


def test_folders_and_arrays(tmp_path):
    frames = moving(n=4)
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(((frame + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)).save(
            tmp_path / "frames" / f"{index:03d}.png"
        )
    np.savez(tmp_path / "clip.npz", frames=frames)
    folder, array = load_clip(tmp_path / "frames"), load_clip(tmp_path / "clip.npz")
    assert np.abs(folder.frames - frames).max() < 0.005
    assert np.array_equal(array.frames, frames)
    assert folder.frame_rate == array.frame_rate == 25.0
    small = load_clip(tmp_path / "clip.npz", size=16).frames
    assert small.shape == (4, 3, 16, 16)
    assert np.abs(small - load_clip(tmp_path / "frames", size=16).frames).max() < 0.02


def test_the_built_in_clip():
    frames = waves(50, 16)
    assert np.array_equal(load_clip("builtin:waves", size=16, limit=50).frames, frames)
    assert frames.shape == (50, 1, 16, 16)
    assert -1 <= frames.min() < -0.5
    assert 0.5 < frames.max() <= 1
    assert np.abs(np.diff(frames, axis=0)).mean() > 0.02, "it moves"
    assert np.array_equal(waves(80, 16)[:50], frames), "a longer one starts the same"
    with pytest.raises(InputError, match="builtin:waves"):
        load_clip("builtin:storm")


def test_files_that_are_no_videos(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "still.png")
    np.savez(tmp_path / "holes.npz", x=np.full((4, 1, 8, 8), np.nan, np.float32))
    import soundfile

    soundfile.write(tmp_path / "sound.wav", np.zeros(4000), 8000)
    cases = {"text.mp4": "not a video", "empty.mp4": "not a video", "sound.wav": "no pictures", "absent.mp4": "no such"}
    cases |= {"holes.npz": "missing pixels", "": "no images"}
    (tmp_path / "frames").mkdir()
    for name, message in cases.items():
        path = tmp_path / (name or "frames")
        with pytest.raises(InputError, match=message) as refusal:
            load_clip(path)
        assert str(path) in str(refusal.value)
    save_gif(tmp_path / "clip.gif", moving(3), 10.0)
    with pytest.raises(InputError, match="--frame-rate"):
        load_clip(tmp_path / "clip.gif", frame_rate=1e6)
