"""A fitted estimator in a folder: weights in safetensors, settings in JSON, no pickle."""

from __future__ import annotations

import copy
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from abpnet.descriptions import build, describe, plain, state
from abpnet.durable import FILES, by_part, read_folder, write_folder
from abpnet.errors import InputError
from abpnet.estimator_settings import NON_NEGATIVE, device_of
from abpnet.factor_analysis import FactorAnalysis
from abpnet.model import GeneratorModel
from abpnet.networks import NonNegative, build_network, describe_network
from abpnet.patches import PatchField
from abpnet.recipes import Recipe
from abpnet.residuals import ResidualField

__all__ = ["load", "save"]

# Version of the files that `save` writes.
FORMAT = 2


def save(estimator: Any, folder: Path, with_chains: bool = True) -> None:
    """Write a fitted estimator, complete or not at all; an earlier one of that name is replaced.

    Args:
        estimator: What is written.
        folder: Where.
        with_chains: Whether `latents_`, which tell about the training examples, are; else there are none of them.

    Raises:
        InputError: If something else stands there, or the prior or the emission is a class of the caller's own.
    """
    folder = folder.resolve()  # of a link, what it leads to
    if folder == Path.cwd():
        raise InputError("folder: is the one that this process works in, which cannot be replaced; name one within it")
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= set(FILES)):
        raise InputError(f"{folder}: holds something else than a saved estimator; choose another folder")
    model = estimator.model_
    tensors = {f"network.{name}": tensor for name, tensor in model.network.state_dict().items()}
    tensors |= {f"prior.{name}": tensor for name, tensor in state(model.prior).items()}
    tensors["latents"] = torch.from_numpy(estimator.latents_ if with_chains else estimator.latents_[:0])
    if estimator.linear_start_ is not None:
        tensors |= {f"linear.{name}": tensor for name, tensor in estimator.linear_start_._asdict().items()}
    if estimator.residuals_ is not None:
        tensors["residuals"] = estimator.residuals_.spectrum
    if estimator.patches_ is not None:
        tensors |= {f"patches.{name}": tensor for name, tensor in estimator.patches_._asdict().items()}
    settings = estimator.get_params(deep=False)
    was_chosen = settings["network"] == "auto" if isinstance(settings["network"], str) else False
    settings["network"] = describe_network(model.network)
    try:
        described = {name: describe(getattr(model, name)) for name in ("emission", "prior")}
    except TypeError as error:
        raise InputError(f"{folder}: {error}; it cannot be saved") from None
    settings |= {name: part for name, part in described.items() if not isinstance(settings[name], str)}
    settings["recipe"] = asdict(estimator.recipe) if isinstance(estimator.recipe, Recipe) else estimator.recipe
    settings["device"] = str(estimator.device)
    settings["random_state"] = settings["random_state"] if isinstance(settings["random_state"], Integral) else None
    facts = {
        "format": FORMAT,
        "settings": plain(settings),
        "latent_shape": model.latent_shape,
        "signal_shape": estimator.signal_shape_,
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": [str(name) for name in getattr(estimator, "feature_names_in_", [])],
        "network_was_chosen": was_chosen,
        **described,
        "equivalent_noise": estimator.equivalent_noise_,
        "measurement_noise": estimator.measurement_noise_,
        "noise_scale": estimator.noise_scale_,
        "precision": estimator.precision_,
        "history": estimator.history_,
    }
    write_folder(folder, tensors, facts)


def unlearned(description: dict[str, Any], prior: Any) -> nn.Module:
    """The network that an estimator was given, for fitting it anew: without weights, which fitting then draws."""
    if isinstance(prior, str) and prior in NON_NEGATIVE:  # which wraps it once more
        description = description["network"]
    with torch.device("meta"):
        return build_network(description).to("meta")


def load(kind: type[Any], folder: Path, network: nn.Module | None, device: str) -> Any:
    """Read what `save` wrote.

    Args:
        kind: Class of the estimator.
        folder: The folder.
        network: A module of the caller's own, if the estimator was fitted with one; it is copied.
        device: Where it is to compute.

    Raises:
        InputError: If the folder is absent, damaged or of another version, or needs a network.
    """
    mapped, facts = read_folder(folder)
    tensors = {name: tensor.clone() for name, tensor in mapped.items()}
    if facts.get("format") != FORMAT:
        raise InputError(f"{folder}: written in format {facts.get('format')!r}; this version of abpnet reads {FORMAT}")
    try:
        return _build(kind, folder, tensors, facts, network, device)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: damaged ({type(error).__name__}: {' '.join(str(error).split())})") from None


def _build(
    kind: type[Any],
    folder: Path,
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    network: nn.Module | None,
    device: str,
) -> Any:
    settings = facts["settings"] | {"device": device}
    if network is None and settings["network"] is None:
        raise InputError(f"{folder}: learned with a network of your own; pass it as load(folder, network=...)")
    parts = by_part(tensors)
    try:
        if network is None:
            learned = build_network(settings["network"], parts["network"])
        else:
            learned = copy.deepcopy(network)
            if isinstance(settings["prior"], str) and settings["prior"] in NON_NEGATIVE:
                learned = NonNegative(learned)
            learned.load_state_dict(parts["network"])
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{folder}: the weights do not fit the network ({' '.join(str(error).split())})") from None
    if network is None and not facts.get("network_was_chosen", True):
        network = unlearned(settings["network"], settings["prior"])
    settings["network"] = "auto" if network is None else network
    if isinstance(settings["recipe"], dict):
        settings["recipe"] = Recipe(**settings["recipe"])
    if isinstance(settings["latent_dim"], list):
        settings["latent_dim"] = tuple(settings["latent_dim"])
    described = {name: settings[name] for name in ("emission", "prior") if not isinstance(settings[name], str)}
    estimator = kind(**settings | {name: build(part, parts["prior"]) for name, part in described.items()})
    prior, emission = build(facts["prior"], parts["prior"]), build(facts["emission"])
    model = GeneratorModel(learned, facts["latent_shape"], prior, emission)
    if isinstance(model.prior, nn.Module):
        model.prior.load_state_dict(parts["prior"])
    estimator.model_ = model.to(device_of(estimator.device))
    if tensors["latents"].shape[1:] != estimator.model_.latent_shape:
        raise InputError(f"{folder}: damaged (factors of shape {tuple(tensors['latents'].shape)})")
    estimator.latents_ = tensors["latents"].numpy()
    estimator.linear_start_ = FactorAnalysis(**parts["linear"]) if parts["linear"] else None
    estimator.residuals_ = ResidualField(tensors["residuals"]) if "residuals" in tensors else None
    estimator.patches_ = PatchField(**parts["patches"]) if parts["patches"] else None
    estimator.equivalent_noise_ = facts.get("equivalent_noise")
    estimator.measurement_noise_ = facts.get("measurement_noise", 0.0)
    estimator.noise_scale_ = facts.get("noise_scale", 1.0)
    estimator.signal_shape_ = tuple(facts["signal_shape"])
    estimator.n_features_in_ = facts["n_features_in"]
    if facts.get("feature_names_in"):
        estimator.feature_names_in_ = np.asarray(facts["feature_names_in"], dtype=object)
    estimator.precision_, estimator.history_ = dict(facts["precision"]), list(facts["history"])
    estimator.n_iter_ = len(estimator.history_)
    return estimator
