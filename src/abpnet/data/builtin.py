"""Data that comes with the libraries abpnet stands on, or is made up: nothing is downloaded."""

from __future__ import annotations

import numpy as np

__all__ = ["BUILTIN_PREFIX", "SOUNDS", "TEXTURES", "digits", "sound_recording", "spots", "texture_photograph", "waves"]

BUILTIN_PREFIX = "builtin:"
TEXTURES = ("brick", "grass", "gravel")
SOUNDS = ("chirps", "crackle", "rain")


def digits() -> np.ndarray:
    """The 1,797 handwritten digits of scikit-learn: float32 (1797, 1, 8, 8) in [-1, 1]."""
    from sklearn.datasets import load_digits

    return (load_digits().images[:, None] / 8.0 - 1.0).astype(np.float32)


def texture_photograph(name: str, size: int) -> np.ndarray:
    """A grey photograph of a material that comes with scikit-image, its central square reduced by half.

    Args:
        name: "brick", "grass" or "gravel".
        size: Side of the result in pixels, at most 256.

    Returns:
        float32 (1, size, size) in [-1, 1].

    Raises:
        ValueError: If the name or the size is none of these.
    """
    if name not in TEXTURES or not 1 <= size <= 256:
        raise ValueError(f"expected one of {', '.join(TEXTURES)} and a size of 1 to 256, got {name!r} and {size}")
    import skimage.data

    photograph = getattr(skimage.data, name)().astype(np.float32)
    halved = photograph.reshape(256, 2, 256, 2).mean((1, 3))
    start = (256 - size) // 2
    return halved[None, start : start + size, start : start + size] / 127.5 - 1.0


def spots(n: int, side: int = 16, random_state: int = 0) -> np.ndarray:
    """Images of one round bright spot each, of random place and size: three factors, known to be three.

    Args:
        n: How many.
        side: Pixels of a side.
        random_state: Seed.

    Returns:
        float32 (n, 1, side, side), in -0.9 to 0.9.
    """
    line = np.linspace(-1, 1, side)
    rng = np.random.default_rng(random_state)
    x, y, radius = rng.uniform([-0.6, -0.6, 0.2], [0.6, 0.6, 0.45], (n, 3)).T[:, :, None, None]
    distance = (line[None, None, :] - x) ** 2 + (line[None, :, None] - y) ** 2
    return (1.8 * np.exp(-distance / (2 * radius**2)) - 0.9).astype(np.float32)[:, None]


def waves(n_frames: int, size: int) -> np.ndarray:
    """A clip of waves that run over a grey sea: sines of nearby directions whose strengths and phases wander.

    Each strength is a complex auto-regression of order 1, so the clip is stationary and never repeats; the crests are
    sharper than the troughs, which no sum of few fixed pictures gives.

    Args:
        n_frames: How many frames.
        size: Side of a frame in pixels.

    Returns:
        float32 (n_frames, 1, size, size) in [-1, 1]; the same for the same arguments.
    """
    rng = np.random.default_rng(0)
    n_waves, memory = 4, 0.97
    direction, length = rng.uniform(-0.7, 0.7, n_waves), rng.uniform(0.35, 0.8, n_waves)
    y, x = np.mgrid[:size, :size] / size
    wave = 2 * np.pi / length[:, None, None]
    phase = wave * (np.sin(direction)[:, None, None] * x + np.cos(direction)[:, None, None] * y)
    turn = memory * np.exp(-2j * np.pi * 0.05 / np.sqrt(length))  # long waves are faster, as on deep water
    strength = (rng.standard_normal((n_waves, 2)) @ np.array([1, 1j])) / np.sqrt(2)
    noise = rng.standard_normal((n_frames, n_waves, 2)) @ np.array([1, 1j]) * np.sqrt((1 - memory**2) / 2)
    frames = np.empty((n_frames, 1, size, size), np.float32)
    for frame, step in zip(frames, noise, strict=True):
        strength = turn * strength + step
        height = (strength[:, None, None] * np.exp(1j * phase)).real.sum(0) / np.sqrt(n_waves / 2)
        frame[0] = np.tanh(0.6 * np.exp(0.8 * height) - 0.9)
    return frames


def sound_recording(name: str, seconds: float, rate: int) -> np.ndarray:
    """A made-up sound of many short events over a hiss, always the same.

    Args:
        name: "rain" (80 drops a second), "crackle" (8 clicks a second of very different loudness) or "chirps" (6 tones
            a second that rise by a third).
        seconds: Its length, at least 0.1.
        rate: Samples per second.

    Returns:
        float32 (samples,) in [-0.9, 0.9].

    Raises:
        ValueError: If there is no sound of that name, or it would be too short.
    """
    if name not in SOUNDS or not seconds >= 0.1:
        raise ValueError(f"expected one of {', '.join(SOUNDS)} and 0.1 seconds, got {name!r} and {seconds}")
    rng = np.random.default_rng(0)
    n_samples = round(seconds * rate)
    per_second, decay, hiss, scatter = {"rain": (80, 0.004, 0.05, 0.5), "crackle": (8, 0.003, 0.01, 1.2)}.get(
        name, (6, 0.05, 0.01, 0.2)
    )
    time = np.arange(round(8 * decay * rate)) / rate
    sound = hiss * rng.standard_normal(n_samples)
    for _ in range(max(1, round(per_second * seconds))):
        loudness, pitch = np.exp(scatter * rng.standard_normal()), rng.uniform(0.1, 0.3) * rate
        if name == "chirps":
            event = np.sin(2 * np.pi * pitch * time * (1 + 0.125 * time / time[-1])) * (time / decay)
        else:
            event = rng.standard_normal(len(time)) * np.cos(2 * np.pi * pitch * time)
        places = (rng.integers(n_samples) + np.arange(len(time))) % n_samples
        sound[places] += loudness * event * np.exp(-time / decay)
    return (0.9 * sound / np.abs(sound).max()).astype(np.float32)
