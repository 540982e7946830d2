"""Explaining observations away with fixed weights: posterior modes for any number of examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet import factor_analysis
from abpnet.arrays import check_size, factors_of, smallest_noise
from abpnet.emissions import Emission, Gaussian, Noise, check_data
from abpnet.errors import InputError
from abpnet.factor_analysis import FactorAnalysis
from abpnet.inference import find_mode
from abpnet.model import Decoder, GeneratorModel, frozen_decoder
from abpnet.observations import (
    Complete,
    Observation,
    Operator,
    Projection,
    as_observation,
    hide_missing,
    measure,
    unmasked,
)
from abpnet.values import check_between, check_count, plain_tensor, shown, sizes_of

__all__ = [
    "as_model",
    "batch_size",
    "check_network",
    "decode",
    "explain",
    "infer",
    "linear_measured",
    "linear_start",
    "padded_batches",
    "random_starts",
    "regress",
    "weights_device",
]

# Rows are explained in batches of exactly this many (the last one padded): arithmetic libraries round differently for
# different sizes, and no row may depend on how many others came along. Maps make large signals, one at a time.
BATCH = 64
MODE_STEPS = 300
# Draws of white noise from which the variances of its measurements are told.
NOISE_DRAWS = 64


def batch_size(latent_shape: Sequence[int]) -> int:
    """Examples with factors of this shape that are explained at a time."""
    return BATCH if len(latent_shape) == 1 else 1


def padded_batches(n: int, size: int) -> Iterator[tuple[Tensor, slice]]:
    """Indices of each batch, padded by repeating its first row, and where the result goes."""
    for first in range(0, n, size):
        rows = torch.arange(first, first + size)
        yield torch.where(rows < n, rows, first), slice(first, min(first + size, n))


def _check_conditions(conditions: Sequence[Tensor], n: int) -> None:
    """Refuse conditions that are not one for each example.

    Args:
        conditions: What a conditional decoder takes after z, as decoder(z, *conditions).
        n: Number of examples.

    Raises:
        ValueError: If one has another number of rows.
    """
    for place, condition in enumerate(conditions):
        if not isinstance(condition, Tensor):
            raise InputError(f"conditions[{place}] must be a torch.Tensor, got {shown(condition)}")
        if condition.shape[:1] != (n,):
            raise ValueError(
                f"conditions[{place}] must have one row for each of {n} examples, got shape {tuple(condition.shape)}; "
                "a single condition is passed as conditions=(condition,)"
            )


def _conditioned(
    decoder: Callable[..., Tensor], conditions: Sequence[Tensor], index: Tensor, device: torch.device
) -> Decoder:
    """The decoder as a function of z alone, under the conditions of the examples in `index`."""
    some = [condition[index.to(condition.device)].to(device) for condition in conditions]
    return lambda z: decoder(z, *some)


@torch.no_grad()
def _check_decoder(
    model: GeneratorModel,
    z: Float[Tensor, "m *latent"],
    conditions: Sequence[Tensor],
    n: int,
    measured: Observation,
) -> None:
    """Refuse factors that the decoder cannot take, and signals that cannot be measured, by one example of them.

    Args:
        model: With the decoder.
        z: The first example's factors.
        conditions: What a conditional decoder takes after z, one row for each of n examples.
        n: Number of examples.
        measured: What was measured of signals.

    Raises:
        ValueError: If it cannot, or the conditions are not one for each example.
    """
    _check_conditions(conditions, n)
    decoder, device = frozen_decoder(model.network), weights_device(model)
    try:
        signal = _conditioned(decoder, conditions, torch.arange(len(z)), device)(z.to(device))
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"the decoder cannot take factors of latent_shape={model.latent_shape} ({reason})") from error
    measure(measured.to(device), signal)


@torch.no_grad()
def check_network(model: GeneratorModel, shape: Sequence[int] | None) -> tuple[int, ...]:
    """Shape of one signal f(z); refuse a network from which nothing can be learned.

    Args:
        model: With the network.
        shape: Of one signal; None = not known.

    Raises:
        InputError: If it has no weights, cannot take the factors, or gives signals of another shape.
    """
    z = torch.zeros(1, *model.latent_shape, device=weights_device(model))
    if not any(weight.requires_grad for weight in model.parameters()):
        raise InputError("network: has no weights to learn")
    try:
        signal = frozen_decoder(model.network)(z)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"network: cannot take factors of latent_dim={model.latent_shape} ({reason})") from error
    if signal.dim() < 2 or len(signal) != 1 or shape not in (None, tuple(signal.shape[1:])):
        expected = "(n, *shape)" if shape is None else f"(n, *{shape})"
        raise InputError(f"network: must give signals {expected} as in X; for n = 1 it gave {tuple(signal.shape)}")
    return tuple(signal.shape[1:])


@torch.no_grad()
def decode(
    model: GeneratorModel,
    z: Float[Tensor, "n *latent"],
    precision: str = "float32",
    conditions: Sequence[Tensor] = (),
) -> Float[Tensor, "n *shape"]:
    """Signals f(z), or f(z, *conditions), on the CPU."""
    _check_conditions(conditions, len(z))
    decoder, device = frozen_decoder(model.network, precision), weights_device(model)
    signals = []
    for index, rows in padded_batches(len(z), batch_size(z.shape[1:])):
        signal = _conditioned(decoder, conditions, index, device)(z[index].to(device))
        signals.append(signal.cpu()[: rows.stop - rows.start])
    return torch.cat(signals)


def weights_device(model: nn.Module) -> torch.device:
    """Where the weights are; the CPU if there are none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def explain(
    model: GeneratorModel,
    y: Float[Tensor, "n *measured"],
    observation: Observation,
    start: Float[Tensor, "n *latent"],
    precision: str = "float32",
    n_steps: int = MODE_STEPS,
    restarts: Float[Tensor, "k *latent"] | None = None,
    conditions: Sequence[Tensor] = (),
    at_once: int | None = None,
) -> Float[Tensor, "n *latent"]:
    """Posterior mode of each example's latent factors; no row depends on another.

    Args:
        model: Its weights stay as they are, to the bit.
        y: Observations, finite everywhere (see `hide_missing`).
        observation: How they came about.
        start: Where the search starts.
        precision: Arithmetic inside the network.
        n_steps: Steps of the search.
        restarts: Where it starts again, for every example; of the modes found, that of lowest energy is kept.
        conditions: What a conditional network takes after z, one row for each example.
        at_once: Examples that are explained at a time; `batch_size` by default.

    Raises:
        ValueError: If the conditions are not one for each example.
    """
    _check_conditions(conditions, len(y))
    decoder, device = frozen_decoder(model.network, precision), weights_device(model)
    observation, modes = observation.to(device), torch.empty_like(start)
    for index, rows in padded_batches(len(y), at_once or batch_size(start.shape[1:])):
        batch, seen = y[index].to(device), observation.select(index)
        conditioned = _conditioned(decoder, conditions, index, device)
        energy = partial(model.energy, y=batch, observation=seen, decoder=conditioned)
        z, lowest = find_mode(energy, start[index].to(device), n_steps=n_steps)
        for other in () if restarts is None else restarts.to(device):
            rival, rivals_energy = find_mode(energy, other.expand_as(z).contiguous(), n_steps=n_steps)
            better = rivals_energy < lowest
            lowest = torch.where(better, rivals_energy, lowest)
            z = torch.where(better.view(-1, *[1] * (z.dim() - 1)), rival, z)
        modes[rows] = z[: rows.stop - rows.start].cpu()
    return modes


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
    for index, rows in padded_batches(len(y), batch_size(latent_shape)):
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
    if not isinstance(decoder, nn.Module):
        raise InputError(f"model must be a GeneratorModel or a torch.nn.Module, got {shown(decoder)}")
    if latent_shape is None:
        raise ValueError("latent_shape is needed for a plain decoder, for example latent_shape=(100,)")
    check_between("noise_std", noise_std, 0, math.inf)
    return GeneratorModel(decoder, sizes_of("latent_shape", latent_shape), emission=Gaussian(noise_std))


def random_starts(
    model: GeneratorModel, n_restarts: int, generator: torch.Generator | None
) -> Float[Tensor, "k *latent"]:
    """Draws from the prior to start a search at again, the same for all examples: so no row depends on another.

    Args:
        model: Whose prior.
        n_restarts: How many; 0 = none.
        generator: Source of chance; needed where there are any.

    Raises:
        ValueError: If the number is negative, or chance has no source.
    """
    check_count("n_restarts", n_restarts, least=0)
    if n_restarts == 0:
        return torch.empty(0, *model.latent_shape)
    if not isinstance(generator, torch.Generator):
        if generator is not None:
            raise InputError(f"generator must be a torch.Generator, got {shown(generator)}")
        raise ValueError("n_restarts needs a source of chance, for example generator=torch.Generator().manual_seed(0)")
    return model.prior.sample((n_restarts, *model.latent_shape), generator)


def infer(
    model: GeneratorModel | nn.Module,
    y: Float[Tensor, "n *measured"],
    *,
    latent_shape: Sequence[int] | None = None,
    observation: Any = None,
    noise_std: float = 0.3,
    start: Float[Tensor, "n *latent"] | None = None,
    n_steps: int = MODE_STEPS,
    n_restarts: int = 0,
    generator: torch.Generator | None = None,
    conditions: Sequence[Tensor] = (),
) -> Float[Tensor, "n *latent"]:
    """Explain observations away by any differentiable decoder: the posterior mode of its latent factors.

    No row depends on the others; where layers of the decoder have fewer than 16 features, its last bits may depend on
    its place among them (see `SteadyLinear`).

    Args:
        model: A `GeneratorModel`, or any module that maps (n, *latent_shape) to (n, *shape), such as the decoder of a
            VAE or the generator of a GAN, under the prior N(0, I) and white noise.
        y: Observations, NaN = missing.
        latent_shape: Shape of one example's latent factors; needed for a plain module.
        observation: How y came about; see `as_observation`.
        noise_std: Standard deviation of the noise, for a plain module.
        start: Where the search starts, such as the mean that an encoder tells; zero by default.
        n_steps: Steps of the search.
        n_restarts: Searches more, from draws of the prior, for decoders whose posterior has several modes, such as a
            GAN's generator; that of lowest energy is kept.
        generator: Source of these draws.
        conditions: What a conditional decoder takes after z, as model(z, *conditions): tensors of one row for each
            example.

    Raises:
        ValueError: If the latent shape of a plain module is missing or does not fit it, restarts have no generator, the
            conditions or starts are not one for each example, there is no step, y is no tensor or holds what the
            emission cannot have made.
    """
    check_count("n_steps", n_steps)
    if not isinstance(y, Tensor):
        raise ValueError(f"y must be a torch.Tensor, got {type(y).__name__}; pass torch.as_tensor(y)")
    model = as_model(model, latent_shape, noise_std)
    restarts = random_starts(model, n_restarts, generator)
    values, seen = hide_missing(plain_tensor("y", y).float().cpu(), as_observation(observation))
    if values.dim() < 2:
        raise InputError(f"y must be (n, *measured), got shape {tuple(y.shape)}; a single example is y[None]")
    if values.isinf().any():
        raise InputError("y: holds infinity; only NaN = missing is understood")
    check_size("y", values.numpy(), smallest_noise(model.emission))
    check_data(model.emission, values, seen.observed)
    if start is None:
        start = torch.zeros(len(y), *model.latent_shape)
    else:
        start = factors_of("start", start, model.latent_shape, len(y))
    if not isinstance(conditions, tuple | list):
        raise InputError(f"conditions must be a tuple of tensors, got {shown(conditions)}")
    _check_decoder(model, start[:1], conditions, len(y), unmasked(seen))
    return explain(model, values, seen, start, n_steps=n_steps, restarts=restarts, conditions=conditions)
