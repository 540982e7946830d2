"""How often hidden entries lie in their 90 % intervals: simulated data, digits, and faces.

    python benchmarks/uncertainty.py
    python benchmarks/uncertainty.py --data ../shared/data --max-seconds 300

Simulated: by a network of two layers that is known, 3 factors, 1,000 examples of 20 entries. Digits and 1,000
faces: half of the pixels hidden (of faces in squares of 3 x 3), learned from, calibrated on the observed pixels of new
images (see `GeneratorNetwork.calibrate`), and drawn 39 times; other new images are judged as well.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from one_default import digits, faces

import abpnet
from abpnet.data.masks import draw_mask
from abpnet.explaining import explain
from abpnet.networks import VectorNetwork, initialise
from abpnet.observations import Mask
from abpnet.posterior import chain_starts, posterior_draws
from abpnet.uncertainty import coverage, credible_interval

LEVELS = (0.5, 0.8, 0.9)
N_DRAWS, JUDGED, CALIBRATING = 39, 300, 100
HEAD = f"| data | noise scale | {' | '.join(f'{100 * level:.0f} %' for level in LEVELS)} | seconds |"


def say(name: str, scale: float, truth: np.ndarray, draws: np.ndarray, hidden: np.ndarray, seconds: float) -> None:
    """One row: the share of hidden entries inside intervals of each level."""
    held = [coverage(truth, credible_interval(draws, level), hidden) for level in LEVELS]
    print(f"| {name} | {scale:.2f} | {' | '.join(f'{share:.3f}' for share in held)} | {seconds:.0f} |", flush=True)


def simulated(n: int, n_chains: int, seed: int) -> None:
    """Coverage where generator and noise are known."""
    start, generator = time.monotonic(), torch.Generator().manual_seed(seed)
    network = initialise(VectorNetwork(3, (20,), width=32), generator)
    model = abpnet.GeneratorModel(network, (3,), emission=abpnet.Gaussian(0.2))
    with torch.no_grad():
        truth = model.emission.sample(model(model.prior.sample((n, 3), generator)), generator)
    observed = torch.rand(truth.shape, generator=generator) < 0.5
    y, seen = torch.where(observed, truth, 0.0), Mask(observed)
    mode = explain(model, y, seen, torch.zeros(n, 3))
    starts = chain_starts(model, y, seen, mode, n_chains, generator)
    draws = []
    for z in islice(posterior_draws(model, y, seen, starts, generator), 60):
        with torch.no_grad():
            draws.append(model.emission.sample(model(z), generator).numpy())
    name = f"simulated, {n_chains} chain{'s' * (n_chains > 1)}, seed {seed}"
    say(name, 1.0, truth.numpy(), np.stack(draws), ~observed.numpy(), time.monotonic() - start)


def learned(
    name: str, images: np.ndarray, n_new: int, mask: str, recipe: str, latent_dim: int, max_seconds: float
) -> None:
    """Coverage of pixels hidden from learning, before and after calibration."""
    rng = np.random.default_rng(0)
    images = images[rng.permutation(len(images))].astype(np.float32)
    observed = draw_mask(mask, images.shape, rng)
    shown, hidden = np.where(observed, images, np.float32(np.nan)), ~np.broadcast_to(observed, images.shape)
    training, calibrating = slice(0, len(images) - n_new), slice(len(images) - n_new, len(images) - n_new + CALIBRATING)
    judged = {"training": slice(0, JUDGED), "new": slice(calibrating.stop, calibrating.stop + JUDGED)}
    net = abpnet.GeneratorNetwork(
        latent_dim, noise_std=0.2, recipe=recipe, max_iter=100_000, max_seconds=max_seconds, verbose=False
    ).fit(shown[training])
    for calibrated in (False, True):
        if calibrated:
            net.calibrate(shown[calibrating])
        for part, rows in judged.items():
            start = time.monotonic()
            draws = net.impute(shown[rows], n_imputations=N_DRAWS).clip(-1, 1)
            label = f"{name}, {recipe}, {part}"
            say(label, net.noise_scale_, images[rows], draws, hidden[rows], time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the shared data sets")
    parser.add_argument("--max-seconds", type=float, default=60, help="of learning from digits, and from faces")
    parser.add_argument("--seeds", type=int, default=3, help="of simulated data")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{HEAD}\n{'|---' * (len(LEVELS) + 3)}|")
    for seed in range(arguments.seeds):
        for n_chains in (1, 4):
            simulated(1000, n_chains, seed)
    for recipe in ("partial", "kriged"):
        learned("digits", digits(arguments.data)[:, None], 300, "pepper:0.5:1", recipe, 20, arguments.max_seconds)
    if arguments.data is not None:
        for mask in ("pepper:0.5", "pepper:0.7"):
            learned(f"faces, {mask}", faces(arguments.data), 300, mask, "kriged", 100, arguments.max_seconds)


if __name__ == "__main__":
    main()
