"""Learn from digits of which half the pixels are hidden, and fill them in.

python examples/incomplete_digits.py
python examples/incomplete_digits.py --picture digits.png
"""

from pathlib import Path

import numpy as np
import tyro

import abpnet
from abpnet.data import digits
from abpnet.figures import rows_of_images, save_picture
from abpnet.metrics import error


def main(max_iter: int = 100, picture: Path | None = None) -> float:
    truth = digits()
    hidden = np.random.default_rng(0).random(truth.shape) < 0.5
    damaged = np.where(hidden, np.nan, truth)
    net = abpnet.GeneratorNetwork(latent_dim=20, noise_std=0.2, max_iter=max_iter).fit(damaged)
    recovered = net.impute(damaged)
    print(f"error on hidden pixels: {error(recovered, truth, hidden):.3f} of the dynamic range")
    mean = np.broadcast_to(np.nanmean(damaged, 0), truth.shape)
    print(f"mean fill:              {error(mean, truth, hidden):.3f}")
    if picture is not None:
        rows = {"digit": truth, "seen": damaged, "recovered": recovered, "drawn": net.sample(len(truth))}
        save_picture(picture, rows_of_images({name: row[:14] for name, row in rows.items()}, 5))
    return error(recovered, truth, hidden)


if __name__ == "__main__":
    tyro.cli(main)
