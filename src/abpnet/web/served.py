"""The runs that the explorer shows: found in the folders that the command line names, loaded when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from abpnet.data.images import is_image
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.networks import FrameByFrame, PatchworkNetwork, SoundNetwork, SpaceTimeNetwork, TextureNetwork
from abpnet.runs import RunFolder
from abpnet.tasks.session import load_model

__all__ = ["ServedRun", "find_runs", "image_network", "may_have_images"]

CONFIG = "config.json"
COMMANDS_WITHOUT_IMAGES = ("texture", "sound")
# Models in memory at once.
MOST_LOADED = 8
KINDS = {
    SoundNetwork: "sound",
    TextureNetwork: "texture",
    PatchworkNetwork: "texture",
    FrameByFrame: "video",
    SpaceTimeNetwork: "video",
}


@dataclass(frozen=True)
class ServedRun:
    """One run, or one saved model.

    Attributes:
        name: What it is called on the page; no two runs have the same.
        path: Its folder.
        device: Where its network computes.
    """

    name: str
    path: Path
    device: str = "auto"

    @property
    def folder(self) -> RunFolder | None:
        """The run's folder; None of a model that was saved without a run."""
        return RunFolder(self.path) if (self.path / CONFIG).exists() else None

    @property
    def command(self) -> str:
        """Which command it is a run of."""
        folder = self.folder
        return "saved model" if folder is None else folder.config["command"]

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the command."""
        folder = self.folder
        return {} if folder is None else folder.config["settings"]

    def network(self) -> GeneratorNetwork:
        """What was learned, loaded once, and again if it changes.

        Raises:
            InputError: If there is no model, or not yet.
        """
        model = self.path / "model" if (self.path / "model").is_dir() else self.path
        return _loaded(self.path, self.device, model.stat().st_mtime_ns)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each pass of learning, as far as it is.

        Raises:
            InputError: If metrics.jsonl is damaged.
        """
        folder = self.folder
        return list(self.network().history_) if folder is None else folder.metrics()

    def result(self) -> dict[str, Any]:
        """The final figures; empty while there are none."""
        folder = self.folder
        return (folder.result if folder else None) or {}

    def status(self) -> str:
        """How far it is, in a word or two."""
        folder = self.folder
        if folder is None:
            return "saved model"
        if folder.result is not None:
            return "finished"
        return "learned, not finished" if (self.path / "model").is_dir() else "learning, or interrupted"

    def kind(self) -> str:
        """What its model makes: "images", "video", "texture", "sound" or "signals".

        Raises:
            InputError: If there is no model.
        """
        network = self.network()
        for known, kind in KINDS.items():
            if isinstance(network.model_.network, known):
                return kind
        if self.command == "video":
            return "video"
        return "images" if has_images(network) else "signals"


@lru_cache(maxsize=MOST_LOADED)
def _loaded(path: Path, device: str, modified: int) -> GeneratorNetwork:
    return load_model(path, device)


def has_images(network: GeneratorNetwork) -> bool:
    """Whether it makes images of vectors of factors."""
    return is_image(network.signal_shape_) and len(network.model_.latent_shape) == 1


def may_have_images(run: ServedRun) -> bool:
    """Whether its command is one of those that learn images, as far as is known without loading what it learned."""
    return run.command not in COMMANDS_WITHOUT_IMAGES


def image_network(run: ServedRun, wanted: str) -> GeneratorNetwork:
    """The network of a run that makes images of vectors of factors.

    Args:
        run: The run.
        wanted: What it is needed for, for the message.

    Raises:
        InputError: If it has none, saying why not.
    """
    network = run.network()
    if not has_images(network):
        made = {
            "sound": "a sound, whose factors are a sequence",
            "texture": "a texture, whose factors are a map",
            "video": "pieces of a video, whose factors are a sequence",
            "signals": f"signals of shape {network.signal_shape_}, which are no images",
        }[run.kind()]
        raise InputError(f"{run.name} learned {made}; {wanted} needs a run of images, such as of: abpnet complete")
    return network


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file()


def _parts(path: Path) -> list[Path]:
    """Folders within a run that are runs themselves, as `demo`, `evaluate` and `video --motion joint` leave them."""
    parts = [child for child in path.iterdir() if _is_run(child)]
    return sorted(parts, key=lambda part: (len(part.name), part.name))


def _found(path: Path) -> list[Path]:
    """Runs in a folder: itself, if it learned anything, and its parts.

    Raises:
        InputError: If there are none.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected that of a run, which abpnet COMMAND --out makes")
    if not _is_run(path):
        if (path / "manifest.json").exists():
            return [path]
        raise InputError(f"{path}: not the folder of a run (it has no {CONFIG}), nor of a saved model")
    RunFolder(path)
    parts = _parts(path)
    return [path, *parts] if (path / "model").is_dir() or not parts else parts


def find_runs(paths: Sequence[Path], device: str = "auto") -> list[ServedRun]:
    """All runs in the given folders, each with a name of its own.

    Args:
        paths: Folders of runs, of which some hold several, or of saved models.
        device: Where their networks compute.

    Raises:
        InputError: If one is no run folder.
    """
    found: dict[Path, str] = {}
    for path in paths:
        for inner in _found(path):
            found.setdefault(inner.resolve(), path.name if inner == path else f"{path.name}/{inner.name}")
    names = list(found.values())
    return [ServedRun(name if names.count(name) == 1 else str(path), path, device) for path, name in found.items()]
