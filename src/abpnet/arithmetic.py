"""How numbers are computed: with which precision, and the same again each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["PRECISIONS", "autocast", "reproducible"]

PRECISIONS = ("float32", "bfloat16")
# Where matrix products keep their workspace; without it PyTorch does not vouch for the same bits.
WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The precision in which the network is evaluated: "float32" (exact) or "bfloat16"."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Within the block a GPU gives the same bits each time, and its float32 convolutions are not rounded to 10 bits.

    By default it does neither. PyTorch warns of operations that it cannot compute so.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(*WORKSPACE)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    is_filled, memory.fill_uninitialized_memory = memory.fill_uninitialized_memory, False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = is_filled
