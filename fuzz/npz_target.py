"""Arrays in .npz files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import numpy as np

from abpnet.data import load_images
from abpnet.data.limits import Limits
from npy_target import arrays
from through_files import reads

__all__ = ["read", "seeds"]

read = reads(partial(load_images, limits=Limits(max_bytes=2**24)), ".npz")


def seeds() -> Iterator[bytes]:
    """Files of one array and a few labels, compressed and not."""
    for array in arrays():
        for save in (np.savez, np.savez_compressed):
            stream = io.BytesIO()
            save(stream, images=array, labels=np.arange(3))
            yield stream.getvalue()
