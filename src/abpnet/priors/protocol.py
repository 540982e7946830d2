"""What the model asks of a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Motion", "Prior"]


@runtime_checkable
class Prior(Protocol):
    """Any object with these two methods; the gradient comes from autograd."""

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """Log density of each example's latent factors."""
        ...

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Latent factors of the given shape, the first axis counting examples."""
        ...


@runtime_checkable
class Motion(Prior, Protocol):
    """A prior of sequences that also says what is to be expected next."""

    @property
    def latent_dim(self) -> int:
        """Factors of each state."""
        ...

    def expected_next(self, z: Float[Tensor, "n d length"]) -> Float[Tensor, "n d length"]:
        """`E[z_(t+1) | z_1 ... z_t]` for each t."""
        ...
