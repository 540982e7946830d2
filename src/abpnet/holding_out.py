"""Entries held out of inference: the factors of the others have to predict them.

Explained from everything, the factors carry details of each example that tell nothing about its hidden entries, and the
network learns to read them: it memorises. With a part m of the observed entries y left to be predicted,

    log p(y) = log p(y_rest) + log p(y_m | y_rest) >= log p(y_rest) + E[log p(y_m | z)],  z ~ p(z | y_rest),

by Jensen's inequality. At factors of the rest, the gradient of `E[log p(y | z)]` in the weights is that of the first
term (Fisher's identity) plus, with this posterior held fixed, that of the bound on the second.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from abpnet.chance import Chance, uniform
from abpnet.observations import Mask, Observation

__all__ = ["hold_out", "holes"]


def holes(n: int, height: int, width: int, share: float, generator: Chance) -> Bool[Tensor, "n height width"]:
    """A square hole for each of n images, its centre anywhere in the image: True inside.

    Args:
        n: How many.
        height: Of an image.
        width: Of an image.
        share: Side of the square as a share of the shorter side.
        generator: Source of chance, on its own device.
    """
    side = round(share * min(height, width))
    places = uniform((2, n, 1), generator, axis=1)
    within = []
    for place, length in zip(places, (height, width), strict=True):
        first = (place * length - side / 2).round()
        position = torch.arange(length, device=places.device)
        within.append((position >= first) & (position < first + side))
    return within[0][:, :, None] & within[1][:, None, :]


def hold_out(
    observation: Observation, images: Float[Tensor, "n c height width"], share: float, generator: Chance
) -> Mask:
    """The same observation, of which `holes` hide more.

    Args:
        observation: How the images came about, on the generator's device.
        images: What is observed of them.
        share: See `holes`.
        generator: Source of chance.
    """
    n, _, height, width = images.shape
    return Mask(~holes(n, height, width, share, generator)[:, None], observation)
