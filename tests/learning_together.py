"""Learn small networks and write down where each process stands; started by torchrun, or called by one process.

torchrun --nproc-per-node 2 tests/learning_together.py FOLDER
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import abpnet
from abpnet import beginning, latents, learning, parallel
from abpnet.durable import read_folder, write_folder
from abpnet.networks import ObjectNetwork, initialise
from abpnet.recipes import RECIPES

# 13 examples in batches of 6: the last batch is one example, fewer than there are processes.
N, BATCH, PASSES, SMALL_STEPS = 13, 6, 10, {"batch_size": 6, "learning_rate": 5e-4}
CASES = {
    "complete": (replace(RECIPES["default"], **SMALL_STEPS), 0.0),
    "masked": (replace(RECIPES["whitened"], **SMALL_STEPS), 0.5),
    "held out": (replace(RECIPES["kriged"], **SMALL_STEPS), 0.3),
    "noise learned": (replace(RECIPES["video"], **SMALL_STEPS), 0.3),
    "metropolis": (replace(RECIPES["patchwork"], **SMALL_STEPS), 0.0),
    "one batch": (replace(RECIPES["paper"], batch_size=100), 0.3),
    "on disk": (replace(RECIPES["kriged"], **SMALL_STEPS), 0.3),
}
CHECKPOINT_AFTER = 7
RESUMED = ("complete", "masked", "on disk")


def images(missing):
    """(N, 1, 8, 8) smooth images, NaN = missing."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(N, 1, 3, 3, generator=generator)
    y = torch.nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear").tanh()
    return y.masked_fill(torch.rand(y.shape, generator=generator) < missing, torch.nan)


def on_disk(y):
    """The same observations in a file, which is gone with its last use."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, y.numpy())
        file.flush()
        return abpnet.RowsOnDisk(np.load(file.name, mmap_mode="r"))


def begun(name, seed=0):
    """State before the first pass, and the observations."""
    recipe, missing = CASES[name]
    generator, y = torch.Generator().manual_seed(seed), images(missing)
    y = on_disk(y) if name == "on disk" and parallel.n_processes() > 1 else y
    model = abpnet.GeneratorModel(initialise(ObjectNetwork(3, (1, 8, 8), 32), generator), (3,))
    return beginning.begin(model, y, recipe=recipe, generator=generator), y


def learned(name, seed=0, checkpoint=None, written=None):
    """Everything after PASSES passes, by name.

    Args:
        name: Of the case.
        seed: Of the start.
        checkpoint: Folder to go on from.
        written: Folder of a checkpoint to write on the way.
    """
    state, y = begun(name, seed)
    if checkpoint is not None:
        state.restore(*read_folder(checkpoint))
    for iteration in learning.alternate(state.model, y, recipe=CASES[name][0], state=state):
        if written is not None and iteration.iteration == CHECKPOINT_AFTER:
            write_folder(written, state.tensors(), state.facts())
        if iteration.iteration == PASSES:
            break
    rows = np.array([[row["energy"], row["error"], row["latent_std"]] for row in state.history])
    numbers = {"rows": rows, "noise": state.model.emission.noise_std, "updates": state.updates}
    return numbers | {part: tensor.numpy().copy() for part, tensor in state.tensors().items()}


def main(folder):
    """Learn every case; the first process starts from another seed than the others, which have to follow it."""
    torch.distributed.init_process_group("gloo")
    latents.PART = 5  # chains are exchanged in parts
    rank, world = torch.distributed.get_rank(), parallel.n_processes()
    for name in CASES:
        written = folder / f"{name} checkpoint {world}" if rank == 0 else None
        np.savez(folder / f"{name} {world} {rank}.npz", **learned(name, seed=7 * (rank > 0), written=written))
    parallel.meet()  # the first process wrote what all go on from
    for name in RESUMED:
        checkpoint = folder / f"{name} checkpoint {world}"
        np.savez(folder / f"{name} resumed {world} {rank}.npz", **learned(name, checkpoint=checkpoint))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
