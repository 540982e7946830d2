"""Aligned objects, such as faces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.networks.layers import LEAK, EnlargingConvolution, SteadyLinear, deconvolution, first_maps, start_fainter

__all__ = ["ObjectNetwork"]


class ObjectNetwork(nn.Module):
    """Aligned objects, such as faces: a fully connected layer, then deconvolutions (Han et al. 2017, experiment 3).

    A small map of `width` channels doubles in size and halves in channels at each deconvolution; leaky ReLU between
    layers, tanh at the bottom, no batch normalisation.

    Args:
        latent_dim: Number of factors d.
        shape: Shape of one image, (channels, height, width) or (height, width), each side at least 8.
        width: Channels of the first map.
        initial_contrast: What `initialise` multiplies the usual standard deviation of the last weights by.
        bounded: Whether the output passes through tanh, as that of `VectorNetwork`.
        repeat: Whether maps are enlarged by repeating pixels (see `EnlargingConvolution`) instead of by deconvolutions
            of 5x5: better where much of an image is not observed at all.

    Raises:
        ValueError: If the shape is no image's.
    """

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        width: int = 512,
        initial_contrast: float = 1.0,
        bounded: bool = True,
        repeat: bool = False,
    ) -> None:
        super().__init__()
        self.settings = {
            "latent_dim": latent_dim,
            "shape": list(shape),
            "width": width,
            "initial_contrast": initial_contrast,
            "bounded": bounded,
            "repeat": repeat,
        }
        self.shape = tuple(shape)
        if len(self.shape) not in (2, 3) or min(self.shape[-2:]) < 8:
            raise ValueError(
                "an object network needs images of shape (height, width) or (channels, height, width) with sides of "
                f"at least 8; got {self.shape}"
            )
        channels, sides = first_maps(self.shape, width)
        n_outputs = 1 if len(self.shape) == 2 else self.shape[0]
        self.first_map = (channels[0], *sides)
        self.factors = SteadyLinear(latent_dim, math.prod(self.first_map))
        layers: list[nn.Module] = []
        for n_inputs, n_next in zip(channels, [*channels[1:], n_outputs], strict=True):
            enlarge = EnlargingConvolution if repeat else deconvolution
            layers += [nn.LeakyReLU(LEAK), enlarge(n_inputs, n_next)]
        start_fainter(layers[-1], initial_contrast)
        self.layers = nn.Sequential(*layers, *[nn.Tanh()] * bounded)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *shape"]:
        """Images of the factors."""
        first = self.factors(z).unflatten(1, self.first_map).contiguous(memory_format=torch.channels_last)
        image = self.layers(first)[..., : self.shape[-2], : self.shape[-1]]
        return image.reshape(z.shape[0], *self.shape)
