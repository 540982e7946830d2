"""Priors p(z) of the latent factors.

A prior is any object with `log_prob(z)` and `sample(shape, generator)`; its gradient comes from autograd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Prior", "StandardNormal"]


@runtime_checkable
class Prior(Protocol):
    """What the model asks of a prior."""

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """Log density of each example's latent factors."""
        ...

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Latent factors of the given shape, the first axis counting examples."""
        ...


@dataclass(frozen=True)
class StandardNormal:
    """`z ~ N(0, I)`, the prior of Han et al. (2017), equation 2."""

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """`-|z|^2 / 2 - (d / 2) log(2 pi)` for each example."""
        factors = z.flatten(1)
        return -0.5 * factors.square().sum(1) - 0.5 * factors.shape[1] * math.log(2 * math.pi)

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Independent standard normal factors on the generator's device."""
        return torch.randn(tuple(shape), generator=generator, device=generator.device)
