"""Which precision the network's arithmetic is done in: exact float32, or bfloat16 where it pays and does no harm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from abpnet import parallel
from abpnet.arithmetic import PRECISIONS
from abpnet.inference import energy_and_gradient, langevin_noise, precondition
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.observations import Observation

__all__ = ["PrecisionTrial", "try_precisions"]

TRIAL_SECONDS = 0.05
# Scores per factor for the metric of the trial's noise: its length matters, not its last direction.
TRIAL_SCORES = 4
# bfloat16 must be clearly faster: a choice made on a hair's breadth would not be the same twice.
WORTHWHILE_SPEEDUP = 1.25
# Below this much arithmetic in one pass through the network (about a millisecond), nothing is to be gained, and another
# program's work could decide the outcome of a trial: small networks are float32, without one.
FEWEST_OPERATIONS = 10**8


@dataclass(frozen=True)
class PrecisionTrial:
    """What a short trial found.

    Attributes:
        precision: The choice.
        speedup: Time of a float32 gradient over that of a bfloat16 one; None where the network is too small for
            the choice to matter.
        energy_effect: Root mean square change of the energy when its network is evaluated in bfloat16, over the
            root mean square change when one step's Langevin noise is added to z; below 1, rounding drowns in noise.
            None without a trial.
    """

    precision: str
    speedup: float | None
    energy_effect: float | None


def _operations(network: nn.Module, z: Tensor) -> int:
    """Multiplications and additions of one pass through the network."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(z)
    return counter.get_total_flops()


def _shortest(functions: Sequence[Callable[[], object]], device: torch.device, seconds: float) -> list[float]:
    """Shortest time of each function, called in turn so that a busy machine slows all alike; warmed up before."""

    def call(function: Callable[[], object]) -> float:
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for function in functions:
        call(function)
    rounds = [[call(function) for function in functions]]
    while sum(map(sum, rounds)) < seconds:
        rounds.append([call(function) for function in functions])
    return [min(times) for times in zip(*rounds, strict=True)]


def try_precisions(
    model: GeneratorModel,
    z: Float[Tensor, "n *latent"],
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    step_size: float,
    generator: torch.Generator,
    preconditioned: bool = False,
) -> PrecisionTrial:
    """Compare float32 and bfloat16 on one batch; of several processes, what the first one finds counts.

    Args:
        model: Whose network is evaluated.
        z: Latent factors of the batch.
        y: Its observations.
        observation: How they came about.
        step_size: Of Langevin dynamics.
        generator: Source of one step's noise.
        preconditioned: Whether Langevin dynamics follows the metric of the factors' Fisher information.
    """

    def energy_in(precision: str) -> Callable[[Tensor], Tensor]:
        decoder = frozen_decoder(model.network, precision)
        return lambda factors: model.energy(factors, y, observation, decoder)

    if _operations(model.network, z) < FEWEST_OPERATIONS:
        return PrecisionTrial("float32", None, None)
    exact, rounded = (energy_in(precision) for precision in PRECISIONS)
    gradients = [partial(energy_and_gradient, energy, z) for energy in (exact, rounded)]
    seconds = _shortest(gradients, z.device, TRIAL_SECONDS)
    root = None
    if preconditioned:
        root = precondition(model.latent_precision(z, generator, observation, scores_per_factor=TRIAL_SCORES))
    with torch.no_grad():
        noise = langevin_noise(z, step_size=step_size, generator=generator, root=root)
        before = exact(z)
        by_rounding = (rounded(z) - before).square().mean().sqrt()
        by_noise = (exact(z + noise) - before).square().mean().sqrt()
    effect, speedup = map(parallel.number_of_first, (float(by_rounding / by_noise), seconds[0] / seconds[1]))
    worthwhile = speedup >= WORTHWHILE_SPEEDUP and effect < 1
    return PrecisionTrial("bfloat16" if worthwhile else "float32", speedup, effect)
