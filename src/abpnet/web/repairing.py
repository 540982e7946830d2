"""Repair of one picture: inference step by step, and then what is hidden, how sure that is, and several draws of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from abpnet.emissions import Gaussian
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.explaining import BATCH, explain, weights_device
from abpnet.inference import langevin, precondition
from abpnet.model import GeneratorModel, frozen_decoder
from abpnet.observations import Complete, Observation, hide_missing
from abpnet.web.latent_space import decoded

__all__ = ["Repair", "Step", "hidden_error", "repair", "steps"]

N_STEPS, STEP_SIZE = 50, 1.0
# The metric of the steps need not be exact; the draws have one of their own.
SCORES_PER_FACTOR = 2
# Steps from where these end to the nearest mode, at which chains of draws start.
N_STEPS_TO_MODE = 100
# Copies of the picture that are repaired side by side: chains of draws, and for the mean.
N_DRAWS, N_MEANS, N_SHOWN = 20, 4, 5


@dataclass(frozen=True)
class Step:
    """A step of inference.

    Attributes:
        number: Steps so far.
        z: (1, d) where the chain stands.
        signal: (c, h, w), f(z).
        misfit: Mean absolute difference of f(z) from what was observed, as a fraction of the range.
    """

    number: int
    z: Float[np.ndarray, "1 d"]
    signal: Float[np.ndarray, "c h w"]
    misfit: float


@dataclass(frozen=True)
class Repair:
    """A picture with its hidden pixels filled in.

    Attributes:
        completed: (c, h, w): what was observed, and the posterior mean of the rest.
        deviation: (h, w): standard deviation of draws from the posterior, as a fraction of the range of brightness.
        draws: (m, c, h, w), some of them.
    """

    completed: Float[np.ndarray, "c h w"]
    deviation: Float[np.ndarray, "h w"]
    draws: Float[np.ndarray, "m c h w"]


def _check_seen(image: Float[np.ndarray, "c h w"]) -> None:
    """Refuse a picture of which nothing is left, or nothing is hidden.

    Raises:
        InputError: If it is one.
    """
    missing = np.isnan(image)
    if missing.all():
        raise InputError("every pixel is hidden; leave some for the model to go by")
    if not missing.any():
        raise InputError("nothing is hidden; paint over what is to be repaired, or hide pixels at random")


def _observed(network: GeneratorNetwork, image: Float[np.ndarray, "c h w"]) -> tuple[Tensor, Observation]:
    """The picture as one example, and which of it is seen."""
    return hide_missing(torch.from_numpy(image.reshape(1, *network.signal_shape_)), Complete())


def _noisy(network: GeneratorNetwork) -> GeneratorModel:
    """The model, with the white noise that stands for its residuals where neighbouring ones err alike."""
    model, noise_std = network.model_, network.equivalent_noise_
    if not noise_std:
        return model
    return GeneratorModel(model.network, model.latent_shape, model.prior, Gaussian(noise_std))


def steps(network: GeneratorNetwork, image: Float[np.ndarray, "c h w"], seed: int = 0) -> Iterator[Step]:
    """Langevin dynamics on the picture's factors, from a draw of the prior on; one step at a time.

    Args:
        network: Of images of vectors of factors.
        image: NaN = hidden.
        seed: Of all chance.

    Raises:
        InputError: If nothing is hidden, or everything.
    """
    _check_seen(image)
    model, device = _noisy(network), weights_device(network.model_)
    generator = torch.Generator(device).manual_seed(seed)
    y, observation = _observed(network, image)
    y, observation = y.to(device), observation.to(device)
    decoder = frozen_decoder(model.network, network.precision_["precision"])
    start = model.prior.sample((BATCH, *model.latent_shape), generator).to(device)
    same = observation.select(torch.zeros(BATCH, dtype=torch.long))
    metric = model.latent_precision(start, generator, same, decoder, SCORES_PER_FACTOR)
    energy = partial(model.energy, y=y, observation=observation, decoder=decoder)
    move = partial(langevin, energy, step_size=STEP_SIZE, n_steps=1, generator=generator, root=precondition(metric))
    z = start[:1]
    for number in range(N_STEPS + 1):
        z = z if number == 0 else move(z)
        factors = z.cpu().numpy()
        shown = decoded(network, factors)[0]
        yield Step(number, factors, shown, float(np.nanmean(np.abs(shown - image))) / 2)


def repair(
    network: GeneratorNetwork, image: Float[np.ndarray, "c h w"], z: Float[np.ndarray, "1 d"], seed: int = 0
) -> Repair:
    """Fill in what is hidden by the posterior mean, and by draws.

    Args:
        network: Of images of vectors of factors.
        image: NaN = hidden.
        z: Where chains start, such as the last of `steps`; where residuals are kriged they find their own starts.
        seed: Of the draws.

    Raises:
        InputError: If nothing is hidden, or everything.
    """
    _check_seen(image)
    start = None
    if not network.equivalent_noise_:
        seen, begin = _observed(network, image), torch.from_numpy(z)
        precision = network.precision_["precision"]
        start = explain(network.model_, *seen, begin, precision, N_STEPS_TO_MODE, at_once=1).numpy()

    def imputed(n_copies: int, n_imputations: int | None) -> np.ndarray:
        copies = np.broadcast_to(image.reshape(1, *network.signal_shape_), (n_copies, *network.signal_shape_)).copy()
        starts = None if start is None else np.repeat(start, n_copies, 0)
        filled = network.impute(copies, n_imputations, random_state=seed, start=starts)
        return filled.reshape(n_copies, *image.shape)

    draws = imputed(N_DRAWS, 1)
    return Repair(imputed(N_MEANS, None).mean(0), draws.std(0).mean(0) / 2, draws[:N_SHOWN])


def hidden_error(
    completed: Float[np.ndarray, "c h w"], truth: Float[np.ndarray, "c h w"], image: Float[np.ndarray, "c h w"]
) -> float | None:
    """Mean absolute error on hidden pixels whose truth is known, as a fraction of the range; None if there are none."""
    scored = np.isnan(image) & ~np.isnan(truth)
    return float(np.abs(np.clip(completed, -1, 1) - truth)[scored].mean() / 2) if scored.any() else None
