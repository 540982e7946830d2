"""Reading and writing videos."""

import io
import os
import shutil
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from abpnet.data.builtin import waves
from abpnet.data.images import to_uint8
from abpnet.data.limits import Limits
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
    cases = {"text.mp4": "not a video", "empty.mp4": "is empty", "sound.wav": "not a video", "absent.mp4": "no such"}
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


def write(path, container, codec, pixels, times=None, options=None):
    """A clip of waves, whose frames are shown at these milliseconds."""
    frames = to_uint8(waves(30, 32))[:, 0]
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, 2), "rgb24")
            if times is not None:
                picture.pts, picture.time_base = int(times[index]), Fraction(1, 1000)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    return path


CONTAINERS = [
    ("avi", "mpeg4", "yuv420p"),
    ("avi", "rawvideo", "bgr24"),
    ("matroska", "libx264", "yuv420p"),
    ("webm", "libvpx-vp9", "yuv420p"),
    ("mpegts", "mpeg2video", "yuv420p"),
    ("mov", "prores_ks", "yuva444p10le"),
    ("h264", "libx264", "yuv420p"),
]


@pytest.mark.parametrize(("container", "codec", "pixels"), CONTAINERS)
def test_other_containers(tmp_path, container, codec, pixels):
    clip = load_clip(write(tmp_path / "clip of any name", container, codec, pixels))
    assert clip.frames.shape == (30, 1, 32, 32)
    assert clip.frame_rate == pytest.approx(25.0)
    order = np.abs(clip.frames[:, None] - waves(30, 32)[None]).mean((2, 3, 4)).argmin(1)
    assert np.array_equal(order, np.arange(30))
    assert np.abs(clip.frames - waves(30, 32)).mean() < 0.1, "at low bit rates"


@pytest.mark.parametrize(("suffix", "options"), [("webp", {"lossless": True}), ("png", {}), ("gif", {})])
@pytest.mark.parametrize(("milliseconds", "frame_rate"), [(50, 20.0), (10, 10.0)])
def test_animations(tmp_path, suffix, options, milliseconds, frame_rate):
    path = tmp_path / "animation of any name"
    pictures = [Image.fromarray(frame[0]).convert("RGB") for frame in to_uint8(waves(10, 32))]
    with path.open("wb") as stream:
        pictures[0].save(stream, suffix, save_all=True, append_images=pictures[1:], duration=milliseconds, **options)
    clip = load_clip(path)
    assert clip.frame_rate == pytest.approx(frame_rate), "browsers show shorter ones for 100 ms"
    assert np.abs(clip.frames - waves(10, 32)).max() < 0.005
    with pytest.raises(InputError, match=r"32 x 32 pixels.*--max-pixels"):
        load_clip(path, limits=Limits(max_pixels=1000))
    assert len(load_clip(path, limit=4).frames) == 4
    content = path.read_bytes()
    for share in (0.55, 0.8, 0.9):  # within a frame
        path.write_bytes(content[: round(len(content) * share)])
        with pytest.raises(InputError, match="not a video that can be read"):
            load_clip(path)


def test_frames_that_come_a_little_early_or_late_are_taken_as_they_are(tmp_path):
    times = np.arange(30) * 40 + np.random.default_rng(0).integers(0, 12, 30)
    clip = load_clip(write(tmp_path / "clip.mp4", "mp4", "libx264", "yuv420p", times))
    assert len(clip.frames) == 30
    assert clip.frame_rate == pytest.approx(25.0, rel=0.02)


def test_frames_of_a_variable_rate_are_those_seen_at_equal_intervals(tmp_path):
    times = np.arange(30) * 40
    times[15:] += 80  # two frames were dropped: the one before them is seen for longer
    write(tmp_path / "clip.mp4", "mp4", "libx264", "yuv420p", times)
    clip = load_clip(tmp_path / "clip.mp4")
    assert clip.frame_rate == pytest.approx(25.0)
    order = np.abs(clip.frames[:, None] - waves(30, 32)[None]).mean((2, 3, 4)).argmin(1)
    assert order.tolist() == [*range(15), 14, 14, *range(15, 30)]
    assert len(load_clip(tmp_path / "clip.mp4", limit=20).frames) == 20
    as_they_come = load_clip(tmp_path / "clip.mp4", frame_rate=30.0)
    assert as_they_come.frames.shape == (30, 1, 32, 32)
    assert as_they_come.frame_rate == 30.0


def test_a_clip_that_pauses_is_refused_unless_its_rate_is_told(tmp_path):
    times = np.arange(30) * 40
    times[15:] += 8000
    write(tmp_path / "clip.mp4", "mp4", "libx264", "yuv420p", times)
    with pytest.raises(InputError, match=r"come 0\.04 to 8\.04 s after one another; pass --frame-rate"):
        load_clip(tmp_path / "clip.mp4")
    assert len(load_clip(tmp_path / "clip.mp4", frame_rate=25.0).frames) == 30


@pytest.mark.parametrize("quarters", range(4))
def test_frames_are_turned_as_the_file_says(tmp_path, quarters):
    frames = -np.ones((16, 1, 32, 48), np.float32)
    frames[:, :, :8, :8] = 1.0  # upper left
    save_mp4(tmp_path / "clip.mp4", frames, 25.0)
    cosine, sine = [(1, 0), (0, -1), (-1, 0), (0, 1)][quarters]
    matrix = struct.pack(">9i", *(65536 * n for n in (cosine, sine, 0, -sine, cosine, 0, 0, 0)), 2**30)
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    content = (tmp_path / "clip.mp4").read_bytes()
    place = content.index(identity, content.index(b"tkhd"))
    (tmp_path / "clip.mp4").write_bytes(content[:place] + matrix + content[place + len(matrix) :])
    turned = load_clip(tmp_path / "clip.mp4").frames
    assert np.abs(turned - np.rot90(frames, quarters, (2, 3))).mean() < 0.05


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_transparent_pixels_are_refused(tmp_path, suffix):
    for name, opacity in (("whole", 255), ("holes", 0)):
        frames = np.concatenate([to_uint8(waves(5, 16))[:, 0, ..., None]] * 3 + [np.full((5, 16, 16, 1), 255)], 3)
        frames[:, 4:9, 4:9, 3] = opacity
        first, *others = [Image.fromarray(frame.astype(np.uint8)) for frame in frames]
        first.save(tmp_path / f"{name}.{suffix}", save_all=True, append_images=others, duration=40, disposal=2)
    assert len(load_clip(tmp_path / f"whole.{suffix}").frames) == 5
    with pytest.raises(InputError, match="transparent pixels"):
        load_clip(tmp_path / f"holes.{suffix}")


def test_frames_that_change_their_size(tmp_path):
    content = b""
    for side in (16, 16, 24):
        picture = io.BytesIO()
        Image.new("RGB", (side, side), "gray").save(picture, "jpeg")
        content += picture.getvalue()
    (tmp_path / "clip.mjpeg").write_bytes(content)
    with pytest.raises(InputError, match="change their size; pass --size"):
        load_clip(tmp_path / "clip.mjpeg")
    assert load_clip(tmp_path / "clip.mjpeg", size=8).frames.shape == (3, 1, 8, 8)


@pytest.mark.parametrize("suffix", ["mp4", "gif", "avi"])
def test_limits_hold(tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    if suffix == "avi":
        write(path, "avi", "mpeg4", "yuv420p")
    else:
        {"mp4": save_mp4, "gif": save_gif}[suffix](path, waves(30, 32), 25.0)
    with pytest.raises(InputError, match=r"32 x 32 pixels, more than the 1,023.*--max-pixels"):
        load_clip(path, limits=Limits(max_pixels=1023))
    enough = 30 * 3 * 32 * 32 * 6
    assert len(load_clip(path, limits=Limits(max_pixels=1024, max_bytes=enough)).frames) == 30
    for frame_rate in (None, 25.0):
        with pytest.raises(InputError, match="--max-gigabytes"):
            load_clip(path, frame_rate=frame_rate, limits=Limits(max_bytes=enough - 1))
    assert len(load_clip(path, limit=5, limits=Limits(max_bytes=enough - 1)).frames) == 5


def test_a_header_of_huge_frames_is_refused_before_they_are_decoded(tmp_path):
    save_gif(tmp_path / "clip.gif", waves(3, 32), 25.0)
    content = bytearray((tmp_path / "clip.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 16000, 16000)
    (tmp_path / "clip.gif").write_bytes(content)
    with pytest.raises(InputError, match=r"16000 x 16000 pixels.*--max-pixels|exceeds limit"):
        load_clip(tmp_path / "clip.gif")


def test_clips_that_were_cut_off(tmp_path):
    write(tmp_path / "clip.mp4", "mp4", "libx264", "yuv420p", options={"movflags": "faststart"})
    content = (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "clip.mp4").write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(InputError, match="not a video that can be read"):
        load_clip(tmp_path / "clip.mp4")


def test_a_container_of_a_sound_alone(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with pytest.raises(InputError, match=r"sound\.mp4: holds no pictures"):
        load_clip(tmp_path / "sound.mp4")


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile secret.ts\n",
    "looks innocent.mp4": "ffconcat version 1.0\nfile secret.ts\n",
    "%d.jpg": None,
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_files_that_name_other_files_cannot_make_these_be_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "secret.ts", "mpegts", "mpeg2video", "yuv420p")
    for number in range(3):
        Image.new("L", (16, 16), 99 + number).save(f"{number}.jpg")
    if PLAYLISTS[name]:
        (tmp_path / name).write_text(PLAYLISTS[name])
    else:
        shutil.copy("0.jpg", name)
    with av.open(name) as container:
        assert len(list(container.decode(video=0))) == (30 if PLAYLISTS[name] else 3), "FFmpeg itself would"
    with pytest.raises(InputError, match="no playlist"):
        load_clip(name)


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9/clip.mp4", "concat:clip.ts|clip.ts", "file:clip.ts", "pipe:0", "data:video/mp4;base64,AAAA"],
)
def test_addresses_are_names_of_files(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "clip.ts", "mpegts", "mpeg2video", "yuv420p")
    with pytest.raises(InputError, match="no such file"):
        load_clip(address)


def test_pipes_keep_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="is a pipe"):
        load_clip(tmp_path / "pipe.mp4")


def test_bad_frames_of_a_folder_are_left_out_if_asked(tmp_path):
    for number in range(4):
        Image.new("L", (8, 8), 50 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_text("no picture")
    with pytest.raises(InputError, match=r"2\.png"):
        load_clip(tmp_path)
    clip = load_clip(tmp_path, on_bad_file="skip")
    assert clip.names == ("0", "1", "3")
    assert [skipped.file for skipped in clip.skipped] == [str(tmp_path / "2.png")]
    with pytest.raises(InputError, match="--max-gigabytes"):
        load_clip(tmp_path, on_bad_file="skip", limits=Limits(max_bytes=100))
