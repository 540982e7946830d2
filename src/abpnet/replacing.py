"""An earlier run is put aside while a new one stands in its folder, until that has learned something."""

from __future__ import annotations

from pathlib import Path

from abpnet.durable import PARTIAL, remove

__all__ = [
    "CONFIG",
    "LOCK",
    "METRICS",
    "REPLACED",
    "RESULT",
    "entries",
    "has_started",
    "move_back",
    "put_aside",
    "put_back",
]

CONFIG, METRICS, RESULT = "config.json", "metrics.jsonl", "result.json"
REPLACED, LOCK = ".replaced", ".lock"


def entries(path: Path) -> list[Path]:
    """What stands in a folder, apart from the lock and what was never written to its end."""
    return [entry for entry in path.iterdir() if entry.name != LOCK and not entry.name.startswith(PARTIAL)]


def has_started(path: Path) -> bool:
    """Whether a run in this folder, or a part of it in a folder within, has something to lose: a pass, or a result."""
    if not (path / CONFIG).exists():
        return False
    metrics = path / METRICS
    if (path / RESULT).exists() or (path / "model").exists() or (metrics.exists() and metrics.stat().st_size > 0):
        return True
    if any(path.glob("checkpoint-*")):
        return True
    return any(entry.is_dir() and entry.name != REPLACED and has_started(entry) for entry in path.iterdir())


def put_aside(path: Path) -> None:
    """Put aside what stands in a folder; the settings first, since without them nothing has started."""
    earlier = sorted(entries(path), key=lambda entry: entry.name != CONFIG)
    if earlier:
        (path / REPLACED).mkdir()
    for entry in earlier:
        entry.rename(path / REPLACED / entry.name)


def move_back(path: Path) -> None:
    """What was put aside stands again where it stood; its settings last, so that cut short it can be done again."""
    if (path / REPLACED).is_dir():
        for entry in sorted((path / REPLACED).iterdir(), key=lambda entry: entry.name == CONFIG):
            entry.rename(path / entry.name)
        (path / REPLACED).rmdir()


def put_back(path: Path) -> None:
    """Leave the folder as it was before a run that has not started; cut short, it can be done again."""
    aside = path / REPLACED
    if (path / CONFIG).exists() and ((aside / CONFIG).exists() or not aside.exists()):  # they are the new run's
        for entry in path.iterdir():
            if entry.name not in (CONFIG, REPLACED, LOCK):
                remove(entry)
        remove(path / CONFIG)
    move_back(path)
