"""Explain given images by what a finished run has learned: latent factors, reconstruction, completion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import tyro

from abpnet import analysis, analysis_figures, figures, metrics, report
from abpnet.data.images import ImageSet, is_image, load_image, save_image
from abpnet.emissions import Noise
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.runs import RunFolder
from abpnet.tasks.reading import FolderSettings, read_image_set, skipped_result, skipped_section
from abpnet.tasks.session import load_model, reproduction

__all__ = ["ExplainSettings", "run"]

SHOWN = 12
# Examples and directions that are drawn with --analysis, and how far the walks go.
DRAWN, WALK = 6, (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
# Numbers in the loadings of all examples that figures are means of: 160 MB in double precision.
LARGEST_LOADINGS = 2 * 10**7
# Parts of a path in which pieces are looked for, and how often these are halved.
PARTS, BISECTIONS = 64, 6


@dataclass(frozen=True, kw_only=True)
class ExplainSettings(FolderSettings):
    """Explain images by a learned model; transparent pixels or NaN are missing and get completed.

    For example:

      abpnet explain runs/digits damaged.png --out runs/explained
      abpnet explain runs/faces new_photos/ --out runs/explained
      abpnet explain runs/digits builtin:digits --analysis --out runs/analysed
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run, or of a saved model."""
    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """An image file, a folder of images, a .npz or .npy file, or builtin:digits."""
    out: Path = Path("runs/explain")
    """Folder of the results; it must be new or empty."""
    analysis: bool = False
    """Draw as well what the network does around these images: loadings, traversals, linear pieces, dimension."""


def _read(settings: ExplainSettings, folder: RunFolder, shape: tuple[int, ...]) -> ImageSet:
    """Images in the shape that the model knows; files of another size are cropped and scaled."""
    n_channels, height, width = shape if len(shape) == 3 else (1, *shape)
    source, path = settings.input, Path(settings.input)
    size = height if height == width else None
    if path.is_file() and path.suffix.lower() not in (".npy", ".npz"):
        images = ImageSet(load_image(path, size=size, limits=settings.limits)[None], [path.stem])
    else:
        images = read_image_set(settings, folder, source, size=size if path.is_dir() else None)
    pixels = images.pixels
    if pixels.shape[1] == 3 and n_channels == 1:
        pixels = pixels.mean(1, keepdims=True)
    pixels = np.broadcast_to(pixels, (len(pixels), n_channels, *pixels.shape[2:])) if pixels.shape[1] == 1 else pixels
    if pixels.shape[1:] != (n_channels, height, width):
        raise InputError(f"{source}: images of shape {pixels.shape[1:]}, but the model knows {shape}")
    return images._replace(pixels=np.ascontiguousarray(pixels))


def _analyse(
    network: GeneratorNetwork, factors: np.ndarray, pixels: np.ndarray, folder: Path
) -> tuple[dict[str, Any], list[str]]:
    """Figures of the piecewise linear view around the factors, and the parts of the report that show them."""
    model, n_analysed = network.model_, max(DRAWN, LARGEST_LOADINGS // (pixels[0].size * factors.shape[1]))
    noise_std = network.equivalent_noise_ or cast(Noise, model.emission).noise_std
    z = torch.from_numpy(factors[:n_analysed])
    jacobian = analysis.loadings(model, z)
    observed = torch.from_numpy(~np.isnan(pixels[:n_analysed])).reshape(jacobian.shape[:-1])
    dimension = analysis.effective_dimension(jacobian, noise_std, observed)
    principal, few = analysis.principal_loadings(jacobian[:DRAWN], DRAWN), z[:DRAWN]
    names = [str(place) for place in range(1, principal.directions.shape[1] + 1)]
    walks = {
        f"direction {name}": analysis.traversal(model, few[:1], direction, WALK)[0]
        for name, direction in zip(names, principal.directions[0], strict=True)
    }
    paths = [analysis.pieces_along(model, torch.zeros_like(one), one, PARTS, BISECTIONS) for one in few]
    signals = torch.from_numpy(network.inverse_transform(few.numpy()))
    analysis_figures.save_loadings(folder / "loadings.png", signals, principal.signals, names)
    analysis_figures.save_traversals(folder / "traversals.png", walks, WALK)
    named = {f"to example {place}": path for place, path in enumerate(paths, 1)}
    analysis_figures.save_pieces(folder / "pieces.png", named)
    analysis_figures.save_dimension(folder / "dimension.png", dimension, noise_std)
    found = {
        "factors": z.shape[1],
        "noise": noise_std,
        "participation ratio": float(dimension.participation.mean()),
        "factors explained": float(dimension.explained.mean()),
        "linear pieces on a path": float(np.median([path.n_pieces for path in paths])),
        "shortest piece told": paths[0].resolution,
    }
    captions = {
        "loadings": "How each image changes along the directions in which it changes most, the strongest first: red "
        "pixels become brighter, blue ones darker. Images of one row share a scale.",
        "traversals": "The first image (0) and what it becomes along these directions, in standard deviations of the "
        "prior.",
        "pieces": "Linear pieces of the network on straight paths from the prior's mean to the images; those shorter "
        f"than 1/{PARTS * 2**BISECTIONS} of a path are not told apart.",
        "dimension": "Left: how much the observed pixels change along the directions of each rank. Right: variance of "
        f"each factor once they are known, with white noise of {noise_std:.3g}; 1 before.",
    }
    parts = [report.picture(folder / f"{name}.png", text) for name, text in captions.items()]
    return found, [report.table([found]), *parts]


def run(settings: ExplainSettings, folder: RunFolder) -> dict[str, Any]:
    """Infer, reconstruct, complete, analyse if asked to, and write factors, pictures and a report.

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
    emission = network.model_.emission
    if settings.analysis and not isinstance(emission, Noise):
        raise InputError(f"--analysis needs a model of additive noise, not of {type(emission).__name__}")
    images = _read(settings, folder, shape)
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
    figures_found = report.table([result])
    result |= skipped_result(images.skipped)
    sections = {
        "Images": [report.picture(folder.path / "explained.png", "Coloured = not observed.", pixelated=True)],
        "Figures": [figures_found],
    }
    if settings.analysis:
        result["analysis"], sections["Analysis"] = _analyse(network, factors, images.pixels, folder.path)
    sections |= skipped_section(images.skipped)
    sections["How to get this again"] = reproduction(settings, folder)
    report.write_report(folder.path / "report.html", f"{settings.input} explained by {settings.source}", sections)
    return result
