"""Masks: which pixels were observed (True) and which are hidden (False)."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abpnet.data.images import load_image
from abpnet.data.limits import Limits
from abpnet.data.pictures import SUFFIXES
from abpnet.errors import InputError

__all__ = ["draw_mask", "is_mask_file", "pepper", "region"]

KINDS = ("pepper", "region", "nan")


def pepper(shape: Sequence[int], fraction: float, block: int, rng: np.random.Generator) -> np.ndarray:
    """Hide small squares at random places, in each image its own, until the fraction is covered.

    Squares may overlap and are cut at the border; pixels of the last one are given back so that every image loses
    exactly the same number.

    Args:
        shape: (n, channels, height, width); all channels of a pixel are hidden together.
        fraction: Share of pixels to hide, 0 to 1.
        block: Side of the squares in pixels.
        rng: Source of chance.

    Returns:
        bool (n, 1, height, width), True = observed.
    """
    n, _, height, width = shape
    target = round(fraction * height * width)
    # A random order of squares; a pixel is hidden by the first square that covers it. The earliest `target` pixels go.
    order = rng.random((n, height + block - 1, width + block - 1))
    windows = np.lib.stride_tricks.sliding_window_view(order, (block, block), axis=(1, 2))
    first_cover = windows.min((3, 4)).reshape(n, -1)
    hidden = np.zeros((n, height * width), bool)
    np.put_along_axis(hidden, first_cover.argsort(1, kind="stable")[:, :target], True, axis=1)
    return ~hidden.reshape(n, 1, height, width)


def region(shape: Sequence[int], side: int, rng: np.random.Generator) -> np.ndarray:
    """Hide one square region at a random place, in each image its own.

    Args:
        shape: (n, channels, height, width).
        side: Side of the region in pixels, at most the image's.
        rng: Source of chance.

    Returns:
        bool (n, 1, height, width), True = observed.
    """
    n, _, height, width = shape
    top = rng.integers(0, height - side + 1, (n, 1, 1))
    left = rng.integers(0, width - side + 1, (n, 1, 1))
    rows, columns = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return ~inside[:, None]


def is_mask_file(specification: str) -> bool:
    """Whether the description of a mask names a picture."""
    is_picture = Path(specification).suffix.lower() in SUFFIXES
    return is_picture or (specification.split(":")[0] not in KINDS and os.path.isfile(specification))


def _from_file(path: Path, height: int, width: int, limits: Limits) -> np.ndarray:
    channels = load_image(path, limits=limits)
    picture = channels[0]
    if picture.shape != (height, width):
        raise InputError(
            f"{path}: the mask has {picture.shape[1]} x {picture.shape[0]} pixels, the images {width} x {height}; "
            "scale the mask to the size of the images, without smoothing"
        )
    odd = ~(np.isin(picture, (-1.0, 1.0)) & (channels == picture).all(0))
    if odd.any():
        transparent = " (transparent ones among them)" if np.isnan(picture).any() else ""
        blurred = "; JPEG blurs edges" if path.suffix.lower() in (".jpg", ".jpeg") else ""
        raise InputError(
            f"{path}: a mask must be black (hidden) and white (observed) only, but {odd.sum():,} of its {odd.size:,} "
            f"pixels have other shades or colours{transparent}{blurred}; make it so and save it as PNG, for example: "
            f"{_remedy(path)}"
        )
    if (picture == -1.0).all():
        raise InputError(f"{path}: the mask hides every pixel (all black); white pixels are observed")
    return picture[None, None] == 1.0


def _remedy(path: Path) -> str:
    """A command that makes a picture black and white."""
    mended = path.with_name(f"{path.stem}-binary.png")
    code = f"from PIL import Image; Image.open({str(path)!r}).convert('L').point(lambda v: 255 * (v > 127))"
    return shlex.join(["python", "-c", f"{code}.save({str(mended)!r})"])


def draw_mask(
    specification: str, shape: Sequence[int], rng: np.random.Generator, limits: Limits = Limits()
) -> np.ndarray:
    """Draw the masks of a set of images from a short description.

    Args:
        specification: "pepper:FRACTION[:BLOCK]" (squares of BLOCK pixels, 3 unless told), "region:SIDE", the path of a
            black (hidden) and white (observed) picture for all images, or "nan": only what the data lack is missing.
        shape: (n, channels, height, width).
        rng: Source of chance.
        limits: Of what is decoded of a picture.

    Returns:
        bool (n, 1, height, width), True = observed.

    Raises:
        InputError: If the description is none of these or does not fit the images.
    """
    n, _, height, width = shape
    kind, *numbers = specification.split(":")
    if kind == "nan" and not numbers:
        return np.ones((n, 1, height, width), bool)
    if is_mask_file(specification):
        return np.broadcast_to(_from_file(Path(specification), height, width, limits), (n, 1, height, width))
    try:
        if kind == "pepper" and len(numbers) in (1, 2):
            fraction, block = float(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 3
            if 0 <= fraction < 1 and 1 <= block <= min(height, width):
                return pepper(shape, fraction, block, rng)
        if kind == "region" and len(numbers) == 1 and 1 <= int(numbers[0]) < max(height, width):
            side = int(numbers[0])
            if side <= min(height, width):
                return region(shape, side, rng)
    except ValueError:
        pass
    raise InputError(
        f"--mask {specification}: expected pepper:FRACTION[:BLOCK] with 0 <= FRACTION < 1, region:SIDE smaller than "
        f"the {width} x {height} images, a black and white picture (PNG), or nan"
    )
