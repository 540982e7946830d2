"""Top-down networks f: from latent factors to signals.

Every network maps (n, *latent_shape) to (n, *shape) and treats the examples of a batch independently of one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

__all__ = [
    "TEXTURE_STRIDE",
    "LinearNetwork",
    "ObjectNetwork",
    "TextureNetwork",
    "VectorNetwork",
    "auto_network",
    "build_network",
    "describe_network",
    "initialise",
]

LEAK = 0.2
SMALLEST_WIDTH = 16
# Texture networks: how much larger the maps of fine noise are than the coarse one, and how loud they start.
FINE_SCALES, NOISE_GAIN = (2, 4, 8), 0.7
NOISE_CHANNELS = sum(scale**2 for scale in FINE_SCALES)
# Covariances grow with the square of contrast: from too much of it the first steps would throw the chains far out.
INITIAL_CONTRAST = 0.02
# Pixels of the image for each position of the coarse map.
TEXTURE_STRIDE = 32
# What the measurements do not see stays as it starts. So images behind indirect data start close to grey: with the
# usual weights they kept a rough pattern (error .19 instead of .06 at 64 projections of smooth images of 256 pixels).
FAINT = 0.1
# Where `auto_network` changes from a perceptron to deconvolutions, and how wide these are.
SMALLEST_DECONVOLVED, AUTO_WIDTH = 16, 128


class SteadyLinear(nn.Linear):
    """A linear layer that gives a row the same bits at every place in the batch.

    Matrix products of few columns (seen below 12) round by the memory address at which a row starts. So inputs and
    outputs of fewer than `SMALLEST_WIDTH` features are padded with zeros.
    """

    def forward(self, input: Float[Tensor, "n p"]) -> Float[Tensor, "n q"]:
        """`input @ weight.T + bias`."""
        n_outputs, n_inputs = self.weight.shape
        if min(n_outputs, n_inputs) >= SMALLEST_WIDTH:
            return super().forward(input)
        more_inputs, more_outputs = (max(SMALLEST_WIDTH - width, 0) for width in (n_inputs, n_outputs))
        weight = F.pad(self.weight, (0, more_inputs, 0, more_outputs))
        return F.linear(F.pad(input, (0, more_inputs)), weight, F.pad(self.bias, (0, more_outputs)))[:, :n_outputs]


class LinearNetwork(nn.Module):
    """`f(z) = W z + b`: linear factor analysis, where everything is known in closed form.

    Args:
        latent_dim: Number of factors d.
        shape: Shape of one signal.
    """

    def __init__(self, latent_dim: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.settings = {"latent_dim": latent_dim, "shape": list(shape)}
        self.shape = tuple(shape)
        self.loadings = SteadyLinear(latent_dim, math.prod(shape))

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *shape"]:
        """Signals of the factors."""
        return self.loadings(z).unflatten(1, self.shape)


class VectorNetwork(nn.Module):
    """A multi-layer perceptron for tables and other vectors.

    Args:
        latent_dim: Number of factors d.
        shape: Shape of one signal; it is treated as a flat vector.
        width: Units of each hidden layer.
        n_hidden: Number of hidden layers.
        bounded: Whether the output passes through tanh, for signals in [-1, 1].
    """

    def __init__(
        self, latent_dim: int, shape: Sequence[int], width: int = 128, n_hidden: int = 2, bounded: bool = False
    ) -> None:
        super().__init__()
        self.settings = {
            "latent_dim": latent_dim,
            "shape": list(shape),
            "width": width,
            "n_hidden": n_hidden,
            "bounded": bounded,
        }
        self.shape = tuple(shape)
        layers: list[nn.Module] = []
        for n_inputs in (latent_dim, *[width] * (n_hidden - 1)):
            layers += [SteadyLinear(n_inputs, width), nn.LeakyReLU(LEAK)]
        layers.append(SteadyLinear(width, math.prod(shape)))
        self.layers = nn.Sequential(*layers, *[nn.Tanh()] * bounded)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *shape"]:
        """Signals of the factors."""
        return self.layers(z).unflatten(1, self.shape)


def deconvolution(n_inputs: int, n_outputs: int) -> nn.ConvTranspose2d:
    """Up-sampling by 2 and linear superposition of 5x5 basis functions (Han et al. 2017, section 2.2)."""
    return nn.ConvTranspose2d(n_inputs, n_outputs, 5, stride=2, padding=2, output_padding=1)


class ObjectNetwork(nn.Module):
    """Aligned objects, such as faces: a fully connected layer, then deconvolutions (Han et al. 2017, experiment 3).

    A small map of `width` channels doubles in size and halves in channels at each deconvolution; leaky ReLU between
    layers, tanh at the bottom, no batch normalisation.

    Args:
        latent_dim: Number of factors d.
        shape: Shape of one image, (channels, height, width) or (height, width), each side at least 8.
        width: Channels of the first map.
        initial_contrast: What `initialise` multiplies the usual standard deviation of the last weights by.

    Raises:
        ValueError: If the shape is no image's.
    """

    def __init__(self, latent_dim: int, shape: Sequence[int], width: int = 512, initial_contrast: float = 1.0) -> None:
        super().__init__()
        self.settings = {
            "latent_dim": latent_dim,
            "shape": list(shape),
            "width": width,
            "initial_contrast": initial_contrast,
        }
        self.shape = tuple(shape)
        if len(self.shape) not in (2, 3) or min(self.shape[-2:]) < 8:
            raise ValueError(
                "an object network needs images of shape (height, width) or (channels, height, width) with sides of "
                f"at least 8; got {self.shape}"
            )
        n_layers = int(math.log2(min(self.shape[-2:]) / 4))
        sides = [math.ceil(side / 2**n_layers) for side in self.shape[-2:]]
        channels = [max(width // 2**layer, 16) for layer in range(n_layers)]
        n_outputs = 1 if len(self.shape) == 2 else self.shape[0]
        self.first_map = (channels[0], *sides)
        self.factors = SteadyLinear(latent_dim, math.prod(self.first_map))
        layers: list[nn.Module] = []
        for n_inputs, n_next in zip(channels, [*channels[1:], n_outputs], strict=True):
            layers += [nn.LeakyReLU(LEAK), deconvolution(n_inputs, n_next)]
        layers[-1].initial_gain = initial_contrast  # type: ignore[assignment]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n *shape"]:
        """Images of the factors."""
        first = self.factors(z).unflatten(1, self.first_map).contiguous(memory_format=torch.channels_last)
        image = self.layers(first)[..., : self.shape[-2], : self.shape[-1]]
        return image.reshape(z.shape[0], *self.shape)


class EvenDeconvolution(nn.ConvTranspose2d):
    """Up-sampling by 2 and 5x5 basis functions that answer a constant map with a constant map.

    A pixel of even row or column is reached by 3 taps of a basis function, one of odd by 2. Left to themselves the
    four kinds of pixels differ in their mean, and five layers build a lattice that filter statistics hardly see. So
    the sums of the weights that reach each kind are set to their common mean.

    Args:
        n_inputs: Channels of the input, which comes padded by 1 on each side.
        n_outputs: Channels of the output.
        initial_gain: What `initialise` multiplies the usual standard deviation of the weights by.
    """

    def __init__(self, n_inputs: int, n_outputs: int, initial_gain: float = 1.0) -> None:
        super().__init__(n_inputs, n_outputs, 5, stride=2, padding=4, output_padding=1)
        self.initial_gain = initial_gain

    def forward(self, input: Float[Tensor, "n p h w"], output_size: list[int] | None = None) -> Tensor:
        """Superposition of the balanced basis functions, (n, q, 2 h - 4, 2 w - 4)."""
        odd = torch.arange(5, device=self.weight.device) % 2
        kind = (2 * odd[:, None] + odd).flatten()
        same = (kind[:, None] == kind).to(self.weight)
        excess = self.weight.flatten(2) @ ((same - 0.25) / same.sum(0))
        weight = self.weight - excess.view_as(self.weight)
        return F.conv_transpose2d(input, weight, self.bias, stride=2, padding=4, output_padding=1)


class TextureNetwork(nn.Module):
    """Textures of any size: five deconvolutions of a map of factors (Han et al. 2017, experiment 1).

    The map holds the noise of all scales: its first channels are the coarse map itself, the others, unshuffled to
    maps 2, 4 and 8 times as large, join the layers of that size. So the prior stays N(0, I) on one tensor. Each layer
    doubles the size; instance normalisation (of every example by itself, at every size alike) and ReLU between layers,
    tanh at the bottom.

    Args:
        latent_dim: Channels of the map of factors, more than `84 * n_fine`.
        n_channels: Channels of the image.
        width: Channels of the first layer's output; they halve from layer to layer.
        n_fine: Channels of noise at each of the finer scales.
        periodic: Whether the image is a torus, which can be tiled; otherwise borders are padded with 0.

    Raises:
        ValueError: If `latent_dim` leaves no channel for the coarse map.
    """

    def __init__(
        self, latent_dim: int, n_channels: int = 3, width: int = 128, n_fine: int = 8, periodic: bool = True
    ) -> None:
        super().__init__()
        self.settings = {
            "latent_dim": latent_dim,
            "n_channels": n_channels,
            "width": width,
            "n_fine": n_fine,
            "periodic": periodic,
        }
        self.latent_dim = latent_dim
        n_coarse = latent_dim - n_fine * NOISE_CHANNELS
        if n_coarse < 1:
            raise ValueError(f"latent_dim must exceed {latent_dim - n_coarse} with n_fine={n_fine}, got {latent_dim}")
        self.parts = [n_coarse, *(n_fine * scale**2 for scale in FINE_SCALES)]
        self.padding = "circular" if periodic else "constant"
        channels = [max(width // 2**layer, 16) for layer in range(4)]
        inputs = [n_coarse, *(count + n_fine for count in channels[:3]), channels[3]]
        self.deconvolutions = nn.ModuleList(
            EvenDeconvolution(n_inputs, n_outputs, 1.0 if layer < len(channels) else INITIAL_CONTRAST)
            for layer, (n_inputs, n_outputs) in enumerate(zip(inputs, [*channels, n_channels], strict=True))
        )
        self.normalisations = nn.ModuleList(nn.GroupNorm(count, count) for count in channels)

    @classmethod
    def with_noise(
        cls, n_channels: int, width: int = 128, n_coarse: int = 32, n_fine: int = 8, periodic: bool = True
    ) -> TextureNetwork:
        """The network with `n_coarse` channels of noise at the coarsest scale and `n_fine` at each of the others."""
        return cls(n_coarse + NOISE_CHANNELS * n_fine, n_channels, width, n_fine, periodic)

    def forward(self, z: Float[Tensor, "n latent_dim h w"]) -> Float[Tensor, "n n_channels 32*h 32*w"]:
        """Images of the factors."""
        maps = z.split(self.parts, 1)
        hidden = maps[0]
        for layer, deconvolution in enumerate(self.deconvolutions):
            if 1 <= layer <= len(FINE_SCALES):
                noise = F.pixel_shuffle(maps[layer], FINE_SCALES[layer - 1])
                # Noise carries a share of the variance that does not depend on the number of its channels.
                gain = NOISE_GAIN * math.sqrt(hidden.shape[1] / max(noise.shape[1], 1))
                hidden = torch.cat([hidden, gain * noise], 1)
            hidden = F.pad(hidden, (1, 1, 1, 1), mode=self.padding).contiguous(memory_format=torch.channels_last)
            hidden = deconvolution(hidden)
            if layer < len(self.normalisations):
                hidden = self.normalisations[layer](hidden).relu()
        return hidden.tanh()


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with convolution weights laid out as CPUs and GPUs compute fastest."""
    return convert_conv2d_weight_memory_format(network, torch.channels_last)


def initialise(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw all weights anew, from the given generator alone.

    Linear and convolutional weights are normal with the variance of He et al. (2015) for the inputs that reach one
    output; biases are 0.

    Args:
        network: Made of linear, convolutional and normalisation layers; it may stand on the "meta" device.
        generator: Source of chance.

    Returns:
        The same network, on the generator's device.
    """
    network.to_empty(device=generator.device)
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            fan_in = layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
        elif isinstance(layer, (nn.Linear, nn.Conv2d)):
            fan_in = layer.weight[0].numel()
        elif isinstance(layer, nn.GroupNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
            continue
        else:
            continue
        std = math.sqrt(2 / ((1 + LEAK**2) * fan_in)) * getattr(layer, "initial_gain", 1.0)
        nn.init.normal_(layer.weight, std=std, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return channels_last(network)


NETWORKS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (LinearNetwork, ObjectNetwork, TextureNetwork, VectorNetwork)
}


def auto_network(latent_shape: Sequence[int], shape: Sequence[int], indirect: bool = False) -> nn.Module:
    """The network that suits signals of this shape: images, small images and vectors; not yet initialised.

    Args:
        latent_shape: (d,).
        shape: Shape of one signal.
        indirect: Whether only measurements of the signals are observed.

    Raises:
        ValueError: If the latent factors form a map, which calls for a network of the caller's choice.
    """
    if len(latent_shape) != 1:
        raise ValueError(
            f"latent_dim={tuple(latent_shape)} is a map of factors; pass network=abpnet.TextureNetwork(...) or your own"
        )
    with torch.device("meta"):
        if len(shape) == 1:
            return VectorNetwork(latent_shape[0], shape)
        if len(shape) in (2, 3) and min(shape[-2:]) >= SMALLEST_DECONVOLVED:
            contrast = FAINT if indirect else 1.0
            return ObjectNetwork(latent_shape[0], shape, width=AUTO_WIDTH, initial_contrast=contrast)
        return VectorNetwork(latent_shape[0], shape, bounded=True)


def describe_network(network: nn.Module) -> dict[str, Any] | None:
    """What `build_network` needs to build an abpnet network anew, as plain JSON values; None for a foreign one."""
    known = NETWORKS.get(type(network).__name__) is type(network)
    return {"kind": type(network).__name__, **network.settings} if known else None  # type: ignore[dict-item]


def build_network(description: dict[str, Any]) -> nn.Module:
    """An abpnet network from what `describe_network` returned; its weights are left to be loaded."""
    settings = dict(description)
    with torch.device("meta"):
        network = NETWORKS[settings.pop("kind")](**settings)
    return channels_last(network.to_empty(device="cpu"))
