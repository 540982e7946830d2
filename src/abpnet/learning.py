"""Learning back-propagation: alternate between explaining the examples away and updating the weights.

    for iteration in alternate(model, y, observation):
        print(iteration.error)

What changes on the way is one object, the `LearningState`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Generator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from abpnet import factor_analysis, parallel, residuals
from abpnet.batches import batch_step
from abpnet.errors import InputError
from abpnet.explaining import decode
from abpnet.latents import Latents
from abpnet.learning_state import Iteration, LearningState
from abpnet.metrics import DYNAMIC_RANGE, latent_moments
from abpnet.model import GeneratorModel
from abpnet.observations import Complete, Observation, as_observation, hide_missing, unmasked
from abpnet.optimizing import optimizer_of
from abpnet.projected_residuals import estimate_projected, matrix_of
from abpnet.recipes import Recipe
from abpnet.residuals import ResidualField
from abpnet.whitening import neighbours_of, whiten

__all__ = ["alternate", "begin", "estimate_residuals"]

# Residuals are white for this many passes; then their field is estimated, and again whenever the passes have doubled.
PASSES_BEFORE_FIELD = 5
# Of indirect data, the field is estimated from examples with all measurements, if they are at least this share.
FEWEST_WHOLE = 0.5
# A linear start needs no more than this to be good enough.
MOST_EXAMPLES_LINEAR, MOST_ENTRIES_LINEAR, LINEAR_ITERATIONS = 2000, 1024, 20
# What makes the examples of a batch depend on one another.
BATCH_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@runtime_checkable
class Regressing(Protocol):
    """A network that can start at the linear regression of complete signals on the start of their chains."""

    def regress(self, z: Tensor, y: Tensor) -> None:
        """Set weights by least squares of y on z."""


def _start_of_chains(
    model: GeneratorModel, y: Tensor, observation: Observation, recipe: Recipe, generator: torch.Generator
) -> Latents:
    if recipe.start == "prior" or len(model.latent_shape) > 1:
        return Latents(model.prior.sample((len(y), *model.latent_shape), generator).cpu())
    flat = y.flatten(1)
    observed = observation.observed
    observed = None if observed is None else observed.expand_as(y).flatten(1)

    def some(count: int, most: int) -> Tensor:
        order = torch.randperm(count, generator=generator, device=generator.device).to(y.device)
        return order[:most].sort().values

    entries, examples = some(flat.shape[1], MOST_ENTRIES_LINEAR), some(len(y), MOST_EXAMPLES_LINEAR)
    flat, observed = flat[:, entries], None if observed is None else observed[:, entries]
    linear = factor_analysis.fit(
        flat[examples],
        model.latent_shape[0],
        None if observed is None else observed[examples],
        max_iter=LINEAR_ITERATIONS,
    )
    means = [
        factor_analysis.posterior(linear, flat[rows], None if observed is None else observed[rows]).mean
        for rows in torch.arange(len(y)).split(MOST_EXAMPLES_LINEAR)
    ]
    return Latents(torch.cat(means).cpu())


def begin(
    model: GeneratorModel,
    y: Tensor,
    observation: Observation | None = None,
    *,
    recipe: Recipe,
    generator: torch.Generator,
) -> LearningState:
    """The state before the first iteration.

    Args:
        model: Whose weights are to be learned; changed in place later on.
        y: (n, *measured) observations, NaN = missing.
        observation: How y came about; complete by default.
        recipe: How to learn.
        generator: Source of all chance, on the device of the model.
    """
    y, observation = hide_missing(y, as_observation(observation))
    latents = _start_of_chains(model, y, observation, recipe, generator)
    if isinstance(model.network, Regressing) and isinstance(observation, Complete):
        model.network.regress(latents.values.to(y.device), y)
    return LearningState(
        model=model,
        latents=latents,
        optimizer=optimizer_of(model.network, recipe),
        generator=generator,
        averaged={name: weight.detach().clone() for name, weight in model.network.named_parameters()},
        latent_precision=torch.zeros(model.latent_shape[0], model.latent_shape[0], device=generator.device),
    )


def _are_images(y: Tensor, observation: Observation) -> bool:
    """Whether signals themselves are observed, whole or in part, and have channels, height and width."""
    return y.dim() == 4 and isinstance(unmasked(observation), Complete)


def estimate_residuals(
    state: LearningState, y: Tensor, observation: Observation, precision: str = "float32"
) -> tuple[ResidualField | None, float]:
    """The field of the residuals at the chains, and the standard deviation of the noise of measurements themselves.

    None and 0 if the signal is no image (channels, height, width), or is seen through measurements of which
    `projected_residuals.matrix_of` knows no matrix.

    With factors drawn from their posterior, that is EM's update of the noise. Where squares were held out, they are
    errors of prediction.

    Args:
        state: Whose chains and weights are used.
        y: Observations, finite everywhere.
        observation: How they came about.
        precision: Arithmetic inside the network.
    """
    signals = decode(state.model, state.latents.values, precision)
    if signals.dim() != 4:
        return None, 0.0
    if not _are_images(y, observation):
        matrix = matrix_of(unmasked(observation), signals.shape[1:])
        if matrix is None:
            return None, 0.0
        known = torch.ones_like(y, dtype=torch.bool) if observation.observed is None else observation.observed.cpu()
        known = known.expand_as(y).flatten(1)
        measured = known.any(0)
        whole = known[:, measured].all(1)
        if whole.float().mean() < FEWEST_WHOLE:
            warnings.warn(
                f"residuals are taken for white: only {int(whole.sum())} of {len(y)} examples have all "
                "measurements, and their field needs half of them",
                stacklevel=2,
            )
            return None, 0.0
        residual = y.flatten(1).cpu() - signals.flatten(1) @ matrix.T
        return estimate_projected(residual[whole][:, measured], matrix[measured], signals.shape[1:])
    observed = torch.ones_like(signals) if observation.observed is None else observation.observed.cpu()
    return residuals.estimate(y.cpu() - signals, observed.bool()), 0.0


def _join(state: LearningState, y: Tensor, recipe: Recipe) -> None:
    """Let several processes learn as one: all begin where the first stands.

    Raises:
        InputError: If they cannot.
    """
    n_processes, batch_size = parallel.n_processes(), min(recipe.batch_size, len(y))
    if n_processes == 1:
        return
    if batch_size < n_processes:
        raise InputError(
            f"{n_processes} processes cannot share batches of {batch_size}; start at most {batch_size}, or one alone"
        )
    if any(isinstance(layer, BATCH_NORMALISATION) for layer in state.model.modules()):
        raise InputError(
            "the network normalises batches as a whole, which several processes do not have; start one, or use a "
            "network without batch normalisation"
        )
    n_weights = sum(weight.numel() for weight in state.model.parameters())
    content = int(y.contiguous().view(torch.int32).sum())
    if not parallel.are_alike([len(y), y.numel(), content, n_weights, recipe.batch_size, state.updates]):
        raise InputError("several processes learn as one; each must be given the same data and settings")
    state.follow_first()


def alternate(
    model: GeneratorModel,
    y: Tensor,
    observation: Observation | None = None,
    *,
    recipe: Recipe,
    state: LearningState | None = None,
    generator: torch.Generator | None = None,
    precision: str = "float32",
) -> Generator[Iteration]:
    """Alternating back-propagation (Han et al. 2017, algorithm 1), without end: the caller stops.

    In every iteration each example, in shuffled mini-batches, is explained away by its own warm-started chain, and
    after each mini-batch the weights take one gradient step on the complete-data log-likelihood.

    In a process group of torch.distributed the processes share the examples of each mini-batch (see `parallel`): each
    is given all data, each is to stop after the same iteration, and each ends with the same state.

    Args:
        model: Learned in place.
        y: (n, *measured) observations, NaN = missing.
        observation: How y came about; complete by default.
        recipe: How to learn.
        state: Where to go on from; a new start by default.
        generator: Source of all chance of a new start; seeded with 0 by default.
        precision: "float32" (exact) or "bfloat16", for the arithmetic inside the network.

    Yields:
        A summary after each pass over the examples.

    Raises:
        InputError: If several processes were given different data, or cannot share the batches: there are fewer
            examples in one than processes, or the network has batch normalisation.
    """
    device = next(model.parameters()).device
    y, observation = hide_missing(y, as_observation(observation))
    observation = observation.to(device)
    if state is None:
        generator = generator or torch.Generator(device).manual_seed(0)
        state = begin(model, y, observation, recipe=recipe, generator=generator)
    _join(state, y, recipe)
    whitened = recipe.residuals == "whitened" and _are_images(y, observation)
    held_out = recipe.held_out if _are_images(y, observation) else 0.0
    neighbours = neighbours_of(y, observation) if whitened else None
    white, filters = whiten(y, observation, state.residuals, model.emission, neighbours)
    step = batch_step(state, filters, recipe, precision, held_out)
    start = time.monotonic() - state.seconds
    while True:
        doublings = math.log2(state.iteration / PASSES_BEFORE_FIELD) if state.iteration else -1.0
        if whitened and doublings >= 0 and doublings.is_integer():
            state.residuals, _ = estimate_residuals(state, y, observation, precision)
            white, filters = whiten(y, observation, state.residuals, model.emission, neighbours)
            step = batch_step(state, filters, recipe, precision, held_out)
        sums, moved = torch.zeros(3, device=device), []
        energy, residual, n_observed = sums.unbind()
        order = torch.randperm(len(y), generator=state.generator, device=state.generator.device).cpu()
        for chosen in order.split(recipe.batch_size):
            share = parallel.share_of(len(chosen), state.generator)
            index = chosen[share.rows]
            batch, seen = white[index].to(device), filters.select(index).to(device)
            z, energies, signal = step(state.latents.read(index, device), batch, seen, share)
            kept = share.kept
            state.latents.write(index[kept], z[kept])
            moved.append(index[kept])
            if filters is not observation:
                batch, seen = y[index].to(device), observation.select(index)
            with torch.no_grad():
                difference = batch - seen(signal)
            difference = difference if seen.observed is None else torch.where(seen.observed, difference, 0.0)
            difference = difference[kept]
            n_entries = difference.numel() if seen.observed is None else seen.observed.expand_as(batch)[kept].sum()
            if recipe.learn_noise:
                in_all = torch.stack([difference.square().sum(), torch.as_tensor(n_entries, device=device)])
                squares, of_entries = parallel.total(in_all)
                state.learn_noise(float(squares / of_entries))
            energy += energies[kept].sum()
            residual += difference.abs().sum()
            n_observed += n_entries
        energy, residual, n_observed = parallel.total(sums)
        parallel.exchange(state.latents.values, torch.cat(moved))
        state.iteration += 1
        state.seconds = parallel.number_of_first(time.monotonic() - start)
        iteration = Iteration(
            iteration=state.iteration,
            seconds=state.seconds,
            energy=float(energy) / len(y),
            error=float(residual / n_observed) / DYNAMIC_RANGE,
            **latent_moments(state.latents.values),
        )
        state.history.append(iteration.row())
        yield iteration
