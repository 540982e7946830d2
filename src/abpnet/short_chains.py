"""Factors of images whose residuals are correlated, drawn by many short chains.

Neighbouring residuals err alike: they mislead the factors as stronger white noise would (`residuals.equivalent_noise`).
And chains that stand where learning left them keep to what the network memorised. So each draw is a chain of its own,
which starts at a draw from the posterior of the linear model closest to the network and takes a few Langevin steps
towards the network's (short runs: Nijkamp, Hill, Zhu and Wu 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet import factor_analysis
from abpnet.disk import Rows
from abpnet.emissions import Gaussian
from abpnet.explaining import BATCH
from abpnet.factor_analysis import FactorAnalysis
from abpnet.inference import Energy, langevin
from abpnet.model import Decoder, GeneratorModel, frozen_decoder
from abpnet.observations import Observation
from abpnet.residuals import ResidualField, equivalent_noise

__all__ = ["noise_for", "short_draws"]

STEP_SIZE, N_STEPS = 0.5, 8
# Masks through which the equivalent noise is measured.
MOST_MASKS = 32


def noise_for(linear: FactorAnalysis, field: ResidualField, y: Rows, observation: Observation) -> float | None:
    """Standard deviation of the white noise that misleads the factors as much as a field of residuals does.

    None if there is no such noise: the line does not respond to what was observed, or is not finite.

    Args:
        linear: The linear model closest to the network; its loadings are the patterns that are recognised.
        field: Of the residuals.
        y: (n, c, h, w) signals.
        observation: Which of their entries were observed; that of `MOST_MASKS` images drawn at random is enough.
    """
    rows = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))[:MOST_MASKS]
    observed, shape = observation.select(rows).observed, (len(rows), *y.shape[1:])
    seen = torch.ones(shape, dtype=torch.bool) if observed is None else observed.expand(shape)
    noise = equivalent_noise(field, linear.loadings.T.unflatten(1, y.shape[1:]), seen.cpu())
    return noise if math.isfinite(noise) and noise > 0 else None


def _place(u: Tensor, mean: Tensor, root: Tensor) -> Tensor:
    """Factors whose coordinates, in which the linear model's posterior is standard normal, are u."""
    return mean + (root @ u.unsqueeze(2)).squeeze(2)


def _energy(
    model: GeneratorModel, y: Tensor, observation: Observation, decoder: Decoder, mean: Tensor, root: Tensor
) -> Energy:
    return lambda u: model.energy(_place(u, mean, root), y, observation, decoder)


def short_draws(
    model: GeneratorModel,
    linear: FactorAnalysis,
    noise_std: float,
    y: Float[Tensor, "n *shape"],
    observation: Observation,
    generator: torch.Generator,
    precision: str = "float32",
) -> Iterator[Float[Tensor, "n d"]]:
    """Factors drawn by chains of `N_STEPS` steps, a new one for every draw, without end.

    Keeps d^2 numbers for each example.

    Args:
        model: Its weights stay as they are, to the bit.
        linear: The linear model closest to its network, see `explaining.regress`.
        noise_std: Standard deviation of the white noise that stands for the residuals.
        y: Signals, finite everywhere.
        observation: Which of their entries were observed.
        generator: Source of chance, on the model's device.
        precision: Arithmetic inside the network.
    """
    decoder, device = frozen_decoder(model.network, precision), generator.device
    white = model.emission.noise_std if isinstance(model.emission, Gaussian) else 0.0
    model = GeneratorModel(model.network, model.latent_shape, model.prior, Gaussian(noise_std))
    exact = FactorAnalysis(*(parameter.double() for parameter in linear))
    exact = exact._replace(noise_variance=(exact.noise_variance - white**2).clamp(min=0) + noise_std**2)
    cases = []
    for rows in torch.arange(len(y)).split(BATCH):
        seen = observation.select(rows)
        observed = None if seen.observed is None else seen.observed.expand_as(y[rows]).flatten(1).cpu()
        belief = factor_analysis.posterior(exact, y[rows].flatten(1).double().cpu(), observed)
        mean, root = belief.mean.float().to(device), torch.linalg.cholesky(belief.covariance).float().to(device)
        energy = _energy(model, y[rows].to(device), seen.to(device), decoder, mean, root)
        cases.append((mean, root, energy))
    round_metric = torch.eye(model.latent_shape[0], device=device)
    while True:
        draws = []
        for mean, root, energy in cases:
            start = torch.randn(mean.shape, generator=generator, device=device)
            u = langevin(energy, start, step_size=STEP_SIZE, n_steps=N_STEPS, generator=generator, root=round_metric)
            draws.append(_place(u, mean, root).cpu())
        yield torch.cat(draws)
