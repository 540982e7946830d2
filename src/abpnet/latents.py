"""The latent factors of all training examples: one warm-started chain per example, addressed by its index."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from abpnet.errors import InputError
from abpnet.positions import read_rows, write_rows

__all__ = ["Latents"]

# Chains that are looked at together when it is about all of them.
PART = 2**14


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
        values = torch.from_file(str(path), shared=True, size=size, dtype=torch.float32).view(shape)
        return _LatentsOnDisk(values, path)

    @classmethod
    def temporary(cls, n: int, latent_shape: Sequence[int]) -> Latents:
        """Chains in a file without a name, which is gone with the last that uses it; they start at zero.

        The file takes room in the folder that Python's `tempfile` chooses; the variable TMPDIR names another.

        Args:
            n: Number of examples.
            latent_shape: Shape of one example's latent factors.
        """
        with tempfile.TemporaryDirectory() as folder:
            return cls.memory_mapped(Path(folder) / "latents", n, latent_shape)

    def __len__(self) -> int:
        """Number of chains."""
        return self.values.shape[0]

    def read(self, index: Int[Tensor, "m"], device: torch.device) -> Float[Tensor, "m *latent"]:
        """Where the chains of these examples stand, as a copy on the device."""
        return self.values[index].to(device)

    def write(self, index: Int[Tensor, "m"], z: Float[Tensor, "m *latent"]) -> None:
        """Move the chains of these examples."""
        self.values[index] = z.detach().to(self.values)

    def parts(self) -> Iterator[Float[Tensor, "m *latent"]]:
        """All chains in their order, some at a time."""
        yield from self.values.split(PART)


class _LatentsOnDisk(Latents):
    """Chains in a file, read and written without touching its mapping, so that memory does not grow with them.

    Args:
        values: The mapping.
        path: The file.
    """

    def __init__(self, values: Float[Tensor, "n *latent"], path: Path) -> None:
        super().__init__(values)
        self._file = path.open("r+b", buffering=0)
        self._row_bytes = 4 * values.shape[1:].numel()

    def __reduce__(self) -> tuple[type[Latents], tuple[Tensor]]:
        """A copy has its chains in memory."""
        return Latents, (self.values.clone(),)

    def _positions(self, index: Tensor) -> list[int]:
        return [self._row_bytes * row for row in index.tolist()]

    def read(self, index: Int[Tensor, "m"], device: torch.device) -> Float[Tensor, "m *latent"]:
        """Where the chains of these examples stand, as a copy on the device."""
        content = read_rows(self._file, self._positions(index), self._row_bytes)
        return torch.from_numpy(content.view(np.float32)).view(len(index), *self.values.shape[1:]).to(device)

    def write(self, index: Int[Tensor, "m"], z: Float[Tensor, "m *latent"]) -> None:
        """Move the chains of these examples."""
        write_rows(self._file, self._positions(index), z.detach().to(self.values).contiguous().numpy())

    def parts(self) -> Iterator[Float[Tensor, "m *latent"]]:
        """Copies of all chains in their order, some at a time."""
        for first in range(0, len(self), PART):
            yield self.read(torch.arange(first, min(first + PART, len(self))), torch.device("cpu"))
