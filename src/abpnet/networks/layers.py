"""Layers that the networks share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = [
    "LEAK",
    "WEIGHTED",
    "EnlargingConvolution",
    "SteadyLinear",
    "StillPicture",
    "deconvolution",
    "first_maps",
    "n_inputs",
    "start_fainter",
]

LEAK = 0.2
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# Layers whose outputs are weighted sums of inputs.
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
SMALLEST_WIDTH = 16
# Channels of maps do not halve any further.
FEWEST_CHANNELS = 16


class SteadyLinear(nn.Linear):
    """A linear layer that gives a row the same bits at every place in the batch.

    Matrix products of few columns (seen below 12) round by the memory address at which a row starts. So inputs and
    outputs of fewer than `SMALLEST_WIDTH` features are padded with zeros.
    """

    def forward(self, input: Float[Tensor, "n p"]) -> Float[Tensor, "n q"]:
        """`input @ weight.T + bias`."""
        n_outputs, n_inputs = self.weight.shape
        if min(n_outputs, n_inputs) >= SMALLEST_WIDTH:
            return super().forward(input)
        more_inputs, more_outputs = (max(SMALLEST_WIDTH - width, 0) for width in (n_inputs, n_outputs))
        weight = F.pad(self.weight, (0, more_inputs, 0, more_outputs))
        bias = None if self.bias is None else F.pad(self.bias, (0, more_outputs))
        return F.linear(F.pad(input, (0, more_inputs)), weight, bias)[:, :n_outputs]


class StillPicture(nn.Module):
    """One picture added to all: what never changes.

    It is held as a vector and added in float32: rounded to bfloat16 it would be as coarse as 8 bits a pixel.

    Args:
        shape: What it is added to, sizes of 1 being repeated.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.bias = nn.Parameter(torch.zeros(math.prod(shape)))

    def initialise(self) -> None:
        """Start without a picture."""
        nn.init.zeros_(self.bias)

    def forward(self, input: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """`input + picture`."""
        return input + self.bias.view(self.shape)


def n_inputs(layer: nn.Linear | nn.modules.conv._ConvNd) -> float:
    """How many inputs reach one output of a layer of one of the `WEIGHTED` kinds."""
    if isinstance(layer, TRANSPOSED):
        return layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
    return float(layer.weight[0].numel())


def start_fainter(layer: nn.Module, gain: float) -> None:
    """Note what `initialise` is to multiply the usual standard deviation of a layer's weights by."""
    layer.initial_gain = gain  # type: ignore[assignment]


def first_maps(shape: Sequence[int], width: int) -> tuple[list[int], list[int]]:
    """Where deconvolutions that double the sides of maps begin, so as to end at images of (..., height, width).

    Args:
        shape: Of one image.
        width: Channels of the first map; they halve from map to map, as far as 16.

    Returns:
        Channels of each map but the image itself, and the sides of the first, the shorter of them 4 to 7.
    """
    n_layers = int(math.log2(min(shape[-2:]) / 4))
    fewest = min(width, FEWEST_CHANNELS)
    channels = [max(width // 2**layer, fewest) for layer in range(n_layers)]
    return channels, [math.ceil(side / 2**n_layers) for side in shape[-2:]]


def deconvolution(n_inputs: int, n_outputs: int) -> nn.ConvTranspose2d:
    """Up-sampling by 2 and linear superposition of 5x5 basis functions (Han et al. 2017, section 2.2)."""
    return nn.ConvTranspose2d(n_inputs, n_outputs, 5, stride=2, padding=2, output_padding=1)


class EnlargingConvolution(nn.ConvTranspose2d):
    """Each pixel repeated as 2x2, then a convolution of 3x3, computed as one deconvolution of 4x4 (Odena et al. 2016).

    A deconvolution with free weights tells pixels of even and odd places apart, and keeps the pattern it starts with
    wherever the data do not say otherwise. This one does not, and takes two thirds of the arithmetic of 5x5.

    Args:
        n_inputs: Channels of the input.
        n_outputs: Channels of the output.
    """

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__(n_inputs, n_outputs, 3, stride=2, padding=1)

    def forward(self, input: Float[Tensor, "n p h w"], output_size: list[int] | None = None) -> Tensor:
        """The enlarged map, (n, q, 2 h, 2 w)."""
        # A tap of the convolution at the enlarged map's pixel is one at two neighbouring places of the deconvolution.
        repeat = torch.eye(4, device=self.weight.device)[:, :3] + torch.eye(4, device=self.weight.device)[:, 1:]
        repeat = repeat.to(self.weight)
        weight = (repeat @ self.weight @ repeat.T).contiguous(memory_format=torch.channels_last)
        return F.conv_transpose2d(input, weight, self.bias, stride=2, padding=1)
