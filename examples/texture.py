"""Learn a material from one photograph, and make a tile of it that repeats without a seam.

python examples/texture.py
python examples/texture.py --max-seconds 240 --out gravel.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import abpnet
from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.data import save_image, texture_photograph
from abpnet.figures import grid, save_picture
from abpnet.networks import PatchworkNetwork, initialise
from abpnet.recipes import RECIPES
from abpnet.texture_distance import mean_distance
from abpnet.texture_statistics import TextureStatistics


def main(
    max_iter: int = 2000,
    max_seconds: float | None = 30.0,
    side: int = 192,
    out: Path | None = None,
    picture: Path | None = None,
) -> tuple[float, float]:
    """Distance from the photograph of fresh textures, and of noise of its spectrum."""
    photograph = texture_photograph("gravel", side)
    images = torch.from_numpy(photograph[None].copy())
    # The statistics of the photograph are what is observed, of a texture that nobody has seen.
    statistics = TextureStatistics.of(images)
    with torch.device("meta"):
        patchwork = PatchworkNetwork(images.shape)
    initialise(patchwork, torch.Generator().manual_seed(0)).start_from(images)
    net = abpnet.GeneratorNetwork(
        latent_dim=(patchwork.latent_dim, 2, 2),
        network=patchwork,
        noise_std=0.1,
        recipe=RECIPES["patchwork"],
        max_iter=max_iter,
        max_seconds=max_seconds,
    )
    net.fit(statistics.target.expand(4, -1), observation=statistics)
    fresh = net.sample(2, latent_shape=(3, 3))[:, :, :side, :side]
    ours = mean_distance(fresh, photograph)["distance"]
    same_spectrum = phase_randomised(photograph, np.random.default_rng(0))
    noise = mean_distance([same_spectrum], photograph)["distance"]
    print(f"distance of fresh textures from the photograph: {ours:.3f}")
    print(f"distance of noise of the same spectrum:         {noise:.3f}")
    if out is not None:
        save_image(out, net.sample(1, latent_shape=(8, 8))[0])
        print(f"written: {out}, a tile of 512 x 512 pixels")
    if picture is not None:
        save_picture(picture, grid(np.stack([photograph, *fresh, same_spectrum]), 4))
    return ours, noise


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-iter", type=int, default=2000, help="passes of learning at most")
    parser.add_argument("--max-seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path, help="PNG file of photograph, syntheses and noise to write")
    arguments = parser.parse_args()
    main(**vars(arguments))
