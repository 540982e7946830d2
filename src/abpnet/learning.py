"""Learning back-propagation: alternate between explaining the examples away and updating the weights.

    for iteration in alternate(model, y, observation):
        print(iteration.error)

What changes on the way is one object, the `LearningState`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from abpnet import factor_analysis, parallel, residuals
from abpnet.ahead import prepared_ahead
from abpnet.batches import batch_step
from abpnet.chance import Share
from abpnet.disk import Rows, RowsOnDisk, hidden
from abpnet.emissions import residual_sums
from abpnet.errors import InputError
from abpnet.explaining import BATCH, decode
from abpnet.latents import Latents
from abpnet.learning_state import Iteration, LearningState
from abpnet.metrics import DYNAMIC_RANGE, latent_moments
from abpnet.model import GeneratorModel
from abpnet.observations import Complete, Observation, unmasked
from abpnet.optimizing import optimizer_of
from abpnet.projected_residuals import estimate_projected_in_parts, matrix_of
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
# Examples that are in memory, those of which signals are measured, and chains that are drawn, at a time.
EXAMPLES, MEASURED_EXAMPLES, CHAINS = BATCH, 32 * BATCH, 2**14
# What makes the examples of a batch depend on one another.
BATCH_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@runtime_checkable
class Regressing(Protocol):
    """A network that can start at the linear regression of complete signals on the start of their chains."""

    def regress(self, z: Tensor, y: Tensor) -> None:
        """Set weights by least squares of y on z."""


def _some(count: int, most: int, generator: torch.Generator) -> Tensor:
    """Indices drawn at random, in ascending order, on the CPU."""
    return torch.randperm(count, generator=generator, device=generator.device)[:most].sort().values.cpu()


def _drawn_together(n: int, device: torch.device) -> Iterator[Tensor]:
    """Indices whose chains are drawn at once: on the CPU some at a time, which gives the numbers of one draw.

    That is so for parts of a multiple of 16 numbers, and a last one of more than 16.
    """
    starts = range(0, max(n - CHAINS, 1), CHAINS) if device.type == "cpu" else range(1)
    for first, last in pairwise([*starts, n]):
        yield torch.arange(first, last)


def _start_of_chains(
    model: GeneratorModel,
    y: Rows,
    observation: Observation,
    recipe: Recipe,
    generator: torch.Generator,
    start: Tensor | None,
) -> Latents:
    shape = model.latent_shape
    latents = Latents.temporary(len(y), shape) if isinstance(y, RowsOnDisk) else Latents(torch.empty(len(y), *shape))
    if start is not None:
        latents.copy_from(start)
        return latents
    if recipe.start == "prior" or len(shape) > 1:
        for rows in _drawn_together(len(y), generator.device):
            latents.write(rows, model.prior.sample((len(rows), *shape), generator))
        return latents
    entries = _some(math.prod(y.shape[1:]), MOST_ENTRIES_LINEAR, generator)
    examples = _some(len(y), MOST_EXAMPLES_LINEAR, generator)

    def read(rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Some entries of these examples, and which were observed; few examples at a time have them all in memory."""
        values, seen = [], []
        for index in rows.split(EXAMPLES):
            values.append(y[index].flatten(1)[:, entries])
            observed = observation.select(index).observed
            if observed is not None:
                seen.append(observed.expand(len(index), *y.shape[1:]).flatten(1)[:, entries].to(y.device))
        return torch.cat(values), torch.cat(seen) if seen else None

    values, observed = read(examples)
    linear = factor_analysis.fit(values, shape[0], observed, max_iter=LINEAR_ITERATIONS)
    for rows in torch.arange(len(y)).split(MOST_EXAMPLES_LINEAR):
        latents.write(rows, factor_analysis.posterior(linear, *read(rows)).mean)
    return latents


def begin(
    model: GeneratorModel,
    y: Rows,
    observation: Observation | None = None,
    *,
    recipe: Recipe,
    generator: torch.Generator,
    start: Tensor | None = None,
) -> LearningState:
    """The state before the first iteration.

    Args:
        model: Whose weights are to be learned; changed in place later on.
        y: (n, *measured) observations, NaN = missing; or `RowsOnDisk`, whose chains are on disk as well.
        observation: How y came about; complete by default.
        recipe: How to learn.
        generator: Source of all chance, on the device of the model.
        start: (n, *latent_shape) where the chains start; as the recipe says by default.
    """
    y, observation = hidden(y, observation)
    latents = _start_of_chains(model, y, observation, recipe, generator, start)
    if isinstance(model.network, Regressing) and isinstance(observation, Complete):
        some = torch.arange(len(y))
        if isinstance(y, RowsOnDisk):
            some = _some(len(y), MOST_EXAMPLES_LINEAR, torch.Generator().manual_seed(0))
        model.network.regress(latents.read(some, y.device), y[some])
    precision_shape = [model.latent_shape[0]] * 2
    if recipe.masked_metric:
        precision_shape.insert(0, math.prod(y.shape[1:]))
    return LearningState(
        model=model,
        latents=latents,
        optimizer=optimizer_of(model, recipe, len(y)),
        generator=generator,
        averaged={name: weight.detach().clone() for name, weight in model.named_parameters()},
        latent_precision=torch.zeros(precision_shape, device=generator.device),
    )


def _in_memory(y: Rows) -> Tensor:
    """What has to be in memory as a whole, to be whitened.

    Raises:
        InputError: If it is on disk.
    """
    if isinstance(y, RowsOnDisk):
        raise InputError(
            "residuals='whitened' keeps in memory what it makes of all examples; of those on disk choose another "
            "recipe, such as 'kriged', or pass them as an array in memory: np.array(X)"
        )
    return y


def _are_images(y: Rows, observation: Observation) -> bool:
    """Whether signals themselves are observed, whole or in part, and have channels, height and width."""
    return y.dim() == 4 and isinstance(unmasked(observation), Complete)


def estimate_residuals(
    state: LearningState, y: Rows, observation: Observation, precision: str = "float32"
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
    parts = torch.arange(len(y)).split(EXAMPLES if _are_images(y, observation) else MEASURED_EXAMPLES)

    def signals(rows: Tensor) -> Tensor:
        return decode(state.model, state.latents.read(rows, torch.device("cpu")), precision)

    def known(rows: Tensor) -> Tensor:
        observed = observation.select(rows).observed
        observed = torch.ones(1, dtype=torch.bool) if observed is None else observed.cpu()
        return observed.expand(len(rows), *y.shape[1:])

    shape = signals(parts[0][:1]).shape[1:]
    if len(shape) != 3:
        return None, 0.0
    if _are_images(y, observation):
        return residuals.estimate_in_parts((y[rows].cpu() - signals(rows), known(rows)) for rows in parts), 0.0
    matrix = matrix_of(unmasked(observation), shape)
    if matrix is None:
        return None, 0.0
    ever = torch.stack([known(rows).flatten(1).any(0) for rows in parts]).any(0)
    whole = torch.cat([known(rows).flatten(1)[:, ever].all(1) for rows in parts])
    if whole.float().mean() < FEWEST_WHOLE:
        warnings.warn(
            f"residuals are taken for white: only {int(whole.sum())} of {len(y)} examples have all "
            "measurements, and their field needs half of them",
            stacklevel=2,
        )
        return None, 0.0
    left = (y[rows].flatten(1).cpu() - signals(rows).flatten(1) @ matrix.T for rows in parts)
    told = (residual[whole[rows]][:, ever] for rows, residual in zip(parts, left, strict=True))
    return estimate_projected_in_parts(told, matrix[ever], shape)


def _batches(
    order: Tensor, batch_size: int, y: Rows, observation: Observation, generator: torch.Generator
) -> Iterator[tuple[Share, Tensor, Tensor, Observation]]:
    """Of each batch this process's share, its indices, observations, and how these came about.

    Of rows on disk, one batch is read ahead.
    """

    def read(chosen: Tensor) -> tuple[Share, Tensor, Tensor, Observation]:
        share = parallel.share_of(len(chosen), generator)
        index = chosen[share.rows]
        return share, index, y[index], observation.select(index)

    batches = order.split(batch_size)
    return prepared_ahead(read, batches) if isinstance(y, RowsOnDisk) else map(read, batches)


def _join(state: LearningState, y: Rows, recipe: Recipe) -> None:
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
    content = 0
    for rows in torch.arange(len(y)).split(EXAMPLES):
        content += int(y[rows].contiguous().view(torch.int32).sum())
    if not parallel.are_alike([*y.shape, content, n_weights, recipe.batch_size, state.updates]):
        raise InputError("several processes learn as one; each must be given the same data and settings")
    state.follow_first()


def alternate(
    model: GeneratorModel,
    y: Rows,
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
        y: (n, *measured) observations, NaN = missing; or `RowsOnDisk`, read batch by batch, one ahead.
        observation: How y came about; complete by default. Rows on disk know theirs.
        recipe: How to learn.
        state: Where to go on from; a new start by default.
        generator: Source of all chance of a new start; seeded with 0 by default.
        precision: "float32" (exact) or "bfloat16", for the arithmetic inside the network.

    Yields:
        A summary after each pass over the examples.

    Raises:
        InputError: If the recipe cannot be used with rows on disk; or several processes were given different data, or
            cannot share the batches: there are fewer examples in one than processes, or the network has batch
            normalisation.
    """
    device = next(model.parameters()).device
    y, observation = hidden(y, observation)
    observation = observation.to(device)
    if state is None:
        generator = generator or torch.Generator(device).manual_seed(0)
        state = begin(model, y, observation, recipe=recipe, generator=generator)
    _join(state, y, recipe)
    whitened = recipe.residuals == "whitened" and _are_images(y, observation)
    held_out = recipe.held_out if _are_images(y, observation) else 0.0
    neighbours = neighbours_of(_in_memory(y), observation) if whitened else None
    white, filters = y, observation
    if whitened:
        white, filters = whiten(_in_memory(y), observation, state.residuals, model.emission, neighbours)
    step = batch_step(state, filters, recipe, precision, held_out)
    start = time.monotonic() - state.seconds
    while True:
        doublings = math.log2(state.iteration / PASSES_BEFORE_FIELD) if state.iteration else -1.0
        if whitened and doublings >= 0 and doublings.is_integer():
            state.residuals, _ = estimate_residuals(state, y, observation, precision)
            white, filters = whiten(_in_memory(y), observation, state.residuals, model.emission, neighbours)
            step = batch_step(state, filters, recipe, precision, held_out)
        sums, moved = torch.zeros(4, device=device), []
        energy, acceptance, residual, n_observed = sums.unbind()
        order = torch.randperm(len(y), generator=state.generator, device=state.generator.device).cpu()
        for share, index, batch, seen in _batches(order, recipe.batch_size, white, filters, state.generator):
            batch, seen, kept = batch.to(device), seen.to(device), share.kept
            learned = step(state.latents.read(index, device), batch, seen, share)
            state.latents.write(index[kept], learned.z[kept])
            moved.append(index[kept])
            if filters is not observation:
                batch, seen = y[index].to(device), observation.select(index)
            with torch.no_grad():
                difference = batch - model.emission.mean(seen(learned.signal))
            difference = difference if seen.observed is None else torch.where(seen.observed, difference, 0.0)
            difference = difference[kept]
            observed = None if seen.observed is None else seen.observed.expand_as(batch)[kept]
            n_entries = difference.numel() if observed is None else observed.sum()
            if recipe.learn_noise:
                state.learn_noise(parallel.total(residual_sums(model.emission, difference, n_entries, observed)))
            energy += learned.energies[kept].sum()
            acceptance += learned.acceptance[kept].sum()
            residual += difference.abs().sum()
            n_observed += n_entries
        energy, acceptance, residual, n_observed = parallel.total(sums)
        state.latents.exchange(torch.cat(moved))
        state.follow_chains()
        r_hat, draws = state.convergence()
        state.iteration += 1
        state.seconds = parallel.number_of_first(time.monotonic() - start)
        iteration = Iteration(
            iteration=state.iteration,
            seconds=state.seconds,
            energy=float(energy) / len(y),
            error=float(residual / n_observed) / DYNAMIC_RANGE,
            **latent_moments(state.latents.parts()),
            acceptance=None if acceptance.isnan() else float(acceptance) / len(y),
            r_hat=r_hat,
            effective_draws=draws,
        )
        state.history.append(iteration.row())
        yield iteration
