"""How well models with more and more factors explain digits they were not learned from, beside principal components.

python examples/model_evaluation.py
python examples/model_evaluation.py --picture digits.png
"""

from pathlib import Path

import torch
import tyro
from sklearn.decomposition import PCA

import abpnet
from abpnet.data import digits
from abpnet.figures import rows_of_images, save_picture
from abpnet.metrics import error

LATENT_DIMS = (5, 10, 20)


def main(
    max_iter: int = 100, latent_dims: tuple[int, ...] = LATENT_DIMS, n_images: int = 1797, picture: Path | None = None
) -> dict[int, tuple[float, float]]:
    images = digits()[:n_images]
    train, new = images[:-300], images[-300:]
    errors, rows = {}, {"new digit": new}
    for latent_dim in latent_dims:
        net = abpnet.GeneratorNetwork(latent_dim, noise_std=0.2, max_iter=max_iter).fit(train)
        ours = abpnet.evaluate(net.model_, torch.from_numpy(new)).reconstruction
        components = PCA(latent_dim).fit(train.reshape(len(train), -1))
        projected = components.inverse_transform(components.transform(new.reshape(len(new), -1)))
        errors[latent_dim] = ours, error(projected.reshape(new.shape), new)
        rows[f"abpnet, {latent_dim} factors"] = net.reconstruct(new)
        rows[f"{latent_dim} components"] = projected.reshape(new.shape)
        print(f"{latent_dim} factors: abpnet {ours:.4f}, principal components {errors[latent_dim][1]:.4f}", flush=True)
    if picture is not None:
        save_picture(picture, rows_of_images({name: row[:14] for name, row in rows.items()}, 5))
    return errors


if __name__ == "__main__":
    tyro.cli(main)
