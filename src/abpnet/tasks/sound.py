"""Experiment 2: learn what a sound is made of from one recording, synthesise as much of it as wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from abpnet import figures, report
from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.cochlea import FADE
from abpnet.data.builtin import BUILTIN_PREFIX, SOUNDS, sound_recording
from abpnet.data.sounds import load_sound, save_sound
from abpnet.errors import InputError
from abpnet.estimator_settings import SMALLEST_NOISE
from abpnet.metrics import difference_of_statistics
from abpnet.networks import SOUND_STRIDE, SoundNetwork, initialise
from abpnet.recipes import RECIPES
from abpnet.rhythm import find_period
from abpnet.runs import RunFolder
from abpnet.sound_distance import mean_distance, measure
from abpnet.sound_statistics import LEAST_SAMPLES, SoundStatistics
from abpnet.tasks.reading import ReadingSettings
from abpnet.tasks.session import curves, learn, new_network, reproduction
from abpnet.tasks.settings import LearningSettings, check_number

__all__ = ["SoundSettings", "run"]

BUILTIN_SECONDS = 5.0
# Less than this is no sample of a texture. Of long recordings the middle is learned.
LEAST_SECONDS, MOST_SECONDS = 1.0, 60.0
N_SCORED = 4
# About how long the sounds of the chains are, whatever the length of the recording.
CHAIN_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class SoundSettings(ReadingSettings, LearningSettings):
    """Learn a sound from one recording and synthesise more of it.

    For example:

      abpnet sound rain.wav --seconds 12 --out runs/rain
      abpnet sound builtin:crackle --max-seconds 60 --out runs/crackle
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECORDING")]
    """Sound file (WAV, FLAC, OGG, MP3, ...), or builtin:chirps, builtin:crackle, builtin:rain."""
    out: Path = Path("runs/sound")
    """Folder of the run; it must be new or empty."""
    seconds: float | None = None
    """Length of the synthesised sound; twice that of the recording by default."""
    rate: int = 11025
    """Samples per second at which the sound is learned and synthesised."""
    rhythm: bool = True
    """Look for a rhythm, and keep it in the synthesis if there is one."""
    width: int = 48
    """Channels of each layer."""
    max_iter: int = 2000
    """Passes over the chains at most."""
    max_seconds: float | None = 120.0
    """Seconds of learning at most."""
    noise_std: float = 0.1
    """How exactly the statistics are explained: standard deviation of their relative error."""
    n_chains: int = 4
    """Sequences of latent factors that are inferred side by side."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--seconds", self.seconds, 0.1, 600)
        check_number("--rate", self.rate, 4000, 48_000)
        check_number("--n-chains", self.n_chains, 1, 10_000)
        check_number("--width", self.width, 1, 10_000)
        check_number("--noise-std", self.noise_std, SMALLEST_NOISE, 1 / SMALLEST_NOISE)


def _recording(settings: SoundSettings) -> np.ndarray:
    """The sound to learn, at the working rate."""
    if settings.source.startswith(BUILTIN_PREFIX):
        name = settings.source.removeprefix(BUILTIN_PREFIX)
        if name not in SOUNDS:
            choices = ", ".join(BUILTIN_PREFIX + known for known in SOUNDS)
            raise InputError(f"{settings.source}: no such built-in sound; choose {choices}")
        return sound_recording(name, BUILTIN_SECONDS, settings.rate)
    sound = load_sound(settings.source, rate=settings.rate, most_seconds=MOST_SECONDS, limits=settings.limits)
    seconds = len(sound) / settings.rate
    least = max(LEAST_SECONDS, LEAST_SAMPLES / settings.rate + 2 * FADE)
    if seconds < least:
        raise InputError(f"{settings.source}: {least:.2g} seconds of sound are needed, got {seconds:.2f}")
    return sound


def run(settings: SoundSettings, folder: RunFolder) -> dict[str, Any]:
    """Learn, synthesise, compare, report; goes on where an interrupted run stopped.

    Args:
        settings: All settings.
        folder: The run's folder.

    Returns:
        What stands in result.json.

    Raises:
        InputError: If the recording cannot be used.
        Interrupted: If the user or the system asked to stop.
    """
    original, rate = _recording(settings), settings.rate
    statistics = SoundStatistics.of(torch.from_numpy(original), rate)
    period = find_period(torch.from_numpy(original), statistics) if settings.rhythm else None
    generator_network = SoundNetwork.with_noise(rate, settings.width, period=period)
    initialise(generator_network, torch.Generator().manual_seed(settings.seed))
    generator_network.start_from(torch.from_numpy(original))
    network = new_network(
        settings,
        latent_dim=(generator_network.latent_dim, round(CHAIN_SECONDS * rate / SOUND_STRIDE)),
        network=generator_network,
        noise_std=settings.noise_std,
        recipe=RECIPES["texture"],
    )
    target = statistics.target.expand(settings.n_chains, -1).numpy()
    network = learn(network, target, folder, title="learning", observation=statistics)

    def synthesise(n: int, n_samples: int, seed: int) -> np.ndarray:
        length = math.ceil(n_samples / SOUND_STRIDE)
        return network.sample(n, latent_shape=(length,), random_state=seed)[:, :n_samples]

    seconds = settings.seconds or 2 * len(original) / rate
    synthesis = synthesise(1, round(seconds * rate), settings.seed)[0]
    fresh = synthesise(N_SCORED, len(original), settings.seed + 1)
    rng = np.random.default_rng(settings.seed)
    noise = [phase_randomised(original[None], rng)[0] for _ in range(N_SCORED)]
    half = len(original) // 2
    halves = difference_of_statistics(measure(original[:half], rate), measure(original[half:], rate))
    table: list[dict[str, Any]] = [
        {"method": "abpnet, fresh z", **mean_distance(fresh, original, rate)},
        {"method": "noise of the same spectrum", **mean_distance(noise, original, rate)},
        {"method": "for reference: two halves of the original", **halves},
    ]
    written = {"original": original, "synthesis": synthesis, "noise": noise[0]}
    for name, sound in written.items():
        save_sound(folder.path / f"{name}.wav", sound, rate)
    shown = {
        "original": original,
        "synthesis, its beginning": synthesis[: len(original)],
        "noise of the same spectrum": noise[0],
    }
    figures.save_sounds(folder.path / "sounds.png", shown, rate)
    duration = len(synthesis) / rate
    sections = {
        "Original and synthesis": [
            report.audio(folder.path / "original.wav", f"Original, {len(original) / rate:.1f} s."),
            report.audio(folder.path / "synthesis.wav", f"Synthesis from fresh z ~ N(0, I), {duration:.1f} s."),
            report.audio(folder.path / "noise.wav", "Noise of the same spectrum."),
            report.picture(folder.path / "sounds.png", "Waveforms and spectrograms."),
        ],
        "Statistics": [
            report.table(table, ours=table[0]["method"]),
            report.paragraph(
                "Root mean square differences from the original of statistics of envelopes behind gammatone filters; "
                "these filters and statistics were not used for learning. 0 is best."
            ),
        ],
        "Learning": curves(folder),
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", f"Sound: {settings.source}", sections)
    return {
        "seconds_of_original": len(original) / rate,
        "seconds_of_synthesis": duration,
        "rate": rate,
        "period": None if period is None else period / rate,
        "table": table,
        **folder.metrics()[-1],
    }
