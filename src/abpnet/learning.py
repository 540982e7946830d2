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

import torch
from torch import Tensor, nn

from abpnet import parallel, residuals
from abpnet.ahead import prepared_ahead
from abpnet.batches import Learned, batch_step
from abpnet.beginning import begin
from abpnet.chance import Share
from abpnet.disk import Rows, RowsOnDisk, hidden
from abpnet.divergence import SMALLEST_SHARE, shares_after
from abpnet.emissions import noise_stds, residual_sums
from abpnet.errors import DivergenceError, InputError
from abpnet.explaining import BATCH, decode
from abpnet.learning_state import Iteration, LearningState
from abpnet.metrics import DYNAMIC_RANGE, latent_moments
from abpnet.model import GeneratorModel
from abpnet.observations import Complete, Observation, unmasked
from abpnet.projected_residuals import estimate_projected_in_parts, matrix_of
from abpnet.recipes import Recipe
from abpnet.residuals import ResidualField
from abpnet.whitening import neighbours_of, whiten

__all__ = ["alternate", "estimate_residuals"]

# Residuals are white for this many passes; then their field is estimated, and again whenever the passes have doubled.
PASSES_BEFORE_FIELD = 5
# Of indirect data, the field is estimated from examples with all measurements, if they are at least this share.
FEWEST_WHOLE = 0.5
# Examples that are in memory, and those of which signals are measured, at a time.
EXAMPLES, MEASURED_EXAMPLES = BATCH, 32 * BATCH
# What makes the examples of a batch depend on one another.
BATCH_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


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


def _divergence(state: LearningState, examples: Tensor, recipe: Recipe, what: str) -> DivergenceError:
    return DivergenceError(
        what,
        iteration=state.iteration + 1,
        examples=examples.tolist(),
        step_size=recipe.step_size,
        noise_stds=noise_stds(state.model.emission),
    )


def _check(state: LearningState, index: Tensor, recipe: Recipe, learned: Learned, share: Share) -> None:
    """Stop where a batch says that settings are wrong.

    Raises:
        DivergenceError: If the gradient of the weights is not finite, or all of several chains ran away.
    """
    if not learned.finite:
        raise _divergence(state, index, recipe, "the gradient of the weights is not finite")
    if share.n > 1 and learned.n_diverged == share.n:
        raise _divergence(state, index, recipe, "the energies of all examples of a batch explode")


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
        DivergenceError: If learning runs away; the state is that before the batch in which it did.
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
        sums, moved = torch.zeros(5, device=device), []
        energy, acceptance, residual, n_observed, diverged = sums.unbind()
        order = torch.randperm(len(y), generator=state.generator, device=state.generator.device).cpu()
        for share, index, batch, seen in _batches(order, recipe.batch_size, white, filters, state.generator):
            batch, seen, kept = batch.to(device), seen.to(device), share.kept
            shares = state.step_shares[index].to(device)
            try:
                learned = step(state.latents.read(index, device), batch, seen, share, shares)
            except torch.linalg.LinAlgError:
                raise _divergence(state, index, recipe, "the metric of the factors is none any more") from None
            _check(state, index, recipe, learned, share)
            state.latents.write(index[kept], learned.z[kept])
            state.step_shares[index[kept]] = shares_after(shares, learned.diverged)[kept].cpu()
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
            diverged += learned.diverged[kept].sum()
        energy, acceptance, residual, n_observed, diverged = parallel.total(sums)
        state.latents.exchange(torch.cat(moved))
        parallel.exchange(state.step_shares, torch.cat(moved))
        stuck = (state.step_shares < SMALLEST_SHARE).nonzero().flatten()
        if len(stuck):
            raise _divergence(state, stuck, recipe, "energies explode even at a small share of the step size")
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
            diverged=int(diverged),
        )
        state.history.append(iteration.row())
        yield iteration
