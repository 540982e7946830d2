"""Pictures of `analysis`: traversals and loadings as images or curves, pieces along paths, effective dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from abpnet.analysis import EffectiveDimension, Pieces
from abpnet.data.images import is_image
from abpnet.figures import rows_of_images, save_picture

__all__ = ["save_dimension", "save_loadings", "save_pieces", "save_traversals"]

# Pixels of an image's side that small ones are enlarged to.
SIDE = 64
BLUE, RED = "#3465a4", "#cc3333"
# Of pixels that change, in [-1, 1], and the grey of those that do not.
BRIGHTER, DARKER, UNCHANGED = (0.9, -0.9, -0.9), (-0.9, -0.6, 0.9), 0.8


def _axes(n_columns: int, size: tuple[float, float]) -> tuple[Any, Sequence[Any]]:
    """A figure and the axes of its panels side by side, in the style of the other figures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    row = list(figure.subplots(1, n_columns, squeeze=False)[0])
    for axes in row:
        axes.tick_params(which="both", labelsize=8)
        axes.grid(alpha=0.3)
    return figure, row


def _images(signals: Tensor) -> np.ndarray:
    """(n, *shape) as (n, channels, height, width)."""
    pixels = signals.numpy()
    return pixels if pixels.ndim == 4 else pixels[:, None]


def _signed(changes: np.ndarray) -> np.ndarray:
    """Changes of images (n, channels, height, width) in colour: red where brighter, blue where darker, grey = none.

    Colour channels are averaged; all share the scale of the largest change.
    """
    brighter = changes.mean(1)[:, None]
    strength = brighter / max(np.abs(brighter).max(), np.finfo(np.float32).tiny)
    colours = np.where(strength > 0, *(np.array(colour)[:, None, None] for colour in (BRIGHTER, DARKER)))
    return (UNCHANGED + np.abs(strength) * (colours - UNCHANGED)).astype(np.float32)


def _save_curves(path: Path, panels: Mapping[str, Mapping[str, Tensor]], y_label: str) -> None:
    """Signals that are vectors: one panel for each entry, one curve for each signal."""
    from matplotlib import colormaps

    figure, row = _axes(len(panels), (3.2 * len(panels) + 1.4, 3.0))
    for axes, (title, curves) in zip(row, panels.items(), strict=True):
        for place, (label, signal) in enumerate(curves.items()):
            colour = colormaps["viridis"](0.9 * place / max(len(curves) - 1, 1))
            axes.plot(np.arange(1, signal.numel() + 1), signal.flatten().numpy(), label=label, color=colour)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("entry of the signal", fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
    row[0].set_ylabel(y_label, fontsize=9)
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    figure.savefig(path, dpi=110)


def save_traversals(path: Path, walks: Mapping[str, Float[Tensor, "n_values *shape"]], values: Sequence[float]) -> None:
    """Draw the signals met along each direction: rows of images, or curves for vectors.

    Args:
        path: PNG file to write.
        walks: Signals by the name of the direction, from `traversal`.
        values: How far each is from where the walk starts.
    """
    labels = [f"{value:+g}" if value else "0" for value in values]
    shape = tuple(next(iter(walks.values())).shape[1:])
    if is_image(shape):
        rows = {name: _images(signals) for name, signals in walks.items()}
        save_picture(path, rows_of_images(rows, max(1, SIDE // shape[-1]), labels))
    else:
        panels = {name: dict(zip(labels, signals, strict=True)) for name, signals in walks.items()}
        _save_curves(path, panels, "f(z)")


def save_loadings(
    path: Path, signals: Float[Tensor, "n *shape"], changes: Float[Tensor, "n k *shape"], names: Sequence[str]
) -> None:
    """Draw each example's loadings: beside it images in red (brighter) and blue (darker), or curves for vectors.

    Those of one example share a scale, so that they can be compared.

    Args:
        path: PNG file to write.
        signals: f(z) of the examples.
        changes: Their loadings, such as the signals of `principal_loadings`.
        names: What each of the k loadings is called.
    """
    shape = tuple(signals.shape[1:])
    if is_image(shape):
        rows = {}
        for place, (signal, change) in enumerate(zip(_images(signals), changes, strict=True), 1):
            shown = np.broadcast_to(signal, (3, *signal.shape[1:])) if len(signal) == 1 else signal
            rows[f"example {place}"] = np.concatenate([shown[None], _signed(_images(change))])
        save_picture(path, rows_of_images(rows, max(1, SIDE // shape[-1]), ["f(z)", *names]))
    else:
        panels = {f"example {place}": dict(zip(names, change, strict=True)) for place, change in enumerate(changes, 1)}
        _save_curves(path, panels, "change of f(z) per unit")


def save_pieces(path: Path, pieces: Mapping[str, Pieces]) -> None:
    """Draw how many linear pieces are met up to each place of straight paths.

    Args:
        path: PNG file to write.
        pieces: By the name of the path.
    """
    figure, (axes,) = _axes(1, (6.0, 3.6))
    for label, met in pieces.items():
        edges = np.concatenate([[0.0], met.breakpoints.numpy(), [1.0]])
        counted = np.append(np.arange(1, len(edges)), met.n_pieces)
        axes.step(edges, counted, where="post", label=f"{label}: {met.n_pieces}", linewidth=1.2)
    axes.set_xlabel("share of the path", fontsize=9)
    axes.set_ylabel("linear pieces met", fontsize=9)
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def save_dimension(path: Path, dimension: EffectiveDimension, noise_std: float) -> None:
    """Draw the singular values of the loadings, and what an observation leaves unknown of each factor.

    Args:
        path: PNG file to write.
        dimension: Of some examples.
        noise_std: Standard deviation of the noise that it was computed with.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, (left, right) = _axes(2, (10.0, 3.4))
    values = np.maximum(dimension.singular_values.numpy(), np.finfo(np.float32).tiny)
    ranks = np.arange(1, values.shape[1] + 1)
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    left.fill_between(ranks, low, high, color=BLUE, alpha=0.2, linewidth=0, label="10 to 90 % of examples")
    left.plot(ranks, middle, color=BLUE, marker="o", markersize=3, label="median")
    left.axhline(noise_std, color=RED, linestyle="--", linewidth=1, label="noise of one entry")
    left.set_title(f"participation ratio {dimension.participation.mean():.1f} of {values.shape[1]}", fontsize=10)
    left.set_xlabel("rank", fontsize=9)
    left.set_ylabel("singular value of the loadings", fontsize=9)
    variance = np.sort(dimension.posterior_variance.numpy().mean(0))
    right.plot(np.arange(1, len(variance) + 1), variance, color=BLUE, marker="o", markersize=3, label="once observed")
    right.axhline(1, color=RED, linestyle="--", linewidth=1, label="prior")
    right.set_title(f"factors explained: {dimension.explained.mean():.1f} of {len(variance)}", fontsize=10)
    right.set_xlabel("factors, the best known first", fontsize=9)
    right.set_ylabel("variance, mean over examples", fontsize=9)
    for axes in (left, right):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8)
    right.set_ylim(top=2)
    figure.savefig(path, dpi=110)
