"""What learning from damaged or indirect images has in common: recover training images, recover new ones, sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abpnet import figures, metrics, report
from abpnet.data.images import ImageSet, save_image
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.estimator_settings import SMALLEST_NOISE
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tasks.reading import FolderSettings, read_image_set
from abpnet.tasks.session import curves, keep_data, reproduction
from abpnet.tasks.settings import LearningSettings, check_number

__all__ = [
    "MOST_FACTORS",
    "OURS",
    "SHOWN",
    "ImageSettings",
    "Part",
    "RecoverySettings",
    "read_images",
    "read_whole_images",
    "recover_parts",
    "scale_of",
    "score",
    "split",
    "table_row",
    "write_recovery",
]

OURS = "abpnet"
SHOWN = 12
MOST_FACTORS = 100_000


@dataclass(frozen=True, kw_only=True)
class ImageSettings(FolderSettings, LearningSettings):
    """Settings of every command that learns from images."""

    size: int | None = None
    """Scale the central square of each image file to this many pixels a side; needed if the files differ in size."""
    crop: tuple[int, int, int, int] | None = None
    """Cut out LEFT TOP RIGHT BOTTOM of each image file first."""
    limit: int | None = None
    """Read at most this many images; of --new-source all are read."""
    new_images: int = 0
    """Keep this many images out of learning, to be recovered as new ones; drawn at random."""
    new_source: str | None = None
    """Folder or file of new images, instead of some of the others."""
    noise_std: float = 0.2
    """Standard deviation of what the factors leave unexplained, on the scale of -1 (black) to 1 (white)."""
    baselines: bool = True
    """Compare with other methods, where the truth is known."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--noise-std", self.noise_std, SMALLEST_NOISE, 1 / SMALLEST_NOISE)
        check_number("--new-images", self.new_images, 0)
        check_number("--limit", self.limit, 1)
        check_number("--size", self.size, 8, 4096)
        if self.new_images and self.new_source is not None:
            raise InputError("--new-images and --new-source exclude each other; give one of them")


@dataclass(frozen=True, kw_only=True)
class RecoverySettings(ImageSettings):
    """Settings of commands that learn one model of images."""

    latent_dim: int = 100
    """Number of latent factors."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--latent-dim", self.latent_dim, 1, MOST_FACTORS)


@dataclass(frozen=True)
class Part:
    """Training images or new ones.

    Attributes:
        name: What they are.
        truth: (n, channels, height, width); NaN where even the file had nothing.
        shown: What was observed, as pictures of the same shape; NaN = not observed.
        scored: True at entries that were to be recovered and whose truth is known.
        labels: One name per image.
        recovered: What we make of what was observed.
    """

    name: str
    truth: np.ndarray
    shown: np.ndarray
    scored: np.ndarray
    labels: list[str]
    recovered: np.ndarray


def read_images(settings: ImageSettings, folder: RunFolder, source: str) -> tuple[ImageSet, int]:
    """The images of a run, and how many of them, the last ones, came from `--new-source`.

    Raises:
        InputError: If they cannot be read, are too few, differ in shape from the new ones, or these are not those that
            the run began with.
    """
    images = read_image_set(settings, folder, source, size=settings.size, crop=settings.crop, limit=settings.limit)
    n = len(images.pixels)
    if n < 2:
        raise InputError(f"{source}: holds 1 image, and learning needs 2")
    if settings.new_images > n - 2:
        raise InputError(f"--new-images {settings.new_images}: {source} has {n} images, and learning needs 2")
    if settings.new_source is None:
        return images, 0
    new = read_image_set(settings, folder, settings.new_source, size=settings.size, crop=settings.crop)
    if new.pixels.shape[1:] != images.pixels.shape[1:]:
        raise InputError(
            f"--new-source {settings.new_source}: its images have shape {new.pixels.shape[1:]}, those of {source} "
            f"{images.pixels.shape[1:]}; --size brings files to one size, and all must be grey or all in colour"
        )
    keep_data(new.pixels, folder, "new data")
    names = [*images.names, *(f"new {name}" for name in new.names)]
    pixels = np.concatenate([images.pixels, new.pixels])
    return ImageSet(pixels, names, images.skipped + new.skipped), len(new.pixels)


def split(settings: ImageSettings, n: int, n_last: int, rng: np.random.Generator) -> np.ndarray:
    """Which of n images are new: True for the last ones, or for `--new-images` of them drawn at random."""
    new = np.zeros(n, bool)
    new[rng.permutation(n)[: settings.new_images]] = True
    new[n - n_last :] = True
    return new


def read_whole_images(
    settings: ImageSettings, folder: RunFolder, source: str, rng: np.random.Generator, reason: str
) -> tuple[ImageSet, np.ndarray]:
    """The images of a run that needs whole ones, and which of them are new.

    Args:
        settings: All settings.
        folder: The run's folder.
        source: Where they are.
        rng: Draws the new ones.
        reason: Why they must be whole.

    Raises:
        InputError: If they cannot be read, are too few, or have missing pixels.
    """
    images, n_last = read_images(settings, folder, source)
    broken = np.flatnonzero(np.isnan(images.pixels).any((1, 2, 3)))
    if len(broken):
        where = source if broken[0] < len(images.pixels) - n_last else settings.new_source
        raise InputError(f"{where}: image {images.names[broken[0]]} has missing pixels; {reason}")
    return images, split(settings, len(images.pixels), n_last, rng)


def recover_parts(
    images: ImageSet,
    shown: np.ndarray,
    scored: np.ndarray,
    is_new: np.ndarray,
    recover: Callable[[np.ndarray, bool], np.ndarray],
) -> tuple[Part, Part]:
    """Training images and new ones, recovered.

    Args:
        images: All images.
        shown: What was observed of them, as pictures.
        scored: See `Part`.
        is_new: Which are new.
        recover: Takes indices of images and whether they are training images; returns what it makes of them.
    """

    def part(name: str, index: np.ndarray) -> Part:
        recovered = images.pixels[index]
        if len(index):
            with show_stage(f"recovering {len(index):,} {name}"):
                recovered = recover(index, name == "training images")
        labels = [images.names[i] for i in index]
        return Part(name, images.pixels[index], shown[index], scored[index], labels, recovered)

    return part("training images", np.flatnonzero(~is_new)), part("new images", np.flatnonzero(is_new))


def score(part: Part, recovered: np.ndarray | None) -> dict[str, float | None]:
    """Error and PSNR where it counts, or None where there is nothing to compare."""
    recovered = np.full_like(part.truth, np.nan) if recovered is None else recovered.reshape(part.truth.shape)
    where = part.scored & ~np.isnan(recovered)  # a method may not have been run on all of them
    if not where.any():
        return {f"error, {part.name}": None, f"PSNR, {part.name}": None}
    recovered = np.clip(recovered, -1, 1)
    decibels = metrics.psnr(recovered, part.truth, where)
    return {
        f"error, {part.name}": metrics.error(recovered, part.truth, where),
        f"PSNR, {part.name}": decibels if math.isfinite(decibels) else None,
    }


def table_row(
    method: str, parts: Sequence[Part], recovered: Sequence[np.ndarray | None], seconds: float
) -> dict[str, Any]:
    """One row of the table: a method, its scores on each part that has images, and its time."""
    row: dict[str, Any] = {"method": method}
    for part, signals in zip(parts, recovered, strict=True):
        row |= score(part, signals) if len(part.truth) else {}
    return row | {"seconds": round(seconds, 1)}


def scale_of(images: np.ndarray) -> int:
    """The side of the square that a pixel of an image becomes, so that small images can be seen."""
    return max(1, 64 // images.shape[-1])


def _show(run: RunFolder, part: Part, scale: int, caption: str) -> str:
    rows = {"original": part.truth, "observed": part.shown, "recovered": part.recovered}
    if not part.scored.any():
        del rows["original"]  # the files are all there is
    path = run.path / f"{part.name}.png"
    figures.save_picture(path, figures.rows_of_images({k: v[:SHOWN] for k, v in rows.items()}, scale))
    return report.picture(path, f"{part.name.capitalize()}: each column is one image; {caption}.", pixelated=True)


def _save(folder: Path, part: Part) -> None:
    folder.mkdir(exist_ok=True)
    for label, image in zip(part.labels, part.recovered, strict=True):
        save_image(folder / f"{label}.png", image)


def write_recovery(
    settings: ImageSettings,
    folder: RunFolder,
    network: GeneratorNetwork,
    parts: Sequence[Part],
    table: Sequence[dict[str, Any]],
    title: str,
    explanation: str,
    caption: str,
    more: Mapping[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Write pictures, samples and the report.

    Args:
        settings: All settings.
        folder: The run's folder.
        network: What was learned.
        parts: Training images and new ones.
        table: Rows of `table_row`; empty if nothing could be compared.
        title: Of the report.
        explanation: What the table's figures mean.
        caption: How the observed is shown.
        more: Sections of the report on the experiment's own findings.

    Returns:
        What stands in result.json.
    """
    scale = scale_of(parts[0].truth)
    sections: dict[str, list[str]] = {}
    for part in parts:
        if len(part.truth):
            sections[part.name.capitalize()] = [_show(folder, part, scale, caption)]
            _save(folder.path / "completed", part)
    samples = network.sample(4 * SHOWN, random_state=settings.seed)
    figures.save_picture(folder.path / "samples.png", figures.grid(samples, SHOWN, scale))
    sections["Samples"] = [report.picture(folder.path / "samples.png", "f(z) of new z drawn from N(0, I).", True)]
    train, new = parts
    result: dict[str, Any] = {"n_training": len(train.truth), "n_new": len(new.truth), **folder.metrics()[-1]}
    if table:
        result["table"] = list(table)
        sections["Comparison"] = [report.table(table, ours=OURS), report.paragraph(explanation)]
    sections |= more or {}
    sections["Learning"] = curves(folder)
    sections["How to get this again"] = reproduction(settings, folder)
    report.write_report(folder.path / "report.html", title, sections)
    return result
