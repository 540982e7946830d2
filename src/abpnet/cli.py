"""The command line: every experiment is a command; bad input is one clear line and exit code 2."""

from __future__ import annotations

import io
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from abpnet.errors import InputError
from abpnet.runs import RunFolder
from abpnet.tasks import complete, demo, evaluate, explain, objects, sample, sense, sound, texture, video
from abpnet.tasks.session import SOURCES, Interrupted, RunSettings, settings_from_json, settings_to_json

__all__ = ["main"]

# What torch says when it cannot get memory.
OUT_OF_MEMORY = ("out of memory", "allocate memory", "Storage size calculation overflowed")
DESCRIPTION = "Generative models of images, sounds and videos learned from damaged, partial or indirect data."

COMMANDS: dict[str, tuple[type[RunSettings], Callable[[Any, RunFolder], dict[str, Any]]]] = {
    "demo": (demo.DemoSettings, demo.run),
    "complete": (complete.CompleteSettings, complete.run),
    "sense": (sense.SenseSettings, sense.run),
    "evaluate": (evaluate.EvaluateSettings, evaluate.run),
    "objects": (objects.ObjectsSettings, objects.run),
    "texture": (texture.TextureSettings, texture.run),
    "video": (video.VideoSettings, video.run),
    "sound": (sound.SoundSettings, sound.run),
    "sample": (sample.SampleSettings, sample.run),
    "explain": (explain.ExplainSettings, explain.run),
}


@dataclass(frozen=True)
class ResumeSettings:
    """Go on with an interrupted run, to the same bits as if it had never stopped.

    For example:

      abpnet resume runs/photos
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""


def _tell(message: object) -> None:
    print(f"abpnet: {message}", file=sys.stderr)


def _brief(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _execute(command: str, settings: RunSettings, folder: RunFolder) -> None:
    result = COMMANDS[command][1](settings, folder)
    folder.finish(result)
    for row in result.get("table", []):
        print("  ".join(f"{name}: {_brief(value)}" for name, value in row.items()))
    print(f"report: {folder.path / 'report.html'}")


def _start(settings: RunSettings) -> None:
    (command,) = (name for name, (kind, _) in COMMANDS.items() if type(settings) is kind)
    settings.check()
    values = settings_to_json(settings)
    sources = [values.get(name) for name in SOURCES]
    for source in (part for value in sources for part in (value if isinstance(value, list) else [value])):
        given = Path(str(source))
        if given.exists() and given.resolve().is_relative_to(settings.out.resolve()):
            raise InputError(
                f"{given}: stands in --out {settings.out}, which this command writes; choose another --out"
            )
    folder = RunFolder.create(settings.out, command, values, settings.overwrite)
    try:
        _execute(command, settings_from_json(type(settings), values, settings.out), folder)
    except InputError:
        if not folder.started:  # nothing was done yet: the same command with better input can use the folder
            folder.discard()
        raise


def _resume(path: Path) -> None:
    folder = RunFolder(path)
    if folder.result is not None:
        print(f"{path}: this run is finished; report: {path / 'report.html'}")
        return
    command = folder.config["command"]
    if command not in COMMANDS:
        raise InputError(f"{path / 'config.json'}: unknown command {command!r}; written by another version of abpnet")
    _execute(command, settings_from_json(COMMANDS[command][0], folder.config["settings"], path), folder)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 a fault of abpnet, 2 bad input, 130 or 143 interrupted (nothing is lost).

    Args:
        arguments: Those of the command line by default.
    """
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text in the terminal's encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    kinds: dict[str, Any] = {name: kind for name, (kind, _) in COMMANDS.items()} | {"resume": ResumeSettings}
    try:
        settings: Any = tyro.extras.subcommand_cli_from_dict(
            kinds, prog="abpnet", description=DESCRIPTION, args=arguments
        )
        if isinstance(settings, ResumeSettings):
            _resume(settings.run)
        else:
            _start(settings)
    except InputError as error:
        _tell(error)
        sys.exit(2)
    except OSError as error:  # no permission, no space, a name too long
        _tell(f"{error.filename or 'a file'}: {error.strerror or error}")
        sys.exit(2)
    except Interrupted as interrupted:
        _tell(interrupted)
        sys.exit(interrupted.exit_code)
    except KeyboardInterrupt:
        _tell("stopped at once; the last checkpoint is kept")
        sys.exit(130)
    except Exception as error:
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY):
            _tell(f"not enough memory; ask for fewer or smaller signals ({str(error).splitlines()[0]})")
            sys.exit(2)
        with tempfile.NamedTemporaryFile("w", prefix="abpnet-error-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        _tell(f"a fault of abpnet itself, {type(error).__name__}: {error}; please report it with {file.name}")
        sys.exit(1)


if __name__ == "__main__":
    main()
