"""How numbers are computed: with which precision, and the same again each time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["PRECISIONS", "autocast", "reproducible"]

PRECISIONS = ("float32", "bfloat16")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The precision in which the network is evaluated: "float32" (exact) or "bfloat16"."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def reproducible(device: torch.device) -> AbstractContextManager[None]:
    """Within the block convolutions give the same bits each time, and those of float32 are not rounded to 10 bits.

    By default a GPU does neither.
    """
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
