"""One recipe for all: the default, without a change, for networks of 8 to 1,024 channels and noise of .01 to 1.

    python benchmarks/robustness.py --data ../shared/data
    python benchmarks/robustness.py --data ../shared/data --widths 8 64 --noise-stds 0.2

500 faces of 16 x 16 pixels are learned from, 100 others reconstructed. Widths are gone through at the first of
--noise-stds, noises at the first of --widths; all learn for as many passes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from one_default import has_diverged
from results import CROP, unpack_faces

from abpnet import GeneratorNetwork
from abpnet.baselines import low_rank
from abpnet.data import load_images
from abpnet.metrics import error
from abpnet.networks import auto_network

N_TRAINING, N_NEW, SIDE = 500, 100, 16
WIDTHS = (64, 8, 16, 32, 128, 256, 512, 1024)
NOISE_STDS = (0.2, 0.01, 0.05, 0.1, 0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the shared data sets")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--noise-stds", type=float, nargs="+", default=NOISE_STDS)
    parser.add_argument("--latent-dim", type=int, default=20)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    # The last of the training ids are new here: nobody chooses settings by the faces that judge elsewhere.
    training, _ = unpack_faces(arguments.data / "faces/celeba_89x109_10000.zip", Path("runs/robustness/faces"))
    pixels = torch.from_numpy(load_images(str(training), crop=tuple(CROP[1:])).pixels)
    small = torch.nn.functional.avg_pool2d(pixels, pixels.shape[-1] // SIDE).numpy()
    train, new = small[:N_TRAINING], small[-N_NEW:]
    latent_dim = arguments.latent_dim
    components = error(low_rank.reconstruct(train, new, latent_dim).clip(-1, 1), new)
    print(f"principal components: {components:.4f}")
    print("| channels | noise | error | of principal components | chains' deviation | acceptance | R-hat | diverged |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    first_width, first_noise = arguments.widths[0], arguments.noise_stds[0]
    cases = [(width, first_noise) for width in arguments.widths]
    for width, noise_std in [*cases, *((first_width, noise) for noise in arguments.noise_stds[1:])]:
        network = GeneratorNetwork(
            latent_dim,
            network=auto_network((latent_dim,), train.shape[1:], width=width),
            noise_std=noise_std,
            max_iter=arguments.passes,
            random_state=0,
            verbose=False,
        )
        network.fit(train)
        last = network.history_[-1]
        row = {
            "width": width,
            "noise_std": noise_std,
            "error": error(network.reconstruct(new), new),
            "principal components": components,
            "diverged": has_diverged(network),
            **{name: last.get(name) for name in ("latent_std", "acceptance", "r_hat")},
        }
        rows.append(row)
        shown = ["" if row[name] is None else f"{row[name]:.3f}" for name in ("latent_std", "acceptance", "r_hat")]
        print(
            f"| {width} | {noise_std} | {row['error']:.4f} | {row['error'] / components:.3f} | {' | '.join(shown)} | "
            f"{'yes' if row['diverged'] else 'no'} |",
            flush=True,
        )
    print(json.dumps({"passes": arguments.passes, "rows": rows}))


if __name__ == "__main__":
    main()
