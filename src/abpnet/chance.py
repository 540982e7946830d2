"""Seeds of streams of chance that have nothing to do with one another."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["seed_for"]


def seed_for(purpose: str, seed: int) -> int:
    """A seed of its own for every purpose: what starts at the same seed would be the same numbers, whatever they mean.

    Args:
        purpose: What the stream is for.
        seed: What the user chose; negative ones count from the end, as for a `torch.Generator`.
    """
    words = np.random.SeedSequence([zlib.crc32(purpose.encode()), seed % 2**64]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
