"""Textures of any size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["TEXTURE_STRIDE", "TextureNetwork"]

# How much larger the maps of fine noise are than the coarse one, and how loud they start.
FINE_SCALES, NOISE_GAIN = (2, 4, 8), 0.7
NOISE_CHANNELS = sum(scale**2 for scale in FINE_SCALES)
# Covariances grow with the square of contrast: from too much of it the first steps would throw the chains far out.
INITIAL_CONTRAST = 0.02
# Pixels of the image for each position of the coarse map.
TEXTURE_STRIDE = 32


class EvenDeconvolution(nn.ConvTranspose2d):
    """Up-sampling by 2 and 5x5 basis functions that answer a constant map with a constant map.

    A pixel of even row or column is reached by 3 taps of a basis function, one of odd by 2. Left to themselves the
    four kinds of pixels differ in their mean, and five layers build a lattice that filter statistics hardly see. So
    the sums of the weights that reach each kind are set to their common mean.

    Args:
        n_inputs: Channels of the input, which comes padded by 1 on each side.
        n_outputs: Channels of the output.
        initial_gain: What `initialise` multiplies the usual standard deviation of the weights by.
    """

    def __init__(self, n_inputs: int, n_outputs: int, initial_gain: float = 1.0) -> None:
        super().__init__(n_inputs, n_outputs, 5, stride=2, padding=4, output_padding=1)
        self.initial_gain = initial_gain

    def forward(self, input: Float[Tensor, "n p h w"], output_size: list[int] | None = None) -> Tensor:
        """Superposition of the balanced basis functions, (n, q, 2 h - 4, 2 w - 4)."""
        odd = torch.arange(5, device=self.weight.device) % 2
        kind = (2 * odd[:, None] + odd).flatten()
        same = (kind[:, None] == kind).to(self.weight)
        excess = self.weight.flatten(2) @ ((same - 0.25) / same.sum(0))
        weight = self.weight - excess.view_as(self.weight)
        return F.conv_transpose2d(input, weight, self.bias, stride=2, padding=4, output_padding=1)


class TextureNetwork(nn.Module):
    """Textures of any size: five deconvolutions of a map of factors (Han et al. 2017, experiment 1).

    The map holds the noise of all scales: its first channels are the coarse map itself, the others, unshuffled to
    maps 2, 4 and 8 times as large, join the layers of that size. So the prior stays N(0, I) on one tensor. Each layer
    doubles the size; instance normalisation (of every example by itself, at every size alike) and ReLU between layers,
    tanh at the bottom.

    Args:
        latent_dim: Channels of the map of factors, more than `84 * n_fine`.
        n_channels: Channels of the image.
        width: Channels of the first layer's output; they halve from layer to layer.
        n_fine: Channels of noise at each of the finer scales.
        periodic: Whether the image is a torus, which can be tiled; otherwise borders are padded with 0.

    Raises:
        ValueError: If `latent_dim` leaves no channel for the coarse map.
    """

    def __init__(
        self, latent_dim: int, n_channels: int = 3, width: int = 128, n_fine: int = 8, periodic: bool = True
    ) -> None:
        super().__init__()
        self.settings = {
            "latent_dim": latent_dim,
            "n_channels": n_channels,
            "width": width,
            "n_fine": n_fine,
            "periodic": periodic,
        }
        self.latent_dim = latent_dim
        n_coarse = latent_dim - n_fine * NOISE_CHANNELS
        if n_coarse < 1:
            raise ValueError(f"latent_dim must exceed {latent_dim - n_coarse} with n_fine={n_fine}, got {latent_dim}")
        self.parts = [n_coarse, *(n_fine * scale**2 for scale in FINE_SCALES)]
        self.padding = "circular" if periodic else "constant"
        channels = [max(width // 2**layer, 16) for layer in range(4)]
        inputs = [n_coarse, *(count + n_fine for count in channels[:3]), channels[3]]
        self.deconvolutions = nn.ModuleList(
            EvenDeconvolution(n_inputs, n_outputs, 1.0 if layer < len(channels) else INITIAL_CONTRAST)
            for layer, (n_inputs, n_outputs) in enumerate(zip(inputs, [*channels, n_channels], strict=True))
        )
        self.normalisations = nn.ModuleList(nn.GroupNorm(count, count) for count in channels)

    @classmethod
    def with_noise(
        cls, n_channels: int, width: int = 128, n_coarse: int = 32, n_fine: int = 8, periodic: bool = True
    ) -> TextureNetwork:
        """The network with `n_coarse` channels of noise at the coarsest scale and `n_fine` at each of the others."""
        return cls(n_coarse + NOISE_CHANNELS * n_fine, n_channels, width, n_fine, periodic)

    def forward(self, z: Float[Tensor, "n latent_dim h w"]) -> Float[Tensor, "n n_channels 32*h 32*w"]:
        """Images of the factors."""
        maps = z.split(self.parts, 1)
        hidden = maps[0]
        for layer, deconvolution in enumerate(self.deconvolutions):
            if 1 <= layer <= len(FINE_SCALES):
                noise = F.pixel_shuffle(maps[layer], FINE_SCALES[layer - 1])
                # Noise carries a share of the variance that does not depend on the number of its channels.
                gain = NOISE_GAIN * math.sqrt(hidden.shape[1] / max(noise.shape[1], 1))
                hidden = torch.cat([hidden, gain * noise], 1)
            hidden = F.pad(hidden, (1, 1, 1, 1), mode=self.padding).contiguous(memory_format=torch.channels_last)
            hidden = deconvolution(hidden)
            if layer < len(self.normalisations):
                hidden = self.normalisations[layer](hidden).relu()
        return hidden.tanh()
