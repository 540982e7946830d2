"""Which precision the network's arithmetic is done in: exact float32, or bfloat16 where it pays and does no harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.inference import energy_and_gradient
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.observations import Observation

__all__ = ["PRECISIONS", "PrecisionTrial", "try_precisions"]

PRECISIONS = ("float32", "bfloat16")
TRIAL_SECONDS = 0.05
# bfloat16 must be clearly faster: a choice made on a hair's breadth would not be the same twice.
WORTHWHILE_SPEEDUP = 1.25


@dataclass(frozen=True)
class PrecisionTrial:
    """What a short trial found.

    Attributes:
        precision: The choice.
        speedup: Time of a float32 gradient over that of a bfloat16 one.
        energy_effect: Root mean square change of the energy when its network is evaluated in bfloat16, over the
            root mean square change when one step's Langevin noise is added to z; below 1, rounding drowns in noise.
    """

    precision: str
    speedup: float
    energy_effect: float


def _fastest(function: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Shortest time of repeated calls within the given seconds, after one to warm up."""

    def call() -> float:
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    call()
    times = [call()]
    while sum(times) < seconds:
        times.append(call())
    return min(times)


def try_precisions(
    model: GeneratorModel,
    z: Float[Tensor, "n *latent"],
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    step_size: float,
    generator: torch.Generator,
) -> PrecisionTrial:
    """Compare float32 and bfloat16 on one batch.

    Args:
        model: Whose network is evaluated.
        z: Latent factors of the batch.
        y: Its observations.
        observation: How they came about.
        step_size: Standard deviation of one Langevin step's noise.
        generator: Source of that noise.
    """

    def energy_in(precision: str) -> Callable[[Tensor], Tensor]:
        decoder = frozen_decoder(model.network, precision)
        return lambda factors: model.energy(factors, y, observation, decoder)

    exact, rounded = (energy_in(precision) for precision in PRECISIONS)
    seconds = [
        _fastest(partial(energy_and_gradient, energy, z), z.device, TRIAL_SECONDS / 2) for energy in (exact, rounded)
    ]
    with torch.no_grad():
        noise = torch.randn(z.shape, generator=generator, device=generator.device).to(z)
        before = exact(z)
        by_rounding = (rounded(z) - before).square().mean().sqrt()
        by_noise = (exact(z + step_size * noise) - before).square().mean().sqrt()
    effect = float(by_rounding / by_noise)
    speedup = seconds[0] / seconds[1]
    worthwhile = speedup >= WORTHWHILE_SPEEDUP and effect < 1
    return PrecisionTrial("bfloat16" if worthwhile else "float32", speedup, effect)
