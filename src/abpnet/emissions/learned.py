"""Noise that is learned: the size that residuals say it has."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.emissions.mixed import Columns
from abpnet.emissions.noise import ChannelGaussian, Gaussian

__all__ = ["noise_stds", "residual_sums", "with_noise", "with_noise_moved"]

SMALLEST_NOISE_STD = 0.01


def noise_stds(emission: Any) -> tuple[float, ...]:
    """Standard deviations of Gaussian noise: one, or those of the channels, or of the columns that have some."""
    if isinstance(emission, Gaussian):
        return (emission.noise_std,)
    if isinstance(emission, ChannelGaussian):
        return emission.noise_stds
    if isinstance(emission, Columns):
        return tuple(std for block in emission.blocks for std in noise_stds(block.emission))
    return ()


def with_noise(emission: Any, stds: tuple[float, ...]) -> Any:
    """The same emission with other `noise_stds`."""
    if isinstance(emission, Gaussian):
        return Gaussian(*stds)
    if isinstance(emission, ChannelGaussian):
        return ChannelGaussian(stds)
    if isinstance(emission, Columns):
        blocks, rest = [], stds
        for block in emission.blocks:
            n_stds = len(noise_stds(block.emission))
            blocks.append(block._replace(emission=with_noise(block.emission, rest[:n_stds])))
            rest = rest[n_stds:]
        return Columns(tuple(blocks))
    return emission


def residual_sums(
    emission: Any, difference: Float[Tensor, "n *shape"], n_entries: int | Tensor, observed: Tensor | None
) -> Float[Tensor, "2 k"]:
    """Sums of squared residuals, and how many there were, for each of the `noise_stds`.

    Args:
        emission: Of the model.
        difference: Residuals; 0 where nothing was observed.
        n_entries: How many were observed.
        observed: Which of them; None = all.
    """
    if isinstance(emission, Gaussian):
        return torch.stack([difference.square().sum(), torch.as_tensor(n_entries).to(difference)]).unsqueeze(1)
    seen = torch.ones_like(difference) if observed is None else observed.expand_as(difference).to(difference)
    sums = torch.stack([difference.square(), seen]).transpose(1, 2).flatten(2).sum(2)
    if isinstance(emission, Columns):
        noisy = [sums[:, block.first : block.end] for block in emission.blocks if noise_stds(block.emission)]
        return torch.cat([sums[:, :0], *noisy], 1)
    return sums


def with_noise_moved(emission: Any, sums: Float[Tensor, "2 k"], decay: float) -> Any:
    """The same emission, the variances of its noise moved towards the mean squared residuals.

    At factors drawn from their posterior these are the EM update (Rubin and Thayer 1982).

    Args:
        emission: Of the model.
        sums: See `residual_sums`; without an observation a variance stays.
        decay: How much of a variance stays.
    """
    moved = []
    for std, square, count in zip(noise_stds(emission), *sums.tolist(), strict=True):
        variance = decay * std**2 + (1 - decay) * square / count if count else std**2
        moved.append(max(math.sqrt(variance), SMALLEST_NOISE_STD))
    return with_noise(emission, tuple(moved))
