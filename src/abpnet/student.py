"""Student's t distribution, scaled to variance 1: of noise and of factors with heavy tails."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from abpnet.chance import Chance, uniform

__all__ = ["check_df", "log_density", "sample"]


def check_df(df: float) -> None:
    """Refuse degrees of freedom at which there is no variance.

    Raises:
        ValueError: If they are not a finite number above 2.
    """
    if not (math.isfinite(df) and df > 2):
        raise ValueError(f"df must be a finite number above 2, where there is a variance; got {df!r}")


def log_density(x: Tensor, df: float) -> Tensor:
    """`-(df + 1) / 2 log(1 + x^2 / (df - 2)) - log(sqrt(df - 2) B(df / 2, 1 / 2))` of each entry."""
    half = 0.5 * df
    log_beta = math.lgamma(half) + math.lgamma(0.5) - math.lgamma(half + 0.5)
    return x.square().div(df - 2).log1p() * (-half - 0.5) - 0.5 * math.log(df - 2) - log_beta


def sample(shape: Sequence[int], df: float, chance: Chance) -> Tensor:
    """Independent numbers, from two uniform ones each (Bailey 1994), on the device of their source."""
    # In double precision, whose last bits, which depend on a number's place in the batch, are dropped.
    squared_radius, angle = (uniform(shape, chance).double() for _ in range(2))
    distance = ((df - 2) * ((1 - squared_radius).pow(-2 / df) - 1)).sqrt()
    return (distance * (2 * math.pi * angle).cos()).float()
