"""The command line: every experiment is a command; bad input is one clear line and exit code 2."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from abpnet import parallel, report
from abpnet.arguments import CompletionSettings, parse, print_completion
from abpnet.errors import DivergenceError, InputError, NotWrittenError
from abpnet.interruption import StoppedAtOnce, stopped_at_once
from abpnet.progress import say
from abpnet.runs import LOCK, REPLACED, RunFolder
from abpnet.tasks import complete, demo, evaluate, explain, objects, sample, sense, sharing, sound, texture, video
from abpnet.tasks.session import Interrupted
from abpnet.tasks.settings import SOURCES, RunSettings, settings_from_json, settings_to_json
from abpnet.web.server import ServeSettings, serve

__all__ = ["main"]

# What torch says when it cannot get memory.
OUT_OF_MEMORY = ("out of memory", "allocate memory", "Storage size calculation overflowed")
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
# Commands that leave no run folder.
TOOLS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "export": (sharing.ExportSettings, sharing.export),
    "push": (sharing.PushSettings, sharing.push),
    "serve": (ServeSettings, serve),
}


@dataclass(frozen=True)
class ResumeSettings:
    """Go on with an interrupted run, to the same bits as if it had never stopped.

    For example:

      abpnet resume runs/photos
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    json: bool = False
    """Print the result as one line of JSON instead of text."""


def _one_line(message: Warning | str, *place: Any, **more: Any) -> str:
    """A warning without where in the code it comes from, which is nothing to the user."""
    return f"abpnet: warning: {message}\n"


@contextmanager
def _alone(path: Path, begin: Callable[[], RunFolder]) -> Iterator[RunFolder]:
    """The folder of a run, in which only the first of several processes writes.

    Each other one works in a copy of its own, which holds what there is to go on from and is deleted in the end.

    Args:
        path: The folder.
        begin: Creates or opens it.
    """
    folder = parallel.first_alone(begin)
    if folder is not None:
        try:
            parallel.meet()
            yield folder
        finally:
            folder.release()
        return
    with tempfile.TemporaryDirectory(prefix="abpnet-") as kept:
        copy = Path(kept) / "run"
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns(REPLACED, LOCK))
        parallel.meet()
        yield RunFolder(copy)


def _tell(folder: RunFolder, result: dict[str, Any], as_json: bool) -> None:
    """Print what a finished run found."""
    if as_json:
        print(json.dumps({"run": str(folder.path.absolute()), **result}))
        return
    for row in result.get("table", []):
        print("  ".join(f"{name}: {report.brief(value)}" for name, value in row.items()))
    print(f"report: {folder.path / 'report.html'}")


def _execute(command: str, settings: RunSettings, folder: RunFolder, as_json: bool) -> None:
    try:
        result = COMMANDS[command][1](settings, folder)
        folder.finish(result)
    except (NotWrittenError, OSError) as error:
        if not folder.started:
            raise
        go_on = f"what was reached is kept; mend that, then go on with: abpnet resume {folder.path}"
        raise InputError(f"{_explained(error)[1]}; {go_on}") from None
    _tell(folder, result, as_json)


def _tell_how_to_go_on(error: BaseException, folder: RunFolder) -> None:
    if isinstance(error, KeyboardInterrupt):
        error.add_note(f"go on with: abpnet resume {folder.path}")
    elif isinstance(error, DivergenceError) and folder.started:
        error.add_note("the last checkpoint is kept")


@contextmanager
def _nothing_lost(folder: RunFolder, is_new: bool) -> Iterator[None]:
    """What went wrong within the block is told with how to go on; of a new run with nothing to lose, nothing is left.

    But one that was stopped from outside can be resumed even then, unless it is in the place of an earlier one.

    Args:
        folder: Of the run.
        is_new: Whether it begins within the block.
    """
    try:
        yield
    except BaseException as error:
        replaces, outside = folder.replaces, isinstance(error, KeyboardInterrupt | parallel.ProcessLost)
        if not is_new or folder.started or (outside and not replaces):
            _tell_how_to_go_on(error, folder)
        else:
            folder.discard()
            if replaces:
                error.add_note(f"the earlier run is back in {folder.path}")
        raise


def _start(command: str, settings: RunSettings) -> None:
    settings.check()
    values = settings_to_json(settings)
    sources = [values.get(name) for name in SOURCES]
    for source in (part for value in sources for part in (value if isinstance(value, list) else [value])):
        if source == "":
            raise InputError("an empty name was given for what to read; name a file or folder, such as .")
        given = Path(str(source))
        if given.exists() and given.resolve().is_relative_to(settings.out.resolve()):
            raise InputError(
                f"{given}: stands in --out {settings.out}, which this command writes; choose another --out"
            )

    def begin() -> RunFolder:
        return RunFolder.create(settings.out, command, values, settings.overwrite)

    with _alone(settings.out, begin) as folder, _nothing_lost(folder, is_new=True):
        _execute(command, settings_from_json(type(settings), values, folder.path), folder, settings.json)


def _resume(asked: ResumeSettings) -> None:
    path = asked.run
    folder = RunFolder(path)
    if folder.result is not None:
        if not asked.json:
            print(f"{path}: this run is finished")
        _tell(folder, folder.result, asked.json)
        return
    command = folder.config["command"]
    if command not in COMMANDS:
        raise InputError(f"{path / 'config.json'}: unknown command {command!r}; written by another version of abpnet")
    folder.check_settings()
    settings = folder.config["settings"]
    with _alone(path, folder.hold) as own, _nothing_lost(own, is_new=False):
        _execute(command, settings_from_json(COMMANDS[command][0], settings, own.path), own, asked.json)


def _run(arguments: list[str] | None) -> None:
    kinds: dict[str, type[Any]] = {name: kind for name, (kind, _) in COMMANDS.items()}
    kinds |= {name: kind for name, (kind, _) in TOOLS.items()}
    kinds |= {"resume": ResumeSettings, "completion": CompletionSettings}
    command, settings = parse(kinds, sys.argv[1:] if arguments is None else arguments)
    if command in COMMANDS:
        _start(command, settings)
    elif command in TOOLS:
        TOOLS[command][1](settings)
    elif command == "resume":
        _resume(settings)
    else:
        print_completion(kinds, settings.shell)


def _explained(error: BaseException) -> tuple[int, object]:
    """Exit code, and what the user is told."""
    if isinstance(error, InputError):
        return 2, error
    if isinstance(error, OSError):  # no permission, no space, a name too long
        return 2, f"{error.filename or 'output'}: {error.strerror or error}"
    if isinstance(error, Interrupted):
        return error.exit_code, error
    if isinstance(error, DivergenceError):
        return 4, error
    if isinstance(error, KeyboardInterrupt):
        number = error.signal if isinstance(error, StoppedAtOnce) else signal.SIGINT
        return 128 + number, "stopped at once"
    if isinstance(error, parallel.ProcessLost):
        return 3, f"{error}; the last checkpoint is kept: go on with abpnet resume, on as many processes as you like"
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY):
        told = f" ({str(error).splitlines()[0]})" if str(error) else ""
        return 2, f"not enough memory; ask for fewer or smaller signals{told}"
    fault = f"a fault of abpnet itself, {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="abpnet-error-", suffix=".txt", delete=False) as file:
            traceback.print_exception(error, file=file)
    except OSError as full:
        return 1, f"{fault}; please report it (what led there cannot be written: {full.strerror})"
    return 1, f"{fault}; please report it with {file.name}"


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit.

    0 = done, 1 = a fault of abpnet, 2 = bad input, 3 = one of several processes was lost, 4 = learning diverged,
    130 or 143 = interrupted (nothing is lost). Of several processes, started by torchrun, the first writes and speaks.

    Args:
        arguments: Those of the command line by default.
    """
    warnings.formatwarning = _one_line
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (until the end)
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text in the terminal's encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with parallel.started_by_torchrun() as notes:
        try:
            with stopped_at_once(), ExitStack() as silence:
                if not parallel.is_first():
                    nowhere = silence.enter_context(open(os.devnull, "w"))
                    silence.enter_context(redirect_stdout(nowhere))
                    silence.enter_context(redirect_stderr(nowhere))
                _run(arguments)
        except BrokenPipeError:  # whoever read what is printed has seen enough
            with parallel.ending(notes):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is the rest written at the end
            sys.exit(141)
        except SystemExit:  # the arguments make no sense, which was said, or asked for help
            with parallel.ending(notes):
                raise
        except BaseException as error:
            with parallel.ending(notes) as is_to_tell:
                exit_code, message = _explained(error)
                if is_to_tell:
                    say("; ".join([str(message), *getattr(error, "__notes__", ())]))
            sys.exit(exit_code)


if __name__ == "__main__":
    main()
