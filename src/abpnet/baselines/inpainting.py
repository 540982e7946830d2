"""Filling in the hidden pixels of one image from its other pixels, without learning."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["biharmonic", "fill_smoothly"]

# The time grows with the hidden pixels, 0.1 ms each; more images than this many belong to are left out.
MOST_HIDDEN = 10**7


def _fill(image: Float[np.ndarray, "c h w"]) -> Float[np.ndarray, "c h w"]:
    from skimage.restoration import inpaint_biharmonic

    image = np.ascontiguousarray(image)  # images of files come with their channels last in memory
    hidden = np.isnan(image)
    if not hidden.any():
        return image
    known = np.where(hidden, 0, image)
    if (hidden == hidden[:1]).all():  # all channels of a pixel are hidden together
        return np.moveaxis(inpaint_biharmonic(np.moveaxis(known, 0, -1), hidden[0], channel_axis=-1), -1, 0)
    return np.stack([inpaint_biharmonic(channel, mask) for channel, mask in zip(known, hidden, strict=True)])


def biharmonic(images: Float[np.ndarray, "n c h w"]) -> tuple[str, Float[np.ndarray, "n c h w"]]:
    """Smooth surfaces through the observed pixels: `laplacian^2 x = 0` where hidden (`skimage.restoration`).

    Args:
        images: NaN = hidden.

    Returns:
        What was done, and the images filled in; those that were left out for lack of time are NaN.
    """
    hidden = np.isnan(images).any(1).sum((1, 2))
    n = int((hidden.cumsum() <= MOST_HIDDEN).sum())
    filled = np.full_like(images, np.nan)
    for index in range(n):
        filled[index] = _fill(images[index])
    return "biharmonic inpainting" + (f", first {n:,} images" if n < len(images) else ""), filled


def fill_smoothly(y: Float[Tensor, "n c h w"], observed: Bool[Tensor, "n 1 h w"]) -> Float[Tensor, "n c h w"]:
    """The same of tensors, however many pixels are hidden; an image without observed pixels becomes grey.

    Args:
        y: Images, finite everywhere; hidden pixels do not matter.
        observed: Which pixels were observed.
    """
    holes = torch.where(observed, y, torch.nan).numpy()
    filled = [_fill(image) if seen.any() else np.zeros_like(image) for image, seen in zip(holes, observed, strict=True)]
    return torch.from_numpy(np.stack(filled).astype(np.float32))
