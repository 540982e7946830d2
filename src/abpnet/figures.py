"""Pictures for reports: grids of images, sounds, and curves of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from abpnet.data.images import to_uint8

__all__ = [
    "HIDDEN_COLOUR",
    "colours",
    "grid",
    "rows_of_images",
    "save_curves",
    "save_picture",
    "save_sounds",
    "save_spectra",
]

# Missing pixels are shown in a colour that no grey image has.
HIDDEN_COLOUR = (214, 72, 128)
GAP = 2
# Spectrograms: samples of a window, and the range of loudness shown.
WINDOW, DECIBELS_SHOWN = 256, 80


def colours(image: np.ndarray) -> np.ndarray:
    """One (channels, height, width) image in [-1, 1], NaN = missing, as uint8 (height, width, 3)."""
    missing = np.isnan(image).any(0)
    whole = np.broadcast_to(to_uint8(np.nan_to_num(image)), (3, *image.shape[1:])).transpose(1, 2, 0).copy()
    whole[missing] = HIDDEN_COLOUR
    return whole


def grid(images: np.ndarray, n_columns: int, scale: int = 1) -> np.ndarray:
    """Images side by side on white.

    Args:
        images: (n, 1 or 3, height, width) in [-1, 1]; NaN = missing, shown in `HIDDEN_COLOUR`.
        n_columns: Images in a row.
        scale: Every pixel becomes a square of this side.

    Returns:
        uint8 (height, width, 3).
    """
    tiles = [colours(image).repeat(scale, 0).repeat(scale, 1) for image in images]
    height, width = tiles[0].shape[:2]
    n_rows = -(-len(tiles) // n_columns)
    canvas = np.full((n_rows * (height + GAP) + GAP, n_columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top = GAP + index // n_columns * (height + GAP)
        left = GAP + index % n_columns * (width + GAP)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def rows_of_images(rows: Mapping[str, np.ndarray], scale: int = 1, columns: Sequence[str] = ()) -> np.ndarray:
    """One labelled row of images for each entry, all rows of equal length; see `grid`.

    Args:
        rows: Images by label.
        scale: Every pixel becomes a square of this side.
        columns: What stands above each column; nothing by default.
    """
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(size=14)
    margin = 10 + max(int(font.getlength(label)) for label in rows)
    strips = []
    if columns:
        step = scale * next(iter(rows.values())).shape[-1] + GAP
        header = Image.new("RGB", (margin + len(columns) * step + GAP, 22), "white")
        for place, label in enumerate(columns):
            middle = margin + GAP + place * step + (step - GAP) / 2
            ImageDraw.Draw(header).text((middle, 12), label, fill="black", font=font, anchor="mm")
        strips.append(np.asarray(header))
    for label, images in rows.items():
        strip = grid(images, len(images), scale)
        canvas = Image.new("RGB", (margin + strip.shape[1], strip.shape[0]), "white")
        canvas.paste(Image.fromarray(strip), (margin, 0))
        ImageDraw.Draw(canvas).text((4, strip.shape[0] / 2), label, fill="black", font=font, anchor="lm")
        strips.append(np.asarray(canvas))
    return np.concatenate(strips)


def save_picture(path: str | Path, pixels: np.ndarray) -> None:
    """Write uint8 (height, width, 3) as PNG."""
    Image.fromarray(pixels).save(path)


def save_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw error and state of the chains against iterations.

    Args:
        path: PNG file to write.
        history: Rows of metrics.jsonl.
    """
    from matplotlib.figure import Figure

    iterations = [row["iteration"] for row in history]
    panels = {
        "error on observed entries": ("error",),
        "chains: standard deviation (prior: 1)": ("latent_std",),
        "chains: divergence from the prior, nats": ("latent_divergence",),
    }
    figure = Figure(figsize=(12, 3), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for name in names:
            axes.plot(iterations, [row[name] for row in history], color="#3465a4")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("iteration", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110)


def save_spectra(path: Path, spectra: Mapping[str, np.ndarray]) -> None:
    """Draw power against frequency in time, in dB.

    Args:
        path: PNG file to write.
        spectra: By label, power at the frequencies 1/s, 2/s ... 1/2 per frame; the first one is set off.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for index, (label, power) in enumerate(spectra.items()):
        frequencies = np.linspace(0, 0.5, len(power) + 1)[1:]
        colour, width = ("black", 2.5) if index == 0 else (f"C{index - 1}", 1.5)
        axes.plot(frequencies, 10 * np.log10(power), label=label, color=colour, linewidth=width)
    axes.set_xlabel("frequency, cycles per frame", fontsize=9)
    axes.set_ylabel("power of a pixel, dB, mean over pixels", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    figure.savefig(path, dpi=110)


def save_sounds(path: Path, sounds: Mapping[str, np.ndarray], rate: int) -> None:
    """Draw the waveform and the spectrogram of each sound, one below the other, all on the same scales.

    Args:
        path: PNG file to write.
        sounds: (samples,) in [-1, 1] each, by what they are.
        rate: Samples per second.
    """
    from matplotlib.figure import Figure
    from scipy.signal import stft

    def decibels(sound: np.ndarray) -> np.ndarray:
        magnitude = np.abs(stft(sound, rate, nperseg=WINDOW, noverlap=WINDOW // 2)[2])
        return 20 * np.log10(magnitude + 1e-6)

    spectrograms = [decibels(sound) for sound in sounds.values()]
    loudest = max(spectrogram.max() for spectrogram in spectrograms)
    figure = Figure(figsize=(13, 2.2 * len(sounds) + 0.4), layout="constrained")
    rows = figure.subplots(len(sounds), 2, squeeze=False)
    for (wave, picture), (label, sound), spectrogram in zip(rows, sounds.items(), spectrograms, strict=True):
        seconds = len(sound) / rate
        wave.plot(np.arange(len(sound)) / rate, sound, linewidth=0.3, color="#3465a4")
        wave.set(xlim=(0, seconds), ylim=(-1, 1))
        wave.set_title(label, fontsize=10)
        extent = (0, seconds, 0, rate / 2000)
        limits = {"vmin": loudest - DECIBELS_SHOWN, "vmax": loudest}
        picture.imshow(spectrogram, origin="lower", aspect="auto", cmap="magma", extent=extent, **limits)
        picture.set_ylabel("kHz", fontsize=9)
        for axes in (wave, picture):
            axes.tick_params(labelsize=8)
    for axes in rows[-1]:
        axes.set_xlabel("seconds", fontsize=9)
    figure.savefig(path, dpi=100)
