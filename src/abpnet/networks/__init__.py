"""Top-down networks f: from latent factors to signals.

Every network maps (n, *latent_shape) to (n, *shape) and treats the examples of a batch independently of one another.
"""

from abpnet.networks.building import auto_network, build_network, describe_network, initialise
from abpnet.networks.objects import ObjectNetwork
from abpnet.networks.textures import TEXTURE_STRIDE, TextureNetwork
from abpnet.networks.vectors import LinearNetwork, VectorNetwork

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
