"""What the tests of image files and of arrays share."""

import numpy as np
import pytest

from abpnet.errors import InputError


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def scaled(whole):
    return whole.astype(np.float32) / np.float32(127.5) - 1


def refusal_of(function, *arguments, **options):
    with pytest.raises(InputError) as refusal:
        function(*arguments, **options)
    return str(refusal.value)
