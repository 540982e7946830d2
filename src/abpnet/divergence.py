"""Chains that run away: what tells them, and what happens to them.

A chain whose energy explodes while its example is explained away is put back to where it stood, from where its example
is learned from. From then on it takes shorter steps, which grow again while all goes well.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from abpnet.inference import choose

__all__ = ["SMALLEST_SHARE", "exploded", "put_back", "shares_after"]

# Root mean square of factors that no prior draws, and which a network still decodes to numbers.
FARTHEST = 1e6
# By how many nats energies may rise, and by how many for each number of an example and its factors: chains in
# equilibrium go up and down by the root of the number of factors.
RISE, RISE_PER_NUMBER = 1000.0, 1.0
# Of the step size after each divergence, and after each time that went well.
SHORTER, LONGER = 0.5, 1.05
# Whoever diverges with so small a share of the step size has other troubles.
SMALLEST_SHARE = 2.0**-5


def put_back(
    z: Float[Tensor, "n *latent"], before: Float[Tensor, "n *latent"]
) -> tuple[Float[Tensor, "n *latent"], Bool[Tensor, "n"]]:
    """Chains that left for where there are no numbers, or none to compute with, stand where they did before.

    Returns:
        Where all stand, and which were put back.
    """
    here = z.flatten(1).square().mean(1) < FARTHEST**2
    return choose(here, z, before), ~here


def exploded(energies: Float[Tensor, "n"], before: Float[Tensor, "n"] | None, n_numbers: int) -> Bool[Tensor, "n"]:
    """Whether energies are no numbers, or rose further than any chain in equilibrium has them rise.

    Args:
        energies: `-log p(y, z)` of each example, in nats.
        before: What they were; None = not known.
        n_numbers: Of one example and its factors together.
    """
    if before is None:
        return ~energies.isfinite()
    return ~(energies - before <= RISE + RISE_PER_NUMBER * n_numbers)


def shares_after(shares: Float[Tensor, "n"], diverged: Bool[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Shares of the step size that chains take next time, 1 at most."""
    return torch.where(diverged, shares * SHORTER, (shares * LONGER).clamp(max=1.0))
