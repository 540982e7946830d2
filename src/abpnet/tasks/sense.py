"""Experiment 6: learn from indirect data, such as random projections of images that nobody saw."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from abpnet.baselines.sensing import BASES, lasso, least_norm, principal_components, smooth_field
from abpnet.data.masks import draw_mask
from abpnet.errors import InputError
from abpnet.estimator_settings import SMALLEST_NOISE
from abpnet.networks import auto_network
from abpnet.observations import Observation, Projection
from abpnet.operators import blur_reach, down_sampling, fourier_projection, gaussian_blur, visible_pixels
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tasks.reading import skipped_result, skipped_section
from abpnet.tasks.recovery import (
    OURS,
    SHOWN,
    Part,
    RecoverySettings,
    read_whole_images,
    recover_parts,
    table_row,
    write_recovery,
)
from abpnet.tasks.session import learn, new_network
from abpnet.tasks.settings import check_number

__all__ = ["SenseSettings", "make_operator", "run"]

EXPLANATION = (
    "Error on all pixels: mean absolute difference as a fraction of the dynamic range; PSNR in dB. "
    "All methods saw the same measurements. Oracles saw the clean training images as well."
)
NOT_RUN: tuple[None, None] = (None, None)
PROJECTIONS, DEFAULT_MEASUREMENTS = ("projections", "fourier"), 1000
# In measurements the noise of pixels may be hundreds of times louder, and must stay within an estimator's limits.
MOST_NOISE = 1000.0
CAPTION = "observed = the measurements, or the image of least norm that gives them"


@dataclass(frozen=True, kw_only=True)
class SenseSettings(RecoverySettings):
    """Learn from indirect measurements of images, and recover the images.

    For example:

      abpnet sense faces/ --measurements 1000 --new-images 100 --out runs/sense
      abpnet sense photos/ --size 256 --operator fourier --measurements 20000 --out runs/large
      abpnet sense builtin:digits --operator downsample:2 --latent-dim 10 --out runs/downsampled
    """

    out: Path = Path("runs/sense")
    """Folder of the run; it must be new or empty."""
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """Folder of images, .npz or .npy file, or builtin:digits; they are measured, and then only scored against."""
    operator: str = "projections"
    """How images are measured: projections (white noise, a stored matrix), fourier (random projections for large
    images), blur:SIGMA or downsample:FACTOR, both in pixels, or mask:MASK, with one MASK for all images as --mask of
    complete describes it."""
    measurements: int | None = None
    """Number of projections of each image; 1000 by default. Other operators have as many measurements as they have."""
    measurement_noise: float = 0.0
    """Standard deviation of noise added to the measurements."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--measurements", self.measurements, 1)
        check_number("--measurement-noise", self.measurement_noise, 0, MOST_NOISE)
        check_number("--noise-std", self.noise_std, SMALLEST_NOISE, MOST_NOISE)
        if self.measurements is not None and self.operator not in PROJECTIONS:
            raise InputError(f"--measurements belongs to --operator {' or '.join(PROJECTIONS)}; leave it out")


def make_operator(settings: SenseSettings, shape: Sequence[int]) -> tuple[Observation, float]:
    """The operator, and how much louder than in an image's pixels what is left unexplained is in its measurements.

    Raises:
        InputError: If the description is none, or does not fit the images.
    """
    kind, _, number = settings.operator.partition(":")
    size, side = math.prod(shape), min(shape[-2:])
    if settings.operator in PROJECTIONS:
        n = DEFAULT_MEASUREMENTS if settings.measurements is None else settings.measurements
        check_number("--measurements", n, 1, size)
        make = Projection.random if kind == "projections" else fourier_projection
        return make(shape, n, settings.seed), math.sqrt(size / n)
    if kind == "mask":
        try:
            mask = draw_mask(number, (1, *shape), np.random.default_rng(settings.seed), settings.limits)
            return visible_pixels(torch.from_numpy(np.broadcast_to(mask[0, 0], shape[-2:]).copy())), 1.0
        except (InputError, ValueError) as error:
            raise InputError(f"--operator {settings.operator} cannot be used: {error}") from None
    try:
        if kind == "blur" and float(number) > 0 and blur_reach(float(number)) < side:
            return gaussian_blur(float(number)), 1.0
        if kind == "downsample" and 1 <= int(number) <= side:
            return down_sampling(int(number)), 1.0
    except (ValueError, OverflowError):
        pass
    raise InputError(
        f"--operator {settings.operator}: expected projections, fourier, blur:SIGMA with SIGMA in 0 to "
        f"{(side - 1) / 3:.3g}, downsample:FACTOR with FACTOR 1 to {side}, or mask:MASK, for example mask:pepper:0.5"
    )


def _measure(pixels: np.ndarray, operator: Observation, noise: float, rng: np.random.Generator) -> np.ndarray:
    with torch.no_grad():
        measured = [operator(part).numpy() for part in torch.from_numpy(pixels).split(100)]
    y = np.concatenate(measured)
    return y + (noise * rng.standard_normal(y.shape)).astype(np.float32) if noise else y


def _as_pictures(y: np.ndarray, operator: Observation, shape: Sequence[int]) -> np.ndarray:
    """Measurements as pictures: as they are if they have the shape of images, else the shortest image they fit."""
    return np.clip(y if y.shape[1:] == tuple(shape) else least_norm(y, operator, shape), -1, 1)


def _table(
    settings: SenseSettings,
    parts: tuple[Part, Part],
    measured: Sequence[np.ndarray],
    operator: Observation,
    seconds: float,
) -> list[dict[str, Any]]:
    """Ours beside the others, which see the same measurements."""
    rows = [table_row(OURS, parts, [part.recovered for part in parts], seconds)]
    clean = parts[0].truth
    shape = clean.shape[1:]

    def compare(name: str, recover: Callable[[], tuple[str, Sequence[np.ndarray]] | None]) -> None:
        start = time.monotonic()
        with show_stage(f"for comparison: {name}"):
            outcome = recover()
        label, recovered = (f"{name} (not run: too many measurements)", NOT_RUN) if outcome is None else outcome
        rows.append(table_row(label, parts, recovered, time.monotonic() - start))

    if settings.baselines:
        mean = "mean of clean images (oracle)"
        compare(mean, lambda: (mean, [np.broadcast_to(clean.mean(0), (len(y), *shape)) for y in measured]))
        compare(
            "least norm",
            lambda: ("least norm", [least_norm(y, operator, shape, settings.measurement_noise) for y in measured]),
        )
        compare("smooth Gaussian field", partial(smooth_field, measured, operator, shape))
        for basis in BASES:
            compare(f"Lasso, {basis}", partial(lasso, measured, operator, shape, basis))
        oracle = partial(principal_components, measured, operator, clean, settings.latent_dim)
        compare("principal components of clean images", partial(oracle, settings.measurement_noise))
    return rows


def run(settings: SenseSettings, folder: RunFolder) -> dict[str, Any]:
    """Measure, learn from the measurements, recover, sample, compare, report; goes on where it stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the images or the operator cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    rng = np.random.default_rng(settings.seed)
    images, is_new = read_whole_images(settings, folder, settings.source, rng, "sense measures whole images")
    shape = images.pixels.shape[1:]
    operator, gain = make_operator(settings, shape)
    y = _measure(images.pixels, operator, settings.measurement_noise, rng)
    network = new_network(
        settings,
        latent_dim=settings.latent_dim,
        network=auto_network((settings.latent_dim,), shape, indirect=True),
        noise_std=math.hypot(gain * settings.noise_std, settings.measurement_noise),
        recipe="indirect",
    )
    network = learn(network, y[~is_new], folder, title="learning", observation=operator)

    def recover(index: np.ndarray, training: bool) -> np.ndarray:
        return network.recover(y[index], operator, start=network.latents_ if training else None)

    shown = np.full_like(images.pixels, np.nan)
    for chosen in (np.flatnonzero(~is_new)[:SHOWN], np.flatnonzero(is_new)[:SHOWN]):
        shown[chosen] = _as_pictures(y[chosen], operator, shape)
    parts = recover_parts(images, shown, np.ones(images.pixels.shape, bool), is_new, recover)
    table = _table(settings, parts, [y[~is_new], y[is_new]], operator, folder.metrics()[-1]["seconds"])
    title = f"{len(parts[0].truth)} images seen through {settings.operator}: {settings.source}"
    more = skipped_section(images.skipped)
    result = write_recovery(settings, folder, network, parts, table, title, EXPLANATION, CAPTION, more)
    return result | skipped_result(images.skipped)
