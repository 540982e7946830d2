"""Pictures of every format and mode that is read, and some of those that are refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from abpnet.data import load_image, texture_photograph
from abpnet.data.images import to_uint8
from abpnet.data.limits import Limits
from through_files import reads

__all__ = ["pictures", "read", "seeds"]

read = reads(partial(load_image, limits=Limits(max_pixels=2**20, max_bytes=2**24)), ".png")

# Formats, and modes that they can hold.
MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "F"),
    "jpeg": ("L", "RGB", "CMYK"),
    "gif": ("L", "P"),
    "webp": ("RGB", "RGBA"),
    "bmp": ("1", "L", "P", "RGB"),
    "ppm": ("1", "L", "RGB", "I;16"),
}
OPTIONS = {
    "jpeg": ({}, {"progressive": True}),
    "tiff": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}),
    "webp": ({}, {"lossless": True}),
}


def pictures() -> Iterator[Image.Image]:
    """One small photograph in many modes."""
    grey = to_uint8(texture_photograph("gravel", 12))[0]
    colour = Image.fromarray(np.stack([grey, grey[::-1], grey.T], -1))
    for mode in dict.fromkeys(mode for modes in MODES.values() for mode in modes):
        if mode == "I;16":
            yield Image.fromarray(grey.astype(np.uint16) * 257)
        elif mode == "F":
            yield Image.fromarray(grey.astype(np.float32))
        elif mode == "LAB":
            yield Image.merge("LAB", colour.split())
        else:
            yield colour.convert(mode)


def seeds() -> Iterator[bytes]:
    """Files of them, turned by EXIF data now and then, and an animation of each kind."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for picture in pictures():
        for kind, modes in MODES.items():
            for options in OPTIONS.get(kind, ({},)) if picture.mode in modes else ():
                if options.get("compression") == "jpeg" and picture.mode not in ("L", "RGB", "CMYK"):
                    continue
                stream = io.BytesIO()
                picture.save(stream, kind, exif=exif, **options)
                yield stream.getvalue()
    frames = [Image.new("P", (4, 4), colour) for colour in (0, 1)]
    for kind in ("gif", "png", "webp", "tiff"):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        yield stream.getvalue()
