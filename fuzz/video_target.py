"""Videos: containers, codecs and animations."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np
from PIL import Image

from abpnet.data.builtin import waves
from abpnet.data.images import to_uint8
from abpnet.data.videos import load_clip
from through_files import reads

__all__ = ["read", "seeds"]

CODECS = [("mp4", "libx264"), ("avi", "mpeg4"), ("avi", "mjpeg"), ("webm", "libvpx"), ("mpegts", "mpeg2video")]

read = reads(lambda path: load_clip(path, size=16, limit=60), ".mp4")


def seeds() -> Iterator[bytes]:
    """Short clips that can be read."""
    frames = to_uint8(waves(6, 16))[:, 0]
    for container, codec in CODECS:
        if codec not in av.codecs_available:
            continue
        stream = io.BytesIO()
        with av.open(stream, "w", format=container) as output:
            track = output.add_stream(codec, rate=25)
            track.width = track.height = 16
            track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for frame in frames:
                output.mux(track.encode(av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, 2), "rgb24")))
            output.mux(track.encode())
        yield stream.getvalue()
    pictures = [Image.fromarray(frame) for frame in frames]
    for suffix in ("gif", "webp", "png"):
        stream = io.BytesIO()
        pictures[0].save(stream, suffix, save_all=True, append_images=pictures[1:], duration=40)
        yield stream.getvalue()
