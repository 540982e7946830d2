"""How sure completed images are: draws of their hidden pixels, intervals, and how often these hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from abpnet import figures, report
from abpnet.chance import seed_for
from abpnet.estimator import GeneratorNetwork
from abpnet.progress import show_stage
from abpnet.runs import RunFolder
from abpnet.tasks.recovery import SHOWN, Part
from abpnet.uncertainty import coverage, credible_interval

__all__ = ["FEWEST_DRAWS", "LEVEL", "calibrate", "describe", "hold_back"]

LEVEL = 0.9
# Of an interval of that level.
FEWEST_DRAWS = 19
# Images whose observed pixels the width of intervals is taken from, which share of them, and the fewest new images that
# do for it.
MOST_CALIBRATING, SHARE_HELD_BACK, ENOUGH_NEW = 30, 0.1, 10
# Values below which nothing can be said about the width of intervals.
FEWEST_KNOWN = 100
CAPTION = (
    "each column is one image; draws = two of {} from the posterior; low, high = nine of ten hidden pixels should lie "
    "between them; deviation = standard deviation of the draws, brightest = {:.2f} of the dynamic range"
)


def hold_back(observed: np.ndarray, is_new: np.ndarray, seed: int) -> np.ndarray:
    """Observed pixels of some training images that learning is not to see; none if there are enough new images.

    What is learned is known too well to tell how wide intervals have to be.

    Args:
        observed: (n, channels, height, width), NaN = not observed.
        is_new: Which images are not learned from.
        seed: Of what is drawn.
    """
    held_back = np.zeros(observed.shape, bool)
    if is_new.sum() >= ENOUGH_NEW:
        return held_back
    rng = np.random.default_rng(seed_for("pixels held back", seed))
    some = np.flatnonzero(~is_new)[:MOST_CALIBRATING]
    seen = ~np.isnan(observed[some])
    chosen = (rng.random((len(some), 1, *observed.shape[2:])) < SHARE_HELD_BACK) & seen
    chosen &= (seen & ~chosen).any((1, 2, 3), keepdims=True)
    held_back[some] = chosen
    return held_back


def calibrate(
    network: GeneratorNetwork,
    folder: RunFolder,
    observed: np.ndarray,
    held_back: np.ndarray,
    is_new: np.ndarray,
    seed: int,
) -> str:
    """Scale the noise of draws by pixels that learning did not see, and save the model with that scale.

    Where too few are known, the noise stays as it is.

    Args:
        network: What was learned; its `noise_scale_` is set.
        folder: The run's folder.
        observed: All images, NaN = not observed.
        held_back: Their pixels that learning was not shown, from `hold_back`.
        is_new: Which images were not learned from.
        seed: Of what is hidden.

    Returns:
        What was done, in a sentence.
    """
    if held_back.any():
        images = np.flatnonzero(held_back.any((1, 2, 3)))
        known, source = held_back[images].sum(), f"pixels of {len(images)} training images that learning was not shown"
    else:
        images = np.flatnonzero(is_new)[:MOST_CALIBRATING]
        known, source = SHARE_HELD_BACK * (~np.isnan(observed[images])).sum(), f"pixels of {len(images)} new images"
    if known < FEWEST_KNOWN:
        return "Their width is not calibrated: too few pixels are known that learning was not shown."
    with show_stage("calibrating intervals"):
        where = held_back[images] if held_back.any() else None
        network.calibrate(observed[images], LEVEL, SHARE_HELD_BACK, random_state=seed, held_back=where)
    network.save(folder.path / "model")
    return f"Their width is calibrated by {source}: noise times {network.noise_scale_:.2f}."


def describe(
    draw: Callable[[np.ndarray, int], np.ndarray], folder: RunFolder, part: Part, n_draws: int, scale: int, width: str
) -> tuple[list[str], dict[str, Any]]:
    """A picture of the first images' uncertainty for the report, and figures for result.json.

    Args:
        draw: So many draws, (n_draws, n, *shape), of images, NaN = not observed.
        folder: The run's folder.
        part: Some images, completed.
        n_draws: Draws from the posterior of each.
        scale: Every pixel becomes a square of this side.
        width: What the width of the intervals rests upon, in a sentence.

    Returns:
        Parts of the report; and the mean standard deviation of hidden pixels, in parts of the dynamic range, and the
        share of them that lies in their intervals, if it is known.
    """
    observed, truth, scored = part.shown[:SHOWN], part.truth[:SHOWN], part.scored[:SHOWN]
    with show_stage(f"drawing {n_draws} times: {part.name}"):
        draws = draw(observed, n_draws).clip(-1, 1)
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
    caption = f"{part.name}: {CAPTION.format(n_draws, brightest / 2)}. {width}"
    parts = [report.picture(path, caption, pixelated=True)]
    if scored.any():
        found["held"] = coverage(truth, interval, scored)
        parts.append(
            report.paragraph(
                f"Of the hidden pixels of these images {100 * found['held']:.1f} % lie between low and high, where "
                f"{100 * LEVEL:.0f} % should."
            )
        )
    return parts, found
