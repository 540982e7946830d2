"""The latent factors of all training examples: one warm-started chain per example, addressed by its index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from abpnet.errors import InputError

__all__ = ["Latents"]


class Latents:
    """One chain per training example.

    Args:
        values: (n, *latent_shape) where the chains start; float32 on the CPU, whatever the device of learning.

    Attributes:
        values: (n, *latent_shape) where the chains stand.
    """

    def __init__(self, values: Float[Tensor, "n *latent"]) -> None:
        self.values = values

    @classmethod
    def memory_mapped(cls, path: Path, n: int, latent_shape: Sequence[int]) -> Latents:
        """Chains in a file of float32 values, so that their number is bounded by disk; created with zeros if absent.

        Args:
            path: The file.
            n: Number of examples.
            latent_shape: Shape of one example's latent factors.

        Raises:
            InputError: If the file holds another number of values.
        """
        shape = (n, *latent_shape)
        size = torch.Size(shape).numel()
        if path.exists() and path.stat().st_size != 4 * size:
            raise InputError(f"{path}: {path.stat().st_size} bytes; {n} chains of shape {shape[1:]} take {4 * size}")
        return cls(torch.from_file(str(path), shared=True, size=size, dtype=torch.float32).view(shape))

    def __len__(self) -> int:
        """Number of chains."""
        return self.values.shape[0]

    def read(self, index: Int[Tensor, "m"], device: torch.device) -> Float[Tensor, "m *latent"]:
        """Where the chains of these examples stand, as a copy on the device."""
        return self.values[index].to(device)

    def write(self, index: Int[Tensor, "m"], z: Float[Tensor, "m *latent"]) -> None:
        """Move the chains of these examples."""
        self.values[index] = z.detach().to(self.values)
