"""Experiment 3: learn aligned objects, draw new ones, walk between them, and compare with other generative models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from abpnet import figures, metrics, report
from abpnet.baselines import dcgan, vae
from abpnet.durable import read_folder, write_folder
from abpnet.estimator import GeneratorNetwork
from abpnet.interpolation import latent_grid, sphere_interpolation
from abpnet.networks import auto_network
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.sample_quality import compare_samples
from abpnet.tasks.reading import skipped_result, skipped_section
from abpnet.tasks.recovery import OURS, SHOWN, RecoverySettings, read_whole_images
from abpnet.tasks.session import curves, learn, new_network, reproduction

__all__ = ["ObjectsSettings", "run"]

N_CORNERS, INTERPOLATED = 4, 8
# Images on each side of the comparison at most.
MOST_COMPARED = 1000
UNLIMITED = 10**9
EXPLANATION = (
    "Samples are f(z), z drawn from N(0, I), as many of each method as there are images to judge by. "
    "Kernel distance, precision and recall are taken in the features of a random network, the same for all methods; "
    "kernel distance: 0 = the same distribution, and smaller is better; precision: share of samples that look like "
    "real images; recall: share of real images that samples come near to. All methods had the same network f and "
    "the same budget. Error: of f(z) at each training image's own z (our chain, the encoder's mean), as a fraction of "
    "the dynamic range; a DCGAN tells no z."
)


@dataclass(frozen=True, kw_only=True)
class ObjectsSettings(RecoverySettings):
    """Learn aligned objects, such as faces: new samples, interpolation, and a comparison with VAE and DCGAN.

    For example:

      abpnet objects faces/ --new-source more_faces/ --max-seconds 300 --out runs/faces
      abpnet objects heads.npz --latent-dim 2 --new-images 40 --out runs/heads
      abpnet objects builtin:digits --latent-dim 10 --new-images 300 --max-iter 100 --out runs/digits
    """

    out: Path = Path("runs/objects")
    """Folder of the run; it must be new or empty."""
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """Folder of images, .npz or .npy file, or builtin:digits. With 2 factors or fewer, the picture is their grid."""
    new_images: int = 0
    """Keep this many images out of learning, to judge samples by; drawn at random. Without, training images judge."""
    baselines: bool = True
    """Also learn a VAE and a DCGAN with the same network: for as long as --max-seconds, or else --max-iter passes."""


@dataclass(frozen=True)
class Drawn:
    """What one method gives.

    Attributes:
        method: Its name.
        samples: f(z) of new z.
        error: Of training images at their own z; None if it knows none.
        seconds: Of learning; None if nothing was learned.
    """

    method: str
    samples: np.ndarray
    error: float | None
    seconds: float | None


def _baselines(
    settings: ObjectsSettings, network: GeneratorNetwork
) -> dict[str, Callable[[Tensor, int], tuple[Tensor, Tensor | None, float]]]:
    """Learners of training images: samples, reconstructions of the training images, and seconds of learning."""
    precision = network.precision_["precision"]
    device = next(network.model_.parameters()).device
    budget: dict[str, Any] = {"max_iter": settings.max_iter if settings.max_seconds is None else UNLIMITED}
    budget |= {"max_seconds": settings.max_seconds, "precision": precision}

    def decoder(images: Tensor) -> nn.Module:
        return auto_network((settings.latent_dim,), images.shape[1:])

    def chance() -> torch.Generator:
        return torch.Generator(device).manual_seed(settings.seed)

    def by_vae(images: Tensor, n: int) -> tuple[Tensor, Tensor | None, float]:
        learned = vae.learn(images, decoder(images), noise_std=settings.noise_std, generator=chance(), **budget)
        return vae.sample(learned, n, chance()), vae.reconstruct(learned, images), learned.history[-1]["seconds"]

    def by_dcgan(images: Tensor, n: int) -> tuple[Tensor, Tensor | None, float]:
        learned = dcgan.learn(images, decoder(images), generator=chance(), **budget)
        return dcgan.sample(learned, n, chance()), None, learned.history[-1]["seconds"]

    return {"VAE": by_vae, "DCGAN": by_dcgan}


def _draw_by_baselines(
    settings: ObjectsSettings, folder: RunFolder, network: GeneratorNetwork, train: np.ndarray, n: int
) -> list[Drawn]:
    """What the others give; each is kept in the run folder, and not learned again after an interruption."""
    drawn = []
    for method, learn_and_sample in _baselines(settings, network).items() if settings.baselines else ():
        kept = folder.path / f"baseline {method}"
        if not kept.exists():
            with show_stage(f"for comparison: {method}"):
                samples, rebuilt, seconds = learn_and_sample(torch.from_numpy(train), n)
            error = None if rebuilt is None else metrics.error(rebuilt.numpy(), train)
            write_folder(kept, {"samples": samples}, {"error": error, "seconds": seconds})
        tensors, facts = read_folder(kept)
        drawn.append(Drawn(method, tensors["samples"].numpy(), facts["error"], facts["seconds"]))
    return drawn


def _table(drawn: list[Drawn], judges: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for one in drawn:
        quality = None
        if np.isfinite(one.samples).all():  # who diverged is not judged
            with show_stage(f"quality of samples: {one.method}"):
                quality = compare_samples(one.samples[: len(judges)], judges)
        rows.append(
            {
                "method": one.method,
                "kernel distance": quality and quality.kernel_distance,
                "precision": quality and quality.precision,
                "recall": quality and quality.recall,
                "error, training images": one.error if quality else None,
                "seconds": None if one.seconds is None else round(one.seconds, 1),
            }
        )
    return rows


def _walk(settings: ObjectsSettings, network: GeneratorNetwork, train: np.ndarray) -> tuple[str, np.ndarray, int, str]:
    """Name, images, images in a row and caption of the picture of the latent space."""
    if settings.latent_dim <= 2:
        z = latent_grid(settings.latent_dim)
        caption = "f(z) for z from -2 to 2; the first factor grows to the right, the second downwards."
        return "grid", network.inverse_transform(z), 9, caption
    rng = np.random.default_rng(settings.seed)
    corners = train[rng.choice(len(train), N_CORNERS, replace=len(train) < N_CORNERS)]
    z = sphere_interpolation(network.transform(corners), INTERPOLATED)
    caption = "f(z) for z between those inferred from four training images, which stand at the corners."
    return "interpolation", network.inverse_transform(z), INTERPOLATED, caption


def run(settings: ObjectsSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, sample, interpolate, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the images cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    rng = np.random.default_rng(settings.seed)
    images, is_new = read_whole_images(
        settings, folder, settings.source, rng, "learn from incomplete images by: abpnet complete"
    )
    train, new = images.pixels[~is_new], images.pixels[is_new]
    network = new_network(settings, latent_dim=settings.latent_dim, noise_std=settings.noise_std, recipe="objects")
    network = learn(network, train, folder, title="learning")

    judges = (new if len(new) > 1 else train)[: min(len(train), MOST_COMPARED)]
    n_drawn = max(len(judges), 4 * SHOWN)
    rebuilt = network.inverse_transform(network.latents_)
    seconds = folder.metrics()[-1]["seconds"]
    samples = network.sample(n_drawn, random_state=settings.seed)
    drawn = [Drawn(OURS, samples, metrics.error(rebuilt, train), seconds)]
    drawn += _draw_by_baselines(settings, folder, network, train, n_drawn)
    real = [Drawn("training images themselves", train, None, None)] if len(new) > 1 else []
    table = _table([*drawn, *real], judges)

    scale = max(1, 64 // train.shape[-1])

    def show(name: str, shown: np.ndarray, n_columns: int, caption: str) -> str:
        path = folder.path / f"{name}.png"
        figures.save_picture(path, figures.grid(shown, n_columns, scale))
        return report.picture(path, caption, pixelated=True)

    name, walk, n_columns, caption = _walk(settings, network, train)
    sections = {name.capitalize(): [show(name, walk, n_columns, caption)]}
    for one in drawn:
        name = "samples" if one.method == OURS else f"samples_{one.method.lower()}"
        caption = "f(z) of new z drawn from N(0, I)."
        sections[f"Samples: {one.method}"] = [show(name, one.samples[: 4 * SHOWN], SHOWN, caption)]
    rows = {"original": train[:SHOWN], "f(z)": rebuilt[:SHOWN]}
    figures.save_picture(folder.path / "reconstructions.png", figures.rows_of_images(rows, scale))
    caption = "Training images, and f(z) where their chains stand."
    sections["Training images"] = [report.picture(folder.path / "reconstructions.png", caption, pixelated=True)]
    kind = (
        "new images, which no method has seen"
        if real
        else "training images; --new-images or --new-source would make it fairer"
    )
    by_whom = report.paragraph(f"Judged by {len(judges)} {kind}.")
    sections["Comparison"] = [report.table(table, ours=OURS), by_whom, report.paragraph(EXPLANATION)]
    sections |= skipped_section(images.skipped)
    sections["Learning"] = curves(folder)
    sections["How to get this again"] = reproduction(settings, folder)
    report.write_report(folder.path / "report.html", f"{len(train)} objects: {settings.source}", sections)
    return {
        "n_training": len(train),
        "n_new": len(new),
        "judged by": "new images" if real else "training images",
        **folder.metrics()[-1],
        "table": table,
        **skipped_result(images.skipped),
    }
