"""Frames of one video file and their times; nothing but that file is ever opened, whatever it names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from abpnet.data.files import open_file
from abpnet.data.limits import Limits
from abpnet.errors import InputError

__all__ = ["Video", "decode"]

# Containers of FFmpeg that hold what they show; those that name other files (playlists, patterns of names, scripts) and
# devices are not among them.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf,ivf,yuv4mpegpipe,h264,hevc,m4v,mjpeg"
)
# Decoders pad frames to whole blocks: so many pixels more than twice those allowed are left to them.
PADDING = 2**18
# Beginnings of animations, which Pillow reads: FFmpeg shows the rest of a frame that was cut off as it was before.
ANIMATIONS = {"GIF": re.compile(rb"GIF8"), "PNG": re.compile(rb"\x89PNG"), "WEBP": re.compile(rb"RIFF....WEBP", re.S)}
# Seconds. Frames of animations that are to be shown for less than that are shown for longer by all browsers.
SHORTEST, INSTEAD = 0.02, 0.1
# Of each number in a frame: as a whole number, once alone and once among all, and as a real one in the end.
BYTES_PER_VALUE = 6
FILTER = Image.Resampling.LANCZOS


class Video(NamedTuple):
    """What a file holds.

    Attributes:
        frames: uint8 (n, height, width, 3).
        times: float64 (n,), seconds; None where the file does not tell.
        frame_rate: Frames per second, as the file says; None where it does not.
    """

    frames: np.ndarray
    times: np.ndarray | None
    frame_rate: float | None


class _Frame(NamedTuple):
    picture: Image.Image  # RGB, or RGBA
    time: float | None
    frame_rate: float | None  # of the whole file


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> None:
    raise PermissionError(f"it names another file, {url!r}")


def _turned(path: Path, picture: Image.Image, degrees: int) -> Image.Image:
    """A frame as it is to be shown: cameras that are held upright store pictures that lie on their side."""
    if degrees % 90:
        raise InputError(f"{path}: is to be turned by {degrees} degrees; only quarters are known, encode it anew")
    quarters = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
    turn = quarters.get(degrees // 90 % 4)
    return picture if turn is None else picture.transpose(turn)


def _by_ffmpeg(path: Path, stream: BinaryIO, limits: Limits) -> Iterator[_Frame]:
    import av

    most = {"max_pixels": str(2 * limits.max_pixels + PADDING)}
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "", **most}
    with av.open(stream, "r", options=options, metadata_errors="replace", io_open=_open_nothing) as container:
        if not container.streams.video:
            raise InputError(f"{path}: holds no pictures (a sound?); expected a video")
        video: Any = container.streams.video[0]
        if video.codec_context is None:
            raise InputError(f"{path}: its pictures are coded in a way that is not known; encode it anew, as MP4")
        limits.check_pixels(path, video.width, video.height)
        video.codec_context.options = most
        frame_rate = float(video.average_rate) if video.average_rate else None
        for frame in container.decode(video):
            limits.check_pixels(path, frame.width, frame.height)
            if frame.is_corrupt:
                raise InputError(f"{path}: holds a damaged frame; it was cut off, save it anew from the original")
            transparent = any(component.is_alpha for component in frame.format.components)
            picture = Image.fromarray(frame.to_ndarray(format="rgba")) if transparent else frame.to_image()
            yield _Frame(_turned(path, picture, frame.rotation), frame.time, frame_rate)


def _by_pillow(path: Path, stream: BinaryIO, limits: Limits) -> Iterator[_Frame]:
    time = 0.0
    with Image.open(stream, formats=list(ANIMATIONS)) as animation:
        for frame in ImageSequence.Iterator(animation):
            limits.check_pixels(path, *frame.size)
            yield _Frame(frame.convert("RGBA"), time, None)
            seconds = frame.info.get("duration", 0.0) / 1000
            time += seconds if seconds >= SHORTEST else INSTEAD


def decode(path: Path, size: int | None, limit: int | None, limits: Limits) -> Video:
    """Read a file.

    Args:
        path: A file of one of `FORMATS`, or an animated GIF, WebP or PNG, by its content.
        size: If given, the central square of each frame is scaled to this many pixels a side.
        limit: Read at most this many frames.
        limits: What is refused before it is decoded.

    Raises:
        InputError: If it cannot be read, its frames are not of one size or not opaque, or hold more than allowed.
    """
    frames: list[np.ndarray] = []
    times: list[float | None] = []
    frame_rate = None
    try:
        with open_file(path, "a video") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what the limits decide
            head = stream.read(12)
            stream.seek(0)
            is_animation = any(beginning.match(head) for beginning in ANIMATIONS.values())
            decoded = (_by_pillow if is_animation else _by_ffmpeg)(path, stream, limits)
            for frame in islice(decoded, limit):
                if frame.picture.mode == "RGBA" and np.asarray(frame.picture)[..., 3].min() < 255:
                    raise InputError(f"{path}: has transparent pixels; a video is learned from whole frames")
                picture = frame.picture.convert("RGB")
                frames.append(np.asarray(picture if size is None else ImageOps.fit(picture, (size, size), FILTER)))
                times.append(frame.time)
                frame_rate = frame.frame_rate
                if frames[-1].shape != frames[0].shape:
                    raise InputError(f"{path}: its frames change their size; pass --size to bring all to one square")
                limits.check_bytes(path, len(frames) * frames[0].size * BYTES_PER_VALUE)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: its beginning is damaged; save it anew from the original") from None
    except Exception as error:  # FFmpeg and Pillow raise whatever they meet in damaged files
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise InputError(
            f"{path}: not a video that can be read ({reason}); expected MP4, MKV, AVI, GIF ..., and no playlist"
        ) from None
    if not frames:
        raise InputError(f"{path}: holds no frames; expected a video")
    known = np.array([time for time in times if time is not None])
    return Video(np.stack(frames), known if len(known) == len(frames) else None, frame_rate)
