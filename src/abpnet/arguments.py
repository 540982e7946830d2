"""The words of a command line become settings, those of a TOML file beneath them, or one line that says why not."""

from __future__ import annotations

import difflib
import io
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from abpnet.errors import InputError

__all__ = ["CompletionSettings", "parse", "print_completion"]

DESCRIPTION = """Generative models of images, sounds and videos learned from damaged, partial or indirect data.

For example:

  abpnet demo
  abpnet complete photos/ --size 64 --out runs/photos
  abpnet texture wall.png --settings-file wall.toml --json
  abpnet resume runs/photos

Exit codes: 0 = done, 1 = a fault of abpnet, 2 = bad input, 3 = one of several processes was lost,
4 = learning diverged, 130 or 143 = interrupted (go on with abpnet resume)."""
SETTINGS_FILE = "--settings-file"
# Stands for what has to be given while other settings are looked at.
ANYTHING = "."


@dataclass(frozen=True)
class CompletionSettings:
    """Print a script that lets a shell complete commands and options.

    For example:

      abpnet completion bash > ~/.local/share/bash-completion/completions/abpnet
      abpnet completion zsh > ~/.zfunc/_abpnet
    """

    shell: Annotated[Literal["bash", "zsh", "fish", "tcsh"], tyro.conf.Positional]
    """The shell."""


def _closest(word: str, known: Sequence[str]) -> str:
    """A question to end a message with, if a word looks like a known one."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _is_positional(hint: Any) -> bool:
    return tyro.conf.Positional in getattr(hint, "__metadata__", ())


def _words(option: str, value: Any) -> list[str]:
    """A value of a TOML file as it would stand on the command line."""
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    values = value if isinstance(value, list) else [value]
    return [f"--{option}", *map(str, values)]


def _read(path: Path, command: str, kind: type[Any]) -> Any:
    """Settings of a command as a TOML file has them; `tyro.MISSING` where neither it nor a default says anything.

    Raises:
        InputError: If it cannot be read, or a setting is unknown or of another type.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {SETTINGS_FILE} expects a TOML file") from None
    except ValueError as error:
        raise InputError(f"{path}: no TOML ({error}); expected lines such as max-iter = 300") from None
    hints = get_type_hints(kind, include_extras=True)
    required = [name for name, hint in hints.items() if _is_positional(hint)]
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in hints or name == "settings_file":
            known = [each.replace("_", "-") for each in hints]
            raise InputError(f"{path}: {key} is no setting of abpnet {command}{_closest(key, known)}")
        if name in required:
            words = [str(value) if name == each else ANYTHING for each in required]
        else:
            words = [ANYTHING] * len(required) + _words(key.replace("_", "-"), value)
        try:
            if isinstance(value, dict):
                raise SystemExit(2)
            with redirect_stderr(io.StringIO()):  # what tyro says knows nothing of the file
                values[name] = getattr(tyro.cli(kind, args=words), name)
        except SystemExit:
            raise InputError(
                f"{path}: {key} = {value!r} cannot be used; abpnet {command} --help says what is expected"
            ) from None
    settings = kind(**dict.fromkeys(required, ANYTHING) | values)
    for name in required:
        if name not in values:
            object.__setattr__(settings, name, tyro.MISSING)
    return settings


def _settings_file(words: Sequence[str]) -> Path | None:
    """The file that the words name, the last one if several do."""
    found = None
    for place, word in enumerate(words):
        if word == SETTINGS_FILE and place + 1 < len(words):
            found = words[place + 1]
        elif word.startswith(f"{SETTINGS_FILE}="):
            found = word.partition("=")[2]
    return None if found is None else Path(found)


def _parse_all(kinds: Mapping[str, type[Any]], words: Sequence[str]) -> None:
    everything: Any = dict(kinds)
    tyro.extras.subcommand_cli_from_dict(everything, prog="abpnet", description=DESCRIPTION, args=words)


def print_completion(kinds: Mapping[str, type[Any]], shell: str) -> None:
    """Print the script that lets a shell complete the commands, and end."""
    _parse_all(kinds, ["--tyro-print-completion", shell])


def parse(kinds: Mapping[str, type[Any]], words: Sequence[str]) -> tuple[str, Any]:
    """The command, and its settings.

    What the command line says comes before what `--settings-file` says, and this before the defaults.

    Args:
        kinds: Settings by command: dataclasses, whose positional fields are those without a default.
        words: Of the command line, without the name of the program.

    Raises:
        InputError: If there is no such command, or the settings file cannot be used.
        SystemExit: If help, the version or a completion script was asked for and printed (code 0), or options make no
            sense, which was said (code 2).
    """
    if words and words[0] == "--version":
        from abpnet import __version__

        print(f"abpnet {__version__}")
        raise SystemExit(0)
    if not words or words[0].startswith("-"):
        _parse_all(kinds, words)
    command, *rest = words
    if command not in kinds:
        raise InputError(f"{command!r} is no command{_closest(command, list(kinds))} (abpnet --help lists them)")
    kind, path = kinds[command], _settings_file(rest)
    default = tyro.MISSING_NONPROP if path is None else _read(path, command, kind)
    return command, tyro.cli(kind, prog=f"abpnet {command}", args=rest, default=default)
