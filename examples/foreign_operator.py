"""Learn through an operator of another library: deepinv's compressed sensing where it is installed, else one's own.

Any object with `A(x)` or `forward(x)` is an observation; it needs to know nothing of abpnet.

python examples/foreign_operator.py
"""

from typing import Any

import torch

import abpnet
from abpnet.baselines.sensing import least_norm
from abpnet.data import spots
from abpnet.metrics import error
from abpnet.networks import auto_network
from abpnet.observations import Operator

SHAPE, N_MEASUREMENTS, N_IMAGES = (1, 16, 16), 40, 300


class Signs(torch.nn.Module):
    """Sums of all pixels with random signs, for those who do without deepinv."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        signs = 2.0 * torch.randint(2, (N_MEASUREMENTS, SHAPE[1] * SHAPE[2]), generator=generator) - 1.0
        self.register_buffer("signs", signs / N_MEASUREMENTS**0.5)

    def A(self, x: torch.Tensor) -> torch.Tensor:
        """The sums."""
        return x.flatten(1) @ self.get_buffer("signs").T


def operator() -> Any:
    """What measures the images."""
    generator = torch.Generator().manual_seed(0)
    try:
        import deepinv
    except ImportError:
        return Signs(generator)
    return deepinv.physics.CompressedSensing(m=N_MEASUREMENTS, img_size=SHAPE, rng=generator)


def main(max_iter: int = 60) -> tuple[float, float]:
    """Errors of ours and of the shortest images that fit."""
    images, physics = spots(N_IMAGES, SHAPE[-1]), operator()
    y = physics.A(torch.from_numpy(images)).numpy()  # one number for every six pixels
    network = auto_network((3,), SHAPE, indirect=True)  # measurements do not tell the shape of images
    noise_std = 0.2 * (images[0].size / N_MEASUREMENTS) ** 0.5  # what is left of pixels is louder in their sums
    net = abpnet.GeneratorNetwork(latent_dim=3, network=network, noise_std=noise_std, max_iter=max_iter)
    net.fit(y, observation=physics)
    ours = error(net.recover(y, physics, start=net.latents_), images)
    shortest = error(least_norm(y, Operator(physics.A), SHAPE), images)
    print(f"{type(physics).__module__}.{type(physics).__name__}: {y.shape[1]} numbers for {images[0].size} pixels")
    print(f"error of recovered images: {ours:.3f} of the dynamic range; of the shortest that fit: {shortest:.3f}")
    return ours, shortest


if __name__ == "__main__":
    main()
