"""A finished run for others: its generator as a file, or its model with a card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from abpnet.errors import InputError
from abpnet.runs import RunFolder
from abpnet.sharing import HUB
from abpnet.tasks.session import load_model
from abpnet.tasks.settings import check_number

__all__ = ["ExportSettings", "PushSettings", "export", "push"]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Write the generator of a finished run as a file that runs without abpnet, and check that it gives the same.

    For example:

      abpnet export runs/digits digits.onnx
      abpnet export runs/rain rain.pt2 --n 1 --length 6
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run, or of a saved model."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """File to write: .onnx, .pt2 (torch.export) or .pt (TorchScript)."""
    n: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    """Examples that the file takes at a time; by default any number of them, which sounds and patchworks cannot."""
    map: tuple[int, int] | None = None
    """Height and width of the map of latent factors, for textures."""
    length: int | None = None
    """Length of the sequence of latent factors, for sounds."""


@dataclass(frozen=True, kw_only=True)
class PushSettings:
    """Write the model of a finished run with a model card into a folder, or upload it to the Hugging Face Hub.

    For example:

      abpnet push runs/digits models/digits --title "Digits learned from halves"
      abpnet push runs/digits hf://me/digits
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run, or of a saved model."""
    destination: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER|hf://OWNER/NAME")]
    """Folder to write, or a repository of whoever is logged in to the Hub."""
    title: str = "A generator network"
    """Heading of the model card."""
    with_chains: bool = False
    """Give away the chains as well, from which the training examples can be reconstructed."""
    private: bool = True
    """A repository that is created is private."""


def export(settings: ExportSettings) -> None:
    """Write the file, and say how closely it agrees.

    Raises:
        InputError: If there is no model, or it cannot be written that way.
        NotWrittenError: If there is no room for the file.
    """
    check_number("-n", settings.n, 1)
    check_number("--length", settings.length, 1)
    if settings.map is not None and settings.length is not None:
        raise InputError("--length: of sounds, and --map of textures; give one of them")
    sizes = settings.map or (None if settings.length is None else (settings.length,))
    network = load_model(settings.run, "cpu")
    difference = network.export(settings.file, n=settings.n, latent_shape=sizes)
    print(f"{settings.file}: written, and read again: signals differ by {difference:.1g} at most")


def push(settings: PushSettings) -> None:
    """Write or upload the model.

    Raises:
        InputError: If there is no model, or something else stands in the folder.
        NotWrittenError: If there is no room for it.
    """
    network = load_model(settings.run, "cpu")
    result = RunFolder(settings.run).result if (settings.run / "result.json").exists() else None
    network.push(
        settings.destination if settings.destination.startswith(HUB) else Path(settings.destination),
        title=settings.title,
        results=(result or {}).get("table", []),
        with_chains=settings.with_chains,
        private=settings.private,
    )
    print(f"{settings.destination}: abpnet.GeneratorNetwork.load({settings.destination!r}) reads it")
