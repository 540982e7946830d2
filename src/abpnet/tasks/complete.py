"""Experiment 5: learn from images of which every one is incomplete, recover them, complete new ones, sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from abpnet import figures, metrics, report
from abpnet.baselines import Imputation, compare_imputers
from abpnet.data.images import ImageSet, load_images, save_image
from abpnet.data.masks import draw_mask
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.runs import RunFolder
from abpnet.tasks.session import LearningSettings, curves, learn, reproduction

__all__ = ["CompleteSettings", "run"]

OURS = "abpnet"
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class CompleteSettings(LearningSettings):
    """Learn from incomplete images and complete them.

    For example:

      abpnet complete photos/ --size 64 --out runs/photos
      abpnet complete faces/ --mask pepper:0.5 --max-seconds 300 --out runs/faces
      abpnet complete builtin:digits --mask pepper:0.5:1 --latent-dim 20 --new-images 300 --out runs/digits
    """

    out: Path = Path("runs/complete")
    """Folder of the run; it must be new or empty."""
    source: Annotated[str, tyro.conf.Positional]
    """Folder of images (transparent pixels = missing), .npz or .npy file (NaN = missing), or builtin:digits."""
    mask: str = "nan"
    """What to hide: pepper:FRACTION[:BLOCK], region:SIDE, a black (hidden) and white FILE.png, or nan = nothing more
    than what is missing already."""
    size: int | None = None
    """Scale the central square of each image file to this many pixels a side; needed if the files differ in size."""
    crop: tuple[int, int, int, int] | None = None
    """Cut out LEFT TOP RIGHT BOTTOM of each image file first."""
    limit: int | None = None
    """Read at most this many images."""
    new_images: int = 0
    """Keep this many images out of learning, to be completed as new ones; drawn at random."""
    latent_dim: int = 100
    """Number of latent factors."""
    noise_std: float = 0.2
    """Standard deviation of what the factors leave unexplained, on the scale of -1 (black) to 1 (white)."""
    baselines: bool = True
    """Also complete the images by other methods, where the truth is known."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        if self.latent_dim < 1 or self.new_images < 0 or (self.limit is not None and self.limit < 1):
            raise InputError("--latent-dim and --limit must be at least 1, --new-images at least 0")
        if not self.noise_std > 0:
            raise InputError(f"--noise-std must be above 0, got {self.noise_std}")
        if self.size is not None and self.size < 8:
            raise InputError(f"--size must be at least 8, got {self.size}")


@dataclass(frozen=True)
class Part:
    """Training images or new ones.

    Attributes:
        truth: (n, channels, height, width); NaN where even the file had nothing.
        observed: The same with what the mask hides set to NaN.
        names: One per image.
        completed: What we make of `observed`.
    """

    truth: np.ndarray
    observed: np.ndarray
    names: list[str]
    completed: np.ndarray

    @property
    def hidden(self) -> np.ndarray:
        """Entries that the mask hid and whose truth is known."""
        return np.isnan(self.observed) & ~np.isnan(self.truth)


def _prepare(settings: CompleteSettings) -> tuple[ImageSet, np.ndarray, np.ndarray]:
    """Images, the same with hidden pixels set to NaN, and which are new."""
    images = load_images(settings.source, size=settings.size, crop=settings.crop, limit=settings.limit)
    rng = np.random.default_rng(settings.seed)
    kept = draw_mask(settings.mask, images.pixels.shape, rng)
    observed = np.where(kept, images.pixels, np.float32(np.nan))
    empty = np.asarray(np.isnan(observed).all((1, 2, 3)))
    if empty.any():
        raise InputError(
            f"{settings.source}: no pixel of image {images.names[int(empty.argmax())]} is observed "
            f"({empty.sum()} such of {len(empty)}); remove it or hide less"
        )
    if settings.new_images > len(observed) - 2:
        raise InputError(
            f"--new-images {settings.new_images}: {settings.source} has {len(observed)} images, and learning needs 2"
        )
    new = np.zeros(len(observed), bool)
    new[rng.permutation(len(observed))[: settings.new_images]] = True
    return images, observed, new


def _score(name: str, part: Part, completed: np.ndarray | None) -> dict[str, float | None]:
    """Error and PSNR on hidden pixels, or None where there is nothing to compare."""
    if completed is None or not part.hidden.any():
        return {f"error, {name}": None, f"PSNR, {name}": None}
    completed = np.clip(completed.reshape(part.truth.shape), -1, 1)
    return {
        f"error, {name}": metrics.error(completed, part.truth, part.hidden),
        f"PSNR, {name}": metrics.psnr(completed, part.truth, part.hidden),
    }


def _compare(train: Part, new: Part, others: list[Imputation], seconds: float) -> list[dict[str, Any]]:
    ours = Imputation(OURS, train.completed, new.completed, seconds)
    return [
        {"method": entry.name}
        | _score("training images", train, entry.train)
        | (_score("new images", new, entry.new) if len(new.truth) else {})
        | {"seconds": round(entry.seconds, 1)}
        for entry in [ours, *others]
    ]


def _scale(part: Part) -> int:
    return max(1, 64 // part.truth.shape[-1])


def _show(run: RunFolder, name: str, part: Part) -> str:
    rows = {"original": part.truth, "observed": part.observed, "recovered": part.completed}
    if not part.hidden.any():
        del rows["original"]  # the files are all there is
    path = run.path / f"{name}.png"
    figures.save_picture(path, figures.rows_of_images({k: v[:SHOWN] for k, v in rows.items()}, _scale(part)))
    return report.picture(path, f"{name}: each column is one image; coloured = not observed.", pixelated=True)


def _save_completed(folder: Path, part: Part) -> None:
    folder.mkdir(exist_ok=True)
    for name, image in zip(part.names, part.completed, strict=True):
        save_image(folder / f"{name}.png", image)


def run(settings: CompleteSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, recover, complete, sample, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the images or the mask cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    images, observed, is_new = _prepare(settings)
    network = GeneratorNetwork(
        latent_dim=settings.latent_dim,
        noise_std=settings.noise_std,
        max_iter=settings.max_iter,
        max_seconds=settings.max_seconds,
        device=settings.device,
        precision=settings.precision,
        random_state=settings.seed,
    )
    network = learn(network, observed[~is_new], folder, title="learning")
    parts = {}
    for name, chosen, start in (("training images", ~is_new, network.latents_), ("new images", is_new, None)):
        seen = observed[chosen]
        completed = network.impute(seen, start=start) if len(seen) else seen
        parts[name] = Part(images.pixels[chosen], seen, [images.names[i] for i in np.flatnonzero(chosen)], completed)
    train, new = parts["training images"], parts["new images"]

    sections: dict[str, list[str]] = {"Training images": [_show(folder, "training images", train)]}
    _save_completed(folder.path / "completed", train)
    if len(new.truth):
        sections["New images"] = [_show(folder, "new images", new)]
        _save_completed(folder.path / "completed", new)
    samples = network.sample(4 * SHOWN, random_state=settings.seed)
    figures.save_picture(folder.path / "samples.png", figures.grid(samples, SHOWN, _scale(train)))
    sections["Samples"] = [report.picture(folder.path / "samples.png", "f(z) of new z drawn from N(0, I).", True)]
    result: dict[str, Any] = {"n_training": len(train.truth), "n_new": len(new.truth), **folder.metrics()[-1]}
    if train.hidden.any():
        n_entries = math.prod(observed.shape[1:])
        vectors = [part.observed.reshape(len(part.observed), n_entries) for part in (train, new)]
        others = compare_imputers(*vectors) if settings.baselines else []
        result["table"] = _compare(train, new, others, folder.metrics()[-1]["seconds"])
        explanation = (
            "Error on hidden pixels: mean absolute difference as a fraction of the dynamic range; PSNR in dB. "
            "All methods saw the same observed pixels."
        )
        sections["Hidden pixels"] = [report.table(result["table"], ours=OURS), report.paragraph(explanation)]
    sections["Learning"] = curves(folder)
    sections["How to get this again"] = reproduction(folder)
    title = f"{len(train.truth)} incomplete images: {settings.source}"
    report.write_report(folder.path / "report.html", title, sections)
    return result
