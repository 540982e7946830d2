"""Videos synthesised by several methods: compared with the original, shown, written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from abpnet import figures, metrics, report
from abpnet.data.videos import Clip, save_gif, save_mp4
from abpnet.runs import RunFolder
from abpnet.tasks.reading import skipped_result, skipped_section
from abpnet.tasks.session import curves, reproduction
from abpnet.tasks.settings import LearningSettings
from abpnet.temporal_statistics import SEGMENT, difference_distance, spectral_distance, temporal_spectrum

__all__ = ["Synthesiser", "compare", "write_synthesis"]

# Syntheses that are scored, and their length at least: statistics of short ones tell more of chance than of the method.
N_SCORED, FEWEST_SCORED = 5, 240
SHOWN, SECONDS_SHOWN = 10, 2.0
REFERENCE = "original, second half against first"
EXPLANATION = (
    f"Mean and standard deviation over {N_SCORED} simulations, each as long as the original and of {FEWEST_SCORED} "
    "frames at least. Spectral distance: root mean square difference of the pixels' power spectra in time. Difference "
    "distance: Wasserstein distance between the distributions of frame differences, in thousandths of the dynamic "
    "range. Error: of the original's frames, explained by their factors, as a fraction of the range. Sharpness: "
    "mean difference of neighbouring pixels of synthesised frames, over the original's."
)


@dataclass(frozen=True)
class Synthesiser:
    """A way to synthesise a video.

    Attributes:
        name: Its name.
        synthesise: Takes a number of frames and a source of chance; returns (n, channels, height, width).
        reconstruction: The original as it explains it.
        n_parameters: Numbers that were learned.
    """

    name: str
    synthesise: Callable[[int, np.random.Generator], np.ndarray]
    reconstruction: np.ndarray
    n_parameters: int


def _sharpness(frames: np.ndarray) -> float:
    return float(np.abs(np.diff(frames, axis=-1)).mean() + np.abs(np.diff(frames, axis=-2)).mean())


def _distances(frames: np.ndarray, original: np.ndarray) -> list[float]:
    rounded = np.round((np.clip(frames, -1, 1) + 1) * 127.5) / 127.5 - 1  # as a file would hold them
    return [
        spectral_distance(rounded, original),
        1e3 * difference_distance(rounded, original),
        _sharpness(rounded) / max(_sharpness(original), 1e-12),
    ]


def _row(method: str, scores: np.ndarray, error: float | None, n_parameters: int | None) -> dict[str, Any]:
    (spectral, difference, sharpness), (spectral_spread, difference_spread, _) = scores.mean(0), scores.std(0)
    return {
        "method": method,
        "spectral distance, dB": float(spectral),
        "its spread": float(spectral_spread),
        "difference distance": float(difference),
        "spread": float(difference_spread),
        "error": error,
        "sharpness": float(sharpness),
        "parameters": n_parameters,
    }


def compare(methods: Sequence[Synthesiser], original: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """One row for each method, and one for the original's own halves: as close as another piece of it comes.

    Args:
        methods: Ours first.
        original: (n, channels, height, width).
        seed: Of the simulations.
    """
    rows = []
    for method in methods:
        scores = [
            _distances(
                method.synthesise(max(len(original), FEWEST_SCORED), np.random.default_rng([seed, index])), original
            )
            for index in range(N_SCORED)
        ]
        error = metrics.error(method.reconstruction, original)
        rows.append(_row(method.name, np.array(scores), error, method.n_parameters))
    half = len(original) // 2
    rows.append(_row(REFERENCE, np.array([_distances(original[half:], original[:half])]), None, None))
    return rows


def _pictures(
    folder: RunFolder, clip: Clip, methods: Sequence[Synthesiser], syntheses: Sequence[np.ndarray]
) -> list[str]:
    """Videos, a strip of frames and the spectra, written; parts of the report."""
    videos = {"synthesis": syntheses[0], "original": clip.frames}
    if len(syntheses) > 1:
        videos["linear dynamic system"] = syntheses[1]
    for name, frames in videos.items():
        save_mp4(folder.path / f"{name}.mp4", frames, clip.frame_rate)
    save_gif(folder.path / "synthesis.gif", syntheses[0], clip.frame_rate)
    rows = {"original": clip.frames} | {m.name: frames for m, frames in zip(methods, syntheses, strict=True)}
    shortest = min(len(frames) for frames in rows.values())
    step = max(1, min(round(SECONDS_SHOWN * clip.frame_rate), shortest) // SHOWN)
    strip = {name: frames[:shortest:step][:SHOWN] for name, frames in rows.items()}
    scale = max(1, 64 // clip.frames.shape[-1])
    figures.save_picture(folder.path / "frames.png", figures.rows_of_images(strip, scale))
    segment = min(SEGMENT, shortest)
    spectra = {name: temporal_spectrum(frames, segment).mean((1, 2)) for name, frames in rows.items()}
    figures.save_spectra(folder.path / "spectra.png", spectra)
    return [
        report.picture(folder.path / "synthesis.gif", f"Synthesis, {len(syntheses[0])} frames.", pixelated=True),
        report.picture(folder.path / "frames.png", f"Every {step}th frame, from the first.", pixelated=True),
        report.picture(folder.path / "spectra.png", "Power of the pixels' courses in time."),
    ]


def write_synthesis(
    settings: LearningSettings, folder: RunFolder, clip: Clip, methods: Sequence[Synthesiser], n_frames: int
) -> dict[str, Any]:
    """Synthesise, compare, and write videos, pictures and the report.

    Args:
        settings: All settings.
        folder: The run's folder.
        clip: The original.
        methods: Ours first, then linear dynamic systems.
        n_frames: Length of the videos.

    Returns:
        What stands in result.json.
    """
    syntheses = [method.synthesise(n_frames, np.random.default_rng(settings.seed)) for method in methods]
    shown = _pictures(folder, clip, methods, syntheses)
    table = compare(methods, clip.frames, settings.seed)
    sections = {
        "Original and synthesis": shown,
        "Comparison": [
            report.table(table, ours=methods[0].name),
            report.paragraph(EXPLANATION),
        ],
        "Learning": curves(folder),
        **skipped_section(clip.skipped),
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", "Dynamic texture", sections)
    return {
        "shape": list(clip.frames.shape),
        "frame_rate": clip.frame_rate,
        "table": table,
        **folder.metrics()[-1],
        **skipped_result(clip.skipped),
    }
