"""The optimizer of the weights, and how fast each layer learns."""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor, nn

from abpnet.networks.layers import WEIGHTED, n_inputs
from abpnet.recipes import Recipe

__all__ = ["optimizer_of", "set_rate"]

# Few hundred updates must do: the second moments forget faster than usual.
ADAM_SECOND_DECAY = 0.99


def _shares(network: nn.Module, full_rate_inputs: int | None) -> dict[Tensor, float]:
    """The share of the learning rate that each weight gets."""
    shares: dict[Tensor, float] = dict.fromkeys(network.parameters(), 1.0)
    if full_rate_inputs is not None:
        for layer in network.modules():
            if isinstance(layer, WEIGHTED):
                share = min(1.0, full_rate_inputs / n_inputs(layer))
                shares |= dict.fromkeys(layer.parameters(recurse=False), share)
    return shares


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer that a recipe asks for; its groups are the weights in their order, cut where the rate changes.

    A step of a layer moves its output in proportion to the number of its inputs, each weight being moved as far as by
    Adam: so layers with more inputs than `Recipe.full_rate_inputs` take smaller ones (Yang et al. 2021, table 3). Their
    weights decay as fast as all others.

    Args:
        network: Whose weights are to be learned.
        recipe: How.
    """
    adam, shares = recipe.optimizer == "adam", _shares(network, recipe.full_rate_inputs)
    groups = [
        {"params": list(weights), "share": share, "weight_decay": recipe.weight_decay / (share if adam else 1)}
        for share, weights in groupby(network.parameters(), key=shares.__getitem__)
    ]
    if not adam:
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(
        groups,
        lr=recipe.learning_rate,
        betas=(recipe.momentum, ADAM_SECOND_DECAY),
        fused=True,
        capturable=any(weight.is_cuda for weight in network.parameters()),
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float | Tensor) -> None:
    """Let each layer learn at its share of this rate from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate if group["share"] == 1 else rate * group["share"]
