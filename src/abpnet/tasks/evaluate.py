"""Experiment 7: how well models with more and more factors explain images they were not learned from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from abpnet import figures, metrics, report
from abpnet.baselines import low_rank, vae
from abpnet.data.masks import draw_mask
from abpnet.data.variations import vary
from abpnet.errors import InputError
from abpnet.evaluation import evaluate
from abpnet.model import GeneratorModel
from abpnet.networks.building import AUTO_WIDTH, auto_network
from abpnet.observations import Projection
from abpnet.progress import show_stage
from abpnet.recipes import DECAY_EXAMPLES, RECIPES, Recipe
from abpnet.runs import RunFolder
from abpnet.tasks.reading import skipped_result, skipped_section
from abpnet.tasks.recovery import MOST_FACTORS, OURS, SHOWN, ImageSettings, read_whole_images
from abpnet.tasks.session import curves, learn, load_model, new_network, reproduction, run_part
from abpnet.tasks.settings import check_number

__all__ = ["EvaluateSettings", "run"]

COMPONENTS, MORE_COMPONENTS, EXPLAINED_COMPONENTS, ENCODED, EXPLAINED = (
    "principal components",
    "principal components, of all that ours learned from",
    "principal components, factors inferred as ours",
    "variational auto-encoder (same decoder)",
    "its decoder, factors inferred as ours",
)
MOST_VERSIONS, MOST_CHANNELS, MOST_DECAY = 1000, 4096, 100
OF_LEARNING = ("latent_dims", "mirror", "versions", "width", "emission", "weight_decay")
EXPLANATION = (
    "Error on new images, none of which was learned from: mean absolute difference as a fraction of the dynamic range."
)
MORE = " Ours and the auto-encoder learned from mirror images or versions of the training images as well."
SAVED_EXPLANATION = (
    f"{EXPLANATION} Reconstruction: all pixels observed. Completion: hidden pixels. Recovery: projections observed."
)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ImageSettings):
    """Learn models of several numbers of factors, and reconstruct new images by each; or judge saved runs.

    For example:

      abpnet evaluate faces/ --new-images 300 --latent-dims 20 60 100 200 --max-seconds 600 --out runs/evaluate
      abpnet evaluate faces/ --new-source others/ --runs runs/a runs/b --mask pepper:0.5 --out runs/compared
    """

    out: Path = Path("runs/evaluate")
    """Folder of the run; it must be new or empty."""
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """Folder of images, .npz or .npy file, or builtin:digits."""
    latent_dims: tuple[int, ...] = (20, 60, 100, 200)
    """Numbers of latent factors; one model is learned for each."""
    mirror: bool = False
    """Learn from the mirror image of every training image as well: for faces and the like, which could be either."""
    versions: int = 1
    """Learn from so many versions of every training image: itself, and others shifted, turned, scaled, bent and lit a
    little differently."""
    width: int = AUTO_WIDTH
    """Channels of the network's first map, or units of its layers: wider ones explain more, and learn slower."""
    emission: Literal["gaussian", "laplace"] = "gaussian"
    """What the factors leave unexplained is like: laplace has heavier tails, and smaller absolute errors."""
    weight_decay: float = RECIPES["default"].weight_decay
    """How fast weights decay that are learned from 1000 images; from fewer faster, from more slower in proportion."""
    runs: tuple[str, ...] = ()
    """Folders of finished runs to judge, instead of learning."""
    mask: str | None = None
    """With --runs: also complete the new images after hiding pepper:FRACTION[:BLOCK], region:SIDE or the black of
    FILE.png in them."""
    measurements: int | None = None
    """With --runs: also recover the new images from this many random projections."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        if not self.new_images and self.new_source is None:
            raise InputError("evaluate needs new images to judge on; give --new-images N or --new-source PATH")
        if not self.latent_dims or len(set(self.latent_dims)) < len(self.latent_dims):
            raise InputError("--latent-dims: give at least one number, and none twice")
        for latent_dim in self.latent_dims:
            check_number("--latent-dims", latent_dim, 1, MOST_FACTORS)
        check_number("--versions", self.versions, 1, MOST_VERSIONS)
        check_number("--width", self.width, 1, MOST_CHANNELS)
        check_number("--weight-decay", self.weight_decay, 0, MOST_DECAY)
        if self.runs and any(getattr(self, name) != getattr(EvaluateSettings, name) for name in OF_LEARNING):
            options = ", ".join("--" + name.replace("_", "-") for name in OF_LEARNING)
            raise InputError(f"{options} belong to learning; with --runs nothing is learned")
        if not self.runs and (self.mask is not None or self.measurements is not None):
            raise InputError(
                "--mask and --measurements belong to --runs; what is learned here is judged on whole images"
            )


def _recipe(weight_decay: float, versions: int) -> Recipe:
    """The default one, whose weights decay as the number of images asks for, however many versions each has."""
    return replace(RECIPES["default"], weight_decay=weight_decay, weight_decay_examples=DECAY_EXAMPLES * versions)


def _error(truth: np.ndarray, estimate: np.ndarray) -> float:
    return metrics.error(np.clip(estimate.reshape(truth.shape), -1, 1), truth)


def _judge(settings: EvaluateSettings, folder: RunFolder, train: np.ndarray, new: np.ndarray) -> dict[str, Any]:
    """Learn with one number of factors, reconstruct the new images by every method, and draw them."""
    (latent_dim,) = settings.latent_dims
    learned = np.concatenate([train, train[..., ::-1]]) if settings.mirror else train
    learned = vary(learned, settings.versions, settings.seed)
    network = new_network(
        settings,
        latent_dim=latent_dim,
        noise_std=settings.noise_std,
        emission=settings.emission,
        network=auto_network((latent_dim,), train.shape[1:], width=settings.width),
        recipe=_recipe(settings.weight_decay, len(learned) // len(train)),
    )
    network = learn(network, learned, folder, title=f"learning, d = {latent_dim}")
    last = folder.metrics()[-1]
    pictures = {"original": new}
    rows: list[dict[str, Any]] = []

    def compare(method: str, reconstruct: Callable[[], np.ndarray], seconds: float = 0.0) -> None:
        start = time.monotonic()
        with show_stage(f"d = {latent_dim}: {method}"):
            pictures[method] = reconstruct()
        seconds = round(seconds + time.monotonic() - start, 1)
        rows.append({"method": method, "error": _error(new, pictures[method]), "seconds": seconds})

    compare(OURS, lambda: network.reconstruct(new), last["seconds"])
    if settings.baselines:
        compare(COMPONENTS, lambda: low_rank.reconstruct(train, new, latent_dim))
        if len(learned) > len(train):
            compare(MORE_COMPONENTS, lambda: low_rank.reconstruct(learned, new, latent_dim))
        generator = torch.Generator(next(network.model_.parameters()).device).manual_seed(settings.seed)
        with show_stage(f"d = {latent_dim}: learning the auto-encoder"):
            encoded = vae.learn(
                torch.from_numpy(learned),
                network.model_.network,
                noise_std=settings.noise_std,
                generator=generator,
                max_iter=settings.max_iter,
                max_seconds=None if settings.max_seconds is None else last["seconds"],
                precision=network.precision_["precision"],
            )
        spent = encoded.history[-1]["seconds"]
        compare(ENCODED, lambda: vae.reconstruct(encoded, torch.from_numpy(new)).numpy(), spent)
        ours, images = network.model_, torch.from_numpy(new)
        judged = evaluate(
            GeneratorModel(encoded.model.network, ours.latent_shape, emission=ours.emission),
            images,
            precision=encoded.precision,
        )
        rows.append({"method": EXPLAINED, "error": judged.reconstruction, "seconds": None})
        if settings.emission != "gaussian":
            judged = evaluate(low_rank.as_model(train, latent_dim, ours.emission), images)
            rows.append({"method": EXPLAINED_COMPONENTS, "error": judged.reconstruction, "seconds": None})
    shown = {name: np.clip(images[:SHOWN], -1, 1) for name, images in pictures.items()}
    picture = figures.rows_of_images(shown, max(1, 64 // new.shape[-1]))
    figures.save_picture(folder.path / "reconstructions.png", picture)
    chains = {name: last[name] for name in ("iteration", "seconds", "latent_mean", "latent_std")}
    return {"latent_dim": latent_dim, "errors": rows, **chains}


def _table(outcomes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per method, one column per number of factors; last what ours is of the principal components' error."""
    rows = []
    for place, first in enumerate(outcomes[0]["errors"]):
        errors = {f"d = {outcome['latent_dim']}": outcome["errors"][place]["error"] for outcome in outcomes}
        rows.append({"method": first["method"]} | errors)
    by_method = {row["method"]: row for row in rows}
    if COMPONENTS in by_method:
        ratios = {
            column: error / by_method[COMPONENTS][column] if by_method[COMPONENTS][column] > 0 else None
            for column, error in by_method[OURS].items()
            if column != "method"
        }
        rows.append({"method": "ours / principal components"} | ratios)
    return rows


def _judge_saved(settings: EvaluateSettings, new: np.ndarray) -> list[dict[str, Any]]:
    """One row per run: reconstruction, completion and recovery of the new images."""
    shape = new.shape[1:]
    mask = None
    if settings.mask is not None:
        mask = torch.from_numpy(
            draw_mask(settings.mask, new.shape, np.random.default_rng(settings.seed), settings.limits)
        )
    projection = None
    if settings.measurements is not None:
        check_number("--measurements", settings.measurements, 1, int(np.prod(shape)))
        projection = Projection.random(shape, settings.measurements, settings.seed)
    rows = []
    for path in settings.runs:
        network = load_model(Path(path), settings.device)
        if network.signal_shape_ != shape:
            raise InputError(f"{path}: its signals have shape {network.signal_shape_}, the new images {shape}")
        with show_stage(f"judging {path}"):
            judged = evaluate(
                network.model_,
                torch.from_numpy(new),
                mask=mask,
                projection=projection,
                precision=network.precision_["precision"],
            )
        names = ("reconstruction", f"completion ({settings.mask})", f"recovery ({settings.measurements})")
        rows.append(
            {"method": path} | {name: value for name, value in zip(names, judged, strict=True) if value is not None}
        )
    return rows


def _parts(settings: EvaluateSettings) -> list[EvaluateSettings]:
    """One run for each number of factors."""
    return [
        replace(settings, latent_dims=(latent_dim,), out=settings.out / f"d{latent_dim}", overwrite=False)
        for latent_dim in settings.latent_dims
    ]


def run(settings: EvaluateSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, reconstruct, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder; each number of factors has its own in it.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the images or the runs cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    rng = np.random.default_rng(settings.seed)
    images, is_new = read_whole_images(settings, folder, settings.source, rng, "evaluate compares whole images")
    train, new = images.pixels[~is_new], images.pixels[is_new]
    result: dict[str, Any] = {"n_training": len(train), "n_new": len(new)} | skipped_result(images.skipped)
    sections: dict[str, list[str]] = {}
    if settings.runs:
        result["table"] = _judge_saved(settings, new)
        explanation = SAVED_EXPLANATION
    else:
        if len(settings.latent_dims) == 1:
            result["models"] = [_judge(settings, folder, train, new)]
            sections["Learning"] = curves(folder)
            pictured = [folder]
        else:
            parts = [run_part("evaluate", part, run) for part in _parts(settings)]
            result["models"] = [outcome["models"][0] for _, outcome in parts]
            pictured = [part for part, _ in parts]
            named = zip(settings.latent_dims, pictured, strict=True)
            folder.log_anew([{"latent_dim": d} | row for d, part in named for row in part.metrics()])
        for latent_dim, part in zip(settings.latent_dims, pictured, strict=True):
            picture = report.picture(part.path / "reconstructions.png", "New images.", pixelated=True)
            sections[f"{latent_dim} factors"] = [picture]
        result["table"] = _table(result["models"])
        explanation = EXPLANATION + MORE * (settings.mirror or settings.versions > 1)
    errors = [report.table(result["table"], ours=OURS), report.paragraph(explanation)]
    left_out = skipped_section(images.skipped)
    sections = {"Errors": errors, **sections, **left_out, "How to get this again": reproduction(settings, folder)}
    report.write_report(folder.path / "report.html", f"{len(new)} new images: {settings.source}", sections)
    return result
