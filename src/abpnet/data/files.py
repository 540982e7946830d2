"""Files that users name: opened if they are plain files, refused by name otherwise."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from abpnet.errors import InputError

__all__ = ["open_file"]


def open_file(path: str | Path, expected: str) -> BinaryIO:
    """Open a plain file for reading; nothing else is opened, since a pipe or a device could keep one waiting.

    Args:
        path: The file, or a link to one.
        expected: What it should hold, such as "an image".

    Raises:
        InputError: If it is absent, unreadable, empty, or no plain file.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path}: is a folder; expected {expected}")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path}: is a pipe, socket or device; expected a plain file of {expected}")
        # Whatever has taken its place since: opening a pipe does not wait.
        stream = open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except FileNotFoundError:
        reason = "is a link to nothing" if os.path.islink(path) else "no such file"
        raise InputError(f"{path}: {reason}; expected {expected}") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a zero within the name
        raise InputError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from None
    found = os.fstat(stream.fileno())
    if stat.S_ISREG(found.st_mode) and found.st_size > 0:
        return stream
    stream.close()
    raise InputError(
        f"{path}: {'is empty' if stat.S_ISREG(found.st_mode) else 'is no plain file'}; expected {expected}"
    )
