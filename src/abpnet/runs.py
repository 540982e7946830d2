"""Run folders: settings, metrics, checkpoints and results of one command, so that nothing is ever lost.

DIR/config.json            command and settings, recipe, versions, precision
DIR/metrics.jsonl          one row per iteration
DIR/checkpoint-NNNNNNNN/   the state after so many iterations, and one before it, see `durable`
DIR/result.json            final figures; its presence says that the run is finished
DIR/model/ report.html *.png ...
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from abpnet.durable import PARTIAL, read_folder, read_json, remove, replace_file, write_folder, write_json
from abpnet.errors import InputError, NotWrittenError
from abpnet.history import History
from abpnet.replacing import (
    CONFIG,
    LOCK,
    METRICS,
    REPLACED,
    RESULT,
    entries,
    has_started,
    move_back,
    put_aside,
    put_back,
)

__all__ = ["RunFolder"]

CHECKPOINT = "checkpoint-"
# Checkpoints that are kept: the latest, and one to fall back on.
KEPT_CHECKPOINTS = 2
# What config.json says that a checkpoint goes with; a run may move to another folder or device, or learn longer.
IDENTITY = ("command", "settings", "recipe", "precision", "data")
FREE_SETTINGS = ("out", "device", "overwrite", "max_iter", "max_seconds", "json", "settings_file", "tensorboard")


def _locked(path: Path) -> Any:
    """A lock on a folder, which ends with this process at the latest.

    Raises:
        InputError: If another process has it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{path}: another process is at work in this folder; wait for it, or name another") from None
    return lock


@contextmanager
def _taken_back(path: Path) -> Iterator[None]:
    """Settings that could not be written to the end are no settings."""
    try:
        yield
    except BaseException:
        for leftover in (path / CONFIG, *path.glob(PARTIAL + "*")):
            remove(leftover)
        raise


def _unlock(path: Path, lock: Any) -> None:
    remove(path / LOCK)
    lock.release()


def _digest_of_settings(command: str, settings: Mapping[str, Any]) -> str:
    """A number that tells commands apart, but for settings that may change while a run goes on."""
    fixed = {name: value for name, value in settings.items() if name not in FREE_SETTINGS}
    return hashlib.sha256(json.dumps([command, fixed], sort_keys=True).encode()).hexdigest()


class RunFolder:
    """The folder of one run.

    Whoever created it, or holds it, has it alone until it is finished, discarded or released.

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
        self._lock: Any = None
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
        if was_there and entries(path):
            if not overwrite:
                raise InputError(f"{path}: not empty; choose another --out, or pass --overwrite to replace that run")
            if not (path / REPLACED).is_dir():
                cls(path)  # only what abpnet wrote is ever deleted
        versions = {"abpnet": __version__, "torch": torch.__version__, "python": platform.python_version()}
        config = {"command": command, "settings": dict(settings), "versions": versions}
        config["began_with"] = _digest_of_settings(command, settings)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = _locked(path)
            try:
                if (path / REPLACED).is_dir() and not has_started(path):  # as a process leaves it that was killed here
                    put_back(path)
                shutil.rmtree(path / REPLACED, ignore_errors=True)
                put_aside(path)
                with _taken_back(path):
                    write_json(path / CONFIG, config)
                    folder = cls(path)
            except BaseException:
                move_back(path)
                _unlock(path, lock)
                if not was_there:
                    path.rmdir()
                raise
        except OSError as error:
            raise NotWrittenError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
        folder.was_there, folder._lock = was_there, lock
        return folder

    def check_settings(self, settings: Mapping[str, Any] | None = None) -> None:
        """Refuse to go on with other settings than the run began with, but for those that may change.

        Args:
            settings: Those to go on with; what config.json says by default.

        Raises:
            InputError: If they are others.
        """
        began_with = self.config.get("began_with")  # earlier versions did not say
        now = _digest_of_settings(self.config["command"], self.config["settings"] if settings is None else settings)
        if began_with not in (None, now):
            may_change = ", ".join(FREE_SETTINGS)
            raise InputError(
                f"{self.path / CONFIG}: its settings are not those that this run began with; restore them (only "
                f"{may_change} may change), or start a new run"
            )

    def hold(self) -> RunFolder:
        """Have the folder alone, until it is released.

        Raises:
            InputError: If another process has it, or it cannot be written.
        """
        try:
            self._lock = _locked(self.path)
        except OSError as error:
            raise NotWrittenError(f"{self.path}: cannot be written ({error.strerror}); check its permissions") from None
        return self

    def release(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            _unlock(self.path, self._lock)
            self._lock = None

    def record(self, **facts: Any) -> None:
        """Add facts, such as the precision chosen, to config.json."""
        self.config = self.config | facts
        write_json(self.path / CONFIG, self.config)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl.

        Raises:
            NotWrittenError: If there is no room for it; the rest of the folder is kept.
        """
        self._drop_replaced()
        try:
            with (self.path / METRICS).open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise NotWrittenError(f"{self.path / METRICS}: cannot be written ({error.strerror})") from None

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
        named = [path for path in self.path.glob(CHECKPOINT + "*") if path.name.removeprefix(CHECKPOINT).isdecimal()]
        return sorted(named, key=lambda path: int(path.name.removeprefix(CHECKPOINT)))

    def save_checkpoint(self, iteration: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write the state after `iteration` iterations; the one before is kept, and older ones deleted.

        Raises:
            NotWrittenError: If it cannot be written; earlier ones are kept.
        """
        write_folder(self.path / f"{CHECKPOINT}{iteration:08d}", tensors, {**facts, "run": self.identity()})
        for older in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            self._delete(older)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest checkpoint that is good, None if there is none yet; metrics.jsonl is set back to its history.

        Where a newer one is damaged, a warning says so.

        Raises:
            InputError: If none of them is good.
        """
        damage: list[str] = []
        for path in reversed(self.checkpoints()):
            try:
                tensors, facts = self._read_checkpoint(path)
            except InputError as error:
                damage.append(str(error))
                continue
            if damage:
                lost = f"goes on from {path.name} instead: later iterations are lost and computed again"
                warnings.warn(f"{'; '.join(damage)}; {lost}", stacklevel=2)
            self.log_anew(History.unpacked(facts["history"]))
            return tensors, facts
        if damage:
            raise InputError(f"{'; '.join(damage)}; delete {self.path / CHECKPOINT}* to begin anew")
        self.log_anew([])
        return None

    def _read_checkpoint(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = read_folder(path)
        iteration = facts.get("iteration")
        try:
            n_passes = len(History.unpacked(facts["history"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged (its history: {error})") from None
        if not isinstance(iteration, int) or n_passes != iteration or path.name != f"{CHECKPOINT}{iteration:08d}":
            raise InputError(f"{path}: damaged (its history and name do not fit its iteration)")
        if facts.pop("run", None) != self.identity():
            raise InputError(f"{path}: of another run, or {CONFIG} or the data were changed after it was written")
        return tensors, facts

    def identity(self) -> str:
        """A number that tells runs apart by command, settings and data."""
        known = {name: self.config[name] for name in IDENTITY if name in self.config}
        known["settings"] = {name: of for name, of in known["settings"].items() if name not in FREE_SETTINGS}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def _delete(self, checkpoint: Path) -> None:
        """Delete a checkpoint so that it is there as a whole or not at all."""
        outdated = checkpoint.with_name(PARTIAL + "outdated-" + checkpoint.name)
        remove(outdated)
        checkpoint.rename(outdated)
        remove(outdated)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write result.json, which says that the run is finished, and delete the checkpoints."""
        self._drop_replaced()
        write_json(self.path / RESULT, dict(result))
        for checkpoint in self.checkpoints():
            self._delete(checkpoint)
        for leftover in self.path.glob(PARTIAL + "*"):  # of sessions that were killed while they wrote
            remove(leftover)
        self.release()

    @property
    def started(self) -> bool:
        """Whether there is something to lose: a pass of learning, or a result."""
        return has_started(self.path)

    @property
    def replaces(self) -> bool:
        """Whether an earlier run is put aside for it."""
        return (self.path / REPLACED).exists()

    def discard(self) -> None:
        """Leave the folder as `create` found it; only for a run that has not started."""
        put_back(self.path)
        self.release()
        if not self.was_there:
            self.path.rmdir()

    def _drop_replaced(self) -> None:
        if (self.path / REPLACED).exists():
            shutil.rmtree(self.path / REPLACED)

    @property
    def result(self) -> dict[str, Any] | None:
        """The final figures; None while the run is not finished."""
        return read_json(self.path / RESULT) if (self.path / RESULT).exists() else None
