"""Networks whose signals have no neighbourhoods: the linear one and the perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from abpnet.networks.layers import LEAK, SteadyLinear

__all__ = ["LinearNetwork", "VectorNetwork"]


class LinearNetwork(nn.Module):
    """`f(z) = W z + b`: linear factor analysis, where everything is known in closed form.

    Args:
        latent_dim: Number of factors d.
        shape: Shape of one signal.
    """

    def __init__(self, latent_dim: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.settings = {"latent_dim": latent_dim, "shape": list(shape)}
        self.shape = tuple(shape)
        self.loadings = SteadyLinear(latent_dim, math.prod(shape))

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *shape"]:
        """Signals of the factors."""
        return self.loadings(z).unflatten(1, self.shape)


class VectorNetwork(nn.Module):
    """A multi-layer perceptron for tables and other vectors.

    Args:
        latent_dim: Number of factors d.
        shape: Shape of one signal; it is treated as a flat vector.
        width: Units of each hidden layer.
        n_hidden: Number of hidden layers.
        bounded: Whether the output passes through tanh, for signals in [-1, 1].
    """

    def __init__(
        self, latent_dim: int, shape: Sequence[int], width: int = 128, n_hidden: int = 2, bounded: bool = False
    ) -> None:
        super().__init__()
        self.settings = {
            "latent_dim": latent_dim,
            "shape": list(shape),
            "width": width,
            "n_hidden": n_hidden,
            "bounded": bounded,
        }
        self.shape = tuple(shape)
        layers: list[nn.Module] = []
        for n_inputs in (latent_dim, *[width] * (n_hidden - 1)):
            layers += [SteadyLinear(n_inputs, width), nn.LeakyReLU(LEAK)]
        layers.append(SteadyLinear(width, math.prod(shape)))
        self.layers = nn.Sequential(*layers, *[nn.Tanh()] * bounded)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *shape"]:
        """Signals of the factors."""
        return self.layers(z).unflatten(1, self.shape)
