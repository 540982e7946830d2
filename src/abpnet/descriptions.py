"""Priors and emissions as plain JSON values, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor, nn

from abpnet import emissions, priors
from abpnet.emissions import Block

__all__ = ["build", "describe", "plain", "state"]

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        emissions.Bernoulli,
        emissions.Block,
        emissions.Categorical,
        emissions.ChannelGaussian,
        emissions.Columns,
        emissions.Gaussian,
        emissions.Laplace,
        emissions.Ordinal,
        emissions.Poisson,
        emissions.StudentT,
        priors.DoubleExponential,
        priors.HeavyTailed,
        priors.SpikeAndSlab,
        priors.StandardNormal,
    )
}
# Those that are learned: of them only the size is described, the weights are in the state of their model.
LEARNED: dict[str, type[Any]] = {kind.__name__: kind for kind in (priors.Autoregression, priors.Recurrence)}


def describe(value: Any) -> Any:
    """What `build` needs to build a prior or an emission of this package anew.

    Of a `Mixture`, the tensors of which are in its `state`, only the name.

    Raises:
        TypeError: If it, or a part of it, is a class of the caller's own.
    """
    kind = type(value).__name__
    if type(value) is priors.Mixture:
        return {"kind": kind}
    if LEARNED.get(kind) is type(value):
        return {"kind": kind} | value.size
    if KINDS.get(kind) is not type(value):
        raise TypeError(f"{kind} is none of abpnet's priors and emissions")
    names = value._fields if isinstance(value, Block) else [field.name for field in fields(value)]
    return {"kind": kind} | {name: plain(getattr(value, name)) for name in names}


def plain(value: Any) -> Any:
    """A setting as JSON has it: scalars of numpy as numbers, tuples as lists, priors and emissions described."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, tuple | list) and not isinstance(value, Block):
        return [plain(part) for part in value]
    return value if isinstance(value, bool | int | float | str | None) else describe(value)


def state(prior: Any) -> dict[str, Tensor]:
    """Tensors of a prior that has some, by name."""
    if isinstance(prior, priors.Mixture):
        return {field.name: getattr(prior, field.name).contiguous() for field in fields(prior)}
    return prior.state_dict() if isinstance(prior, nn.Module) else {}


def build(description: dict[str, Any], tensors: dict[str, Tensor] | None = None) -> Any:
    """A prior or an emission from what `describe` said of it.

    Args:
        description: What was said.
        tensors: The `state` of a prior, without which there is no `Mixture`; one that is learned loads it itself.

    Raises:
        KeyError, TypeError, ValueError: If that is damaged.
    """
    settings = {name: _part(value) for name, value in description.items() if name != "kind"}
    if description["kind"] == "Mixture":
        return priors.Mixture(**tensors or {})
    if description["kind"] in LEARNED:
        return LEARNED[description["kind"]].of_size(**settings)
    return KINDS[description["kind"]](**settings)


def _part(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_part(part) for part in value)
    return build(value) if isinstance(value, dict) else value
