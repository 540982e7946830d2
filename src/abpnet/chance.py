"""Seeds of streams of chance that have nothing to do with one another."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["seed_for"]


def seed_for(purpose: str, seed: int) -> int:
    """A seed of its own for every purpose: what starts at the same seed would be the same numbers, whatever they mean.

    Args:
        purpose: What the stream is for.
        seed: What the user chose, at least 0.
    """
    words = np.random.SeedSequence([zlib.crc32(purpose.encode()), seed]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
