"""What the settings of an estimator must be."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import torch

from abpnet.arithmetic import PRECISIONS
from abpnet.emissions import EMISSIONS, ChannelGaussian, Columns, Emission, Gaussian
from abpnet.errors import InputError
from abpnet.priors import PRIORS, DoubleExponential, Prior, StandardNormal
from abpnet.recipes import RECIPES, Recipe
from abpnet.values import check_between, shown

__all__ = [
    "NON_NEGATIVE",
    "SMALLEST_NOISE",
    "check_settings",
    "device_of",
    "emission_of",
    "latent_shape_of",
    "prior_of",
]

# Below it, and above its inverse, float32 no longer holds a sum of squared residuals over the variance.
SMALLEST_NOISE = 1e-6
# Priors of factors without a sign, by that of factors whose sign the network does not see.
NON_NEGATIVE: dict[str, type[Prior]] = {"exponential": DoubleExponential, "half-normal": StandardNormal}


def check_settings(estimator: Any) -> Recipe:
    """Refuse settings that cannot be used.

    Args:
        estimator: A `GeneratorNetwork`.

    Returns:
        The recipe that is meant.

    Raises:
        ValueError: If one cannot be.
    """
    precision, max_iter, max_seconds = estimator.precision, estimator.max_iter, estimator.max_seconds
    noise_std, recipe = estimator.noise_std, estimator.recipe
    if not isinstance(precision, str) or precision not in ("auto", *PRECISIONS):
        raise ValueError(f"precision must be auto, {' or '.join(PRECISIONS)}; got {shown(precision)}")
    if not isinstance(max_iter, Integral) or max_iter < 1:
        raise ValueError(f"max_iter must be a whole number of at least 1, got {shown(max_iter)}")
    if max_seconds is not None:
        check_between("max_seconds", max_seconds, 0, math.inf)
    if not isinstance(noise_std, Real) or not SMALLEST_NOISE <= float(noise_std) <= 1 / SMALLEST_NOISE:
        raise ValueError(f"noise_std must be {SMALLEST_NOISE:g} to {1 / SMALLEST_NOISE:g}, got {shown(noise_std)}")
    if min(latent_shape_of(estimator.latent_dim), default=0) < 1:
        raise ValueError(f"latent_dim must be at least 1, or a shape such as (8, 7, 7); got {estimator.latent_dim!r}")
    emission = emission_of(estimator.emission, float(noise_std))
    prior = prior_of(estimator.prior)
    if not isinstance(recipe, Recipe):
        if not isinstance(recipe, str) or recipe not in RECIPES:
            raise ValueError(f"recipe must be {', '.join(RECIPES)} or an abpnet.Recipe; got {shown(recipe)}")
        recipe = RECIPES[recipe]
    if recipe.inference == "metropolis" and not isinstance(prior, StandardNormal):
        raise ValueError(f"Metropolis steps keep the prior N(0, I); prior={estimator.prior!r} needs another recipe")
    if recipe.residuals != "white" and not isinstance(emission, Gaussian):
        raise ValueError(
            f"fields of residuals need Gaussian noise; emission={estimator.emission!r} needs a recipe with "
            "residuals='white'"
        )
    if recipe.learn_noise and not isinstance(emission, Gaussian | ChannelGaussian | Columns):
        raise ValueError(
            f"noise is learned of Gaussian, ChannelGaussian and Columns; emission={estimator.emission!r} needs a "
            "recipe with learn_noise=False"
        )
    return recipe


def emission_of(emission: str | Emission, noise_std: float) -> Emission:
    """What the factors leave unexplained is like.

    Args:
        emission: Name of a kind of noise, or an emission.
        noise_std: Standard deviation of noise that is told by its name.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(emission, str) and emission in EMISSIONS:
        return EMISSIONS[emission](float(noise_std))
    if isinstance(emission, str) or not isinstance(emission, Emission):
        raise ValueError(
            f"emission must be {', '.join(EMISSIONS)} or an emission such as Poisson(); got {shown(emission)}"
        )
    return emission


def prior_of(prior: str | Prior) -> Prior:
    """Where the factors come from; of those without a sign, with one.

    Args:
        prior: Name of a prior, or a prior.

    Raises:
        ValueError: If it is neither.
    """
    known = PRIORS | NON_NEGATIVE
    if isinstance(prior, str) and prior in known:
        return known[prior]()
    if isinstance(prior, str) or not isinstance(prior, Prior):
        raise ValueError(f"prior must be {', '.join(known)} or an object with log_prob and sample; got {shown(prior)}")
    return prior


def latent_shape_of(latent_dim: Any) -> tuple[int, ...]:
    """Shape of one example's factors.

    Args:
        latent_dim: Their number, or the shape of a map of them.

    Raises:
        ValueError: If it is neither.
    """
    sizes = latent_dim if isinstance(latent_dim, (tuple, list)) else (latent_dim,)
    if not all(isinstance(size, Integral) and not isinstance(size, bool) for size in sizes):
        raise ValueError(f"latent_dim must be a whole number or a shape of such, got {shown(latent_dim)}")
    return tuple(int(size) for size in sizes)


def device_of(name: str | torch.device) -> torch.device:
    """Where to compute: a GPU, if there is one, for "auto".

    Raises:
        InputError: If torch does not know the device, or this machine does not have it.
    """
    if not isinstance(name, str | torch.device):
        raise InputError(f"device must be auto, cpu or cuda; got {shown(name)}")
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(automatic if name == "auto" else name)
        torch.Generator(device)
    except (AssertionError, RuntimeError) as error:
        raise InputError(
            f"device={str(name)!r}: cannot be used here ({str(error).splitlines()[0]}); try auto"
        ) from None
    return device
