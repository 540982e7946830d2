"""Makes the pictures of the gallery and the tutorials again: runs the examples, and the pages as they stand there.

python docs/make_gallery.py                        # about half an hour
python docs/make_gallery.py --only gallery/sound.png tutorials/images.png
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
# Pixels of a side, and bytes.
WIDEST, LARGEST = 960, 120_000
# Example of each picture of the gallery, and its settings where they are not those of the example: passes instead of
# seconds, so that a busy machine makes the same pictures.
GALLERY: dict[str, tuple[str, dict[str, Any]]] = {
    "texture": ("texture", {"max_iter": 40, "max_seconds": None}),
    "sound": ("sound_texture", {"max_iter": 50, "max_seconds": None}),
    "objects": ("objects", {"max_iter": 12}),
    "video": ("dynamic_texture", {"size": 16, "latent_dim": 4, "max_iter": 20, "seconds": None}),
    "indirect": ("random_projections", {"max_iter": 30}),
    "evaluation": ("model_evaluation", {"max_iter": 40, "latent_dims": (5, 20), "n_images": 600}),
}
# What a page leaves in the folder where it is run, for each picture of the tutorials.
TUTORIALS = {
    "images": "images.png",
    "texture": "texture.png",
    "sound": "runs/drops/sounds.png",
    "table": "table.png",
    "decoder": "decoder.png",
    "machines": "runs/new-digits/samples.png",
}


def keep(picture: Path, kept: Path) -> None:
    """The picture, with no more colours than leave it small."""
    kept.parent.mkdir(exist_ok=True)
    whole = Image.open(picture).convert("RGB")
    whole.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    whole.save(kept, optimize=True)
    for colours in (128, 64, 32, 16):
        if kept.stat().st_size < LARGEST:
            break
        few = whole.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(kept, optimize=True)
    print(f"{kept.relative_to(DOCS)}: {kept.stat().st_size / 1000:.0f} kB", flush=True)


def run_example(name: str, settings: dict[str, Any], folder: Path) -> Path:
    """Its picture."""
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](**settings, picture=folder / "picture.png")
    return folder / "picture.png"


def run_tutorial(name: str, folder: Path) -> Path:
    """What the page leaves; what comes after the picture is left out."""
    from pages import call, run_page

    wanted = folder / TUTORIALS[name]

    def call_until_there(words: list[str]) -> None:
        if wanted.exists():
            raise StopIteration
        call(words)

    os.chdir(folder)
    with suppress(StopIteration):
        run_page(DOCS / "tutorials" / f"{name}.md", call_until_there)
    return wanted


def run_posterior(folder: Path) -> Path:
    """The picture of the method."""
    runpy.run_path(str(EXAMPLES / "posterior.py"))["main"](out=str(folder / "picture.png"))
    return folder / "picture.png"


def pictures() -> dict[Path, Callable[[Path], Path]]:
    """What makes each picture in a folder of its own."""
    made: dict[Path, Callable[[Path], Path]] = {Path("posterior.png"): run_posterior}
    made |= {Path("gallery") / f"{name}.png": partial(run_example, *example) for name, example in GALLERY.items()}
    made |= {Path("tutorials") / f"{name}.png": partial(run_tutorial, name) for name in TUTORIALS}
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="such as gallery/sound.png")
    chosen = parser.parse_args().only or [str(path) for path in pictures()]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for path, make in pictures().items():
        if str(path) in chosen:
            with tempfile.TemporaryDirectory() as folder:
                keep(make(Path(folder)), DOCS / path)
