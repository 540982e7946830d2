"""Pictures of every format and mode."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image

from abpnet.data import load_image, texture_photograph
from abpnet.data.images import to_uint8
from through_files import reads

__all__ = ["read", "seeds"]

read = reads(load_image, ".png")


def seeds() -> Iterator[bytes]:
    """Small pictures that can be read."""
    small = Image.fromarray(to_uint8(texture_photograph("gravel", 16))[0])
    for suffix in ("png", "jpeg", "gif", "tiff", "webp", "ppm", "bmp"):
        stream = io.BytesIO()
        small.save(stream, suffix)
        yield stream.getvalue()
