"""Which pixels are hidden: painted with a brush, or drawn at random."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from abpnet.data.masks import pepper, region
from abpnet.errors import InputError

__all__ = ["MOST_HIDDEN", "painted_pixels", "random_pixels"]

# A pixel is hidden if so much of its square was painted.
PAINTED = 0.25
MOST_HIDDEN = 0.95


def painted_pixels(paint: Bool[np.ndarray, "h2 w2"], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Pixels of an image that were painted on an enlarged picture of it.

    Args:
        paint: Where there is paint; of any size, which is taken for the whole picture.
        height: Of the image.
        width: Of the image.
    """
    finer = -(-np.array([height, width]) // paint.shape)
    paint = paint.repeat(finer[0], 0).repeat(finer[1], 1)
    rows, columns = (np.arange(n + 1) * m // n for n, m in zip((height, width), paint.shape, strict=True))
    sums = np.add.reduceat(np.add.reduceat(paint.astype(np.float64), rows[:-1], 0), columns[:-1], 1)
    return sums >= PAINTED * np.diff(rows)[:, None] * np.diff(columns)


def random_pixels(kind: str, share: float | int, height: int, width: int, seed: int) -> Bool[np.ndarray, "h w"]:
    """Pixels hidden at random.

    Args:
        kind: "scattered pixels" or "one square".
        share: Of the image to hide, 0 to `MOST_HIDDEN`.
        height: Of the image.
        width: Of the image.
        seed: Of chance.

    Raises:
        InputError: If the share is out of range.
    """
    if not 0 <= share <= MOST_HIDDEN:
        raise InputError(f"the share to hide must be 0 to {MOST_HIDDEN:.0%}, got {share:.0%}")
    rng, shape = np.random.default_rng(seed), (1, 1, height, width)
    if kind == "one square":
        side = min(round((share * height * width) ** 0.5), height, width)
        return ~region(shape, side, rng)[0, 0]
    return ~pepper(shape, float(share), 1, rng)[0, 0]
