"""Tables: factor analysis, and a perceptron for what is not linear."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.networks.layers import SteadyLinear, start_fainter

__all__ = ["TableNetwork"]


class TableNetwork(nn.Module):
    """Rows of a table: `W z + b + u (A h(z) + B z + a)`, with one layer h of smooth units.

    Tables have few rows and much that is linear: so W and b are those of factor analysis and stay, the rest starts at
    0, and decay of its weights draws it there. Columns differ in how precisely factors tell them: u says for each how
    much a step of the weights is to move it.

    Args:
        latent_dim: Number of factors d.
        n_columns: Length D of a row.
        width: Units of the layer h.
    """

    def __init__(self, latent_dim: int, n_columns: int, width: int = 64) -> None:
        super().__init__()
        self.settings = {"latent_dim": latent_dim, "n_columns": n_columns, "width": width}
        self.linear = SteadyLinear(latent_dim, n_columns).requires_grad_(False)
        self.hidden = nn.Sequential(SteadyLinear(latent_dim, width), nn.SiLU())
        self.bent = SteadyLinear(width + latent_dim, n_columns)
        start_fainter(self.bent, 0.0)
        self.units: Tensor
        self.register_buffer("units", torch.ones(n_columns))

    def initialise(self) -> None:
        """All columns count alike."""
        nn.init.ones_(self.units)

    @torch.no_grad()
    def start_at(self, loadings: Float[Tensor, "D d"], mean: Float[Tensor, "D"], units: Float[Tensor, "D"]) -> None:
        """Set W, b and u."""
        self.linear.weight.copy_(loadings)
        self.linear.bias.copy_(mean)
        self.units.copy_(units)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n D"]:
        """Rows of the factors."""
        return self.linear(z) + self.units * self.bent(torch.cat([self.hidden(z), z], 1))
