"""The mirror image of a top-down network: what encoders and discriminators are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.networks.layers import LEAK, start_fainter

__all__ = ["BottomUpNetwork", "n_factors"]


def n_factors(top_down: nn.Module) -> int:
    """Number of latent factors that a top-down network takes.

    Raises:
        ValueError: If they are a map.
    """
    return _layers(top_down)[0].in_features


def _layers(top_down: nn.Module) -> list[Any]:
    layers = [layer for layer in top_down.modules() if isinstance(layer, (nn.Linear, nn.ConvTranspose2d))]
    if not layers or not isinstance(layers[0], nn.Linear):
        raise ValueError(f"{type(top_down).__name__} has no mirror image: its factors are no vector")
    return layers


class BottomUpNetwork(nn.Module):
    """From signals to a vector: a top-down network's layers the other way round, leaky ReLU between them.

    Every deconvolution (of 5x5, up-sampling by 2) becomes a convolution of the same size, stride and channels, every
    linear layer a linear one.

    Args:
        top_down: Made of linear layers, or of a linear layer and deconvolutions, such as `ObjectNetwork`.
        n_outputs: Length of the vector.
        n_parts: Tensors of the signal's shape that come in side by side.

    Raises:
        ValueError: If the network is made of something else, or its factors are a map.
    """

    def __init__(self, top_down: nn.Module, n_outputs: int, n_parts: int = 1) -> None:
        super().__init__()
        above = _layers(top_down)
        shape: Sequence[int] = top_down.shape  # type: ignore[assignment]
        is_image = isinstance(above[-1], nn.ConvTranspose2d)
        self.shape = (above[-1].out_channels, *shape[-2:]) if is_image else (math.prod(shape),)
        layers: list[nn.Module] = []
        for layer in reversed(above):
            parts = 1 if layers else n_parts
            last = layer is above[0]
            if isinstance(layer, nn.ConvTranspose2d):
                layers.append(nn.Conv2d(layer.out_channels * parts, layer.in_channels, 5, stride=2, padding=2))
            else:
                layers += [nn.Flatten()] * (last and is_image)
                layers.append(nn.Linear(layer.out_features * parts, n_outputs if last else layer.in_features))
            layers += [nn.LeakyReLU(LEAK)] * (not last)
        # The vector starts close to 0: a posterior at the prior, an undecided judge.
        start_fainter(layers[-1], 0.1)
        self.layers = nn.Sequential(*layers)

    def forward(self, *parts: Float[Tensor, "n *shape"]) -> Float[Tensor, "n n_outputs"]:
        """The vector of each example."""
        x = torch.cat([part.reshape(len(part), *self.shape) for part in parts], 1)
        return self.layers(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x)
