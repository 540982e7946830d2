"""Learn digits, draw new ones, walk between four of them, and judge the samples by digits that were not learned from.

python examples/objects.py --picture digits.png
python examples/objects.py --source faces/ --latent-dim 100 --max-iter 300
"""

from pathlib import Path

import numpy as np
import torch
import tyro

import abpnet
from abpnet.baselines import vae
from abpnet.data import load_images
from abpnet.figures import rows_of_images, save_picture
from abpnet.interpolation import sphere_interpolation
from abpnet.networks import auto_network
from abpnet.sample_quality import SampleQuality, compare_samples


def main(
    source: str = "builtin:digits", latent_dim: int = 10, max_iter: int = 60, picture: Path | None = None
) -> dict[str, SampleQuality]:
    images = load_images(source).pixels
    new, train = np.split(images[np.random.default_rng(0).permutation(len(images))], [len(images) // 6])
    net = abpnet.GeneratorNetwork(latent_dim, noise_std=0.2, max_iter=max_iter).fit(train)
    walk = net.inverse_transform(sphere_interpolation(net.transform(train[:4])))
    print(f"walk between four images: {walk.shape}")
    generator = torch.Generator().manual_seed(0)
    decoder = auto_network((latent_dim,), train.shape[1:])
    other = vae.learn(torch.from_numpy(train), decoder, noise_std=0.2, generator=generator, max_iter=max_iter)
    samples = {
        "abpnet": net.sample(len(new)),
        "VAE": vae.sample(other, len(new), generator).numpy(),
        "training images themselves": train[: len(new)],
        "their mean": np.broadcast_to(train.mean(0), new.shape),
    }
    quality = {name: compare_samples(images, new) for name, images in samples.items()}
    for name, (distance, precision, recall) in quality.items():
        print(f"{name:28} kernel distance {distance:7.3f}  precision {precision:.2f}  recall {recall:.2f}")
    if picture is not None:
        rows = {"digit": train, "abpnet, drawn": samples["abpnet"], "VAE, drawn": samples["VAE"]}
        rows |= {f"walk, {line + 1} of 8": part for line, part in enumerate(np.split(walk, 8))}
        save_picture(picture, rows_of_images({name: row[:8] for name, row in rows.items()}, 5))
    return quality


if __name__ == "__main__":
    tyro.cli(main)
