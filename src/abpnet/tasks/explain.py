"""Explain given images by what a finished run has learned: latent factors, reconstruction, completion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from abpnet import figures, metrics, report
from abpnet.data.images import ImageSet, is_image, load_image, load_images, save_image
from abpnet.errors import InputError
from abpnet.runs import RunFolder
from abpnet.tasks.session import RunSettings, load_model, reproduction

__all__ = ["ExplainSettings", "run"]

SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class ExplainSettings(RunSettings):
    """Explain images by a learned model; transparent pixels or NaN are missing and get completed.

    For example:

      abpnet explain runs/digits damaged.png --out runs/explained
      abpnet explain runs/faces new_photos/ --out runs/explained
    """

    source: Annotated[str, tyro.conf.Positional]
    """Folder of a finished run, or of a saved model."""
    input: Annotated[str, tyro.conf.Positional]
    """An image file, a folder of images, a .npz or .npy file, or builtin:digits."""
    out: Path = Path("runs/explain")
    """Folder of the results; it must be new or empty."""


def _read(source: str, shape: tuple[int, ...]) -> ImageSet:
    """Images in the shape that the model knows; files of another size are cropped and scaled."""
    n_channels, height, width = shape if len(shape) == 3 else (1, *shape)
    path = Path(source)
    size = height if height == width else None
    if path.is_file() and path.suffix.lower() not in (".npy", ".npz"):
        images = ImageSet(load_image(path, size=size)[None], [path.stem])
    else:
        images = load_images(source, size=size if path.is_dir() else None)
    pixels = images.pixels
    if pixels.shape[1] == 3 and n_channels == 1:
        pixels = pixels.mean(1, keepdims=True)
    pixels = np.broadcast_to(pixels, (len(pixels), n_channels, *pixels.shape[2:])) if pixels.shape[1] == 1 else pixels
    if pixels.shape[1:] != (n_channels, height, width):
        raise InputError(f"{source}: images of shape {pixels.shape[1:]}, but the model knows {shape}")
    return ImageSet(np.ascontiguousarray(pixels), images.names)


def run(settings: ExplainSettings, folder: RunFolder) -> dict[str, Any]:
    """Infer, reconstruct, complete, and write factors, pictures and a report.

    Args:
        settings: All settings.
        folder: The run's folder.

    Raises:
        InputError: If there is no model, or the images do not fit it.
    """
    network = load_model(Path(settings.source), settings.device)
    shape = network.signal_shape_
    if not is_image(shape) or len(network.model_.latent_shape) != 1:
        raise InputError(f"{settings.source}: explain needs a model of images with a vector of factors")
    images = _read(settings.input, shape)
    signals = images.pixels.reshape(len(images.pixels), *shape)
    factors = network.transform(signals)
    reconstruction = network.inverse_transform(factors).reshape(images.pixels.shape)
    completed = network.impute(signals, random_state=settings.seed, start=factors).reshape(images.pixels.shape)
    np.savez_compressed(folder.path / "factors.npz", factors=factors)
    (folder.path / "completed").mkdir(exist_ok=True)
    for name, image in zip(images.names, completed, strict=True):
        save_image(folder.path / "completed" / f"{name}.png", image)
    rows = {"observed": images.pixels, "reconstruction f(z)": reconstruction, "completed": completed}
    picture = figures.rows_of_images({k: v[:SHOWN] for k, v in rows.items()}, max(1, 64 // shape[-1]))
    figures.save_picture(folder.path / "explained.png", picture)
    observed = ~np.isnan(images.pixels)
    result: dict[str, Any] = {
        "n": len(signals),
        "missing": float(1 - observed.mean()),
        "error on observed pixels": metrics.error(reconstruction, images.pixels, observed) if observed.any() else None,
        "mean squared length of z per factor": float(np.square(factors).mean()),
    }
    sections = {
        "Images": [report.picture(folder.path / "explained.png", "Coloured = not observed.", pixelated=True)],
        "Figures": [report.table([result])],
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", f"{settings.input} explained by {settings.source}", sections)
    return result
