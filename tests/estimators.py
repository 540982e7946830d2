"""What the tests of the estimator share."""

import numpy as np

FAST = {"latent_dim": 2, "max_iter": 3, "verbose": False}


def images(n=10, seed=0, missing=0.3):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 1, 8, 8)).astype(np.float32)
    return np.where(rng.random(x.shape) < missing, np.float32(np.nan), x)


def mapped(path, array, order="C"):
    """The array, from a file."""
    np.save(path, np.asarray(array, order=order))
    return np.load(path, mmap_mode="r")
