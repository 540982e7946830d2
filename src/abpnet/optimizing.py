"""The optimizer of the weights, and how fast each layer learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from abpnet.networks.layers import WEIGHTED, n_inputs
from abpnet.recipes import Recipe

__all__ = ["optimizer_of", "set_rate", "step_if"]

# Few hundred updates must do: the second moments forget faster than usual.
ADAM_SECOND_DECAY = 0.99
# Inputs of a layer whose weights decay as fast as the recipe says, if that goes by the number of examples.
FULL_DECAY_INPUTS = 800


def _by_layer(model: nn.Module, share_of: Callable[[float], float]) -> dict[Tensor, float]:
    """A share for each weight by the number of its layer's inputs; 1 for what is no such layer's."""
    shares: dict[Tensor, float] = dict.fromkeys(model.parameters(), 1.0)
    for layer in model.modules():
        if isinstance(layer, WEIGHTED):
            shares |= dict.fromkeys(layer.parameters(recurse=False), min(1.0, share_of(n_inputs(layer))))
    return shares


def _share_of_rate(recipe: Recipe, n_inputs: float) -> float:
    return 1.0 if recipe.full_rate_inputs is None else recipe.full_rate_inputs / n_inputs


def _share_of_decay(recipe: Recipe, n_inputs: float) -> float:
    """Weights of layers with few inputs, which are larger to begin with, decay more slowly."""
    return 1.0 if recipe.weight_decay_examples is None else math.sqrt(n_inputs / FULL_DECAY_INPUTS)


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
    adam, decay = recipe.optimizer == "adam", recipe.decay(n_examples)
    rates, decays = (_by_layer(model, partial(share, recipe)) for share in (_share_of_rate, _share_of_decay))
    groups = [
        {"params": list(weights), "share": rate, "weight_decay": decay * slower / (rate if adam else 1)}
        for (rate, slower), weights in groupby(model.parameters(), key=lambda weight: (rates[weight], decays[weight]))
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


def step_if(sound: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Let the optimizer take its step if this is true; where a GPU knows, the processor does not wait to be told.

    Args:
        sound: One truth value.
        optimizer: On a GPU one that finds out by itself: AdamW, fused.
    """
    if sound.is_cuda and optimizer.defaults.get("fused"):
        optimizer.found_inf = (~sound).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif sound:
        optimizer.step()
