"""Step sizes found while chains warm up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Adapted", "adapt_step_size"]

# gamma, t_0 and kappa of Hoffman and Gelman (2014), section 3.2.1; and how far above the first step the search aims.
PULL, OFFSET, DECAY, AMBITION = 0.05, 10, 0.75, 10.0


class Adapted(NamedTuple):
    """Chains after their warm-up.

    Attributes:
        z: Where they stand.
        step_size: That suits each.
    """

    z: Float[Tensor, "n *latent"]
    step_size: Float[Tensor, "n"]


def adapt_step_size(
    sampler: Callable[..., Tensor],
    z: Float[Tensor, "n *latent"],
    *,
    step_size: float,
    n_steps: int = 100,
    target: float = 0.8,
) -> Adapted:
    """Warm chains up, and find for each the step size whose steps are accepted as often as they should be.

    Dual averaging (Hoffman and Gelman 2014, equation 6), for each example by itself. The chains are those of the
    posterior only once the step size stays as it is: what they visit meanwhile is no draw from it.

    Args:
        sampler: What moves the chains; takes z, `step_size` (n,), `n_steps` and `watch`, such as
            `partial(hamiltonian, energy, generator=generator)`.
        z: Where the chains stand.
        step_size: The first one.
        n_steps: Steps of the warm-up.
        target: Mean acceptance to be reached; about .8 suits `hamiltonian`, .6 `mala`.
    """
    aim = math.log(AMBITION * step_size)
    log_size = z.new_full((len(z),), math.log(step_size))
    averaged, shortfall = torch.zeros_like(log_size), torch.zeros_like(log_size)
    for step in range(1, n_steps + 1):
        told: list[Tensor] = []
        z = sampler(z, step_size=log_size.exp(), n_steps=1, watch=told.append)
        shortfall = torch.lerp(shortfall, target - told[0], 1 / (step + OFFSET))
        log_size = aim - math.sqrt(step) / PULL * shortfall
        averaged = torch.lerp(averaged, log_size, step**-DECAY)
    return Adapted(z, averaged.exp())
