"""Videos: frames one by one, and whole clips."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.networks.layers import LEAK, SteadyLinear, StillPicture, first_maps, start_fainter
from abpnet.networks.objects import ObjectNetwork

__all__ = ["FRAMES_PER_POSITION", "FrameNetwork", "SpaceTimeNetwork"]

# How much fainter than usual the weights start that regression does not set.
FAINT = 0.1
# Beyond it artanh would give a few black or white pixels all the weight.
SATURATION = 0.98
RIDGE = 1e-6
# Layers of a space-time network that double a clip's length too, and frames for each position of its factors.
TIME_LAYERS = 2
FRAMES_PER_POSITION = 2**TIME_LAYERS


class FrameNetwork(nn.Module):
    """Frames of a video: `tanh(B z + b + g(z))`, pictures superposed, and deconvolutions for what is not linear.

    Frames of one scene have most of their pixels in common and few examples to tell them: so the pictures B start at
    the regression of the frames on the factors (`regress`), and g, an unbounded `ObjectNetwork`, close to 0.

    Args:
        latent_dim: Number of factors d.
        shape: Shape of one frame, as `ObjectNetwork` takes it.
        width: Channels of the first map of g.
    """

    def __init__(self, latent_dim: int, shape: Sequence[int], width: int = 128) -> None:
        super().__init__()
        self.settings = {"latent_dim": latent_dim, "shape": list(shape), "width": width}
        self.shape = tuple(shape)
        self.still = StillPicture(shape)
        self.pictures = SteadyLinear(latent_dim, math.prod(shape), bias=False)
        start_fainter(self.pictures, FAINT)
        self.bent = ObjectNetwork(latent_dim, shape, width, FAINT, bounded=False)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *shape"]:
        """Frames of the factors."""
        return torch.tanh(self.still(self.pictures(z).unflatten(1, self.shape) + self.bent(z)))

    @torch.no_grad()
    def regress(self, z: Float[Tensor, "n d"], y: Float[Tensor, "n *shape"]) -> None:
        """Set B and b to the least squares solution of `B z + b = artanh y`.

        Args:
            z: Where the chains start.
            y: The frames.
        """
        factors = torch.cat([z, z.new_ones(len(z), 1)], 1).double()
        target = torch.atanh(y.clamp(-SATURATION, SATURATION)).flatten(1).double()
        gram = factors.T @ factors + RIDGE * len(z) * torch.eye(factors.shape[1]).to(factors)
        coefficients = torch.linalg.solve(gram, factors.T @ target)
        self.pictures.weight.copy_(coefficients[:-1].T)
        self.still.bias.copy_(coefficients[-1])

    @torch.no_grad()
    def change_factors(self, mean: Float[Tensor, "d"], root: Float[Tensor, "d d"]) -> None:
        """Take other factors u from now on, of which those so far were `m + R u`.

        Args:
            mean: m.
            root: R.
        """
        self.still.bias.add_(self.pictures.weight @ mean)
        self.bent.factors.bias.add_(self.bent.factors.weight @ mean)
        for layer in (self.pictures, self.bent.factors):
            layer.weight.copy_(layer.weight @ root)


class SpaceTimeNetwork(nn.Module):
    """Whole clips: deconvolutions in space and time of a sequence of factors.

    Every d factors give a small map of `width` channels; 3-D deconvolutions double the map's sides and halve its
    channels, and the first two double its length as well. So each position of the sequence stands for 4 frames, and a
    longer sequence is a longer clip; leaky ReLU between layers, tanh at the bottom. What never changes is a bias of its
    own.

    Args:
        latent_dim: Number of factors d at each position.
        shape: Shape of one frame, (channels, height, width), sides of at least 16.
        width: Channels of the first map.

    Raises:
        ValueError: If the shape is no such frame's.
    """

    def __init__(self, latent_dim: int, shape: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.settings = {"latent_dim": latent_dim, "shape": list(shape), "width": width}
        self.shape = tuple(shape)
        if len(self.shape) != 3 or min(self.shape[1:]) < 16:
            raise ValueError(f"expected frames of shape (channels, height, width), sides at least 16; got {self.shape}")
        channels, sides = first_maps(self.shape, width)
        self.first_map = (channels[0], *sides)
        self.factors = SteadyLinear(latent_dim, math.prod(self.first_map))
        layers: list[nn.Module] = []
        for layer, (n_inputs, n_outputs) in enumerate(zip(channels, [*channels[1:], self.shape[0]], strict=True)):
            longer = {"kernel_size": (4, 5, 5), "stride": 2, "output_padding": (0, 1, 1)}
            as_long = {"kernel_size": (3, 5, 5), "stride": (1, 2, 2), "output_padding": (0, 1, 1)}
            settings = longer if layer < TIME_LAYERS else as_long
            layers += [nn.LeakyReLU(LEAK), nn.ConvTranspose3d(n_inputs, n_outputs, padding=(1, 2, 2), **settings)]
        start_fainter(layers[-1], FAINT)
        self.layers = nn.Sequential(*layers)
        self.still = StillPicture((self.shape[0], 1, *self.shape[1:]))

    def forward(self, z: Float[Tensor, "n d t"]) -> Float[Tensor, "n c 4*t h w"]:
        """Clips of the factors."""
        n, _, length = z.shape
        first = self.factors(z.transpose(1, 2).flatten(0, 1)).view(n, length, *self.first_map)
        moving = self.layers(first.transpose(1, 2))[..., : self.shape[1], : self.shape[2]]
        return torch.tanh(self.still(moving))

    @torch.no_grad()
    def regress(self, z: Float[Tensor, "n d t"], y: Float[Tensor, "n c 4*t h w"]) -> None:
        """Set the picture that never changes to the mean of artanh y; the rest is not linear in z.

        Args:
            z: Where the chains start.
            y: The clips.
        """
        self.still.bias.copy_(torch.atanh(y.clamp(-SATURATION, SATURATION)).mean((0, 2)).flatten())
