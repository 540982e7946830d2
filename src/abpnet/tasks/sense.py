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

from abpnet.baselines.sensing import BASES, lasso, least_norm, principal_components
from abpnet.data.masks import draw_mask
from abpnet.errors import InputError
from abpnet.networks import auto_network
from abpnet.observations import Observation, Projection
from abpnet.operators import down_sampling, fourier_projection, gaussian_blur, visible_pixels
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
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
from abpnet.tasks.session import check_number, learn, new_network

__all__ = ["SenseSettings", "make_operator", "run"]

EXPLANATION = (
    "Error on all pixels: mean absolute difference as a fraction of the dynamic range; PSNR in dB. "
    "All methods saw the same measurements; principal components were learned from the clean training images, which "
    "no other method saw: a bound, not a competitor."
)
NOT_RUN: tuple[None, None] = (None, None)
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
    source: Annotated[str, tyro.conf.Positional]
    """Folder of images, .npz or .npy file, or builtin:digits; they are measured, and then only scored against."""
    operator: str = "projections"
    """How images are measured: projections (white noise, a stored matrix), fourier (random projections for large
    images), blur:SIGMA or downsample:FACTOR, both in pixels, or mask:MASK, with one MASK for all images as --mask of
    complete describes it."""
    measurements: int = 1000
    """Number of projections of each image."""
    measurement_noise: float = 0.0
    """Standard deviation of noise added to the measurements."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--measurements", self.measurements, 1)
        check_number("--measurement-noise", self.measurement_noise, 0, 1e6)


def make_operator(settings: SenseSettings, shape: Sequence[int]) -> tuple[Observation, float]:
    """The operator, and how much louder than in an image's pixels what is left unexplained is in its measurements.

    Raises:
        InputError: If the description is none, or does not fit the images.
    """
    kind, _, number = settings.operator.partition(":")
    size, side = math.prod(shape), min(shape[-2:])
    makers: dict[str, Callable[[], Observation]] = {
        "projections": lambda: Projection.random(shape, settings.measurements, settings.seed),
        "fourier": lambda: fourier_projection(shape, settings.measurements, settings.seed),
    }
    if kind in makers and not number:
        check_number("--measurements", settings.measurements, 1, size)
        return makers[kind](), math.sqrt(size / settings.measurements)
    if kind == "mask":
        try:
            mask = draw_mask(number, (1, *shape), np.random.default_rng(settings.seed))
        except InputError as error:
            raise InputError(f"--operator mask:{number}: {error}") from None
        return visible_pixels(torch.from_numpy(np.broadcast_to(mask[0, 0], shape[-2:]).copy())), 1.0
    try:
        if kind == "blur" and 0 < float(number) < side / 3:
            return gaussian_blur(float(number)), 1.0
        if kind == "downsample" and 1 <= int(number) <= side:
            return down_sampling(int(number)), 1.0
    except ValueError:
        pass
    raise InputError(
        f"--operator {settings.operator}: expected projections, fourier, blur:SIGMA with SIGMA in 0 to {side / 3:.3g}, "
        f"downsample:FACTOR with FACTOR 1 to {side}, or mask:MASK, for example mask:pepper:0.5"
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
        compare("least norm", lambda: ("least norm", [least_norm(y, operator, shape) for y in measured]))
        for basis in BASES:
            compare(f"Lasso, {basis}", partial(lasso, measured, operator, shape, basis))
        components = f"principal components of clean images (oracle, d = {settings.latent_dim})"
        noise = settings.measurement_noise
        compare(
            components,
            lambda: (components, principal_components(measured, operator, clean, settings.latent_dim, noise)),
        )
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
    images, is_new = read_whole_images(settings, settings.source, rng, "sense measures whole images")
    shape = images.pixels.shape[1:]
    operator, gain = make_operator(settings, shape)
    y = _measure(images.pixels, operator, settings.measurement_noise, rng)
    network = new_network(
        settings,
        latent_dim=settings.latent_dim,
        network=auto_network((settings.latent_dim,), shape, indirect=True),
        noise_std=math.hypot(gain * settings.noise_std, settings.measurement_noise),
        recipe="partial",
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
    return write_recovery(settings, folder, network, parts, table, title, EXPLANATION, CAPTION)
