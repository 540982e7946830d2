"""Sounds in and out: any file that libsndfile reads becomes one channel of float32 in [-1, 1] at the working rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from abpnet.data.files import open_file
from abpnet.data.limits import Limits
from abpnet.errors import InputError

__all__ = ["load_sound", "save_sound"]

# A sound that never gets louder is silence: a sixteen-bit file cannot hold less.
FAINTEST = 2.0**-15
# Beyond this, sums of samples need not be finite.
LOUDEST = float(np.finfo(np.float32).max)
# Samples per second.
LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000
# Ratios of odd rates are rounded to such a denominator, or resampling by them would take minutes: 1 part in 10^9 or so.
MOST_STEPS = 2**16
# Frames of a file that does not tell how many it has.
UNKNOWN = 2**63 - 1
# What the header announces is not believed: memory is taken for so many samples, of all channels, at a time.
BLOCK = 2**20
# Of the announced frames so many must be there; some kinds of files round their length up.
WHOLE = 0.99
# In float64, as blocks and as a whole.
BYTES_PER_FRAME = 16


def _blocks(file: Any, n_frames: int) -> Iterator[np.ndarray]:
    """All channels of the next frames, float64 (frames, channels), until there are so many or the file ends."""
    most = max(1, BLOCK // file.channels)
    while n_frames > 0:
        block = file.read(min(n_frames, most), dtype="float64", always_2d=True)
        if not len(block):
            return
        n_frames -= len(block)
        yield block


def _decode(path: str | Path, descriptor: int, most_seconds: float, limits: Limits) -> tuple[np.ndarray, int]:
    """The mean of the channels, float64 (frames,), and how many of them are a second."""
    import soundfile

    # By its descriptor, since with a name libsndfile looks into other files beside it.
    with soundfile.SoundFile(descriptor, closefd=False) as file:
        if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
            raise InputError(
                f"{path}: {file.samplerate:,} samples per second; expected {LOWEST_RATE} to {HIGHEST_RATE:,}: its "
                "header is damaged, or this is no sound"
            )
        most = math.ceil(min(most_seconds * file.samplerate, UNKNOWN))
        n_frames = file.frames
        if file.seekable() and n_frames < UNKNOWN:
            n_frames = min(n_frames, most)
            limits.check_bytes(path, n_frames * BYTES_PER_FRAME)
            if n_frames < file.frames:
                file.seek((file.frames - n_frames) // 2)
        file.seekable = lambda: False  # or soundfile seeks after every block, which some formats cannot
        mono: list[np.ndarray] = []
        n_read = 0
        for block in _blocks(file, n_frames):
            if not (np.abs(block) <= LOUDEST).all():
                raise InputError(f"{path}: holds samples that are no finite numbers; save it anew from the original")
            n_read += len(block)
            limits.check_bytes(path, n_read * BYTES_PER_FRAME)
            mono.append(block.mean(1))
        if not n_read:
            raise InputError(f"{path}: holds no samples; expected a sound")
        if n_frames < UNKNOWN and n_read < WHOLE * n_frames:
            raise InputError(
                f"{path}: ends after {n_read:,} of the {n_frames:,} frames to read; it was cut off or damaged, save it "
                "anew from the original"
            )
        start = max(0, n_read - most) // 2
        return np.concatenate(mono)[start : start + most], file.samplerate


def load_sound(
    path: str | Path, *, rate: int, most_seconds: float = math.inf, limits: Limits = Limits()
) -> Float[np.ndarray, "samples"]:
    """Read one sound.

    Channels are averaged. A sound of more than full scale, which files of floating-point numbers can hold, is scaled
    down to it.

    Args:
        path: Any file that libsndfile reads: WAV, FLAC, OGG, MP3, AIFF, ...; by its content, whatever its name.
        rate: Samples per second of the result; others, of 100 to 1,000,000 a second, are resampled.
        most_seconds: Of a longer sound only the middle is read.
        limits: What is refused before it is decoded: 16 bytes a frame, and as many a sample of the result.

    Returns:
        float32 (samples,) in [-1, 1].

    Raises:
        InputError: If the file cannot be read as a sound, is empty, silent or cut off, holds something else than
            numbers, or more than the limits allow.
    """
    import soundfile
    from scipy.signal import resample_poly

    try:
        with open_file(path, "a sound") as stream:
            mono, source_rate = _decode(path, stream.fileno(), most_seconds, limits)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".")
        raise InputError(f"{path}: not a sound that can be read ({reason}); save it as WAV, FLAC, OGG or MP3") from None
    ratio = Fraction(rate, source_rate).limit_denominator(MOST_STEPS)
    limits.check_bytes(path, math.ceil(len(mono) * ratio) * BYTES_PER_FRAME)
    resampled = resample_poly(mono, ratio.numerator, ratio.denominator)
    loudest = np.abs(resampled).max()
    if loudest < FAINTEST:
        raise InputError(f"{path}: is silent (no sample above {FAINTEST:.1g} of full scale)")
    return (resampled / max(loudest, 1.0)).astype(np.float32)


def save_sound(path: str | Path, samples: Float[np.ndarray, "samples"], rate: int) -> None:
    """Write samples in [-1, 1], clipped to that range, as a WAV file of 16 bits."""
    import soundfile

    soundfile.write(Path(path), np.clip(samples, -1, 1), rate, subtype="PCM_16", format="WAV")
