"""A table of all kinds of columns, which the tests of tables share."""

import numpy as np
import pandas as pd


def mixed(n=60, seed=0, missing=0.3):
    """Columns of all kinds that one factor ties together; and which cells are hidden."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    size = pd.cut(z + 0.3 * rng.normal(size=n), [-9, -0.5, 0.5, 9], labels=["small", "medium", "large"])
    whole = pd.DataFrame(
        {
            "colour": np.where(z + 0.3 * rng.normal(size=n) > 0, "red", "blue"),
            "height": 170 + 10 * (z + 0.3 * rng.normal(size=n)),
            "size": size,
            "visits": pd.array(rng.poisson(np.exp(1.5 + 0.5 * z)), dtype="Int64"),
            "tall": z + 0.3 * rng.normal(size=n) > 0,
        }
    )
    hidden = rng.random(whole.shape) < missing
    hidden[np.arange(n), rng.integers(0, 5, n)] = False
    return whole, hidden


def shown(n=60, seed=0):
    whole, hidden = mixed(n, seed)
    return whole.mask(hidden)
