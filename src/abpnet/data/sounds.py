"""Sounds in and out: any file that libsndfile reads becomes one channel of float32 in [-1, 1] at the working rate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float

from abpnet.errors import InputError

__all__ = ["load_sound", "save_sound"]

# A sound that never gets louder is silence: a sixteen-bit file cannot hold less.
FAINTEST = 2.0**-15


def load_sound(path: str | Path, *, rate: int, most_seconds: float = math.inf) -> Float[np.ndarray, "samples"]:
    """Read one sound.

    Channels are averaged. A sound of more than full scale, which files of floating-point numbers can hold, is scaled
    down to it.

    Args:
        path: Any file that libsndfile reads: WAV, FLAC, OGG, MP3, AIFF, ...
        rate: Samples per second of the result; others are resampled.
        most_seconds: Of a longer sound only the middle is read.

    Returns:
        float32 (samples,) in [-1, 1].

    Raises:
        InputError: If the file cannot be read as a sound, is empty or silent, or holds something else than numbers.
    """
    import soundfile
    from scipy.signal import resample_poly

    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a sound file")
    try:
        with path.open("rb") as stream, soundfile.SoundFile(stream) as file:
            n_frames = min(file.frames, math.ceil(min(most_seconds * file.samplerate, file.frames)))
            file.seek((file.frames - n_frames) // 2)
            samples, source_rate = file.read(n_frames, dtype="float64", always_2d=True), file.samplerate
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a sound") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except soundfile.LibsndfileError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a sound that can be read ({reason}); save it as WAV, FLAC, OGG or MP3") from None
    if len(samples) == 0:
        raise InputError(f"{path}: holds no samples; expected a sound")
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: holds samples that are no finite numbers; save it anew from the original")
    common = math.gcd(rate, source_rate)
    mono = resample_poly(samples.mean(1), rate // common, source_rate // common)
    loudest = np.abs(mono).max()
    if loudest < FAINTEST:
        raise InputError(f"{path}: is silent (no sample above {FAINTEST:.1g} of full scale)")
    return (mono / max(loudest, 1.0)).astype(np.float32)


def save_sound(path: str | Path, samples: Float[np.ndarray, "samples"], rate: int) -> None:
    """Write samples in [-1, 1], clipped to that range, as a WAV file of 16 bits."""
    import soundfile

    soundfile.write(Path(path), np.clip(samples, -1, 1), rate, subtype="PCM_16", format="WAV")
