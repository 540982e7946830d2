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

__all__ = ["Chance", "Share", "normal", "seed_for", "uniform"]


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


Chance = torch.Generator | Share


def _draw(draw: str, shape: Sequence[int], chance: Chance, axis: int) -> Tensor:
    if isinstance(chance, torch.Generator):
        return getattr(torch, draw)(tuple(shape), generator=chance, device=chance.device)
    whole = [*shape[:axis], chance.n, *shape[axis + 1 :]]
    return _draw(draw, whole, chance.generator, axis)[(slice(None),) * axis + (chance.rows,)]


def normal(shape: Sequence[int], chance: Chance) -> Tensor:
    """Independent standard normal numbers on the generator's device.

    Args:
        shape: The first axis counts the rows that this process works on.
        chance: A generator, or the share of a batch; then these are the share's rows of what the batch gets.
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
