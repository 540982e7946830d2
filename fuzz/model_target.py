"""Saved models: their facts, tensors and manifests, of which the last either fits the others or is fuzzed itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from abpnet import GeneratorNetwork
from abpnet.errors import InputError
from forging import sign

__all__ = ["read", "seeds"]

FILES = ("state.json", "state.safetensors", "manifest.json")
SEPARATOR = b"\n----\n"
FOLDER = tempfile.TemporaryDirectory(prefix="fuzzed-")


def read(content: bytes) -> None:
    """Load a model from facts, tensors and, if it is given, a manifest, one after the other."""
    folder = Path(FOLDER.name) / "model"
    folder.mkdir(exist_ok=True)
    parts = content.split(SEPARATOR)
    for name, part in zip(FILES, [*parts[:3], *[b""] * (3 - len(parts))], strict=True):
        (folder / name).write_bytes(part)
    if len(parts) < 3:
        (folder / "manifest.json").write_text("{}")
        sign(folder, schema=1)
    with suppress(InputError):
        GeneratorNetwork.load(folder)


def seeds() -> Iterator[bytes]:
    """Models of several kinds, with a manifest that is made to fit, and with one of their own."""
    images = np.random.default_rng(0).uniform(-1, 1, (5, 1, 4, 4)).astype(np.float32)
    holes = np.where(images > 0.5, np.float32(np.nan), images)
    for kind in ({"recipe": "kriged"}, {"prior": "exponential", "emission": "laplace", "recipe": "paper"}):
        network = GeneratorNetwork(2, max_iter=1, verbose=False, precision="float32", **kind)
        network.fit(holes)
        with tempfile.TemporaryDirectory() as folder:
            network.save(Path(folder) / "model")
            parts = [(Path(folder) / "model" / name).read_bytes() for name in FILES]
        yield SEPARATOR.join(parts[:2])
        yield SEPARATOR.join(parts)
