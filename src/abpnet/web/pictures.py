"""Pictures for the page and from it: enlarged without smoothing, scaled to what a model knows, maps as colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from abpnet.data.images import load_image
from abpnet.data.limits import Limits
from abpnet.data.pictures import decode
from abpnet.data.scaling import scaled
from abpnet.errors import InputError

__all__ = ["Fitted", "as_images", "enlarged", "factor_of", "fit", "map_colours", "read_upload"]

# Small images are enlarged until their longer side has about so many pixels.
SHOWN_SIDE = 384
# The longer side that an uploaded picture keeps; more than any model's is of no use.
KEPT_SIDE = 1024


def as_images(signals: Float[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n c h w"]:
    """Signals of images, (n, h, w) or (n, c, h, w), with their channels."""
    return signals if signals.ndim == 4 else signals[:, None]


def factor_of(size: Sequence[int], side: int = SHOWN_SIDE) -> int:
    """By how much a picture of this height and width is enlarged, for its longer side to have about `side` pixels."""
    return max(1, side // max(size))


def enlarged(picture: UInt8[np.ndarray, "h w k"], side: int = SHOWN_SIDE) -> UInt8[np.ndarray, "h2 w2 k"]:
    """The picture with each pixel a square, so that its longer side is about `side`; larger ones as they are."""
    factor = factor_of(picture.shape[:2], side)
    return picture.repeat(factor, 0).repeat(factor, 1)


def map_colours(values: Float[np.ndarray, "h w"], largest: float) -> UInt8[np.ndarray, "h w 3"]:
    """A map of values from 0, black, over red and yellow to `largest`, white."""
    from matplotlib import colormaps

    return (colormaps["inferno"](np.clip(values / largest, 0, 1))[..., :3] * 255).round().astype(np.uint8)


def read_upload(path: str | Path, limits: Limits = Limits()) -> Float[np.ndarray, "c h w"]:
    """An uploaded picture; a large one is scaled down, NaN where it is transparent.

    Args:
        path: Where it was put; messages say the file's own name.
        limits: Of what is decoded.

    Raises:
        InputError: If it is no picture, or too large a one.
    """
    path = Path(path)
    try:
        width, height = decode(path, limits).size
        scale = min(1.0, KEPT_SIDE / max(width, height))
        smaller = max(1, round(width * scale)), max(1, round(height * scale))
        return load_image(path, size=None if scale == 1 else smaller, limits=limits)
    except InputError as error:
        raise InputError(str(error).replace(str(path), path.name)) from None


class Fitted(NamedTuple):
    """A picture as a model can take it.

    Attributes:
        image: (c, h, w) in [-1, 1], NaN = missing.
        note: What was done to it; nothing if it fitted.
    """

    image: np.ndarray
    note: str


def fit(picture: Float[np.ndarray, "c h w"], shape: tuple[int, ...]) -> Fitted:
    """The middle of a picture at the size and with the channels that a model knows.

    Args:
        picture: In [-1, 1], NaN = missing.
        shape: Of the model's signals: (h, w) or (1 or 3, h, w).
    """
    channels, height, width = shape if len(shape) == 3 else (1, *shape)
    notes = []
    if picture.shape[1:] != (height, width):
        notes.append(f"resized from {picture.shape[2]} x {picture.shape[1]} to {width} x {height} pixels")
        picture = np.clip(scaled(picture, ~np.isnan(picture).any(0), width, height), -1, 1)
    if len(picture) == 3 and channels == 1:
        if (picture != picture[:1]).any():
            notes.append("colours turned into shades of grey")
        picture = picture.mean(0, keepdims=True)
    image = np.ascontiguousarray(np.broadcast_to(picture, (channels, height, width)), np.float32)
    return Fitted(image, f"The picture was {' and '.join(notes)}: that is what this model knows." if notes else "")
