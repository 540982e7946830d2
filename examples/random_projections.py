"""Learn images of which only random projections were ever seen, and recover them.

python examples/random_projections.py
python examples/random_projections.py --picture spots.png
"""

from pathlib import Path

import torch
import tyro

import abpnet
from abpnet.baselines.sensing import least_norm
from abpnet.data import spots
from abpnet.figures import rows_of_images, save_picture
from abpnet.metrics import error

SIDE, N_IMAGES, N_MEASUREMENTS = 16, 300, 64


def main(max_iter: int = 60, picture: Path | None = None) -> tuple[float, float]:
    images = spots(N_IMAGES, SIDE)
    operator = abpnet.Projection.random(images.shape[1:], N_MEASUREMENTS)
    y = operator(torch.from_numpy(images)).numpy()  # a quarter as many numbers as pixels
    louder = (images[0].size / N_MEASUREMENTS) ** 0.5  # what is left unexplained of pixels is louder in projections
    net = abpnet.GeneratorNetwork(latent_dim=3, noise_std=0.2 * louder, recipe="indirect", max_iter=max_iter)
    net.fit(y, observation=operator)
    recovered, fitting = net.recover(y, operator, start=net.latents_), least_norm(y, operator, images.shape[1:])
    ours, shortest = error(recovered, images), error(fitting, images)
    print(f"error of recovered images: {ours:.3f} of the dynamic range")
    print(f"shortest images that fit:  {shortest:.3f}")
    if picture is not None:
        rows = {"image": images, "shortest that fits": fitting, "recovered": recovered, "drawn": net.sample(N_IMAGES)}
        save_picture(picture, rows_of_images({name: row[:12] for name, row in rows.items()}, 3))
    return ours, shortest


if __name__ == "__main__":
    tyro.cli(main)
