"""A memory of all states before: what a recurrent network adds to an auto-regression."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["HIDDEN_DIM", "Memory"]

# Entries that are enough for clips.
HIDDEN_DIM = 32


class Memory(nn.Module):
    """`B h_t`, `h_t = GRU(z_t, h_(t-1))` (Cho et al. 2014, equations 5 to 8), `h_0 = 0`.

    Every entry of h lies in (-1, 1), so that no path of a stable auto-regression blows up by it, whatever the weights.

    Args:
        latent_dim: Entries of z.
        hidden_dim: Entries of h.
        generator: Source of the first weights of the GRU; B starts at 0.
    """

    def __init__(self, latent_dim: int, hidden_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.recurrence = nn.GRU(latent_dim, hidden_dim, batch_first=True)
        self.readout = nn.Linear(hidden_dim, latent_dim, bias=False)
        for weight in self.recurrence.parameters():
            nn.init.uniform_(weight, -(hidden_dim**-0.5), hidden_dim**-0.5, generator=generator)
        nn.init.zeros_(self.readout.weight)

    def forward(
        self, z: Float[Tensor, "n t d"], hidden: Float[Tensor, "1 n hidden"] | None = None
    ) -> tuple[Float[Tensor, "n t d"], Float[Tensor, "1 n hidden"]]:
        """`B h_t` after each of the states given, and the last h, from which it goes on."""
        # cuDNN's recurrent network has no gradient in evaluation mode.
        with torch.backends.cudnn.flags(enabled=False):
            states, hidden = self.recurrence(z, hidden)
        return self.readout(states), hidden
