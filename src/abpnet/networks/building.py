"""How networks come about: chosen by the shape of signals, drawn at random, or built anew from a description."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from abpnet.networks.adapted import FrameByFrame, NonNegative
from abpnet.networks.layers import LEAK, WEIGHTED, n_inputs
from abpnet.networks.objects import ObjectNetwork
from abpnet.networks.patchworks import PatchworkNetwork
from abpnet.networks.sounds import SoundNetwork
from abpnet.networks.tables import TableNetwork
from abpnet.networks.textures import TextureNetwork
from abpnet.networks.vectors import LinearNetwork, VectorNetwork
from abpnet.networks.videos import FrameNetwork, SpaceTimeNetwork
from abpnet.values import shown

__all__ = ["auto_network", "build_network", "chosen_network", "describe_network", "initialise"]

# What the measurements do not see stays as it starts. So images behind indirect data start close to grey: with the
# usual weights they kept a rough pattern (error .19 instead of .06 at 64 projections of smooth images of 256 pixels).
FAINT = 0.1
# No setting of a network is larger than the number of its weights, or than this: rates, or channels of a sound's noise.
MOST_ANYWAY = 2**20
# Where `auto_network` changes from a perceptron to deconvolutions, and how wide these are.
SMALLEST_DECONVOLVED, AUTO_WIDTH = 16, 128
# Indirect data do not tell pixels apart: there even smaller images need a network that prefers smooth ones.
SMALLEST_INDIRECT = 8


@runtime_checkable
class StartsItself(Protocol):
    """A module with weights of its own, that are no layer's known here."""

    def initialise(self) -> None:
        """Set these weights to where they start."""


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with convolution weights laid out as CPUs and GPUs compute fastest."""
    return convert_conv2d_weight_memory_format(network, torch.channels_last)


def initialise(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw all weights anew, from the given generator alone.

    Linear and convolutional weights are normal with the variance of He et al. (2015) for the inputs that reach one
    output; biases are 0.

    Args:
        network: Made of linear, convolutional and normalisation layers, and of modules that have an `initialise` of
            their own; it may stand on the "meta" device.
        generator: Source of chance.

    Returns:
        The same network, on the generator's device.
    """
    network.to_empty(device=generator.device)
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, StartsItself):
            layer.initialise()
        elif isinstance(layer, WEIGHTED):
            std = math.sqrt(2 / ((1 + LEAK**2) * n_inputs(layer))) * getattr(layer, "initial_gain", 1.0)
            nn.init.normal_(layer.weight, std=std, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return channels_last(network)


NETWORKS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        FrameNetwork,
        LinearNetwork,
        ObjectNetwork,
        PatchworkNetwork,
        SoundNetwork,
        SpaceTimeNetwork,
        TableNetwork,
        TextureNetwork,
        VectorNetwork,
    )
}

# Made of another network.
ADAPTED: dict[str, type[FrameByFrame | NonNegative]] = {kind.__name__: kind for kind in (FrameByFrame, NonNegative)}


def auto_network(
    latent_shape: Sequence[int],
    shape: Sequence[int],
    indirect: bool = False,
    width: int = AUTO_WIDTH,
    bounded: bool = True,
) -> nn.Module:
    """The network that suits signals of this shape: images, small images and vectors; not yet initialised.

    Args:
        latent_shape: (d,).
        shape: Shape of one signal.
        indirect: Whether only measurements of the signals are observed.
        width: Channels of the first map, or units of each layer.
        bounded: Whether images are in [-1, 1], so that the output passes through tanh.

    Raises:
        ValueError: If the latent factors form a map, which calls for a network of the caller's choice.
    """
    if len(latent_shape) != 1:
        raise ValueError(
            f"latent_dim={tuple(latent_shape)} is a map of factors; pass network=abpnet.TextureNetwork(...) or your own"
        )
    with torch.device("meta"):
        if len(shape) == 1:
            return VectorNetwork(latent_shape[0], shape, width)
        if len(shape) in (2, 3) and min(shape[-2:]) >= (SMALLEST_INDIRECT if indirect else SMALLEST_DECONVOLVED):
            contrast = FAINT if indirect else 1.0
            return ObjectNetwork(
                latent_shape[0], shape, width, initial_contrast=contrast, bounded=bounded, repeat=indirect
            )
        return VectorNetwork(latent_shape[0], shape, width, bounded=bounded)


def chosen_network(
    network: str | nn.Module,
    latent_shape: Sequence[int],
    shape: Sequence[int] | None,
    indirect: bool,
    generator: torch.Generator,
    bounded: bool = True,
) -> nn.Module:
    """The network that the caller asks for, with weights to start from.

    Args:
        network: "auto", or a module, of which a copy is taken; one on the "meta" device is initialised.
        latent_shape: Shape of one example's factors.
        shape: Shape of one signal; None = not known.
        indirect: Whether only measurements of the signals are observed.
        generator: Source of chance.
        bounded: Whether signals that are images are in [-1, 1].

    Raises:
        ValueError: If it is neither, or if "auto" cannot choose.
    """
    if isinstance(network, nn.Module):
        network = copy.deepcopy(network)
        on_meta = any(parameter.is_meta for parameter in network.parameters())
        return initialise(network, generator) if on_meta else network
    if not isinstance(network, str) or network != "auto":
        raise ValueError(f"network must be 'auto' or a torch.nn.Module, got {shown(network)}")
    if shape is None:
        raise ValueError(
            "observation: the shape of the signals cannot be told from their measurements; pass network=..."
        )
    return initialise(auto_network(latent_shape, shape, indirect, bounded=bounded), generator)


def describe_network(network: nn.Module) -> dict[str, Any] | None:
    """What `build_network` needs to build an abpnet network anew, as plain JSON values; None for a foreign one."""
    if isinstance(network, FrameByFrame | NonNegative):
        inner = describe_network(network.network)
        return None if inner is None else {"kind": type(network).__name__, "network": inner}
    known = NETWORKS.get(type(network).__name__) is type(network)
    return {"kind": type(network).__name__, **network.settings} if known else None  # type: ignore[dict-item]


def _numbers(description: Any) -> Iterator[int]:
    """Whole numbers of a description."""
    if isinstance(description, int):
        yield description
    elif isinstance(description, dict | list):
        for part in description.values() if isinstance(description, dict) else description:
            yield from _numbers(part)


def _sketched(description: dict[str, Any], most_layers: int | float) -> nn.Module:
    """A network without memory for its weights."""
    settings = dict(description)
    if description["kind"] in ADAPTED:
        return ADAPTED[description["kind"]](_sketched(description["network"], most_layers))
    if settings.get("n_hidden", 0) > most_layers:
        raise ValueError(f"{settings['n_hidden']:,} layers have more tensors of weights than {most_layers}")
    with torch.device("meta"):
        return NETWORKS[settings.pop("kind")](**settings)


def build_network(description: dict[str, Any], weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """An abpnet network from what `describe_network` returned.

    Args:
        description: What that returned.
        weights: By name; left to be loaded by default. They are compared with the network before it takes any memory.

    Raises:
        ValueError: If they do not fit.
    """
    if weights is not None:
        n_weights = sum(tensor.numel() for tensor in weights.values())
        if any(number > max(n_weights, MOST_ANYWAY) for number in _numbers(description)):
            raise ValueError(f"{n_weights:,} weights are those of a smaller network")
    network = _sketched(description, math.inf if weights is None else len(weights))
    if weights is not None:
        expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
        found = {name: tensor.shape for name, tensor in weights.items()}
        if found != expected:
            wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            raise ValueError(f"{wrong[0]}: {found.get(wrong[0])} in the file, {expected.get(wrong[0])} in the network")
    network = channels_last(network.to_empty(device="cpu"))
    if weights is not None:
        network.load_state_dict(dict(weights))
    return network
