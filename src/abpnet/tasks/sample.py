"""New signals from a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from abpnet import figures, report
from abpnet.data.images import is_image, save_image
from abpnet.errors import InputError
from abpnet.runs import RunFolder
from abpnet.tasks.session import RunSettings, load_model, reproduction

__all__ = ["SampleSettings", "run"]

MOST_SHOWN = 100


@dataclass(frozen=True, kw_only=True)
class SampleSettings(RunSettings):
    """Draw new images from what a run has learned.

    For example:

      abpnet sample runs/digits -n 64 --out runs/digits-samples
      abpnet sample runs/texture -n 4 --map 20 30 --out runs/large-textures
    """

    source: Annotated[str, tyro.conf.Positional]
    """Folder of a finished run, or of a saved model."""
    out: Path = Path("runs/sample")
    """Folder of the results; it must be new or empty."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    """How many."""
    map: tuple[int, int] | None = None
    """Height and width of the map of latent factors, for textures: the images grow with it."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        if self.n < 1:
            raise InputError(f"-n must be at least 1, got {self.n}")
        if self.map is not None and min(self.map) < 1:
            raise InputError(f"--map must be at least 1 1, got {' '.join(map(str, self.map))}")


def run(settings: SampleSettings, folder: RunFolder) -> dict[str, Any]:
    """Draw, and write every sample as a picture, all of them as an array, and a report.

    Args:
        settings: All settings.
        folder: The run's folder.

    Raises:
        InputError: If there is no model, or it does not take a map.
    """
    network = load_model(Path(settings.source), settings.device)
    try:
        samples = network.sample(settings.n, latent_shape=settings.map, random_state=settings.seed)
    except ValueError as error:
        raise InputError(f"--map: {error}") from None
    np.savez_compressed(folder.path / "samples.npz", samples=samples)
    result = {"n": settings.n, "shape": list(samples.shape[1:])}
    if not is_image(samples.shape[1:]):
        told = report.paragraph(f"{settings.n} samples of shape {samples.shape[1:]} stand in samples.npz.")
        sections = {"Samples": [told], "How to get this again": reproduction(settings, folder)}
        report.write_report(folder.path / "report.html", f"Samples of {settings.source}", sections)
        return result
    images = samples if samples.ndim == 4 else samples[:, None]
    (folder.path / "samples").mkdir(exist_ok=True)
    for index, image in enumerate(images):
        save_image(folder.path / "samples" / f"{index:06d}.png", image)
    shown = images[:MOST_SHOWN]
    scale = max(1, 64 // images.shape[-1])
    n_columns = max(1, min(len(shown), 1024 // (scale * images.shape[-1])))
    figures.save_picture(folder.path / "samples.png", figures.grid(shown, n_columns, scale))
    caption = f"{len(shown)} of {settings.n} samples f(z), z drawn from N(0, I)."
    sections = {
        "Samples": [report.picture(folder.path / "samples.png", caption, pixelated=True)],
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", f"Samples of {settings.source}", sections)
    return result
