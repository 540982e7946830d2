"""Hidden entries from a signal f(z) and from what its observed residuals tell about its hidden ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from abpnet import patch_network, patches
from abpnet.arrays import fill_in
from abpnet.emissions import Emission
from abpnet.observations import Observation
from abpnet.patches import PatchField
from abpnet.residuals import ResidualField, conditional_draw, conditional_mean

__all__ = ["Field", "fill_in_draw", "fill_in_mean", "fill_in_parts"]

# Of residuals; None = white noise.
Field = ResidualField | PatchField | None


def fill_in_mean(
    y: Float[Tensor, "n *shape"], observation: Observation, signal: Float[Tensor, "n *shape"], field: Field
) -> Float[Tensor, "n *shape"]:
    """What was observed, and elsewhere the signal plus the conditional mean of its residual.

    Args:
        y: Observations, finite everywhere.
        observation: Which of them were observed.
        signal: f(z), or its posterior mean, of which the result then is the mean as well.
        field: Of the residuals; None = white, whose conditional mean is 0.
    """
    observed = observation.observed
    if isinstance(field, PatchField) and observed is not None:
        signal = patch_network.conditional_mean(field, y, patches.pixels_of(observed, y.shape), signal)
    elif isinstance(field, ResidualField) and observed is not None:
        signal = signal + conditional_mean(field, y - signal, observed)
    return fill_in(y, observation, signal)


def fill_in_draw(
    y: Float[Tensor, "n *shape"],
    observation: Observation,
    signal: Float[Tensor, "n *shape"],
    field: Field,
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
    observed = observation.observed
    if isinstance(field, PatchField) and observed is not None:
        drawn = patches.conditional_draw(field, y, patches.pixels_of(observed, y.shape), signal, generator)
        return fill_in(y, observation, drawn.mean + noise_scale * drawn.deviation)
    if isinstance(field, ResidualField) and observed is not None:
        wider = ResidualField(field.spectrum * noise_scale**2)
        return fill_in(y, observation, signal + conditional_draw(wider, y - signal, observed, generator))
    sampled, expected = emission.sample(signal, generator), emission.mean(signal)
    # Entries of discrete emissions are no sums of two parts.
    return fill_in(y, observation, sampled if noise_scale == 1 else expected + noise_scale * (sampled - expected))


def fill_in_parts(
    y: Float[Tensor, "n *shape"],
    observation: Observation,
    signal: Float[Tensor, "n *shape"],
    field: Field,
    emission: Emission,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, "n *shape"]]:
    """What a draw expects, and the draw, whose noise is not scaled; arguments as `fill_in_draw`."""
    observed = observation.observed
    if isinstance(field, PatchField) and observed is not None:
        drawn = patches.conditional_draw(field, y, patches.pixels_of(observed, y.shape), signal, generator)
        return fill_in(y, observation, drawn.mean), fill_in(y, observation, drawn.mean + drawn.deviation)
    drawn_signal = fill_in_draw(y, observation, signal, field, emission, generator)
    return fill_in_mean(y, observation, signal, field), drawn_signal
