"""New signals of a run: images, textures of any size, sounds and videos of any length."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float

from abpnet.data.videos import Clip
from abpnet.dynamic_textures import DynamicTexture, Process, learn_motion
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.lattice import fitting_map
from abpnet.motion import process_of
from abpnet.networks import PATCHWORK_STRIDE, SOUND_STRIDE, TEXTURE_STRIDE, FrameByFrame, PatchworkNetwork, SoundNetwork
from abpnet.tasks.settings import check_number
from abpnet.tasks.video import PATHS
from abpnet.web.pictures import as_images
from abpnet.web.served import ServedRun

__all__ = ["new_images", "new_sound", "new_texture", "new_video"]

MOST_IMAGES, MOST_SECONDS, MOST_FRAMES = 100, 120, 2000
LEAST_SIDE, MOST_SIDE = 32, 2048
USUAL_RATE = 25.0


def new_images(network: GeneratorNetwork, n: int, seed: int) -> Float[np.ndarray, "n c h w"]:
    """Images f(z), z drawn from the prior.

    Raises:
        InputError: If they are too many.
    """
    check_number("how many", n, 1, MOST_IMAGES)
    return as_images(network.sample(n, random_state=seed))


def new_texture(network: GeneratorNetwork, height: int, width: int, seed: int) -> Float[np.ndarray, "c h w"]:
    """A texture of this size.

    Raises:
        InputError: If a side is out of range.
    """
    for name, side in {"height": height, "width": width}.items():
        check_number(name, side, LEAST_SIDE, MOST_SIDE)
    made_by, lattice, stride = network.model_.network, None, TEXTURE_STRIDE
    if isinstance(made_by, PatchworkNetwork):
        stride = PATCHWORK_STRIDE
        lattice = None if made_by.lattice is None else made_by.lattice.numpy()
    positions = fitting_map(lattice, (math.ceil(height / stride), math.ceil(width / stride)), stride)
    return network.sample(1, latent_shape=positions, random_state=seed)[0, :, :height, :width]


def new_sound(network: GeneratorNetwork, seconds: float | int, seed: int) -> tuple[Float[np.ndarray, "samples"], int]:
    """A sound of this length in [-1, 1], and its samples per second.

    Raises:
        InputError: If it is too long.
    """
    check_number("seconds", seconds, 0.1, MOST_SECONDS)
    made_by = network.model_.network
    assert isinstance(made_by, SoundNetwork)
    n_samples = round(seconds * made_by.rate)
    sound = network.sample(1, latent_shape=(math.ceil(n_samples / SOUND_STRIDE),), random_state=seed)[0, :n_samples]
    return np.clip(sound, -1, 1), made_by.rate


def new_video(run: ServedRun, n_frames: int, seed: int) -> Clip:
    """A video of so many frames.

    Args:
        run: Of the command `video`.
        n_frames: Its length.
        seed: Of all chance.

    Raises:
        InputError: If it is too long, or the run keeps no paths of its factors.
    """
    check_number("frames", n_frames, 1, MOST_FRAMES)
    file = run.path / PATHS
    if not file.exists():
        raise InputError(
            f"{run.name} keeps no {PATHS}, which tells how its factors move; it is not finished, or of an older version"
        )
    with np.load(file) as kept:
        paths = [kept[name] for name in kept.files]
    network, settings = run.network(), run.settings
    if isinstance(network.model_.network, FrameByFrame):
        process: Process = process_of(network.model_, paths)
    else:
        generator = torch.Generator().manual_seed(settings["seed"])
        process = learn_motion(paths, settings["transition"], settings["order"], generator)
    frames = DynamicTexture(network, paths, process).synthesise(n_frames, np.random.default_rng(seed))
    return Clip(frames, run.result().get("frame_rate") or USUAL_RATE)
