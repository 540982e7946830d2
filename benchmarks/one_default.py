"""One default for all: error of `GeneratorNetwork` without settings beside principal components', on six sets.

    python benchmarks/one_default.py --data ../shared/data
    python benchmarks/one_default.py --data ../shared/data --only digits table --max-seconds 60

Nothing but the number of factors is chosen, the same for principal components; a quarter of each set (at most 300),
drawn at random, is new. A fit counts as diverged if the error of a pass is no number, or above 1.1 times that of the
first pass.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results import unpack_faces
from skimage.transform import resize
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import StandardScaler

from abpnet import GeneratorNetwork
from abpnet.baselines import low_rank
from abpnet.data import load_images
from abpnet.metrics import error

MOST_NEW = 300
Images = np.ndarray


def digits(data: Path) -> Images:
    """1,797 digits of 8 x 8 pixels."""
    return load_digits().images / 8.0 - 1


def mnist(data: Path) -> Images:
    """5,000 digits of 28 x 28 pixels."""
    with np.load(data / "digits/mnist_5k_28x28.npz") as arrays:
        return arrays["images"] / 127.5 - 1


def faces(data: Path) -> Images:
    """1,300 faces of 64 x 64 pixels."""
    folders = unpack_faces(data / "faces/celeba_89x109_10000.zip", Path("runs/one_default/faces"))
    return np.concatenate([load_images(str(folder), crop=(12, 24, 76, 88)).pixels for folder in folders])


def heads(data: Path) -> Images:
    """Lions and tigers, 64 x 64 pixels."""
    return load_images(str(data / "animals/liontiger_heads64.npz")).pixels


def large_faces(data: Path) -> Images:
    """400 grey faces of 40 people, enlarged to 128 x 128 pixels."""
    with np.load(data / "faces/orl_att_400_gray.npz") as arrays:
        grey = arrays["images_112x92"] / 127.5 - 1
    return resize(grey, (len(grey), 128, 128), order=1)


def table(data: Path) -> Images:
    """569 rows of 20 standardised measurements of cells."""
    return StandardScaler().fit_transform(load_breast_cancer().data[:, :20])


SETS: dict[str, tuple[Callable[[Path], Images], int]] = {
    "digits": (digits, 10),
    "MNIST": (mnist, 20),
    "faces": (faces, 100),
    "heads": (heads, 20),
    "large faces": (large_faces, 40),
    "table": (table, 4),
}


def split(values: Images) -> tuple[Images, Images]:
    """Training examples and new ones, drawn at random."""
    order = np.random.default_rng(0).permutation(len(values))
    n_new = min(len(values) // 4, MOST_NEW)
    values = values[order].astype(np.float32)
    return values[n_new:], values[:n_new]


def has_diverged(network: GeneratorNetwork) -> bool:
    """Whether the error of a pass was no number, or above 1.1 times that of the first."""
    errors = [row["error"] for row in network.history_]
    return not all(math.isfinite(value) and value <= 1.1 * errors[0] for value in errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the shared data sets")
    parser.add_argument("--only", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--max-seconds", type=float, default=600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    print("| set | shape | training, new | d | passes | error | principal components | ratio | diverged |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for name in arguments.only:
        load, latent_dim = SETS[name]
        train, new = split(load(arguments.data))
        network = GeneratorNetwork(
            latent_dim, max_iter=100_000, max_seconds=arguments.max_seconds, random_state=arguments.seed, verbose=False
        )
        network.fit(train)
        ours = error(network.reconstruct(new), new)
        components = low_rank.reconstruct(train, new, latent_dim)
        theirs = error(components if new.ndim == 2 else components.clip(-1, 1), new)
        diverged = has_diverged(network)
        row = {
            "set": name,
            "shape": list(new.shape[1:]),
            "n": [len(train), len(new)],
            "latent_dim": latent_dim,
            "passes": network.n_iter_,
            "error": ours,
            "principal components": theirs,
            "ratio": ours / theirs,
            "diverged": diverged,
        }
        rows.append(row)
        print(
            f"| {name} | {' x '.join(map(str, new.shape[1:]))} | {len(train)}, {len(new)} | {latent_dim} | "
            f"{network.n_iter_} | {ours:.4f} | {theirs:.4f} | {ours / theirs:.3f} | {'yes' if diverged else 'no'} |",
            flush=True,
        )
    print(json.dumps({"seconds": arguments.max_seconds, "threads": arguments.threads, "rows": rows}))


if __name__ == "__main__":
    main()
