"""Arrays in .npy files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np

from abpnet.data import digits, load_images
from abpnet.data.limits import Limits
from through_files import reads

__all__ = ["arrays", "read", "seeds"]

read = reads(partial(load_images, limits=Limits(max_bytes=2**24)), ".npy")


def arrays() -> Iterator[np.ndarray]:
    """Digits of every kind of number and layout, and what is refused."""
    real = digits()[:3, 0]
    real[0, 0, 0] = np.nan
    whole = ((digits()[:3, 0] + 1) * 127.5).astype(np.uint8)
    yield from (real.astype(kind) for kind in ("<f2", "<f4", ">f8"))
    yield from (whole, whole.astype(">i4"), whole > 99, np.asfortranarray(whole), whole[:, None], whole[..., None])
    yield np.repeat(whole[..., None], 3, -1)
    yield real.astype(complex)
    yield np.zeros((2, 2, 2), [("r", "u1"), ("g", "u1")])
    yield np.array("text")


def seeds() -> Iterator[bytes]:
    """Files of them."""
    for array in arrays():
        stream = io.BytesIO()
        np.save(stream, array)
        yield stream.getvalue()
