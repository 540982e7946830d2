"""Pictures that say which pixels are hidden."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from abpnet.data import digits, draw_mask
from abpnet.data.limits import Limits
from through_files import reads

__all__ = ["read", "seeds"]

LIMITS = Limits(max_pixels=2**20, max_bytes=2**24)


def _draw(path: Path) -> None:
    mask = draw_mask(str(path), (2, 1, 8, 8), np.random.default_rng(0), LIMITS)
    assert mask.shape == (2, 1, 8, 8)
    assert mask.dtype == bool
    assert mask.any()


read = reads(_draw, ".png")


def seeds() -> Iterator[bytes]:
    """Digits in black and white."""
    whole = Image.fromarray(np.where(digits()[0, 0] > 0, 255, 0).astype(np.uint8))
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        for kind in ("png", "tiff", "bmp") if mode != "P" else ("png", "gif"):
            stream = io.BytesIO()
            whole.convert(mode).save(stream, kind)
            yield stream.getvalue()
    stream = io.BytesIO()
    whole.save(stream, "jpeg")
    yield stream.getvalue()
