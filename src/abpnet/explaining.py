"""Explaining observations away with fixed weights: posterior modes and draws for any number of examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet import factor_analysis
from abpnet.emissions import Emission, Gaussian, Noise
from abpnet.factor_analysis import FactorAnalysis
from abpnet.inference import find_mode, langevin, precondition
from abpnet.model import SCORES_PER_FACTOR, GeneratorModel, frozen_decoder
from abpnet.observations import Complete, Observation, Operator, Projection, as_observation, hide_missing, unmasked

__all__ = ["as_model", "decode", "explain", "infer", "linear_measured", "linear_start", "posterior_draws", "regress"]

# Rows are explained in batches of exactly this many (the last one padded): arithmetic libraries round differently for
# different sizes, and no row may depend on how many others came along. Maps make large signals, one at a time.
BATCH = 64
MODE_STEPS = 300
# Draws of white noise from which the variances of its measurements are told.
NOISE_DRAWS = 64
DRAW_STEP_SIZE, STEPS_BEFORE_FIRST_DRAW, STEPS_BETWEEN_DRAWS = 0.5, 40, 4


def _batch_size(latent_shape: Sequence[int]) -> int:
    return BATCH if len(latent_shape) == 1 else 1


def _batches(n: int, latent_shape: Sequence[int]) -> Iterator[tuple[Tensor, slice]]:
    """Indices of each batch, padded by repeating its first row, and where the result goes."""
    size = _batch_size(latent_shape)
    for first in range(0, n, size):
        rows = torch.arange(first, first + size)
        yield torch.where(rows < n, rows, first), slice(first, min(first + size, n))


@torch.no_grad()
def decode(
    model: GeneratorModel, z: Float[Tensor, "n *latent"], precision: str = "float32"
) -> Float[Tensor, "n *shape"]:
    """Signals f(z) on the CPU."""
    decoder, device = frozen_decoder(model.network, precision), _device(model)
    signals = []
    for index, rows in _batches(len(z), z.shape[1:]):
        signals.append(decoder(z[index].to(device)).cpu()[: rows.stop - rows.start])
    return torch.cat(signals)


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def explain(
    model: GeneratorModel,
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    start: Float[Tensor, "n *latent"],
    precision: str = "float32",
    n_steps: int = MODE_STEPS,
) -> Float[Tensor, "n *latent"]:
    """Posterior mode of each example's latent factors; no row depends on another.

    Args:
        model: Its weights stay as they are, to the bit.
        y: Observations, finite everywhere (see `hide_missing`).
        observation: How they came about.
        start: Where the search starts.
        precision: Arithmetic inside the network.
        n_steps: Steps of the search.
    """
    decoder, device = frozen_decoder(model.network, precision), _device(model)
    observation, modes = observation.to(device), torch.empty_like(start)
    for index, rows in _batches(len(y), start.shape[1:]):
        batch, seen = y[index].to(device), observation.select(index)
        z, _ = find_mode(
            partial(model.energy, y=batch, observation=seen, decoder=decoder), start[index].to(device), n_steps=n_steps
        )
        modes[rows] = z[: rows.stop - rows.start].cpu()
    return modes


def posterior_draws(
    model: GeneratorModel,
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    start: Float[Tensor, "n *latent"],
    generator: torch.Generator,
    precision: str = "float32",
) -> Iterator[Float[Tensor, "n *latent"]]:
    """Latent factors drawn from their posterior by preconditioned Langevin dynamics, without end.

    Args:
        model: Its weights stay as they are, to the bit.
        y: Observations, finite everywhere.
        observation: How they came about.
        start: Where the chains start, best near the posterior mode.
        generator: Source of chance, on the model's device.
        precision: Arithmetic inside the network.
    """
    decoder, device = frozen_decoder(model.network, precision), _device(model)
    observation, batches = observation.to(device), []
    for index in torch.arange(len(y)).split(_batch_size(model.latent_shape)):
        seen, z = observation.select(index), start[index].to(device)
        root = precondition(model.latent_precision(z, generator, seen, decoder, SCORES_PER_FACTOR))
        batches.append((partial(model.energy, y=y[index].to(device), observation=seen, decoder=decoder), root, z))
    n_steps = STEPS_BEFORE_FIRST_DRAW
    while True:
        for position, (energy, root, z) in enumerate(batches):
            moved = langevin(energy, z, step_size=DRAW_STEP_SIZE, n_steps=n_steps, generator=generator, root=root)
            batches[position] = (energy, root, moved)
        n_steps = STEPS_BETWEEN_DRAWS
        yield torch.cat([z.cpu() for _, _, z in batches])


def regress(model: GeneratorModel, z: Float[Tensor, "n d"], precision: str = "float32") -> FactorAnalysis:
    """The linear model closest to the network around its chains: least squares of f(z) on z.

    What the line leaves unexplained counts as noise, on top of the emission's. Of emissions that are no noise, the line
    is that of expected observations.

    Args:
        model: With factors that are a vector.
        z: Chains.
        precision: Arithmetic inside the network.
    """
    decoded = decode(model, z, precision)
    signals = model.emission.mean(decoded).flatten(1)
    factors = torch.cat([z, z.new_ones(len(z), 1)], 1)
    ridge = 1e-3 * len(z) * torch.eye(factors.shape[1])
    coefficients = torch.linalg.solve(factors.T @ factors + ridge, factors.T @ signals)
    unexplained = (signals - factors @ coefficients).square().mean()
    noise = _noise_variance(model.emission, decoded)
    variance = (unexplained + noise).clamp(min=1e-6).expand(signals.shape[1]).clone()
    return FactorAnalysis(coefficients[:-1].T.contiguous(), coefficients[-1].contiguous(), variance)


def _noise_variance(emission: Emission, signals: Tensor) -> float:
    """Mean square of what is observed from what is expected; of emissions whose noise is not told, by drawing it."""
    if isinstance(emission, Noise):
        return emission.noise_std**2
    drawn = emission.sample(signals, torch.Generator().manual_seed(0))
    return float((drawn - emission.mean(signals)).square().mean())


def linear_measured(linear: FactorAnalysis, measured: Observation, shape: Sequence[int]) -> FactorAnalysis | None:
    """The linear model of A x: loadings A W, mean A b, and of the noise A e the variances; None if A is not linear."""
    if isinstance(measured, Complete):
        return linear
    if not (isinstance(measured, Projection) or (isinstance(measured, Operator) and measured.linear)):
        return None

    def measure(rows: Tensor) -> Tensor:
        return measured(rows.unflatten(1, tuple(shape))).flatten(1)

    loadings, mean = measure(linear.loadings.T), measure(linear.mean[None])[0]
    draws = torch.randn(NOISE_DRAWS, len(linear.mean), generator=torch.Generator().manual_seed(0))
    noise = measure(draws * linear.noise_variance.sqrt())
    return FactorAnalysis(loadings.T.contiguous(), mean, noise.square().mean(0).clamp(min=1e-6))


def linear_start(
    linear: FactorAnalysis | None,
    y: Tensor,
    observation: Observation,
    latent_shape: Sequence[int],
    signal_shape: Sequence[int],
) -> Float[Tensor, "n *latent"]:
    """Where the search for each example's factors starts: its posterior mean under a linear model of the signals.

    Zero, the prior's mean, where there is no linear model or the measurement is not known to be linear.

    Args:
        linear: From `regress`.
        y: Observations, finite everywhere.
        observation: How they came about.
        latent_shape: Shape of one example's factors.
        signal_shape: Shape of one signal.
    """
    start = torch.zeros(len(y), *latent_shape)
    linear = None if linear is None else linear_measured(linear, unmasked(observation), signal_shape)
    if linear is None:
        return start
    # The last bits of a matrix product depend on a row's place in the batch; rounding to float32 drops them.
    exact = FactorAnalysis(*(parameter.double() for parameter in linear))
    for index, rows in _batches(len(y), latent_shape):
        observed = observation.select(index).observed
        observed = None if observed is None else observed.expand_as(y[index]).flatten(1)
        mean = factor_analysis.posterior(exact, y[index].flatten(1).double(), observed).mean
        start[rows] = mean[: rows.stop - rows.start].float()
    return start


def as_model(
    decoder: GeneratorModel | nn.Module, latent_shape: Sequence[int] | None = None, noise_std: float = 0.3
) -> GeneratorModel:
    """A plain decoder as a model, under the prior N(0, I) and white noise; a model as it is.

    Args:
        decoder: A `GeneratorModel`, or any module that maps (n, *latent_shape) to (n, *shape).
        latent_shape: Shape of one example's latent factors; needed for a plain module.
        noise_std: Standard deviation of the noise, for a plain module.

    Raises:
        ValueError: If the latent shape of a plain module is missing.
    """
    if isinstance(decoder, GeneratorModel):
        return decoder
    if latent_shape is None:
        raise ValueError("latent_shape is needed for a plain decoder, for example latent_shape=(100,)")
    return GeneratorModel(decoder, latent_shape, emission=Gaussian(noise_std))


def infer(
    model: GeneratorModel | nn.Module,
    y: Float[Tensor, "n *measured"],
    *,
    latent_shape: Sequence[int] | None = None,
    observation: Any = None,
    noise_std: float = 0.3,
    start: Float[Tensor, "n *latent"] | None = None,
    n_steps: int = MODE_STEPS,
) -> Float[Tensor, "n *latent"]:
    """Explain observations away by any differentiable decoder: the posterior mode of its latent factors.

    Args:
        model: A `GeneratorModel`, or any module that maps (n, *latent_shape) to (n, *shape), such as the decoder of a
            VAE or the generator of a GAN, under the prior N(0, I) and white noise.
        y: Observations, NaN = missing.
        latent_shape: Shape of one example's latent factors; needed for a plain module.
        observation: How y came about; see `as_observation`.
        noise_std: Standard deviation of the noise, for a plain module.
        start: Where the search starts; zero by default.
        n_steps: Steps of the search.

    Raises:
        ValueError: If the latent shape of a plain module is missing.
    """
    model = as_model(model, latent_shape, noise_std)
    values, seen = hide_missing(y, as_observation(observation))
    start = torch.zeros(len(y), *model.latent_shape) if start is None else start
    return explain(model, values, seen, start, n_steps=n_steps)
