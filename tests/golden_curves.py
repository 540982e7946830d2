"""Curves of learning that must not change: 30 passes of small networks, in golden/*.json.

python tests/golden_curves.py    makes them anew, where a change of what is computed was meant
"""

import json
import platform
from pathlib import Path

import torch

from abpnet.estimator import GeneratorNetwork
from abpnet.networks import ObjectNetwork
from learning_together import images

FOLDER = Path(__file__).parent / "golden"
PASSES = 30
CASES = {
    f"{recipe}, {data}": (recipe, missing)
    for recipe in ("default", "paper")
    for data, missing in (("complete", 0.0), ("masked", 0.4))
}
# Those of `Iteration` but its time; a column that is added later is not compared.
COLUMNS = (
    "energy",
    "error",
    "latent_mean",
    "latent_std",
    "latent_divergence",
    "acceptance",
    "r_hat",
    "effective_draws",
)


def processor():
    """Name of the processor's model: libraries choose their kernels by it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def circumstances():
    """What the bits of a curve depend on, beside the code."""
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def learned(case):
    """Columns of the curve: lists of PASSES numbers, None where there is none yet."""
    recipe, missing = CASES[case]
    with torch.device("meta"):
        network = ObjectNetwork(3, (1, 8, 8), 32)
    net = GeneratorNetwork(
        3, network=network, recipe=recipe, max_iter=PASSES, device="cpu", precision="float32", verbose=False
    )
    history = net.fit(images(missing)).history_
    return {column: [row[column] for row in history] for column in COLUMNS}


def path_of(case):
    """The file of a curve."""
    return FOLDER / f"{case.replace(', ', '-')}.json"


def main():
    """Learn and write down every curve."""
    FOLDER.mkdir(exist_ok=True)
    for case in CASES:
        content = {"circumstances": circumstances(), "curve": learned(case)}
        path_of(case).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
