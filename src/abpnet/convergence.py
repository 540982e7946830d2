"""Whether chains have come to rest, told from where some of them stood after each of the latest passes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["effective_draws", "split_r_hat"]


def _moments(trace: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both halves of each factor's way; its variance within them, and that estimated from all passes."""
    length = len(trace) // 2
    halves = torch.stack([trace[-2 * length : -length], trace[-length:]]).double()
    within = halves.var(1).mean(0)
    return halves, within, within * (length - 1) / length + halves.mean(1).var(0)


def split_r_hat(trace: Float[Tensor, "passes factors"]) -> float:
    """Root of the mean ratio of a factor's variance in all passes to that within the first and the second half.

    `R^2 = ((L - 1) / L W + B / L) / W` with halves of L passes, W and B being the variances within and between them
    (Gelman et al. 2013, equation 11.4). 1 = chains move about where they are; above 1.1 or so they are still on their
    way, be it that they have not come far enough or that the weights pull them along.

    Args:
        trace: After each pass, where factors stood that do not depend on one another; at least 4 passes.
    """
    _, within, pooled = _moments(trace)
    moving = within > 0
    return float((pooled[moving] / within[moving]).mean().sqrt()) if moving.any() else 1.0


def effective_draws(trace: Float[Tensor, "passes factors"]) -> float:
    """How many independent draws the passes of the trace are worth: `passes / (1 + 2 sum of autocorrelations)`.

    `1 - V_t / (2 var)` at lag t, with the mean square V_t of differences between passes t apart and the variance var
    that `split_r_hat` has in its numerator (Gelman et al. 2013, equation 11.7), of all factors together; summed up in
    pairs as long as these are positive (Geyer 1992).

    Args:
        trace: As for `split_r_hat`.
    """
    halves, _, pooled = _moments(trace)
    length, spread = halves.shape[1], float(pooled.mean())
    if not spread > 0:
        return float(2 * length)
    apart = [float((halves[:, lag:] - halves[:, : length - lag]).square().mean()) for lag in range(length)]
    correlation = [1 - difference / (2 * spread) for difference in apart]
    total = 0.0
    for pair in zip(correlation[0::2], correlation[1::2], strict=False):
        if sum(pair) <= 0:
            break
        total += sum(pair)
    return min(2 * length / max(2 * total - 1, 1.0), 2.0 * length)
