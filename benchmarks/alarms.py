"""Whether chains that are well are ever taken for ones that run away: no alarm may be raised.

    python benchmarks/alarms.py

Digits of 8 x 8 pixels are learned from by the recipe `default` for 5,000 passes, by others for fewer; whole, with
hidden pixels, and with noise assumed to be larger and smaller.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import torch

from abpnet import GeneratorNetwork
from abpnet.data import digits, pepper

OTHERS = ("objects", "partial", "kriged", "whitened", "indirect", "paper")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=5000, help="by the recipe default; others take a tenth")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    whole = digits()[: arguments.images]
    holed = np.where(pepper(whole.shape, 0.5, 1, np.random.default_rng(0)), whole, np.float32(np.nan))
    cases = [("default", whole, 0.3, arguments.passes)]
    cases += [("default", whole, noise_std, arguments.passes // 10) for noise_std in (0.05, 1.0)]
    cases += [(recipe, data, 0.3, arguments.passes // 10) for recipe in OTHERS for data in (whole, holed)]
    print("| recipe | pixels | noise | passes | chains put back | error | chains' deviation |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for recipe, data, noise_std, passes in cases:
        network = GeneratorNetwork(10, recipe=recipe, noise_std=noise_std, max_iter=passes, verbose=False)
        history = network.fit(data).history_
        row = {
            "recipe": recipe,
            "pixels": "hidden" if np.isnan(data).any() else "whole",
            "noise_std": noise_std,
            "passes": len(history),
            "alarms": sum(row["diverged"] for row in history),
            "error": history[-1]["error"],
            "latent_std": history[-1]["latent_std"],
        }
        rows.append(row)
        shown = (*list(row.values())[:5], f"{row['error']:.4f}", f"{row['latent_std']:.2f}")
        print(f"| {' | '.join(map(str, shown))} |", flush=True)
    alarms = sum(row["alarms"] for row in rows)
    print(json.dumps({"alarms": alarms, "rows": rows}))
    sys.exit(alarms > 0)


if __name__ == "__main__":
    main()
