"""Learn through an operator of another library: deepinv's down-sampling where deepinv is installed, else one's own.

Any object with `A(x)` or `forward(x)` is an observation; it needs to know nothing of abpnet.

python examples/foreign_operator.py
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import abpnet
from abpnet.data import spots
from abpnet.metrics import error
from abpnet.networks import auto_network

SIDE, FACTOR, N_IMAGES = 16, 4, 300


class Blocks:
    """Means of blocks of pixels, for those who do without deepinv."""

    def A(self, x: torch.Tensor) -> torch.Tensor:
        """The means."""
        return F.avg_pool2d(x, FACTOR)


def operator() -> Any:
    try:
        import deepinv
    except ImportError:
        return Blocks()
    return deepinv.physics.Downsampling(img_size=(1, SIDE, SIDE), filter="gaussian", factor=FACTOR)


def main(max_iter: int = 60) -> tuple[float, float]:
    images, physics = spots(N_IMAGES, SIDE), operator()
    y = physics.A(torch.from_numpy(images)).numpy()  # one number for every sixteen pixels
    network = auto_network((3,), images.shape[1:], indirect=True)  # measurements do not tell the shape of images
    net = abpnet.GeneratorNetwork(latent_dim=3, network=network, noise_std=0.1, max_iter=max_iter)
    net.fit(y, observation=physics)
    ours = error(net.recover(y, physics, start=net.latents_), images)
    enlarged = F.interpolate(torch.from_numpy(y), size=(SIDE, SIDE), mode="bicubic").numpy()
    bicubic = error(np.clip(enlarged, -1, 1), images)
    print(f"{type(physics).__module__}.{type(physics).__name__}: {y.shape[1:]} numbers for {images.shape[1:]} pixels")
    print(f"error of recovered images: {ours:.3f} of the dynamic range; of bicubic interpolation: {bicubic:.3f}")
    return ours, bicubic


if __name__ == "__main__":
    main()
