"""Experiment 1: learn a material from one photograph, synthesise as much of it as wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from abpnet import figures, report
from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.data.builtin import BUILTIN_PREFIX, TEXTURES, texture_photograph
from abpnet.data.images import load_image, save_image
from abpnet.errors import InputError
from abpnet.estimator import SMALLEST_NOISE
from abpnet.networks import TEXTURE_STRIDE, TextureNetwork
from abpnet.recipes import RECIPES
from abpnet.runs import RunFolder
from abpnet.tasks.session import LearningSettings, check_number, curves, learn, new_network, reproduction
from abpnet.texture_statistics import TextureStatistics

__all__ = ["TextureSettings", "run"]

BUILTIN_SIZE = 128
N_SCORED = 4
# The chains are maps of this side, whatever the size of the photograph: the statistics do not depend on it.
MAP_SIDE = 3
GREY_RATE, COLOUR_RATE = 2e-2, 4e-3


@dataclass(frozen=True, kw_only=True)
class TextureSettings(LearningSettings):
    """Learn a texture from one photograph and synthesise more of it.

    For example:

      abpnet texture wall.png --out runs/wall
      abpnet texture builtin:gravel --max-seconds 90 --out runs/gravel
    """

    source: Annotated[str, tyro.conf.Positional]
    """Image file, or builtin:brick, builtin:grass, builtin:gravel."""
    out: Path = Path("runs/texture")
    """Folder of the run; it must be new or empty."""
    size: int | None = None
    """Scale the central square of the image to this many pixels a side; as it is by default."""
    enlarge: int = 2
    """Sides of the synthesised texture, in sides of the photograph."""
    width: int = 128
    """Channels of the widest layer."""
    max_iter: int = 2000
    """Passes over the chains at most."""
    max_seconds: float | None = 240.0
    """Seconds of learning at most."""
    noise_std: float = 0.1
    """How exactly the statistics are explained: standard deviation of their relative error."""
    n_chains: int = 8
    """Maps of latent factors that are inferred side by side."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--enlarge", self.enlarge, 1, 64)
        check_number("--n-chains", self.n_chains, 1, 10_000)
        check_number("--width", self.width, 1, 10_000)
        check_number("--size", self.size, 2 * TEXTURE_STRIDE, 4096)
        check_number("--noise-std", self.noise_std, SMALLEST_NOISE, 1 / SMALLEST_NOISE)


def _photograph(settings: TextureSettings) -> np.ndarray:
    """The image, cut to whole multiples of the network's stride."""
    if settings.source.startswith(BUILTIN_PREFIX):
        name = settings.source.removeprefix(BUILTIN_PREFIX)
        if name not in TEXTURES:
            choices = ", ".join(BUILTIN_PREFIX + known for known in TEXTURES)
            raise InputError(f"{settings.source}: no such built-in texture; choose {choices}")
        image = texture_photograph(name, min(settings.size or BUILTIN_SIZE, 256))
    else:
        image = load_image(settings.source, size=settings.size)
    if np.isnan(image).any():
        raise InputError(f"{settings.source}: has transparent pixels; a texture is learned from an opaque image")
    height, width = (side // TEXTURE_STRIDE * TEXTURE_STRIDE for side in image.shape[1:])
    if min(height, width) < 2 * TEXTURE_STRIDE:
        raise InputError(f"{settings.source}: sides of 64 pixels are needed, got {image.shape[2]} x {image.shape[1]}")
    if np.ptp(image) == 0:
        raise InputError(f"{settings.source}: all pixels are equal; there is no texture to learn")
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    image = image[:, top : top + height, left : left + width]
    return image[:1] if (image == image[:1]).all() else image


def run(settings: TextureSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, synthesise, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the photograph cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    image = _photograph(settings)
    statistics = TextureStatistics.of(torch.from_numpy(image.copy()))
    with torch.device("meta"):
        generator_network = TextureNetwork.with_noise(len(image), settings.width)
    network = new_network(
        settings,
        latent_dim=(generator_network.latent_dim, MAP_SIDE, MAP_SIDE),
        network=generator_network,
        noise_std=settings.noise_std,
        recipe=replace(RECIPES["texture"], learning_rate=GREY_RATE if len(image) == 1 else COLOUR_RATE),
    )
    target = statistics.target.expand(settings.n_chains, -1).numpy()
    network = learn(network, target, folder, title="learning", observation=statistics)
    map_size = [side // TEXTURE_STRIDE for side in image.shape[1:]]
    larger = tuple(settings.enlarge * side for side in map_size)
    synthesis = network.sample(1, latent_shape=larger, random_state=settings.seed)[0]
    save_image(folder.path / "original.png", image)
    save_image(folder.path / "synthesis.png", synthesis)

    def distance(images: np.ndarray) -> float:
        with torch.no_grad():
            return float((statistics(torch.from_numpy(images)) - statistics.target).square().sum(1).mean())

    fresh = network.sample(N_SCORED, latent_shape=map_size, random_state=settings.seed + 1)
    rng = np.random.default_rng(settings.seed)
    noise = np.stack([phase_randomised(image, rng) for _ in range(N_SCORED)])
    table: list[dict[str, Any]] = [
        {"method": "abpnet, fresh z", "distance of statistics": distance(fresh)},
        {"method": "noise of the same spectrum", "distance of statistics": distance(noise)},
    ]
    figures.save_picture(folder.path / "noise.png", figures.grid(noise[:1], 1))
    sections = {
        "Original and synthesis": [
            report.picture(folder.path / "original.png", f"Original, {image.shape[2]} x {image.shape[1]} pixels."),
            report.picture(
                folder.path / "synthesis.png",
                f"Synthesis from fresh z ~ N(0, I), {synthesis.shape[2]} x {synthesis.shape[1]} pixels; tileable.",
            ),
        ],
        "Statistics": [
            report.table(table, ours=table[0]["method"]),
            report.paragraph("Sum of relative squared errors of the filter statistics that were explained; 0 is best."),
            report.picture(folder.path / "noise.png", "Noise of the same spectrum."),
        ],
        "Learning": curves(folder),
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", f"Texture: {settings.source}", sections)
    return {
        "shape": list(image.shape),
        "synthesis_shape": list(synthesis.shape),
        "table": table,
        **folder.metrics()[-1],
    }
