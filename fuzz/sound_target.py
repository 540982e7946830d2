"""Sounds of every container and coding."""

from __future__ import annotations

import io
from collections.abc import Iterator

import soundfile

from abpnet.data import load_sound, sound_recording
from through_files import reads

__all__ = ["read", "seeds"]

RATE = 8000
CODINGS = {
    "WAV": ("PCM_U8", "FLOAT", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"),
    "AIFF": ("PCM_24", "IMA_ADPCM"),
    "FLAC": ("PCM_16",),
    "OGG": ("VORBIS", "OPUS"),
    "MP3": ("MPEG_LAYER_III",),
    "CAF": ("ALAC_16",),
    "AU": ("G723_24",),
    "W64": ("DOUBLE",),
    "VOC": ("PCM_16",),
    "SDS": ("PCM_16",),
    "MAT5": ("PCM_16",),
    "PAF": ("PCM_24",),
    "XI": ("DPCM_16",),
}

read = reads(lambda path: load_sound(path, rate=RATE, most_seconds=60.0), ".wav")


def seeds() -> Iterator[bytes]:
    """Short sounds that can be read."""
    sound = sound_recording("rain", 0.25, RATE)
    for container, codings in CODINGS.items():
        for coding in codings:
            stream = io.BytesIO()
            rate = 44100 if container == "XI" else RATE
            soundfile.write(stream, sound, rate, format=container, subtype=coding)
            yield stream.getvalue()
