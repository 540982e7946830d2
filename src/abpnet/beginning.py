"""Where learning begins: chains, weights, and the optimizer that moves them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from abpnet import factor_analysis
from abpnet.disk import Rows, RowsOnDisk, hidden
from abpnet.explaining import BATCH
from abpnet.latents import Latents
from abpnet.learning_state import LearningState
from abpnet.model import GeneratorModel
from abpnet.observations import Complete, Observation
from abpnet.optimizing import optimizer_of
from abpnet.recipes import Recipe

__all__ = ["begin"]

# A linear start needs no more than this to be good enough.
MOST_EXAMPLES_LINEAR, MOST_ENTRIES_LINEAR, LINEAR_ITERATIONS = 2000, 1024, 20
# Examples that are in memory, and chains that are drawn, at a time.
EXAMPLES, CHAINS = BATCH, 2**14


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
    # Factors beyond the rank of the examples explain nothing: they start at 0, and cost nothing.
    n_factors = min(shape[0], *values.shape)
    linear = factor_analysis.fit(values, n_factors, observed, max_iter=LINEAR_ITERATIONS)
    for rows in torch.arange(len(y)).split(MOST_EXAMPLES_LINEAR):
        mean = factor_analysis.posterior(linear, *read(rows)).mean
        latents.write(rows, torch.nn.functional.pad(mean, (0, shape[0] - n_factors)))
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
        step_shares=torch.ones(len(y), dtype=torch.float64),
    )
