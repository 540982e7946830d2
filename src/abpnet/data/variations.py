"""Variations of images: what could as well have been photographed, for learning from few of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["Variation", "vary"]

# Points of the coarse lattice that bends an image, along each side.
LATTICE = 5
# Colours change by this share of what the contrast does, and half as much in brightness.
COLOUR_SHARE = 0.3
# Images that are varied together.
BATCH = 256


@dataclass(frozen=True)
class Variation:
    """How far images are varied; every amount is drawn anew for every image, uniformly up to these.

    Attributes:
        shift: Along each side, as a share of it.
        turn: In degrees.
        zoom: Change of scale, as a share.
        bend: Standard deviation by which a coarse lattice of points is moved, as a share of the side.
        light: Change of contrast about mid-grey, as a share; colours change less.
    """

    shift: float = 0.024
    turn: float = 4.0
    zoom: float = 0.05
    bend: float = 0.011
    light: float = 0.1


def _varied(images: Float[Tensor, "n c h w"], variation: Variation, generator: torch.Generator) -> Tensor:
    n, n_channels = images.shape[:2]

    def amount(most: float, *shape: int) -> Tensor:
        return (2 * torch.rand(n, *shape, generator=generator) - 1) * most

    # Positions go from -1 to 1 along each side, so that a share of a side is twice as much.
    angle, scale = amount(math.radians(variation.turn)), 1 + amount(variation.zoom)
    sine, cosine, shift = scale * angle.sin(), scale * angle.cos(), amount(2 * variation.shift, 2)
    rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
    places = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    bent = 2 * variation.bend * torch.randn(n, 2, LATTICE, LATTICE, generator=generator)
    bent = F.interpolate(bent, size=images.shape[-2:], mode="bicubic", align_corners=True)
    places = places + bent.permute(0, 2, 3, 1)
    moved = F.grid_sample(images, places, mode="bicubic", padding_mode="reflection", align_corners=False)

    contrast, colour = amount(variation.light, 1, 1, 1), amount(variation.light * COLOUR_SHARE, n_channels, 1, 1)
    brightness = amount(variation.light * COLOUR_SHARE / 2, n_channels, 1, 1)
    return (moved * (1 + contrast) * (1 + colour) + brightness).clamp(-1, 1)


def vary(
    images: Float[np.ndarray, "n *shape"], n_versions: int, seed: int = 0, variation: Variation | None = None
) -> Float[np.ndarray, "m *shape"]:
    """Images, and versions of each: shifted, turned, scaled, bent and lit a little differently.

    Learned from like images of their own, they tell a model of few images what else such images could be. Borders are
    mirrored as far as needed. A pixel that is missing spoils those that would be interpolated from it: they are missing
    in the version.

    Args:
        images: (n, height, width) or (n, channels, height, width) in [-1, 1], NaN = missing.
        n_versions: Of each image, itself included; at least 1.
        seed: Of what is drawn.
        variation: How far.

    Returns:
        (n * n_versions, ...) float32: the images themselves, then one version of each, then another.

    Raises:
        ValueError: If these are no images, or no number of versions.
    """
    images = np.asarray(images, np.float32)
    if images.ndim not in (3, 4):
        raise ValueError(
            f"expected images of shape (height, width) or (channels, height, width), got {images.shape[1:]}"
        )
    if isinstance(n_versions, bool) or n_versions < 1:
        raise ValueError(f"n_versions must be a whole number of at least 1, got {n_versions!r}")
    generator, variation = torch.Generator().manual_seed(seed), variation or Variation()
    whole = torch.from_numpy(images if images.ndim == 4 else images[:, None])
    versions = np.empty((n_versions, *images.shape), np.float32)
    versions[0] = images
    for version in versions[1:]:
        for rows in torch.arange(len(images)).split(BATCH):
            version[rows] = _varied(whole[rows], variation, generator).numpy().reshape(version[rows].shape)
    return versions.reshape(-1, *images.shape[1:])
