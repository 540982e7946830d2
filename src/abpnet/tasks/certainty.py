"""How sure completed images are: draws of their hidden pixels, intervals, and how often these hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from abpnet import figures, report
from abpnet.estimator import GeneratorNetwork
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tasks.recovery import SHOWN, Part
from abpnet.uncertainty import coverage, credible_interval

__all__ = ["FEWEST_DRAWS", "LEVEL", "calibrate", "describe"]

LEVEL = 0.9
# Of an interval of that level.
FEWEST_DRAWS = 19
# Images whose observed pixels the width of intervals is taken from, and the fewest new ones that do for it.
MOST_CALIBRATING, ENOUGH_NEW = 30, 10
# Observed values below which nothing can be said about the width of intervals.
FEWEST_OBSERVED = 1000
CAPTION = (
    "each column is one image; draws = two of {} from the posterior; low, high = nine of ten hidden pixels should lie "
    "between them; deviation = standard deviation of the draws, brightest = {:.2f} of the dynamic range"
)


def calibrate(network: GeneratorNetwork, folder: RunFolder, parts: tuple[Part, Part], seed: int) -> None:
    """Scale the noise of draws by pixels of some images that are hidden from it, and save the model with that scale.

    Where too little was observed, the noise stays as it is.

    Args:
        network: What was learned; its `noise_scale_` is set.
        folder: The run's folder.
        parts: Training images and new ones, of which the latter are taken if there are enough.
        seed: Of what is hidden.
    """
    training, new = parts
    images = (new if len(new.shown) >= ENOUGH_NEW else training).shown[:MOST_CALIBRATING]
    if (~np.isnan(images)).sum() >= FEWEST_OBSERVED:
        with show_stage("calibrating intervals"):
            network.calibrate(images, LEVEL, random_state=seed)
        network.save(folder.path / "model")


def describe(
    network: GeneratorNetwork, folder: RunFolder, part: Part, n_draws: int, seed: int, scale: int
) -> tuple[list[str], dict[str, Any]]:
    """A picture of the first images' uncertainty for the report, and figures for result.json.

    Args:
        network: What was learned.
        folder: The run's folder.
        part: Some images, completed.
        n_draws: Draws from the posterior of each.
        seed: Of the draws.
        scale: Every pixel becomes a square of this side.

    Returns:
        Parts of the report; and the mean standard deviation of hidden pixels, in parts of the dynamic range, and the
        share of them that lies in their intervals, if it is known.
    """
    observed, truth, scored = part.shown[:SHOWN], part.truth[:SHOWN], part.scored[:SHOWN]
    with show_stage(f"drawing {n_draws} times: {part.name}"):
        draws = network.impute(observed, n_imputations=n_draws, random_state=seed).clip(-1, 1)
    interval, deviation = credible_interval(draws, LEVEL), draws.std(0).mean(1, keepdims=True)
    hidden, brightest = np.isnan(observed), max(float(deviation.max()), 1e-6)
    rows = {
        "observed": observed,
        "recovered": part.recovered[:SHOWN],
        "draw": draws[0],
        "another": draws[1],
        "low": interval.low,
        "high": interval.high,
        "deviation": 2 * deviation / brightest - 1,
    }
    path = folder.path / f"{part.name}, uncertainty.png"
    figures.save_picture(path, figures.rows_of_images({k: v.astype(np.float32) for k, v in rows.items()}, scale))
    found: dict[str, Any] = {"deviation": float(draws.std(0)[hidden].mean()) / 2 if hidden.any() else 0.0}
    parts = [report.picture(path, f"{part.name}: {CAPTION.format(n_draws, brightest / 2)}.", pixelated=True)]
    if scored.any():
        found["held"] = coverage(truth, interval, scored)
        parts.append(
            report.paragraph(
                f"Of the hidden pixels of these images {100 * found['held']:.1f} % lie between low and high, where "
                f"{100 * LEVEL:.0f} % should."
            )
        )
    return parts, found
