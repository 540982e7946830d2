"""Settings that experiments share: what is refused, how a run folder keeps them, and how a command says them."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import torch

from abpnet import parallel
from abpnet.data.masks import is_mask_file
from abpnet.errors import InputError
from abpnet.estimator_settings import device_of

__all__ = [
    "SOURCES",
    "LearningSettings",
    "RunSettings",
    "as_toml",
    "check_device",
    "check_number",
    "command_line",
    "settings_from_json",
    "settings_to_json",
]

# Settings that may name a file or folder, or something built in.
SOURCES = ("source", "also", "new_source", "input", "runs")
POSITIONAL = ("source", "input")
# Settings that change nothing about the result.
UNTOLD = ("overwrite", "json", "settings_file", "tensorboard")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of every command."""

    out: Path
    """Folder of the run; it must be new or empty."""
    seed: int = 0
    """Source of all chance: same seed, same machine, same bits."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto = a GPU if there is one."""
    overwrite: bool = False
    """Replace an earlier run that stands in --out."""
    json: bool = False
    """Print the result as one line of JSON instead of text."""
    settings_file: Path | None = None
    """TOML file with settings of this command by their names, such as max-iter = 300; those given here come first."""

    def check(self) -> None:
        """Refuse settings that cannot be used.

        Raises:
            InputError: If one is out of its range.
        """
        check_device(self.device)
        check_whole("--seed", self.seed)
        check_number("--seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class LearningSettings(RunSettings):
    """Settings of every command that learns."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic inside the network; auto = bfloat16 if a short trial finds it faster and harmless."""
    max_iter: int = 600
    """Passes over the examples at most."""
    max_seconds: float | None = None
    """Seconds of learning at most."""
    tensorboard: bool = False
    """Write the figures of each pass for TensorBoard as well, into DIR/tensorboard."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_whole("--max-iter", self.max_iter)
        check_number("--max-iter", self.max_iter, 1)
        if self.tensorboard and find_spec("tensorboard") is None:
            raise InputError("--tensorboard needs TensorBoard; install it by: pip install 'abpnet[tensorboard]'")
        if self.max_seconds is not None and not (isinstance(self.max_seconds, Real) and self.max_seconds > 0):
            raise InputError(f"--max-seconds must be above 0, got {self.max_seconds}")


def check_whole(name: str, value: Any) -> None:
    """Refuse what is no whole number, as a file edited by hand may have it.

    Raises:
        InputError: If it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} must be a whole number, got {value!r}")


def check_number(name: str, value: float | int | None, least: float | int, most: float | int | None = None) -> None:
    """Refuse a number out of its range; None is left alone.

    Raises:
        InputError: If it is.
    """
    if value is None or (value >= least and (most is None or value <= most)):
        return
    expected = f"at least {least:,}" if most is None else f"{least:,} to {most:,}"
    raise InputError(f"{name} must be {expected}, got {value}")


def check_device(name: str) -> None:
    """Refuse a device that torch does not know or this machine does not have.

    Raises:
        InputError: If it cannot be used.
    """
    try:
        if name != "auto" and torch.device(name).type not in ("cpu", "cuda"):
            raise RuntimeError("abpnet computes on cpu and cuda")
        torch.zeros(1, device=None if name == "auto" else name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: cannot be used here ({str(error).splitlines()[0]}); try auto") from None
    device, n_processes = device_of(name), parallel.n_processes_here()
    if parallel.n_processes() > 1 and device.type == "cuda":  # each process has the GPU of its own number
        if device.index is not None:
            raise InputError(f"--device {name}: one GPU for all of {n_processes} processes; choose cuda")
        if torch.cuda.device_count() < n_processes:
            raise InputError(
                f"--device {name}: {n_processes} processes on this machine need as many GPUs, but it has "
                f"{torch.cuda.device_count()}; start fewer, or choose cpu"
            )


def settings_to_json(settings: RunSettings) -> dict[str, Any]:
    """Settings as plain JSON values; paths are made absolute so that a run can be resumed from anywhere."""

    def plain(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(name, part) for part in value]
        if name == "operator" and isinstance(value, str) and value.startswith("mask:"):
            return f"mask:{plain('mask', value.removeprefix('mask:'))}"
        is_file = isinstance(value, str) and (
            (name in SOURCES and value != "" and Path(value).exists()) or (name == "mask" and is_mask_file(value))
        )
        return str(Path(value).absolute()) if isinstance(value, Path) or is_file else value

    return {field.name: plain(field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def settings_from_json(kind: type[Any], values: dict[str, Any], path: Path) -> Any:
    """Settings from what `settings_to_json` wrote.

    Raises:
        InputError: If they are of another version.
    """

    def typed(name: str, value: Any) -> Any:
        if name == "out":
            return path
        if name == "settings_file" and value is not None:
            return Path(value)
        return tuple(value) if isinstance(value, list) else value

    try:
        settings = kind(**{name: typed(name, value) for name, value in values.items()})
        settings.check()
    except InputError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path / 'config.json'}: damaged, or of another version of abpnet ({reason})") from None
    return settings


def as_toml(settings: RunSettings) -> str:
    """All settings that have a value as lines of a settings file, but for where the run is."""
    lines = [
        f"{name.replace('_', '-')} = {json.dumps(value, ensure_ascii=False)}"  # plain values are written alike in both
        for name, value in settings_to_json(settings).items()
        if value is not None and name not in (*UNTOLD, "out")
    ]
    return "\n".join(lines)


def command_line(settings: RunSettings, command: str) -> str:
    """The command with all settings that are not its defaults."""
    words = ["abpnet", command, *(getattr(settings, name) for name in POSITIONAL if hasattr(settings, name))]
    for field in dataclasses.fields(settings):
        value, option = getattr(settings, field.name), f"--{field.name.replace('_', '-')}"
        if field.name in POSITIONAL or value == field.default or field.name in UNTOLD:
            continue
        elif isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words += [option, *(value if isinstance(value, tuple) else (value,))]
    return shlex.join(str(word) for word in words)
