"""Chance: seeds of streams that have nothing to do with one another, and noise that several processes share.

Where several processes work on one batch, each of them draws the noise of the whole batch from the same state of chance
and keeps that of its own rows. The noise of an example then does not depend on how many processes there are, and all of
them go on from the same state.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Chance", "Share", "Streams", "normal", "seed_for", "uniform"]


@dataclass(frozen=True)
class Share:
    """The rows of a batch that one of several processes works on.

    Attributes:
        generator: Source of all chance, in the same state in each process.
        rows: Which rows of the batch.
        n: Rows of the whole batch.
        is_spare: Whether these rows are another process's, and what comes of them is dropped: a process without rows of
            its own needs something to do.
    """

    generator: torch.Generator
    rows: slice
    n: int
    is_spare: bool = False

    @property
    def kept(self) -> slice:
        """Of the share's own rows, those that count: all, or none."""
        return slice(0 if self.is_spare else None)

    def thinned(self, every: int) -> tuple[slice, Share]:
        """Of the batch only each so-manieth row, the first one included.

        Returns:
            Which of the share's rows these are, and the share of them in the smaller batch.
        """
        first, end, n = (-(-position // every) for position in (self.rows.start or 0, self.rows.stop, self.n))
        start = first * every - (self.rows.start or 0)
        if first < end:
            return slice(start, None, every), Share(self.generator, slice(first, end), n, self.is_spare)
        return slice(1), Share(self.generator, slice(1), n, is_spare=True)


@dataclass(frozen=True)
class Streams:
    """A source of chance for each example, whose noise then does not depend on which others are in the batch.

    Attributes:
        generators: Each for a run of equally many rows, such as the chains of one example.
    """

    generators: tuple[torch.Generator, ...]


Chance = torch.Generator | Share | Streams


def _draw(draw: str, shape: Sequence[int], chance: Chance, axis: int) -> Tensor:
    if isinstance(chance, torch.Generator):
        return getattr(torch, draw)(tuple(shape), generator=chance, device=chance.device)
    if isinstance(chance, Streams):
        part = [*shape[:axis], shape[axis] // len(chance.generators), *shape[axis + 1 :]]
        return torch.cat([_draw(draw, part, generator, axis) for generator in chance.generators], axis)
    whole = [*shape[:axis], chance.n, *shape[axis + 1 :]]
    return _draw(draw, whole, chance.generator, axis)[(slice(None),) * axis + (chance.rows,)]


def normal(shape: Sequence[int], chance: Chance) -> Tensor:
    """Independent standard normal numbers on the generator's device.

    Args:
        shape: The first axis counts the rows that this process works on.
        chance: A generator; the share of a batch, then these are the share's rows of what the batch gets; or streams.
    """
    return _draw("randn", shape, chance, 0)


def uniform(shape: Sequence[int], chance: Chance, axis: int = 0) -> Tensor:
    """Independent numbers from 0 to 1; arguments as `normal`.

    Args:
        shape: Of the result.
        chance: See `normal`.
        axis: Which axis counts rows.
    """
    return _draw("rand", shape, chance, axis)


def seed_for(purpose: str, seed: int) -> int:
    """A seed of its own for every purpose: what starts at the same seed would be the same numbers, whatever they mean.

    Args:
        purpose: What the stream is for.
        seed: What the user chose; negative ones count from the end, as for a `torch.Generator`.
    """
    words = np.random.SeedSequence([zlib.crc32(purpose.encode()), seed % 2**64]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
