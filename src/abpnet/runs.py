"""Run folders: settings, metrics, checkpoints and results of one command, so that nothing is ever lost.

DIR/config.json            command and settings, recipe, versions, precision
DIR/metrics.jsonl          one row per iteration
DIR/checkpoint-NNNNNNNN/   state.safetensors + state.json, complete or absent
DIR/result.json            final figures; its presence says that the run is finished
DIR/model/ report.html *.png ...
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from abpnet import parallel
from abpnet.errors import InputError

__all__ = ["Interruption", "RunFolder", "by_part", "delay_interruption", "read_folder", "write_folder"]

CONFIG, METRICS, RESULT = "config.json", "metrics.jsonl", "result.json"
CHECKPOINT, PARTIAL, REPLACED = "checkpoint-", ".partial-", ".replaced"
TENSORS, FACTS = "state.safetensors", "state.json"


def _sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_durably(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors durably; what is memory-mapped is not copied into memory on the way."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    owners = Counter(tensor.untyped_storage().data_ptr() for tensor in plain.values())
    own = {  # shared memory, such as that of tied weights, cannot be written twice
        name: tensor.clone() if owners[tensor.untyped_storage().data_ptr()] > 1 else tensor
        for name, tensor in plain.items()
    }
    path.touch()  # the umask says who may read it; safetensors asks nobody
    mode = path.stat().st_mode
    safetensors.torch.save_file(own, path)
    path.chmod(mode)
    _sync(path)


def replace_file(path: Path, content: str) -> None:
    """Write a file so that it is the old one or the new one, never a part."""
    partial = path.with_name(PARTIAL + path.name)
    _write_durably(partial, content.encode())
    partial.replace(path)
    _sync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON; see `replace_file`."""
    replace_file(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: If it is absent or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a folder that abpnet wrote") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged or unreadable ({error})") from None


def write_folder(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors (safetensors) and facts (JSON) into a folder that appears complete or not at all.

    Everything is written aside, flushed to disk and renamed; an existing folder of that name is replaced.
    """
    partial = folder.with_name(PARTIAL + folder.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write_tensors(partial / TENSORS, tensors)
    _write_durably(partial / FACTS, (json.dumps(facts, indent=2) + "\n").encode())
    _sync(partial)
    outdated = folder.with_name(PARTIAL + "outdated-" + folder.name)
    shutil.rmtree(outdated, ignore_errors=True)
    if folder.exists():
        folder.rename(outdated)
    try:
        partial.rename(folder)
    except OSError:
        if outdated.exists():
            outdated.rename(folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(outdated, ignore_errors=True)


def by_part(tensors: Mapping[str, Tensor]) -> defaultdict[str, dict[str, Tensor]]:
    """Tensors named "part.rest", grouped by part; a part that is absent is empty."""
    parts: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_folder` wrote. The tensors are memory-mapped: whoever keeps one keeps the file.

    Raises:
        InputError: If a file is absent or damaged.
    """
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict):
        raise InputError(f"{folder / FACTS}: damaged (not a table of facts)")
    try:
        return safetensors.torch.load_file(folder / TENSORS), facts
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder / TENSORS}: absent or damaged ({error})") from None


class Interruption:
    """Whether the user (SIGINT) or the system (SIGTERM) asked to stop; a second request stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def request(self, number: int, frame: FrameType | None) -> None:
        """Note the request, or give up waiting if it is the second one."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    def requested(self) -> int | None:
        """The signal that came to this process, or to any of several, which all have to ask at the same point."""
        return parallel.largest(self.signal or 0) or None


@contextmanager
def delay_interruption() -> Iterator[Interruption]:
    """Within the block, SIGINT and SIGTERM are noted instead of raised, so that an iteration is always finished."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield interruption
        return
    previous = {number: signal.signal(number, interruption.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class RunFolder:
    """The folder of one run.

    Args:
        path: An existing run folder; see `create`.

    Attributes:
        path: The folder.
        config: What config.json says.
        was_there: Whether the folder itself existed before the run.

    Raises:
        InputError: If it is no run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_there = True
        self.config: dict[str, Any] = read_json(path / CONFIG)
        kinds = {"command": str, "settings": dict, "versions": dict}
        if not isinstance(self.config, dict) or not all(
            isinstance(self.config.get(name), kind) for name, kind in kinds.items()
        ):
            raise InputError(f"{path / CONFIG}: not the config.json of an abpnet run")

    @classmethod
    def create(cls, path: Path, command: str, settings: Mapping[str, Any], overwrite: bool = False) -> RunFolder:
        """Start a new run.

        Args:
            path: Its folder; created if absent, otherwise it must be empty.
            command: Name of the command.
            settings: All its settings, enough to start it again.
            overwrite: Replace an earlier run that stands in the folder; it is put aside until the new one has
                something to show, and comes back if that is discarded.

        Raises:
            InputError: If the folder holds something and may not or must not be overwritten.
        """
        from abpnet import __version__

        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file; --out expects a folder")
        was_there = path.is_dir()
        if was_there and any(path.iterdir()):
            if not overwrite:
                raise InputError(f"{path}: not empty; choose another --out, or pass --overwrite to replace that run")
            cls(path)  # only what abpnet wrote is ever deleted
        try:
            path.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(path / REPLACED, ignore_errors=True)
            earlier = list(path.iterdir())
            if earlier:
                (path / REPLACED).mkdir()
            for entry in earlier:
                entry.rename(path / REPLACED / entry.name)
            versions = {"abpnet": __version__, "torch": torch.__version__, "python": platform.python_version()}
            write_json(path / CONFIG, {"command": command, "settings": dict(settings), "versions": versions})
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
        folder = cls(path)
        folder.was_there = was_there
        return folder

    def record(self, **facts: Any) -> None:
        """Add facts, such as the precision chosen, to config.json."""
        self.config = self.config | facts
        write_json(self.path / CONFIG, self.config)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl."""
        self._drop_replaced()
        with (self.path / METRICS).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def log_anew(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write metrics.jsonl as a whole, whatever stood there."""
        replace_file(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def metrics(self) -> list[dict[str, Any]]:
        """All complete rows of metrics.jsonl; a last line cut off by a crash is left out."""
        path = self.path / METRICS
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        try:
            return [json.loads(line) for line in lines if line.endswith("\n")]
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error})") from None

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.path.glob(CHECKPOINT + "*"))

    def save_checkpoint(self, iteration: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write the state after `iteration` iterations, then delete older ones."""
        name = f"{CHECKPOINT}{iteration:08d}"
        write_folder(self.path / name, tensors, facts)
        for older in self.checkpoints():
            if older.name < name:
                shutil.rmtree(older)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint, None if there is none yet; metrics.jsonl is set back to its history.

        Raises:
            InputError: If it is damaged.
        """
        checkpoints = self.checkpoints()
        if not checkpoints:
            self.log_anew([])
            return None
        tensors, facts = read_folder(checkpoints[-1])
        if not isinstance(facts.get("history"), list) or len(facts["history"]) != facts.get("iteration"):
            raise InputError(f"{checkpoints[-1] / FACTS}: damaged (its history does not fit its iteration)")
        self.log_anew(facts["history"])
        return tensors, facts

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write result.json, which says that the run is finished, and delete the checkpoints."""
        self._drop_replaced()
        write_json(self.path / RESULT, dict(result))
        for checkpoint in self.checkpoints():
            shutil.rmtree(checkpoint)

    @property
    def started(self) -> bool:
        """Whether there is more in the folder than the settings."""
        return any(path.name not in (CONFIG, REPLACED) for path in self.path.iterdir())

    def discard(self) -> None:
        """Leave the folder as `create` found it; only for a run that has not started."""
        (self.path / CONFIG).unlink()
        if (self.path / REPLACED).exists():
            for entry in (self.path / REPLACED).iterdir():
                entry.rename(self.path / entry.name)
            (self.path / REPLACED).rmdir()
        elif not self.was_there:
            self.path.rmdir()

    def _drop_replaced(self) -> None:
        if (self.path / REPLACED).exists():
            shutil.rmtree(self.path / REPLACED)

    @property
    def result(self) -> dict[str, Any] | None:
        """The final figures; None while the run is not finished."""
        return read_json(self.path / RESULT) if (self.path / RESULT).exists() else None
