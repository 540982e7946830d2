"""Hidden entries from a signal f(z) and from what its observed residuals tell about its hidden ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.arrays import fill_in
from abpnet.emissions import Emission
from abpnet.observations import Observation
from abpnet.residuals import ResidualField, conditional_draw, conditional_mean

__all__ = ["fill_in_draw", "fill_in_mean"]


def fill_in_mean(
    y: Float[Tensor, "n *shape"],
    observation: Observation,
    signal: Float[Tensor, "n *shape"],
    field: ResidualField | None,
) -> Float[Tensor, "n *shape"]:
    """What was observed, and elsewhere the signal plus the conditional mean of its residual.

    Args:
        y: Observations, finite everywhere.
        observation: Which of them were observed.
        signal: f(z), or its posterior mean, of which the result then is the mean as well.
        field: Of the residuals; None = white, whose conditional mean is 0.
    """
    if field is not None and observation.observed is not None:
        signal = signal + conditional_mean(field, y - signal, observation.observed)
    return fill_in(y, observation, signal)


def fill_in_draw(
    y: Float[Tensor, "n *shape"],
    observation: Observation,
    signal: Float[Tensor, "n *shape"],
    field: ResidualField | None,
    emission: Emission,
    generator: torch.Generator,
    noise_scale: float = 1.0,
) -> Float[Tensor, "n *shape"]:
    """What was observed, and elsewhere the signal plus a draw of its residual given the observed ones.

    Args:
        y: Observations, finite everywhere.
        observation: Which of them were observed.
        signal: f(z) of drawn factors.
        field: Of the residuals; None = the emission's white noise.
        emission: Of the model.
        generator: Source of chance.
        noise_scale: What the deviation of that residual from its conditional mean is multiplied by.
    """
    if field is None or observation.observed is None:
        drawn, expected = emission.sample(signal, generator), emission.mean(signal)
        # Entries of discrete emissions are no sums of two parts.
        return fill_in(y, observation, drawn if noise_scale == 1 else expected + noise_scale * (drawn - expected))
    wider = ResidualField(field.spectrum * noise_scale**2)
    return fill_in(y, observation, signal + conditional_draw(wider, y - signal, observation.observed, generator))
