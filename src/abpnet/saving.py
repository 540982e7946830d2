"""A fitted estimator in a folder: weights in safetensors, settings in JSON, no pickle."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from abpnet.emissions import Gaussian
from abpnet.errors import InputError
from abpnet.factor_analysis import FactorAnalysis
from abpnet.model import GeneratorModel
from abpnet.networks import build_network, describe_network
from abpnet.recipes import Recipe
from abpnet.runs import by_part, read_folder, write_folder

__all__ = ["load", "save"]

# Version of the files that `save` writes.
FORMAT = 1


def save(estimator: Any, folder: Path) -> None:
    """Write a fitted estimator, complete or not at all; an earlier folder of that name is replaced."""
    model = estimator.model_
    tensors = {f"network.{name}": tensor for name, tensor in model.network.state_dict().items()}
    tensors["latents"] = torch.from_numpy(estimator.latents_)
    if estimator.linear_start_ is not None:
        tensors |= {f"linear.{name}": tensor for name, tensor in estimator.linear_start_._asdict().items()}
    settings = estimator.get_params(deep=False)
    settings["network"] = describe_network(model.network)
    settings["recipe"] = asdict(estimator.recipe) if isinstance(estimator.recipe, Recipe) else estimator.recipe
    settings["random_state"] = estimator.random_state if isinstance(estimator.random_state, int) else None
    facts = {
        "format": FORMAT,
        "settings": settings,
        "latent_shape": model.latent_shape,
        "signal_shape": estimator.signal_shape_,
        "n_features_in": estimator.n_features_in_,
        "noise_std": model.emission.noise_std if isinstance(model.emission, Gaussian) else None,
        "precision": estimator.precision_,
        "history": estimator.history_,
    }
    write_folder(folder, tensors, facts)


def load(kind: type[Any], folder: Path, network: nn.Module | None) -> Any:
    """Read what `save` wrote.

    Args:
        kind: Class of the estimator.
        folder: The folder.
        network: A module of the caller's own, if the estimator was fitted with one; it is copied.

    Raises:
        InputError: If the folder is absent, damaged or of another version, or needs a network.
    """
    tensors, facts = read_folder(folder)
    if facts.get("format") != FORMAT:
        raise InputError(f"{folder}: written in format {facts.get('format')!r}; this version of abpnet reads {FORMAT}")
    settings = facts["settings"]
    if network is None and settings["network"] is None:
        raise InputError(f"{folder}: learned with a network of your own; pass it as load(folder, network=...)")
    learned = build_network(settings["network"]) if network is None else copy.deepcopy(network)
    parts = by_part(tensors)
    try:
        learned.load_state_dict(parts["network"])
    except RuntimeError as error:
        raise InputError(f"{folder}: the weights do not fit the network ({error})") from None
    settings["network"] = "auto" if network is None else network
    if isinstance(settings["recipe"], dict):
        settings["recipe"] = Recipe(**settings["recipe"])
    if isinstance(settings["latent_dim"], list):
        settings["latent_dim"] = tuple(settings["latent_dim"])
    estimator = kind(**settings)
    emission = Gaussian(facts["noise_std"])
    estimator.model_ = GeneratorModel(learned, facts["latent_shape"], emission=emission).to(estimator._device())
    estimator.latents_ = tensors["latents"].numpy()
    estimator.linear_start_ = FactorAnalysis(**parts["linear"]) if parts["linear"] else None
    estimator.signal_shape_ = tuple(facts["signal_shape"])
    estimator.n_features_in_ = facts["n_features_in"]
    estimator.precision_, estimator.history_ = facts["precision"], facts["history"]
    estimator.n_iter_ = len(estimator.history_)
    return estimator
