"""Small stand-ins for the files that the documentation names as the reader's own."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from abpnet.data import save_sound, sound_recording
from abpnet.data.builtin import waves
from abpnet.data.videos import save_mp4


def _pictures(n, side, seed=0):
    """(n, side, side, 3) colours that vary along few directions."""
    rng = np.random.default_rng(seed)
    factors, patterns = rng.normal(size=(n, 2)), rng.normal(size=(2, 8 * 8 * 3))
    small = np.clip(127 + 40 * factors @ patterns, 0, 255).astype(np.uint8).reshape(n, 8, 8, 3)
    return small.repeat(side // 8, 1).repeat(side // 8, 2)


def _folder(path, holes):
    path.mkdir()
    for index, picture in enumerate(_pictures(6, 24)):
        opaque = np.full((24, 24, 1), 255, np.uint8)
        opaque[3 * index : 3 * index + 4, 4:8] = 0
        Image.fromarray(np.dstack([picture, opaque]) if holes else picture).save(path / f"{index}.png")


def _wall(path, seed):
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, (96, 96, 3), np.uint8)).save(path)


def _table(path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1)) + 0.3 * rng.normal(size=(60, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(d=np.where(x[:, 0] > 0, "yes", "no"))
    frame.mask(rng.random(frame.shape) < 0.2).to_csv(path, index=False)


MAKERS = {
    "photos": lambda path: _folder(path, holes=True),
    "faces": lambda path: _folder(path, holes=False),
    "another.png": lambda path: Image.fromarray(_pictures(1, 24, seed=1)[0]).save(path),
    "mask.jpg": lambda path: Image.fromarray(np.eye(24, dtype=np.uint8) * 255).save(path),
    "wall.png": lambda path: _wall(path, 0),
    "wall2.png": lambda path: _wall(path, 1),
    "rain.wav": lambda path: save_sound(path, sound_recording("rain", 1.2, 11025), 11025),
    "waterfall.mp4": lambda path: save_mp4(path, waves(40, 32), 25.0),
    "patients.csv": _table,
}


def lay_out(words):
    """Make those that a command names and that are not there."""
    for name, make in MAKERS.items():
        if re.search(rf"(?<![\w/]){re.escape(name)}\b", " ".join(words)) and not Path(name).exists():
            make(Path(name))
