"""Experiment 5: learn from images of which every one is incomplete, recover them, complete new ones, sample."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from scipy.ndimage import distance_transform_edt

from abpnet.baselines import vae
from abpnet.baselines.imputers import IMPUTERS, impute_by
from abpnet.baselines.inpainting import biharmonic
from abpnet.data.masks import draw_mask
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.patches import SIDE
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tasks import certainty, table
from abpnet.tasks.reading import skipped_result, skipped_section
from abpnet.tasks.recovery import (
    MOST_FACTORS,
    OURS,
    ImageSettings,
    Part,
    read_images,
    recover_parts,
    scale_of,
    split,
    table_row,
    write_recovery,
)
from abpnet.tasks.session import learn, new_network
from abpnet.tasks.settings import check_number
from abpnet.whitening import is_pixelwise

__all__ = ["CompleteSettings", "run"]

# Samples of the auto-encoder's bound, which missing entries call for.
BOUND_SAMPLES = 5
# The share of observed pixels up to which factors are learned from whitened residuals.
SCARCE = 0.2
MOST_DRAWS = 10_000
# Pixels from hidden to observed ones, on average, up to which patches carry residuals; images that are looked at; and
# patches that fit into each side of an image.
CLOSE, IMAGES_LOOKED_AT, FEWEST_PATCHES = 2.5, 50, 4
# Of images, by default.
FACTORS = 100
EXPLANATION = (
    "Error on hidden pixels: mean absolute difference as a fraction of the dynamic range; PSNR in dB. "
    "All methods saw the same observed pixels. The auto-encoder learned for as many seconds as ours, or as many passes "
    "where no seconds were set (importance-weighted bound, Mattei and Frellsen 2019)."
)
MIRRORED = " With --mirror, ours learned from mirror images as well and completed both; the others did not."


@dataclass(frozen=True, kw_only=True)
class CompleteSettings(ImageSettings):
    """Learn from incomplete images, or an incomplete table, and complete them.

    For example:

      abpnet complete photos/ --size 64 --out runs/photos
      abpnet complete faces/ --mask pepper:0.5 --max-seconds 300 --out runs/faces
      abpnet complete builtin:digits --mask pepper:0.5:1 --latent-dim 20 --new-images 300 --out runs/digits
      abpnet complete survey.csv --imputations 5 --out runs/survey
    """

    out: Path = Path("runs/complete")
    """Folder of the run; it must be new or empty."""
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES|TABLE")]
    """Folder of images (transparent pixels = missing), .npz or .npy file (NaN = missing), builtin:digits, or a table:
    .csv or .parquet file."""
    mask: str = "nan"
    """What to hide: pepper:FRACTION[:BLOCK], region:SIDE, a black (hidden) and white picture FILE.png, or nan = nothing
    more than what is missing already; of a table's cells pepper:FRACTION or nan."""
    latent_dim: int | None = None
    """Number of latent factors; by default 100, of tables as many as predict best cells that are held back."""
    residuals: Literal["auto", "white", "kriged", "patches", "whitened"] = "auto"
    """How what the factors leave unexplained varies from pixel to pixel: white = without relation; kriged = neighbours
    tell about hidden pixels; patches = and know of edges, for holes smaller than 8 pixels; whitened = the factors allow
    for neighbours as well, which pays where little is observed."""
    mirror: bool = False
    """Learn from the mirror image of every image as well, and complete both: for faces and the like, which could be
    either; not for writing."""

    draws: int = 39
    """Draws from the posterior of each image shown in the report, which tell how sure its hidden pixels are; 0 = none,
    else 19 or more."""
    imputations: int = 0
    """Of a table: write so many more of it, their missing cells drawn from their posterior, for multiple imputation."""
    kinds: tuple[str, ...] = ()
    """Of a table: COLUMN=number|count|grade|category ..., where the values of a column mislead about it."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--latent-dim", self.latent_dim, 1, MOST_FACTORS)
        check_number("--draws", self.draws, 0, MOST_DRAWS)
        if 0 < self.draws < certainty.FEWEST_DRAWS:
            raise InputError(f"--draws must be 0 or at least {certainty.FEWEST_DRAWS}, got {self.draws}")
        of_table = table.settings_of_table(self)
        if of_table is not None:
            of_table.check()

    def recipe(self, observed: np.ndarray) -> str:
        """Name of the recipe; auto = whitened where few pixels, all whole, were observed, else patches or kriged.

        Raises:
            InputError: If the one that was asked for needs whole pixels and some are not, those of new images included.
        """
        seen = torch.from_numpy(~np.isnan(observed))
        whole = is_pixelwise(seen)
        if self.residuals in ("patches", "whitened") and not whole:
            raise InputError(
                f"--residuals {self.residuals} needs pixels that are observed in all channels or in none; choose kriged"
            )
        if self.residuals == "auto":
            if not whole:
                return "kriged"
            if float(seen.float().mean()) <= SCARCE:
                return "whitened"
            return "patches" if _has_small_holes(seen[:, 0].numpy()) else "kriged"
        return "partial" if self.residuals == "white" else self.residuals


def _has_small_holes(observed: np.ndarray) -> bool:
    """Whether hidden pixels of (n, height, width) are mostly close to observed ones, in images of several patches."""
    if min(observed.shape[1:]) < FEWEST_PATCHES * SIDE or observed.all():
        return False
    some = observed[:IMAGES_LOOKED_AT]
    distances = np.stack([distance_transform_edt(~image) for image in some])
    return bool(distances[~some].mean() < CLOSE) if (~some).any() else False


def _by_auto_encoder(
    settings: CompleteSettings, network: GeneratorNetwork, parts: tuple[Part, Part], seconds: float
) -> list[np.ndarray | None]:
    """Both parts completed by an auto-encoder with our decoder, learned for as long as ours."""
    device = next(network.model_.parameters()).device
    generator = torch.Generator(device).manual_seed(settings.seed)
    training, new = (torch.from_numpy(part.shown.reshape(-1, *network.signal_shape_)) for part in parts)
    learned = vae.learn(
        training,
        network.model_.network,
        noise_std=settings.noise_std,
        generator=generator,
        n_samples=BOUND_SAMPLES,
        max_iter=settings.max_iter,
        max_seconds=None if settings.max_seconds is None else seconds,
        precision=network.precision_["precision"],
    )
    return [vae.impute(learned, y, generator).numpy() if len(y) else None for y in (training, new)]


def _table(
    settings: CompleteSettings, network: GeneratorNetwork, parts: tuple[Part, Part], seconds: float
) -> list[dict[str, Any]]:
    """Ours beside the imputers, on the pixels that the mask hid."""
    if not parts[0].scored.any():
        return []
    rows = [table_row(OURS, parts, [part.recovered for part in parts], seconds)]
    if not settings.baselines:
        return rows
    n_entries = math.prod(parts[0].shown.shape[1:])
    vectors = [part.shown.reshape(len(part.shown), n_entries) for part in parts]
    for method in IMPUTERS:
        with show_stage(f"for comparison: {method}"):
            other = impute_by(method, *vectors)
        rows.append(table_row(other.name, parts, [other.train, other.new], other.seconds))
    with show_stage("for comparison: biharmonic inpainting"):
        start = time.monotonic()
        names, filled = zip(*(biharmonic(part.shown) for part in parts), strict=True)
    rows.append(table_row(names[0], parts, filled, time.monotonic() - start))
    with show_stage("for comparison: variational auto-encoder"):
        start = time.monotonic()
        imputed = _by_auto_encoder(settings, network, parts, seconds)
    rows.append(table_row("variational auto-encoder (same decoder)", parts, imputed, time.monotonic() - start))
    return rows


def run(settings: CompleteSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, recover, complete, sample, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the images, the table or the mask cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    of_table = table.settings_of_table(settings)
    if of_table is not None:
        return table.run(of_table, folder)
    images, n_last = read_images(settings, folder, settings.source)
    rng = np.random.default_rng(settings.seed)
    kept = draw_mask(settings.mask, images.pixels.shape, rng, settings.limits)
    observed = np.where(kept, images.pixels, np.float32(np.nan))
    empty = np.asarray(np.isnan(observed).all((1, 2, 3)))
    if empty.any():
        raise InputError(
            f"{settings.source}: no pixel of image {images.names[int(empty.argmax())]} is observed "
            f"({empty.sum()} such of {len(empty)}); remove it or hide less"
        )
    is_new = split(settings, len(observed), n_last, rng)
    recipe = settings.recipe(observed)
    latent_dim = settings.latent_dim or FACTORS
    network = new_network(settings, latent_dim=latent_dim, noise_std=settings.noise_std, recipe=recipe)
    directions = (1, -1) if settings.mirror else (1,)
    views = [observed[..., ::direction] for direction in directions]
    with_draws = settings.draws > 0 and bool(np.isnan(observed).any())
    held_back = certainty.hold_back(observed, is_new, settings.seed) if with_draws else np.zeros(observed.shape, bool)
    shown = np.where(held_back, np.float32(np.nan), observed)[~is_new]
    network = learn(network, np.concatenate([shown[..., ::way] for way in directions]), folder, title="learning")

    def draw(images: np.ndarray, n_draws: int) -> np.ndarray:
        of_each = -(-n_draws // len(directions))
        drawn = [network.impute(images[..., ::way], of_each, settings.seed)[..., ::way] for way in directions]
        return np.concatenate(drawn)[:n_draws]

    def complete(index: np.ndarray, training: bool) -> np.ndarray:
        # Under kriged residuals chains that stand where learning left them recover less than fresh ones.
        fresh = not training or network.equivalent_noise_ is not None
        starts = [None] * len(views) if fresh else np.split(network.latents_, len(views))
        completed = [network.impute(view[index], start=start) for view, start in zip(views, starts, strict=True)]
        return np.mean([image[..., ::direction] for image, direction in zip(completed, directions, strict=True)], 0)

    hidden = np.isnan(observed) & ~np.isnan(images.pixels)
    parts = recover_parts(images, observed, hidden, is_new, complete)
    rows = _table(settings, network, parts, folder.metrics()[-1]["seconds"])
    explanation = EXPLANATION + MIRRORED * settings.mirror
    title = f"{len(parts[0].truth)} incomplete images: {settings.source}"
    more: dict[str, list[str]] = {}
    found: dict[str, Any] = {}
    if with_draws:
        width = certainty.calibrate(network, folder, observed, held_back, is_new, settings.seed)
        found["noise_scale"] = network.noise_scale_
        for part in parts:
            if len(part.truth):
                drawn = certainty.describe(draw, folder, part, settings.draws, scale_of(part.truth), width)
                more[f"How sure: {part.name}"], found[f"uncertainty, {part.name}"] = drawn
    more |= skipped_section(images.skipped)
    found |= skipped_result(images.skipped)
    caption = "coloured = not observed"
    return write_recovery(settings, folder, network, parts, rows, title, explanation, caption, more) | found
