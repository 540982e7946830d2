"""The optimizer of the weights, and how fast each layer learns."""

from __future__ import annotations

import math
from itertools import groupby

import torch
from torch import Tensor, nn

from abpnet.networks.layers import WEIGHTED, n_inputs
from abpnet.recipes import Recipe

__all__ = ["optimizer_of", "set_rate"]

# Few hundred updates must do: the second moments forget faster than usual.
ADAM_SECOND_DECAY = 0.99
# Inputs of a layer whose weights decay as fast as the recipe says, if that goes by the number of examples.
FULL_DECAY_INPUTS = 800


def _shares(model: nn.Module, full_rate_inputs: int | None) -> dict[Tensor, float]:
    """The share of the learning rate that each weight gets."""
    shares: dict[Tensor, float] = dict.fromkeys(model.parameters(), 1.0)
    if full_rate_inputs is not None:
        for layer in model.modules():
            if isinstance(layer, WEIGHTED):
                share = min(1.0, full_rate_inputs / n_inputs(layer))
                shares |= dict.fromkeys(layer.parameters(recurse=False), share)
    return shares


def _decays(model: nn.Module, recipe: Recipe, n_examples: int) -> dict[Tensor, float]:
    """How fast each weight decays; of layers with few inputs, whose weights are larger to begin with, more slowly."""
    decay = recipe.decay(n_examples)
    decays: dict[Tensor, float] = dict.fromkeys(model.parameters(), decay)
    if recipe.weight_decay_examples is not None:
        for layer in model.modules():
            if isinstance(layer, WEIGHTED):
                slower = decay * math.sqrt(min(1.0, n_inputs(layer) / FULL_DECAY_INPUTS))
                decays |= dict.fromkeys(layer.parameters(recurse=False), slower)
    return decays


def optimizer_of(model: nn.Module, recipe: Recipe, n_examples: int) -> torch.optim.Optimizer:
    """The optimizer that a recipe asks for; its groups are the weights in their order, cut where a rate changes.

    A step of a layer moves its output in proportion to the number of its inputs, each weight being moved as far as by
    Adam: so layers with more inputs than `Recipe.full_rate_inputs` take smaller ones (Yang et al. 2021, table 3). Their
    weights decay as fast as others.

    Args:
        model: Whose weights are to be learned: the network's, and those of a prior that has some.
        recipe: How.
        n_examples: From how many examples.
    """
    adam, shares = recipe.optimizer == "adam", _shares(model, recipe.full_rate_inputs)
    decays = _decays(model, recipe, n_examples)
    groups = [
        {"params": list(weights), "share": share, "weight_decay": decay / (share if adam else 1)}
        for (share, decay), weights in groupby(model.parameters(), key=lambda weight: (shares[weight], decays[weight]))
    ]
    if not adam:
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(
        groups,
        lr=recipe.learning_rate,
        betas=(recipe.momentum, ADAM_SECOND_DECAY),
        fused=True,
        capturable=any(weight.is_cuda for weight in model.parameters()),
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float | Tensor) -> None:
    """Let each layer learn at its share of this rate from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate if group["share"] == 1 else rate * group["share"]
