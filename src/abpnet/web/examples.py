"""Pictures that are at hand for a run: it keeps no data, but knows where each training example's chain stands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from abpnet.data.builtin import BUILTIN_PREFIX, digits
from abpnet.web.latent_space import decoded
from abpnet.web.served import ServedRun, image_network

__all__ = ["Examples", "examples"]


class Examples(NamedTuple):
    """Pictures to start from.

    Attributes:
        images: (n, c, h, w).
        what: What they are.
    """

    images: Float[np.ndarray, "n c h w"]
    what: str


def examples(run: ServedRun, first: int, n: int) -> Examples:
    """The digits themselves for a run on them; else f(z) where chains stand.

    Args:
        run: Of images.
        first: The first one shown.
        n: How many.

    Raises:
        InputError: If the run has no images.
    """
    network = image_network(run, "this page")
    if run.settings.get("source") == f"{BUILTIN_PREFIX}digits":
        images = digits()[first : first + n]
        if images.shape[1:] == network.signal_shape_:
            return Examples(images, "digits of scikit-learn")
    chains = network.latents_[first : first + n]
    return Examples(decoded(network, chains), "training examples as the run explains them, f(z)")
