"""Learn images of which only random projections were ever seen, and recover them.

python examples/random_projections.py
"""

import torch

import abpnet
from abpnet.baselines.sensing import least_norm
from abpnet.data import spots
from abpnet.metrics import error

SIDE, N_IMAGES, N_MEASUREMENTS = 16, 300, 64


def main(max_iter: int = 60) -> tuple[float, float]:
    images = spots(N_IMAGES, SIDE)
    operator = abpnet.Projection.random(images.shape[1:], N_MEASUREMENTS)
    y = operator(torch.from_numpy(images)).numpy()  # a quarter as many numbers as pixels
    louder = (images[0].size / N_MEASUREMENTS) ** 0.5  # what is left unexplained of pixels is louder in projections
    net = abpnet.GeneratorNetwork(latent_dim=3, noise_std=0.2 * louder, recipe="indirect", max_iter=max_iter)
    net.fit(y, observation=operator)
    ours = error(net.recover(y, operator, start=net.latents_), images)
    shortest = error(least_norm(y, operator, images.shape[1:]), images)
    print(f"error of recovered images: {ours:.3f} of the dynamic range")
    print(f"shortest images that fit:  {shortest:.3f}")
    return ours, shortest


if __name__ == "__main__":
    main()
