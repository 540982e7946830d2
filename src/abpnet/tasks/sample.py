"""New signals from a finished run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from abpnet import figures, report
from abpnet.data.images import is_image, save_image
from abpnet.data.sounds import save_sound
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.networks import SOUND_STRIDE, SoundNetwork
from abpnet.runs import RunFolder
from abpnet.tasks.session import load_model, reproduction
from abpnet.tasks.settings import RunSettings, check_number

__all__ = ["SampleSettings", "run"]

MOST_SHOWN, MOST_HEARD = 100, 8
# Sounds: shortest and longest that can be asked for.
SECONDS = (0.1, 600.0)


@dataclass(frozen=True, kw_only=True)
class SampleSettings(RunSettings):
    """Draw new images or sounds from what a run has learned.

    For example:

      abpnet sample runs/digits -n 64 --out runs/digits-samples
      abpnet sample runs/texture -n 4 --map 20 30 --out runs/large-textures
      abpnet sample runs/rain -n 2 --seconds 60 --out runs/more-rain
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run, or of a saved model."""
    out: Path = Path("runs/sample")
    """Folder of the results; it must be new or empty."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    """How many."""
    map: tuple[int, int] | None = None
    """Height and width of the map of latent factors, for textures: the images grow with it."""
    seconds: float | None = None
    """Length of each sound, for sounds."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        if self.n < 1:
            raise InputError(f"-n must be at least 1, got {self.n}")
        if self.map is not None and min(self.map) < 1:
            raise InputError(f"--map must be at least 1 1, got {' '.join(map(str, self.map))}")
        check_number("--seconds", self.seconds, *SECONDS)


def _sounds(settings: SampleSettings, folder: RunFolder, network: GeneratorNetwork, rate: int) -> dict[str, Any]:
    """Draw sounds, and write every one as a WAV file, a picture of some, and a report."""
    if settings.map is not None:
        raise InputError(f"--map: {settings.source} learned a sound; say --seconds")
    n_samples = network.signal_shape_[0] if settings.seconds is None else round(settings.seconds * rate)
    length = math.ceil(n_samples / SOUND_STRIDE)
    (folder.path / "samples").mkdir(exist_ok=True)
    shown, players = {}, []
    for index in range(settings.n):
        seed = int(np.random.SeedSequence([settings.seed, index]).generate_state(1)[0])
        sound = network.sample(1, latent_shape=(length,), random_state=seed)[0, :n_samples]
        path = folder.path / "samples" / f"{index:06d}.wav"
        save_sound(path, sound, rate)
        if index < MOST_HEARD:
            shown[path.name] = sound
            players.append(report.audio(path, f"{path.name}: f(z), z drawn from N(0, I).", folder.path))
    figures.save_sounds(folder.path / "samples.png", shown, rate)
    sections = {
        "Samples": [*players, report.picture(folder.path / "samples.png", f"{len(shown)} of {settings.n} samples.")],
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", f"Samples of {settings.source}", sections)
    return {"n": settings.n, "shape": [n_samples], "rate": rate}


def run(settings: SampleSettings, folder: RunFolder) -> dict[str, Any]:
    """Draw, and write every sample as a picture or a sound, all pictures as an array, and a report.

    Args:
        settings: All settings.
        folder: The run's folder.

    Raises:
        InputError: If there is no model, or it does not take a map.
    """
    network = load_model(Path(settings.source), settings.device)
    generator_network = network.model_.network
    if isinstance(generator_network, SoundNetwork):
        return _sounds(settings, folder, network, generator_network.rate)
    if settings.seconds is not None:
        raise InputError(f"--seconds: {settings.source} learned no sound")
    try:
        samples = network.sample(settings.n, latent_shape=settings.map, random_state=settings.seed)
    except ValueError as error:
        raise InputError(f"--map: {error}") from None
    np.savez_compressed(folder.path / "samples.npz", samples=samples)
    result = {"n": settings.n, "shape": list(samples.shape[1:])}
    if not is_image(samples.shape[1:]):
        told = report.paragraph(f"{settings.n} samples of shape {samples.shape[1:]} stand in samples.npz.")
        sections = {"Samples": [told], "How to get this again": reproduction(settings, folder)}
        report.write_report(folder.path / "report.html", f"Samples of {settings.source}", sections)
        return result
    images = samples if samples.ndim == 4 else samples[:, None]
    (folder.path / "samples").mkdir(exist_ok=True)
    for index, image in enumerate(images):
        save_image(folder.path / "samples" / f"{index:06d}.png", image)
    shown = images[:MOST_SHOWN]
    scale = max(1, 64 // images.shape[-1])
    n_columns = max(1, min(len(shown), 1024 // (scale * images.shape[-1])))
    figures.save_picture(folder.path / "samples.png", figures.grid(shown, n_columns, scale))
    caption = f"{len(shown)} of {settings.n} samples f(z), z drawn from N(0, I)."
    sections = {
        "Samples": [report.picture(folder.path / "samples.png", caption, pixelated=True)],
        "How to get this again": reproduction(settings, folder),
    }
    report.write_report(folder.path / "report.html", f"Samples of {settings.source}", sections)
    return result
