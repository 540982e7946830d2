"""The latent factors of all training examples: one warm-started chain per example, addressed by its index."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from abpnet import parallel
from abpnet.errors import InputError
from abpnet.positions import read_rows, write_rows

__all__ = ["Latents"]

# Chains that are looked at together when it is about all of them.
PART = 2**14
CPU = torch.device("cpu")


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
        torch.from_file(str(path), shared=True, size=size, dtype=torch.float32)  # creates it
        return _LatentsOnDisk(path, shape)

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

    def copy_from(self, values: Float[Tensor, "n *latent"]) -> None:
        """Move all chains, some at a time.

        Raises:
            ValueError: If there are as many values for others.
        """
        if len(values) != len(self):
            raise ValueError(f"{len(values)} chains for {len(self)} examples")
        for rows in self._rows():
            self.write(rows, values[rows])

    def exchange(self, moved: Int[Tensor, "m"]) -> None:
        """Where several processes learn as one: take over the chains that the others moved, see `parallel.exchange`.

        Args:
            moved: Examples whose chains this process moved.
        """
        for rows in self._rows() if parallel.n_processes() > 1 else ():
            values = self.read(rows, CPU)
            parallel.exchange(values, moved[(moved >= rows[0]) & (moved <= rows[-1])] - rows[0])
            self.write(rows, values)

    def follow_first(self) -> None:
        """Where several processes learn as one: stand where the first one's chains do."""
        for rows in self._rows() if parallel.n_processes() > 1 else ():
            self.write(rows, parallel.from_first(self.read(rows, CPU)))

    def _rows(self) -> Sequence[Tensor]:
        return torch.arange(len(self)).split(PART)


class _LatentsOnDisk(Latents):
    """Chains in a file, read and written without touching a mapping, so that memory does not grow with them.

    Args:
        path: The file.
        shape: (n, *latent_shape).
    """

    def __init__(self, path: Path, shape: Sequence[int]) -> None:
        self._file = path.open("r+b", buffering=0)
        self._shape, self._row_bytes = tuple(shape), 4 * math.prod(shape[1:])

    def __reduce__(self) -> tuple[type[Latents], tuple[Tensor]]:
        """A copy has its chains in memory."""
        return Latents, (self.values.clone(),)

    def __len__(self) -> int:
        """Number of chains."""
        return self._shape[0]

    @property
    def values(self) -> Float[Tensor, "n *latent"]:  # type: ignore[override]
        """Where the chains stand: a mapping of the file, of which those looked at count as memory while it lasts."""
        whole = np.memmap(self._file, np.float32, "r+", shape=self._shape)
        return torch.from_numpy(whole.view(np.ndarray))

    def _positions(self, index: Tensor) -> list[int]:
        return [self._row_bytes * row for row in index.tolist()]

    def read(self, index: Int[Tensor, "m"], device: torch.device) -> Float[Tensor, "m *latent"]:
        """Where the chains of these examples stand, as a copy on the device."""
        content = read_rows(self._file, self._positions(index), self._row_bytes)
        return torch.from_numpy(content.view(np.float32)).view(len(index), *self._shape[1:]).to(device)

    def write(self, index: Int[Tensor, "m"], z: Float[Tensor, "m *latent"]) -> None:
        """Move the chains of these examples."""
        moved = z.detach().to(CPU, torch.float32).expand(len(index), *self._shape[1:])
        write_rows(self._file, self._positions(index), moved.contiguous().numpy())

    def parts(self) -> Iterator[Float[Tensor, "m *latent"]]:
        """Copies of all chains in their order, some at a time."""
        return (self.read(rows, CPU) for rows in self._rows())
