"""A prior of sequences that remember: what comes next depends on all that went before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.chance import normal
from abpnet.memory import Memory
from abpnet.priors.sequences import Autoregression

__all__ = ["Recurrence"]


class Recurrence(nn.Module):
    """An `Autoregression` moved by a memory: `L z_(t+1) - M z_t - B h_t ~ N(0, I)`, `h_t = GRU(z_t, h_(t-1))`.

    Sequences start at `z_1 ~ N(0, I)`, `h_0 = 0`. Entries of h lie in (-1, 1) and `A = L^-1 M` is stable, so that no
    sequence blows up, whatever the weights.

    Args:
        linear: The auto-regression to start from, which this is as long as B is 0; it is learned on.
        hidden_dim: Entries of h.
        generator: Source of the GRU's first weights; B starts at 0.
    """

    def __init__(self, linear: Autoregression, hidden_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear
        self.memory = Memory(linear.latent_dim, hidden_dim, generator)

    @classmethod
    def of_size(cls, latent_dim: int, hidden_dim: int) -> Recurrence:
        """One of weights that say nothing yet, such as those of a file replace."""
        return cls(Autoregression.of_size(latent_dim), hidden_dim, torch.Generator())

    @property
    def size(self) -> dict[str, int]:
        """What `of_size` takes."""
        return self.linear.size | {"hidden_dim": self.memory.readout.in_features}

    @property
    def latent_dim(self) -> int:
        """d."""
        return self.linear.latent_dim

    def log_prob(self, z: Float[Tensor, "n d length"]) -> Float[Tensor, "n"]:
        """`log N(z_1; 0, I) + sum_t (log det L - |L z_(t+1) - M z_t - B h_t|^2 / 2 - (d / 2) log(2 pi))`.

        The map from z to what is standard normal is triangular in time, with L on its diagonal: the density is exact.
        """
        self.linear.check(z.shape)
        moved, _ = self.memory(z.mT)
        return self.linear.log_prob(z, moved.mT[:, :, :-1])

    def expected_next(self, z: Float[Tensor, "n d length"]) -> Float[Tensor, "n d length"]:
        """`E[z_(t+1) | z_1 ... z_t] = A z_t + L^-1 B h_t` for each t."""
        moved, _ = self.memory(z.mT)
        return self.linear.mover()(z.mT, moved).mT

    @torch.no_grad()
    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Sequences from their start.

        Args:
            shape: (n, d, length).
            generator: Source of chance; the sequences are on its device.
        """
        self.linear.check(shape)
        start, *noise = normal(shape, generator).to(self.linear.coupling.device).unbind(2)
        move, states, hidden = self.linear.mover(), [start], None
        for fresh in noise:
            moved, hidden = self.memory(states[-1].unsqueeze(1), hidden)
            states.append(move(states[-1], moved.squeeze(1) + fresh))
        return torch.stack(states, 2).to(generator.device)
