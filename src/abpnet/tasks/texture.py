"""Experiment 1: learn a material from photographs, synthesise as much of it as wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import tyro
from torch import nn

from abpnet import figures, report
from abpnet.baselines.quilting import quilt
from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.data.builtin import BUILTIN_PREFIX, TEXTURES, texture_photograph
from abpnet.data.images import load_image, save_image
from abpnet.data.limits import Limits
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.estimator_settings import SMALLEST_NOISE
from abpnet.lattice import find_lattice, fitting_map
from abpnet.networks import PATCHWORK_STRIDE, TEXTURE_STRIDE, PatchworkNetwork, TextureNetwork, initialise
from abpnet.progress import show_stage
from abpnet.recipes import RECIPES, Recipe
from abpnet.runs import RunFolder
from abpnet.tasks.reading import PictureSettings
from abpnet.tasks.session import curves, learn, new_network, reproduction
from abpnet.tasks.settings import LearningSettings, check_number
from abpnet.texture_distance import mean_distance
from abpnet.texture_statistics import TextureStatistics

__all__ = ["TextureSettings", "run"]

BUILTIN_SIZE, MOST_BUILTIN = 128, 256
LEAST_SIZE, MOST_SIZE = 96, 2048
# As many pixels are synthesised at once; 0.7 kB of memory for each.
MOST_PIXELS = 10_000_000
# The side of what is judged of a photograph at most.
MOST_JUDGED = 512
# The chains are maps of at least this side, whatever the size of the photograph: the statistics do not depend on it.
MAP_SIDE = 3
# Of the weights of deconvolutions, for grey and for coloured photographs.
GREY_RATE, COLOUR_RATE = 2e-2, 4e-3
WIDTHS = {"patchwork": 16, "deconvolution": 128}
NOISE_STDS = {"patchwork": 0.05, "deconvolution": 0.1}
NOISE, RANDOM_QUILT, QUILT = "noise of the same spectrum", "quilting, pieces at random", "quilting, matched pieces"


@dataclass(frozen=True, kw_only=True)
class TextureSettings(PictureSettings, LearningSettings):
    """Learn a texture from a photograph and synthesise more of it.

    For example:

      abpnet texture wall.png --out runs/wall
      abpnet texture wall.png --also wall2.png wall3.png --pixels 1024 2048 --out runs/walls
      abpnet texture builtin:gravel --tile --max-seconds 90 --out runs/gravel
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """Image file, or builtin:brick, builtin:grass, builtin:gravel."""
    out: Path = Path("runs/texture")
    """Folder of the run; it must be new or empty."""
    also: tuple[str, ...] = ()
    """More photographs of the same material; all are cut to the size of the smallest, and no lattice is looked for."""
    size: int | None = None
    """Scale the central square of each image to this many pixels a side; as it is by default."""
    pixels: tuple[int, int] | None = None
    """Height and width of the synthesised texture; twice those of the photograph by default."""
    tile: bool = False
    """Whether the synthesis is to repeat without a seam; its sides then become multiples of the network's stride."""
    network: Literal["patchwork", "deconvolution"] = "patchwork"
    """What makes images of factors: pieces of the photograph, joined by a learned network; or deconvolutions alone."""
    width: int | None = None
    """Channels of the finest layer of a patchwork (16), or of the first one of deconvolutions (128)."""
    max_iter: int = 2000
    """Passes over the chains at most."""
    max_seconds: float | None = 240.0
    """Seconds of learning at most."""
    noise_std: float | None = None
    """How exactly the statistics are explained: standard deviation of their relative error; 0.05, or 0.1 by
    deconvolutions."""
    n_chains: int = 8
    """Maps of latent factors that are inferred side by side; one for each photograph at least."""
    n_judged: int = 4
    """Images of each method whose distances from the photograph are averaged; they scatter by a tenth."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--n-chains", self.n_chains, 1, 10_000)
        check_number("--n-judged", self.n_judged, 1, 1000)
        check_number("--width", self.width, 1, 10_000)
        check_number("--size", self.size, LEAST_SIZE, 4096)
        check_number("--noise-std", self.noise_std, SMALLEST_NOISE, 1 / SMALLEST_NOISE)
        for side in self.pixels or ():
            check_number("--pixels", side, 1)
        check_number("--pixels, height times width,", math.prod(self.pixels or ()), 1, MOST_PIXELS)


class Material(NamedTuple):
    """What is learned of a material, and how.

    Attributes:
        network: Makes images of factors, as large as their map asks for.
        stride: Pixels of the image for each position of the map.
        lattice: After how many pixels the material repeats, if the network knows of it.
        recipe: How to learn.
    """

    network: nn.Module
    stride: int
    lattice: np.ndarray | None
    recipe: Recipe

    def map_for(self, height: int, width: int) -> tuple[int, int]:
        """The map of factors for an image of at least this size."""
        least = math.ceil(height / self.stride), math.ceil(width / self.stride)
        return fitting_map(self.lattice, least, self.stride)


def _photograph(source: str, size: int | None, limits: Limits) -> np.ndarray:
    if source.startswith(BUILTIN_PREFIX):
        name = source.removeprefix(BUILTIN_PREFIX)
        if name not in TEXTURES:
            choices = ", ".join(BUILTIN_PREFIX + known for known in TEXTURES)
            raise InputError(f"{source}: no such built-in texture; choose {choices}")
        if size is not None and size > MOST_BUILTIN:
            raise InputError(f"--size {size}: {source} has {MOST_BUILTIN} pixels a side")
        return texture_photograph(name, size or BUILTIN_SIZE)
    image = load_image(source, size=size, limits=limits)
    if np.isnan(image).any():
        raise InputError(f"{source}: has transparent pixels; a texture is learned from an opaque image")
    if not LEAST_SIZE <= min(image.shape[1:]) <= max(image.shape[1:]) <= MOST_SIZE:
        raise InputError(
            f"{source}: sides of {LEAST_SIZE} to {MOST_SIZE:,} pixels are needed, got {image.shape[2]} x "
            f"{image.shape[1]}; --size scales it"
        )
    return image


def _middle(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of an image (channels, height, width)."""
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]


def _photographs(settings: TextureSettings) -> np.ndarray:
    """All photographs (n, channels, height, width), cut to one size; one channel if all are grey."""
    images = [_photograph(source, settings.size, settings.limits) for source in (settings.source, *settings.also)]
    height, width = (min(image.shape[axis] for image in images) for axis in (1, 2))

    cut = [_middle(image, height, width) for image in images]
    for source, image in zip((settings.source, *settings.also), cut, strict=True):
        if np.ptp(image) == 0:
            raise InputError(f"{source}: all pixels are equal; there is no texture to learn")
    stack = np.stack([np.broadcast_to(image, (3, height, width)) if len(image) == 1 else image for image in cut])
    return np.ascontiguousarray(stack[:, :1] if (stack == stack[:, :1]).all() else stack)


def _material(settings: TextureSettings, photographs: np.ndarray) -> Material:
    width = settings.width or WIDTHS[settings.network]
    generator = torch.Generator().manual_seed(settings.seed)
    if settings.network == "patchwork":
        lattice = find_lattice(photographs[0]) if len(photographs) == 1 else None
        with torch.device("meta"):
            patchwork = PatchworkNetwork(photographs.shape, None if lattice is None else lattice.tolist(), width)
        initialise(patchwork, generator)
        patchwork.start_from(torch.from_numpy(photographs))
        return Material(patchwork, PATCHWORK_STRIDE, lattice, RECIPES["patchwork"])
    rate = GREY_RATE if photographs.shape[1] == 1 else COLOUR_RATE
    with torch.device("meta"):
        deconvolutions = TextureNetwork.with_noise(photographs.shape[1], width)
    recipe = replace(RECIPES["texture"], learning_rate=rate)
    return Material(initialise(deconvolutions, generator), TEXTURE_STRIDE, None, recipe)


def _compare(
    photographs: np.ndarray, fresh: np.ndarray, statistics: TextureStatistics, seed: int
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """A row for every way to make such images, and one picture of each of the other ways."""
    size = fresh.shape[2], fresh.shape[3]
    open_borders = replace(statistics, periodic=False)
    rng = np.random.default_rng(seed)
    shown = [photographs[index % len(photographs)] for index in range(len(fresh))]
    ways = {
        "abpnet, fresh z": fresh,
        NOISE: np.stack([phase_randomised(image, rng) for image in shown]),
        RANDOM_QUILT: np.stack([quilt(image, size, rng, matched=False) for image in shown]),
        QUILT: np.stack([quilt(image, size, rng) for image in shown]),
    }
    rows = []
    for method, images in ways.items():
        distances = [mean_distance(images, photograph) for photograph in photographs]
        row = {kind: float(np.mean([each[kind] for each in distances])) for kind in distances[0]}
        with torch.no_grad():
            of_kind = open_borders if method in (RANDOM_QUILT, QUILT) else statistics
            explained = of_kind(torch.from_numpy(images))[:, None] - statistics.target
        rows.append({"method": method, **row, "explained": float(explained.square().sum(2).mean())})
    return rows, {method: images[0] for method, images in ways.items() if images is not fresh}


def run(settings: TextureSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, synthesise, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If a photograph cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    photographs = _photographs(settings)
    statistics = TextureStatistics.of(torch.from_numpy(photographs))
    material = _material(settings, photographs)
    chains = material.map_for(MAP_SIDE * material.stride, MAP_SIDE * material.stride)
    network = new_network(
        settings,
        latent_dim=(material.network.latent_dim, *chains),
        network=material.network,
        noise_std=settings.noise_std or NOISE_STDS[settings.network],
        recipe=material.recipe,
    )
    which = torch.arange(max(settings.n_chains, len(photographs))) % len(photographs)
    network = learn(network, statistics.target[which].numpy(), folder, title="learning", observation=statistics)

    height, width = photographs.shape[2:]
    wanted = settings.pixels or (2 * height, 2 * width)
    synthesis = _synthesise(network, material, 1, wanted, settings.seed, settings.tile)[0]
    judged = min(height, MOST_JUDGED), min(width, MOST_JUDGED)
    fresh = _synthesise(network, material, settings.n_judged, judged, settings.seed + 1, whole=True)
    with show_stage("comparing with noise and quilting"):
        middles = np.stack([_middle(photograph, *judged) for photograph in photographs])
        table, others = _compare(middles, fresh, statistics, settings.seed)
    originals = [folder.path / f"original{f' {index + 1}' if index else ''}.png" for index in range(len(photographs))]
    for path, photograph in zip(originals, photographs, strict=True):
        save_image(path, photograph)
    save_image(folder.path / "synthesis.png", synthesis)
    for method, image in others.items():
        figures.save_picture(folder.path / f"{method}.png", figures.grid(image[None], 1))
    repeats = " It repeats without a seam." if settings.tile else ""
    caption = f"Synthesis from fresh z ~ N(0, I), {synthesis.shape[2]} x {synthesis.shape[1]} pixels.{repeats}"
    sections = {
        "Original and synthesis": [
            *(report.picture(path, f"{path.stem.capitalize()}, {width} x {height} pixels.") for path in originals),
            report.picture(folder.path / "synthesis.png", caption),
        ],
        "Statistics": [
            report.table(table, ours=table[0]["method"]),
            report.paragraph(
                "Differences from the original of the statistics of log-Gabor filters, which were not used for "
                "learning; explained: sum of relative squared errors of the statistics that were. 0 is best."
            ),
            *(report.picture(folder.path / f"{method}.png", f"For comparison: {method}.") for method in others),
        ],
        "Learning": curves(folder),
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", f"Texture: {settings.source}", sections)
    return {
        "shape": list(photographs.shape[1:]),
        "n_photographs": len(photographs),
        "synthesis_shape": list(synthesis.shape),
        "lattice": None if material.lattice is None else material.lattice.tolist(),
        "table": table,
        **folder.metrics()[-1],
    }


def _synthesise(
    network: GeneratorNetwork, material: Material, n: int, size: Sequence[int], seed: int, whole: bool = False
) -> np.ndarray:
    """Images of this size from fresh factors; or whole tori, which are as large or a little larger."""
    images = network.sample(n, latent_shape=material.map_for(*size), random_state=seed)
    return images if whole else images[:, :, : size[0], : size[1]]
