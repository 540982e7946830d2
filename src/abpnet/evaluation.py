"""How well a decoder explains signals it was not learned from: reconstruction, completion, recovery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from abpnet.emissions import Gaussian, Noise
from abpnet.explaining import MODE_STEPS, as_model, decode, explain, linear_start, random_starts, regress
from abpnet.metrics import error
from abpnet.model import GeneratorModel
from abpnet.observations import Complete, Observation, Projection, as_observation, hide_missing

__all__ = ["Evaluation", "evaluate"]

# Draws from the prior around which a decoder is approximated by a line, to start the search from, for each factor.
DRAWS_PER_FACTOR = 20


class Evaluation(NamedTuple):
    """Errors: mean absolute differences as a fraction of the dynamic range (see `metrics.error`).

    Attributes:
        reconstruction: On all entries, all of which were observed.
        completion: On the hidden entries, the others being observed; None if nothing was hidden.
        recovery: On all entries, of which projections alone were observed; None without projections.
    """

    reconstruction: float
    completion: float | None
    recovery: float | None


def evaluate(
    model: GeneratorModel | nn.Module,
    x: Float[Tensor, "n *shape"],
    *,
    latent_shape: Sequence[int] | None = None,
    noise_std: float = 0.3,
    mask: Bool[Tensor, "..."] | None = None,
    projection: Projection | None = None,
    n_steps: int = MODE_STEPS,
    precision: str = "float32",
    n_restarts: int = 0,
    generator: torch.Generator | None = None,
    conditions: Sequence[Tensor] = (),
) -> Evaluation:
    """Explain signals by any differentiable decoder, its weights fixed, and compare.

    The latent factors are the posterior mode, searched from the posterior mean of the linear model closest to the
    decoder (of a conditional one, from zero): how a decoder was learned makes no difference to how it is judged.

    Args:
        model: A `GeneratorModel`, or any module that maps (n, *latent_shape) to (n, *shape), under the prior N(0, I)
            and white noise.
        x: Signals that the decoder was not learned from, complete.
        latent_shape: Shape of one example's latent factors; needed for a plain module.
        noise_std: Standard deviation of the noise, for a plain module.
        mask: True = observed, broadcastable to x, for the completion.
        projection: Measures the signals, for the recovery.
        n_steps: Steps of the search.
        precision: "float32" or "bfloat16", for the arithmetic inside the decoder.
        n_restarts: Searches more, from draws of the prior; see `infer`.
        generator: Source of these draws.
        conditions: What a conditional decoder takes after z; see `infer`.

    Raises:
        ValueError: If the latent shape of a plain module is missing, restarts have no generator, or the conditions are
            not one for each example.
    """
    model = as_model(model, latent_shape, noise_std)
    restarts = random_starts(model, n_restarts, generator)
    line = None
    if len(model.latent_shape) == 1 and not conditions:
        n_draws = DRAWS_PER_FACTOR * model.latent_shape[0]
        prior = model.prior.sample((n_draws, *model.latent_shape), torch.Generator().manual_seed(0))
        line = regress(model, prior, precision)

    def explained(y: Tensor, observation: Observation, louder: float = 1.0) -> Tensor:
        measured = model
        if louder != 1.0:
            noise = replace(emission, noise_std=louder * emission.noise_std)
            measured = GeneratorModel(model.network, model.latent_shape, model.prior, noise)
        y, seen = hide_missing(y, observation)
        start = linear_start(line, y, seen, model.latent_shape, tuple(x.shape[1:]))
        z = explain(measured, y, seen, start, precision, n_steps, restarts, conditions)
        return decode(model, z, precision, conditions)

    emission = model.emission if isinstance(model.emission, Noise) else Gaussian(noise_std)
    truth = x.numpy()
    reconstruction = error(explained(x, Complete()).numpy(), truth)
    completion = recovery = None
    if mask is not None:
        observed = mask.expand_as(x)
        completed = explained(torch.where(observed, x, torch.nan), as_observation(None))
        completion = error(completed.numpy(), truth, (~observed).numpy())
    if projection is not None:
        with torch.no_grad():
            y = projection(x)
        # Projections preserve the length of what is left unexplained, so fewer of them show it louder each.
        louder = math.sqrt(x[0].numel() / y[0].numel())
        recovery = error(explained(y, projection, louder).numpy(), truth)
    return Evaluation(reconstruction, completion, recovery)
