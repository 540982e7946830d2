"""Top-down networks f: from latent factors to signals.

Every network maps (n, *latent_shape) to (n, *shape) and treats the examples of a batch independently of one another.
"""

from abpnet.networks.adapted import FrameByFrame, NonNegative
from abpnet.networks.building import auto_network, build_network, chosen_network, describe_network, initialise
from abpnet.networks.objects import ObjectNetwork
from abpnet.networks.patchworks import PATCHWORK_STRIDE, PatchworkNetwork
from abpnet.networks.sounds import SOUND_STRIDE, SoundNetwork
from abpnet.networks.tables import TableNetwork
from abpnet.networks.textures import TEXTURE_STRIDE, TextureNetwork
from abpnet.networks.vectors import LinearNetwork, VectorNetwork
from abpnet.networks.videos import FRAMES_PER_POSITION, FrameNetwork, SpaceTimeNetwork

__all__ = [
    "FRAMES_PER_POSITION",
    "PATCHWORK_STRIDE",
    "SOUND_STRIDE",
    "TEXTURE_STRIDE",
    "FrameByFrame",
    "FrameNetwork",
    "LinearNetwork",
    "NonNegative",
    "ObjectNetwork",
    "PatchworkNetwork",
    "SoundNetwork",
    "SpaceTimeNetwork",
    "TableNetwork",
    "TextureNetwork",
    "VectorNetwork",
    "auto_network",
    "build_network",
    "chosen_network",
    "describe_network",
    "initialise",
]
