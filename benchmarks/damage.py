"""Media files made from built-in data, and a seeded mutator that damages them: the same for the same seed and index."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from abpnet.data import digits, draw_mask, load_image, load_images, load_sound, sound_recording, texture_photograph
from abpnet.data.builtin import waves
from abpnet.data.images import to_uint8
from abpnet.data.table_files import read_table
from abpnet.data.videos import load_clip, save_gif, save_mp4
from abpnet.errors import InputError

__all__ = ["KINDS", "MediaFile", "damaged", "judge", "originals", "read"]

KINDS = ("images", "arrays", "masks", "sounds", "videos", "tables")
SIDE, RATE = 24, 11025
MASKED = (4, 1, 8, 8)
# What length fields are overwritten by.
LENGTHS = (0, 1, 0x7F, 0xFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


class MediaFile(NamedTuple):
    """One file.

    Attributes:
        kind: One of `KINDS`.
        suffix: Of its name.
        content: Its bytes.
        history: What was done to it.
    """

    kind: str
    suffix: str
    content: bytes
    history: tuple[str, ...] = ()


def _images() -> Iterator[tuple[str, bytes]]:
    grey = Image.fromarray(to_uint8(texture_photograph("gravel", SIDE))[0])
    colour = Image.merge("RGB", [grey, grey.rotate(90), grey.rotate(180)])
    opaque = colour.convert("RGBA")
    opaque.putalpha(grey.point(lambda value: 255 if value > 99 else 0))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = [(grey, {}), (colour, {})]
    pictures = {
        "png": [*plain, (opaque, {}), (colour.quantize(9), {}), (grey.convert("1"), {}), (deep, {})],
        "jpeg": [(grey, {}), (colour, {"progressive": True}), (colour.convert("CMYK"), {}), (colour, {"exif": exif})],
        "gif": [(grey, {}), (colour.quantize(9), {})],
        "tiff": [(colour, {}), (grey, {"compression": "tiff_lzw"}), (deep, {}), (colour, {"compression": "jpeg"})],
        "bmp": plain,
        "webp": [(colour, {}), (opaque, {"lossless": True})],
        "ppm": plain,
    }
    for suffix, versions in pictures.items():
        for picture, options in versions:
            stream = io.BytesIO()
            picture.save(stream, suffix, **options)
            yield f".{suffix}", stream.getvalue()


def _arrays() -> Iterator[tuple[str, bytes]]:
    pixels = digits()[:20]
    holes = np.where(np.random.default_rng(0).random(pixels.shape) < 0.2, np.float32(np.nan), pixels)
    for array in (pixels, holes, to_uint8(pixels)[:, 0], holes.astype(">f8"), np.asfortranarray(pixels)):
        for suffix, save in ((".npy", np.save), (".npz", np.savez), (".npz", np.savez_compressed)):
            stream = io.BytesIO()
            save(stream, array)
            yield suffix, stream.getvalue()


def _masks() -> Iterator[tuple[str, bytes]]:
    picture = Image.fromarray(np.where(digits()[0, 0] > 0, 255, 0).astype(np.uint8))
    for mode in ("L", "1", "RGB", "P"):
        stream = io.BytesIO()
        picture.convert(mode).save(stream, "png")
        yield ".png", stream.getvalue()


def _sounds() -> Iterator[tuple[str, bytes]]:
    import soundfile

    sound = sound_recording("rain", 1.5, RATE)
    stereo = np.stack([sound, sound[::-1]], 1)
    kinds = [("wav", "PCM_16"), ("wav", "FLOAT"), ("wav", "MS_ADPCM"), ("flac", "PCM_16"), ("ogg", "VORBIS")]
    kinds += [("mp3", "MPEG_LAYER_III"), ("aiff", "PCM_24"), ("wav", "PCM_U8"), ("w64", "PCM_16"), ("caf", "ALAC_16")]
    for index, (suffix, subtype) in enumerate(kinds):
        stream = io.BytesIO()
        soundfile.write(stream, stereo if index % 2 else sound, RATE, format=suffix, subtype=subtype)
        yield f".{suffix}", stream.getvalue()


def _videos() -> Iterator[tuple[str, bytes]]:
    import av

    frames = waves(18, 16)
    with tempfile.TemporaryDirectory() as folder:
        for suffix, save in ((".mp4", save_mp4), (".gif", save_gif)):
            save(Path(folder) / f"clip{suffix}", frames, 25.0)
            yield suffix, (Path(folder) / f"clip{suffix}").read_bytes()
    for container, codec, pixels in (
        ("avi", "mpeg4", "yuv420p"),
        ("avi", "mjpeg", "yuvj420p"),
        ("avi", "rawvideo", "bgr24"),
    ):
        stream = io.BytesIO()
        with av.open(stream, "w", format=container) as output:
            track = output.add_stream(codec, rate=25)
            track.width = track.height = frames.shape[-1]
            track.pix_fmt = pixels
            track.codec_context.thread_count = 1
            for frame in to_uint8(frames):
                output.mux(track.encode(av.VideoFrame.from_ndarray(np.repeat(frame[0][..., None], 3, 2), "rgb24")))
            output.mux(track.encode())
        yield ".avi", stream.getvalue()


def _tables() -> Iterator[tuple[str, bytes]]:
    import pandas

    rows = digits()[:40, 0].reshape(40, -1)[:, 18:26].round(3)
    frame = pandas.DataFrame(rows, columns=[f"column {index}" for index in range(rows.shape[1])])
    frame = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.1)
    frame["text"] = pandas.array(["one", "two, three", None, 'four "five"'] * 10, dtype="string")
    frame["whole"] = pandas.array([1, None, 3, 4] * 10, dtype="Int64")
    for compression in ("snappy", "gzip", "zstd", None):
        stream = io.BytesIO()
        frame.to_parquet(stream, compression=compression)
        yield ".parquet", stream.getvalue()
    for shown in (frame, frame.iloc[:, :3], frame[["text"]]):
        yield ".csv", shown.to_csv(index=False).encode()


@cache
def originals() -> dict[str, list[tuple[str, bytes]]]:
    """Suffix and content of good files of each kind."""
    makers = (_images, _arrays, _masks, _sounds, _videos, _tables)
    return {kind: list(make()) for kind, make in zip(KINDS, makers, strict=True)}


def _place(content: bytes, rng: np.random.Generator) -> int:
    """A byte, often of the header."""
    end = min(len(content), 64) if rng.random() < 0.5 else len(content)
    return int(rng.integers(0, max(end, 1)))


def _overwrite(content: bytes, place: int, piece: bytes) -> bytes:
    return content[:place] + piece + content[place + len(piece) :]


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    flipped = bytearray(content)
    for _ in range(int(rng.integers(1, 20)) if flipped else 0):
        flipped[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def _scramble(content: bytes, rng: np.random.Generator) -> bytes:
    return _overwrite(content, _place(content, rng), rng.bytes(int(rng.integers(1, 32))))


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, len(content) + 1))]


def _behead(content: bytes, rng: np.random.Generator) -> bytes:
    return content[_place(content, rng) :]


def _remove(content: bytes, rng: np.random.Generator) -> bytes:
    place = _place(content, rng)
    return content[:place] + content[place + int(rng.integers(1, 200)) :]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    place = _place(content, rng)
    return content[:place] + rng.bytes(int(rng.integers(1, 200))) + content[place:]


def _fill(content: bytes, rng: np.random.Generator) -> bytes:
    piece = (b"\0", b"\xff")[int(rng.integers(2))] * int(rng.integers(1, 300))
    return _overwrite(content, _place(content, rng), piece)


def _lengthen(content: bytes, rng: np.random.Generator) -> bytes:
    size = int(rng.choice([1, 2, 4, 8]))
    value = LENGTHS[int(rng.integers(len(LENGTHS)))] % 2 ** (8 * size)
    return _overwrite(content, _place(content, rng), value.to_bytes(size, ("little", "big")[int(rng.integers(2))]))


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
    return content[:end] + content[start:end] * int(rng.integers(1, 8)) + content[end:]


def _splice(content: bytes, rng: np.random.Generator) -> bytes:
    files = originals()[KINDS[int(rng.integers(len(KINDS)))]]
    other = files[int(rng.integers(len(files)))][1]
    return _cut(content, rng) + other[int(rng.integers(0, len(other))) :]


def _join(content: bytes, rng: np.random.Generator) -> bytes:
    files = originals()[KINDS[int(rng.integers(len(KINDS)))]]
    return content + (content if rng.random() < 0.5 else files[int(rng.integers(len(files)))][1])


def _sign(content: bytes, rng: np.random.Generator) -> bytes:
    """A PNG whose check sums are right again, so that what is behind them is looked at."""
    place, signed = 8, bytearray(content)
    while content.startswith(b"\x89PNG") and place + 12 <= len(content):
        end = place + 8 + struct.unpack_from(">I", content, place)[0]
        if end + 4 > len(content):
            break
        struct.pack_into(">I", signed, end, zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return bytes(signed)


DAMAGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _flip, _scramble, _cut, _behead, _remove, _insert, _fill, _lengthen, _lengthen, _lengthen, _repeat, _splice, _join,
)  # fmt: skip


def damaged(seed: int, index: int) -> MediaFile:
    """A file, damaged one to three times; one in ten has another name instead, or as well."""
    rng = np.random.default_rng([seed, index])
    kind = KINDS[index % len(KINDS)]
    files = originals()[kind]
    suffix, content = files[int(rng.integers(len(files)))]
    history = [f"{suffix} {len(content)} bytes"]
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
        content = damage(content, rng)
        history.append(damage.__name__[1:])
    if rng.random() < 0.5:
        content = _sign(content, rng)
    if rng.random() < 0.1:
        suffixes = sorted({name for name, _ in files})
        suffix = suffixes[int(rng.integers(len(suffixes)))]
        history.append(f"named {suffix}")
    return MediaFile(kind, suffix, content, tuple(history))


def read(kind: str, path: Path) -> None:
    """Give a file to its reader and look at what comes back.

    Raises:
        InputError: If it is refused.
        AssertionError: If it is read as something that it cannot be.
    """
    if kind == "masks":
        mask = draw_mask(str(path), MASKED, np.random.default_rng(0))
        assert mask.dtype == bool
        assert mask.any()
        return
    if kind == "tables":
        frame = read_table(path)
        assert len(frame)
        assert len(set(frame.columns)) == len(frame.columns)
        return
    signals = {
        "images": lambda: load_image(path),
        "arrays": lambda: load_images(path).pixels,
        "sounds": lambda: load_sound(path, rate=RATE, most_seconds=60.0),
        "videos": lambda: load_clip(path, limit=240).frames,
    }[kind]()
    assert signals.dtype == np.float32
    assert signals.size
    seen = signals[~np.isnan(signals)]
    assert kind in ("images", "arrays") or len(seen) == signals.size
    assert (np.abs(seen) <= 1).all()


def judge(kind: str, path: Path) -> tuple[str, str]:
    """Whether a file is "read" or "refused", or by a message that does not name it in one line, and what is said."""
    try:
        read(kind, path)
    except InputError as error:
        clear = "\n" not in str(error) and str(path) in str(error)
        return ("refused" if clear else "traceback"), str(error)
    return "read", ""
