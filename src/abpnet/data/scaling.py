"""Pictures with missing pixels at another size."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Real
from PIL import Image

__all__ = ["scaled"]

# A scaled pixel is known if so much of the area that it covers is.
KNOWN = 0.999


def scaled(
    picture: Real[np.ndarray, "c h w"], known: Bool[np.ndarray, "h w"], width: int, height: int
) -> Float[np.ndarray, "c h2 w2"]:
    """The middle of a picture at another size; what is missing has no part in it.

    Known pixels are weighted by Lanczos' kernel, and the weights of each scaled pixel add up to 1 whatever is
    missing around it: normalized convolution (Knutsson and Westin, CVPR 1993).

    Args:
        picture: Of values in any unit; those that are missing may be anything.
        known: Which pixels are not missing.
        width: Of the result, in pixels.
        height: Of the result, in pixels.

    Returns:
        float32, NaN where more than a thousandth of what a pixel covers is missing. Beside edges values go a little
        beyond those of the picture, as they do after any scaling by Lanczos' kernel.
    """
    scale = min(picture.shape[1] / height, picture.shape[2] / width)
    left, top = (picture.shape[2] - scale * width) / 2, (picture.shape[1] - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)

    def resized(channel: np.ndarray, by: Image.Resampling = Image.Resampling.LANCZOS) -> np.ndarray:
        return np.asarray(Image.fromarray(channel.astype(np.float32)).resize((width, height), by, box=box))

    covered = resized(known, Image.Resampling.BOX)
    weight = np.where(covered > KNOWN, resized(known), np.nan)
    return np.stack([resized(np.where(known, channel, 0)) / weight for channel in picture])
