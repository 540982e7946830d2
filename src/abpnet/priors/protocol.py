"""What the model asks of a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Prior"]


@runtime_checkable
class Prior(Protocol):
    """Any object with these two methods; the gradient comes from autograd."""

    def log_prob(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n"]:
        """Log density of each example's latent factors."""
        ...

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Latent factors of the given shape, the first axis counting examples."""
        ...
