"""Videos in and out: clips, folders of frames and arrays become float32 frames in [-1, 1]."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from abpnet.data.builtin import BUILTIN_PREFIX, waves
from abpnet.data.images import SkippedFile, load_images, to_uint8
from abpnet.data.limits import Limits
from abpnet.data.video_files import BYTES_PER_VALUE, FILTER, Video, decode
from abpnet.errors import InputError

__all__ = ["Clip", "load_clip", "save_gif", "save_mp4"]

# Of folders, arrays and clips that do not say theirs; frames per second.
USUAL_RATE, LOWEST_RATE, HIGHEST_RATE = 25.0, 0.01, 1000.0
# In usual intervals: beyond this a clip pauses, and what is seen then is no motion to learn.
LONGEST_PAUSE = 10
# By how much the rate that a file tells may differ from that of its frames.
SAME_RATE = 0.02
# What the 256 values of a pixel stand for.
SHADES = (np.arange(256) / 127.5 - 1.0).astype(np.float32)
# Constant rate factor of H.264: hardly told from the frames themselves.
QUALITY = "14"


class Clip(NamedTuple):
    """Frames in the order of time.

    Attributes:
        frames: float32 (n, channels, height, width) in [-1, 1].
        frame_rate: Frames per second.
        names: Of a folder's files, one a frame.
        skipped: Files of a folder that were left out because they could not be read.
    """

    frames: np.ndarray
    frame_rate: float
    names: tuple[str, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()


def _clock(source: str | Path, video: Video) -> tuple[np.ndarray, float]:
    """Which frame is seen at each moment of an even clock, and how many such moments are a second."""
    times, told = video.times, video.frame_rate or USUAL_RATE
    as_they_are = np.arange(len(video.frames))
    if times is None or len(times) < 2:
        return as_they_are, told
    steps = np.diff(times)
    usual = float(np.median(steps))
    if not (steps > 0).all() or steps.max() > LONGEST_PAUSE * usual:
        raise InputError(
            f"{source}: its frames come {steps.min():.3g} to {steps.max():.3g} s after one another; pass --frame-rate "
            "to take them as if they came at equal intervals"
        )
    mean = float(times[-1] - times[0]) / len(steps)
    if np.abs(times - times[0] - mean * np.arange(len(times))).max() < mean / 2:
        return as_they_are, told if abs(told * mean - 1) < SAME_RATE else 1 / mean
    moments = np.arange(times[0], times[-1] + usual / 2, usual)
    return np.searchsorted(times, moments + usual / 2) - 1, 1 / usual


def _load_file(path: Path, size: int | None, limit: int | None, rate: float | None, limits: Limits) -> Clip:
    video = decode(path, size, limit, limits)
    frames = video.frames.transpose(0, 3, 1, 2)
    if rate is None:
        seen, rate = _clock(path, video)
        limits.check_bytes(path, len(seen[:limit]) * frames[0].size * BYTES_PER_VALUE)
        frames = frames[seen[:limit]]
    frames = frames[:, :1] if (frames == frames[:, :1]).all() else frames
    return Clip(SHADES[frames], rate)


def _scaled(frames: np.ndarray, size: int) -> np.ndarray:
    """The central square of each frame of an array, scaled."""

    def scale(channel: np.ndarray) -> np.ndarray:
        return np.asarray(ImageOps.fit(Image.fromarray(channel), (size, size), FILTER))

    scaled = np.stack([scale(channel) for frame in frames for channel in frame])
    return np.clip(scaled, -1, 1).reshape(*frames.shape[:2], size, size)


def load_clip(
    source: str | Path,
    *,
    size: int | None = None,
    limit: int | None = None,
    frame_rate: float | None = None,
    limits: Limits = Limits(),
    on_bad_file: Literal["error", "skip"] = "error",
    follow_links: bool = False,
) -> Clip:
    """Read a video.

    Frames of a file are turned as it says. If they do not come at equal intervals, those are taken that are seen at the
    moments of a clock of the usual interval.

    Args:
        source: A file that PyAV reads (MP4, GIF, AVI ...), a folder of frames in the order of their names, an array
            (.npz or .npy, as `load_images` takes it), or "builtin:waves"; never an address or a playlist.
        size: If given, the central square of each frame is scaled to this many pixels a side.
        limit: Read at most this many frames.
        frame_rate: Frames per second, 0.01 to 1000, whatever the file says of their times; by default what it says, 25
            where it says nothing.
        limits: What is refused before it is decoded.
        on_bad_file: What to do about a file of a folder that cannot be read: raise, or leave it out.
        follow_links: Whether to read links of a folder that lead out of it, which are bad files otherwise.

    Returns:
        The clip; grey if all its frames are.

    Raises:
        InputError: If it cannot be read as a video without missing pixels, or holds more than the limits allow.
    """
    path = Path(source)
    if str(source) == f"{BUILTIN_PREFIX}waves":
        clip = Clip(waves(limit or 120, size or 32), USUAL_RATE)
    elif str(source).startswith(BUILTIN_PREFIX):
        raise InputError(f"{source}: no such built-in video; choose {BUILTIN_PREFIX}waves")
    elif path.suffix.lower() in (".npy", ".npz"):
        frames = load_images(path, limit=limit, limits=limits).pixels
        clip = Clip(frames if size is None or np.isnan(frames).any() else _scaled(frames, size), USUAL_RATE)
    elif path.is_dir():
        images = load_images(
            path, size=size, limit=limit, limits=limits, on_bad_file=on_bad_file, follow_links=follow_links
        )
        clip = Clip(images.pixels, USUAL_RATE, tuple(images.names), images.skipped)
    else:
        clip = _load_file(path, size, limit, frame_rate, limits)
    if np.isnan(clip.frames).any():
        raise InputError(f"{source}: has missing pixels; a video is learned from whole frames")
    rate = frame_rate or clip.frame_rate
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(
            f"{source}: {rate:g} frames per second; expected {LOWEST_RATE:g} to {HIGHEST_RATE:g}: pass --frame-rate"
        )
    return clip._replace(frame_rate=rate)


def _colour(frames: np.ndarray) -> np.ndarray:
    """Frames as uint8 (n, height, width, 3)."""
    whole = to_uint8(frames)
    return np.ascontiguousarray(np.broadcast_to(whole, (len(whole), 3, *whole.shape[2:])).transpose(0, 2, 3, 1))


def save_mp4(path: str | Path, frames: np.ndarray, frame_rate: float) -> None:
    """Write (n, 1 or 3, height, width) frames in [-1, 1] as MP4: H.264, or MPEG-4 where PyAV comes without it.

    Sides must be even; an odd one is made so by repeating its last row or column.
    """
    import av

    pixels = _colour(frames)
    pixels = np.pad(pixels, ((0, 0), (0, pixels.shape[1] % 2), (0, pixels.shape[2] % 2), (0, 0)), mode="edge")
    h264 = "libx264" in av.codecs_available
    with av.open(str(path), "w", format="mp4") as container:
        rate = Fraction(frame_rate).limit_denominator(1001)
        stream = container.add_stream("libx264" if h264 else "mpeg4", rate=rate)
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # the same frames give the same file, whatever else the machine does
        stream.options = {"crf": QUALITY} if h264 else {"qscale": "2"}
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def save_gif(path: str | Path, frames: np.ndarray, frame_rate: float) -> None:
    """Write (n, 1 or 3, height, width) frames in [-1, 1] as an endless GIF of at most 50 frames per second."""
    pictures = [Image.fromarray(picture) for picture in _colour(frames)]
    duration = max(20, round(100 / frame_rate) * 10)  # in steps of 10 ms; browsers slow down what is below 20
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0)
