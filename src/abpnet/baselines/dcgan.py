"""A generative adversarial network with our generator (Goodfellow et al. 2014; DCGAN, Radford et al. 2016).

Instead of explaining signals, the generator learns to fool a discriminator that tells its signals from real ones.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.arithmetic import autocast, reproducible
from abpnet.baselines.bottom_up import BottomUpNetwork, n_factors
from abpnet.explaining import decode
from abpnet.model import GeneratorModel
from abpnet.networks.building import initialise

__all__ = ["AdversarialNetwork", "learn", "losses", "sample"]

# Radford et al. (2016), section 4, but for the batch: 1,000 images make few batches of 128.
LEARNING_RATE, MOMENTUM, BATCH = 2e-4, 0.5, 64
# Mescheder et al. (2018), equation 9. Our network has no batch normalisation, which the DCGAN leans on: without the
# penalty, and with batch or spectral normalisation of the discriminator in its place, the discriminator won within ten
# passes over 1,000 faces, and the generator learned nothing more.
STEEPNESS_PENALTY = 10.0


@dataclass(frozen=True)
class AdversarialNetwork:
    """What was learned.

    Attributes:
        model: The generator and the prior N(0, I).
        discriminator: Tells the log odds that a signal is real.
        precision: Arithmetic inside both networks.
        history: One row per pass over the signals: iteration, seconds, and both losses in nats.
    """

    model: GeneratorModel
    discriminator: nn.Module
    precision: str
    history: list[dict[str, float]]


def _steepness(odds: Tensor, signals: Tensor) -> Tensor:
    """Mean squared length of the log odds' gradients at the signals, itself differentiable."""
    (gradients,) = torch.autograd.grad(odds.sum(), signals, create_graph=True)
    return gradients.flatten(1).square().sum(1).mean()


def losses(real: Float[Tensor, "n 1"], made: Float[Tensor, "m 1"]) -> tuple[Tensor, Tensor]:
    """Losses of the discriminator, `-E log D(x) - E log (1 - D(f(z)))`, and of the generator, `-E log D(f(z))`.

    The generator's is the non-saturating one (Goodfellow et al. 2014, section 3).

    Args:
        real: Log odds `log D / (1 - D)` of real signals.
        made: Those of the generator's.
    """
    return F.softplus(-real).mean() + F.softplus(made).mean(), F.softplus(-made).mean()


def learn(
    y: Float[Tensor, "n *shape"],
    network: nn.Module,
    *,
    generator: torch.Generator,
    max_iter: int = 600,
    max_seconds: float | None = None,
    precision: str = "float32",
    learning_rate: float = LEARNING_RATE,
) -> AdversarialNetwork:
    """Learn generator and discriminator in turn, one Adam step each on every batch.

    The discriminator's loss has a penalty on its gradient at real signals, `5 E |d log odds / d y|^2` (Mescheder et al.
    2018, "Which training methods for GANs do actually converge?").

    Args:
        y: Complete signals.
        network: Network f, such as `ObjectNetwork`; a copy is learned, its weights drawn anew.
        generator: Source of all chance, on the device to compute on.
        max_iter: Passes over the signals at most.
        max_seconds: Seconds at most, looked at after each pass.
        precision: "float32" or "bfloat16", for the arithmetic inside the networks.
        learning_rate: Of Adam.

    Raises:
        ValueError: If entries are missing, or the network has no mirror image.
    """
    if y.isnan().any():
        raise ValueError("an adversarial network needs complete signals; these have missing entries")
    device, latent_dim = generator.device, n_factors(network)
    with torch.device("meta"):
        mirror = BottomUpNetwork(network, 1)
    judge, maker = initialise(mirror, generator), initialise(copy.deepcopy(network), generator)
    gan = AdversarialNetwork(GeneratorModel(maker, (latent_dim,)), judge, precision, [])
    optimizers = [
        torch.optim.Adam(part.parameters(), lr=learning_rate, betas=(MOMENTUM, 0.999)) for part in (judge, maker)
    ]

    def log_odds(signals: Tensor) -> Tensor:
        with autocast(device, precision):
            return judge(signals).float()

    def step(part: int, loss: Tensor) -> None:
        optimizers[part].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[part].step()

    start = time.monotonic()
    with reproducible(device):
        for iteration in range(1, max_iter + 1):
            total = torch.zeros(2, device=device)
            for index in torch.randperm(len(y), generator=generator, device=device).cpu().split(BATCH):
                with autocast(device, precision):
                    made = maker(gan.model.prior.sample((len(index), latent_dim), generator)).float()
                real = y[index].to(device).requires_grad_()
                real_odds = log_odds(real)
                judgement, _ = losses(real_odds, log_odds(made.detach()))
                step(0, judgement + 0.5 * STEEPNESS_PENALTY * _steepness(real_odds, real))
                judge.requires_grad_(False)  # its gradients are not needed now
                odds = log_odds(made)
                _, deception = losses(odds, odds)
                step(1, deception)
                judge.requires_grad_(True)
                total += len(index) * torch.stack([judgement.detach(), deception.detach()])
            seconds = time.monotonic() - start
            means = (total / len(y)).tolist()
            gan.history.append(
                {"iteration": iteration, "seconds": seconds, "discriminator": means[0], "generator": means[1]}
            )
            if max_seconds is not None and seconds >= max_seconds:
                break
    return gan


@torch.no_grad()
def sample(gan: AdversarialNetwork, n: int, generator: torch.Generator) -> Float[Tensor, "n *shape"]:
    """Signals f(z) of z drawn from N(0, I), on the CPU.

    Args:
        gan: What was learned.
        n: How many.
        generator: Source of chance.
    """
    z = gan.model.prior.sample((n, *gan.model.latent_shape), generator)
    return decode(gan.model, z.cpu(), gan.precision)
