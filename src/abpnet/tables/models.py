"""One network that explains the rows of a table: where it starts, what it expects of missing cells, draws of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from abpnet import factor_analysis
from abpnet.data.tables import Column, Table
from abpnet.emissions import Bernoulli, Block, Categorical, ChannelGaussian, Columns, Emission, Ordinal, Poisson
from abpnet.entrywise import masked_roots
from abpnet.factor_analysis import FactorAnalysis
from abpnet.inference import Energy, langevin
from abpnet.inference.energies import apply
from abpnet.model import Decoder, GeneratorModel, frozen_decoder
from abpnet.networks import TableNetwork, initialise
from abpnet.observations import Mask

__all__ = ["TableModel", "draw", "expect", "start_model"]

# Rows are explained in batches of exactly this many, the last one padded: no row may depend on how many came along.
BATCH = 256
# Steps to the mode from the linear posterior mean, before the first draw, and between draws.
STEPS_TO_MODE, STEPS_BEFORE, STEPS_BETWEEN = 20, 5, 5
STEP_SIZE = 1.0
NOISE_SIZE = STEP_SIZE * math.sqrt(1 - STEP_SIZE**2 / 4)
# Probabilities and noise of a start that leave room to learn; the standard deviation of logistic noise.
RAREST, SMALLEST_NOISE, LOGISTIC_STD = 0.03, 0.01, math.pi / math.sqrt(3)


class TableModel(NamedTuple):
    """A network learned from a table.

    Attributes:
        model: Of encoded rows.
        linear: Factor analysis of the same rows, with which the search for factors starts.
        information: (D, d, d) what each entry of a row tells about the factors, see `entrywise`.
    """

    model: GeneratorModel
    linear: FactorAnalysis
    information: Tensor


def _thresholds(grades: Float[np.ndarray, "n"], n_grades: int, spread: float) -> tuple[float, ...]:
    """Where cumulative logits have to be for grades as frequent as these, if x scatters by this much."""
    reached = np.array([(grades <= grade).mean() for grade in range(n_grades - 1)]).clip(RAREST / 3, 1 - RAREST / 3)
    reached = np.maximum.accumulate(reached) + 1e-4 * np.arange(n_grades - 1)
    logits = np.log(reached / (1 - reached)) * math.sqrt(1 + (spread / LOGISTIC_STD) ** 2)
    return tuple(float(logit) for logit in logits)


def _start_column(
    column: Column, values: Float[np.ndarray, "n w"], loadings: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Emission, Tensor, Tensor]:
    """Emission, loadings and mean with which discrete columns scatter about as factor analysis has it."""
    probability = mean.clamp(RAREST, 1 - RAREST)
    if column.kind == "count":
        rate = mean.clamp(min=RAREST)
        return Poisson(), loadings / rate[:, None], rate.log()
    if column.kind == "grade" and len(column.levels) > 1:
        loadings = loadings * (LOGISTIC_STD / variance.sqrt())[:, None]
        grades = values[~np.isnan(values)]
        spread = float(loadings.norm())
        return Ordinal(_thresholds(grades, len(column.levels), spread)), loadings, torch.zeros_like(mean)
    if len(mean) > 1:
        return Categorical(), loadings / probability[:, None], probability.log()
    return Bernoulli(), loadings / (probability * (1 - probability))[:, None], probability.logit()


def start_model(
    table: Table, matrix: Float[np.ndarray, "n D"], linear: FactorAnalysis, width: int, generator: torch.Generator
) -> GeneratorModel:
    """A model that begins where factor analysis ends.

    Args:
        table: What the matrix holds.
        matrix: Rows, NaN = missing.
        linear: Factor analysis of them.
        width: Of the network.
        generator: Source of its other weights.
    """
    n_columns, latent_dim = linear.loadings.shape
    with torch.device("meta"):
        network = TableNetwork(latent_dim, n_columns, width)
    initialise(network, generator)
    loadings, mean, variance = (parameter.float().clone() for parameter in linear)
    units, blocks = torch.ones(n_columns), []
    n_numbers = sum(column.kind == "number" for column in table.columns)
    if n_numbers:
        units[:n_numbers] = variance[:n_numbers].sqrt().clamp(min=SMALLEST_NOISE)
        blocks.append(Block(0, n_numbers, ChannelGaussian(tuple(units[:n_numbers].tolist()))))
    for column in table.in_matrix[n_numbers:]:
        span = column.span
        parts = loadings[span], mean[span], variance[span]
        emission, loadings[span], mean[span] = _start_column(column, matrix[:, span], *parts)
        blocks.append(Block(span.start, span.stop, emission))
    network.start_at(loadings, mean, units)
    return GeneratorModel(network, (latent_dim,), emission=Columns(tuple(blocks)))


class _Rows(NamedTuple):
    """A batch of rows and where their factors stand."""

    energy: Energy
    decoder: Decoder
    root: Tensor
    z: Tensor


def _at_mode(fitted: TableModel, rows: Float[np.ndarray, "n D"], copies: int = 1) -> _Rows:
    """Factors at, or close to, the mode of their posterior."""
    model, decoder = fitted.model, frozen_decoder(fitted.model.network)
    y = torch.from_numpy(rows).repeat(copies, 1)
    observed = ~y.isnan()
    y = y.masked_fill(~observed, 0.0)
    energy = partial(model.energy, y=y, observation=Mask(observed), decoder=decoder)
    root = masked_roots(fitted.information, observed, len(y))
    exact = FactorAnalysis(*(parameter.double() for parameter in fitted.linear))
    z = factor_analysis.posterior(exact, y.double(), observed).mean.float()
    return _Rows(energy, decoder, root, _descend(energy, z, root, STEPS_TO_MODE))


def _descend(energy: Energy, z: Tensor, root: Tensor, n_steps: int) -> Tensor:
    unused = torch.Generator()
    return langevin(energy, z, step_size=STEP_SIZE, n_steps=n_steps, generator=unused, temperature=0.0, root=root)


def _batches(matrix: Float[np.ndarray, "n D"]) -> Iterator[tuple[np.ndarray, int]]:
    """Rows, padded by repeating the first of them, and how many of them count."""
    for first in range(0, len(matrix), BATCH):
        rows = np.arange(first, first + BATCH)
        yield matrix[np.where(rows < len(matrix), rows, first)], min(BATCH, len(matrix) - first)


@torch.no_grad()
def expect(fitted: TableModel, matrix: Float[np.ndarray, "n D"], n_draws: int) -> Float[np.ndarray, "n D"]:
    """Posterior mean of each row: of categories probabilities, of grades the expected place.

    Each row has two chains that start at its mode and move by opposite noise (antithetic variates, Hammersley and
    Morton 1956): where the network is linear, their mean is exact. All rows are moved by the same noise, so that none
    depends on how many others came along.

    Args:
        fitted: What was learned.
        matrix: Encoded rows, NaN = missing.
        n_draws: Steps of the chains that are averaged.
    """
    means = [torch.empty(0, matrix.shape[1])]
    for rows, n_kept in _batches(matrix):
        energy, decoder, root, z = _at_mode(fitted, rows, copies=2)
        generator, total = torch.Generator().manual_seed(0), torch.zeros(len(rows), matrix.shape[1])
        for step in range(STEPS_BEFORE + n_draws):
            noise = torch.randn(1, z.shape[1], generator=generator).expand(len(rows), -1)
            opposite = torch.cat([noise, -noise])
            z = _descend(energy, z, root, 1) + NOISE_SIZE * apply(root, opposite)
            if step >= STEPS_BEFORE:
                total += fitted.model.emission.mean(decoder(z)).unflatten(0, (2, -1)).mean(0)
        means.append((total / n_draws)[:n_kept])
    return torch.cat(means).numpy()


@torch.no_grad()
def draw(
    fitted: TableModel, matrix: Float[np.ndarray, "n D"], generator: torch.Generator
) -> Iterator[Float[np.ndarray, "n D"]]:
    """Rows drawn from their posterior, noise of the columns included, without end.

    Args:
        fitted: What was learned.
        matrix: Encoded rows, NaN = missing.
        generator: Source of chance.
    """
    batches = [(_at_mode(fitted, rows), n_kept) for rows, n_kept in _batches(matrix)]
    n_steps = 4 * STEPS_BETWEEN
    while True:
        drawn = []
        for position, (batch, n_kept) in enumerate(batches):
            energy, decoder, root, z = batch
            z = langevin(energy, z, step_size=STEP_SIZE, n_steps=n_steps, generator=generator, root=root)
            batches[position] = (batch._replace(z=z), n_kept)
            drawn.append(fitted.model.emission.sample(decoder(z), generator)[:n_kept])
        n_steps = STEPS_BETWEEN
        yield torch.cat(drawn).numpy()
