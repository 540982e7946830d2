"""Random steps without a gradient."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.chance import Chance, uniform
from abpnet.inference.energies import Energy, Watch, choose
from abpnet.inference.langevin_dynamics import langevin_noise

__all__ = ["metropolis"]


@torch.no_grad()
def metropolis(
    misfit: Energy,
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float,
    n_steps: int,
    generator: Chance,
    watch: Watch | None = None,
) -> Float[Tensor, "n *latent"]:
    """Random steps that keep the prior N(0, I), taken or not as the observations say.

    `z' = sqrt(1 - s^2) z + s u`, `u ~ N(0, I)`, is accepted with probability `min(1, p(y | z') / p(y | z))` (Neal 1998,
    equation 15; Cotter et al. 2013). Its equilibrium is p(z | y) exactly, at every step size and for every network, one
    of whose outputs jump with z included; it uses no gradient and suits observations that say little about z.

    Args:
        misfit: `-log p(y | z)` of each example, up to a constant.
        z: Where the chains stand.
        step_size: s, 0 to 1; at 1 every proposal is a fresh draw from the prior.
        n_steps: Number of steps.
        generator: Source of u and of the decisions, on its own device.
        watch: Told with which probability (n,) each step was accepted.
    """
    standing = misfit(z)
    for _ in range(n_steps):
        step = langevin_noise(z, step_size=step_size, generator=generator)
        proposal = math.sqrt(1 - step_size**2) * z + step
        proposed = misfit(proposal)
        level = uniform((len(z),), generator).to(z)
        accepted = level.log() < standing - proposed
        if watch is not None:
            watch((standing - proposed).exp().clamp(max=1.0))
        z = choose(accepted, proposal, z)
        standing = torch.where(accepted, proposed, standing)
    return z
