"""Files that users name: opened if they are plain files, refused by name otherwise."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from abpnet.errors import InputError

__all__ = ["open_file"]

NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


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
        # What is no plain file is not even opened; whatever takes its place until then does not keep one waiting.
        plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        descriptor = os.open(path, os.O_RDONLY | NO_WAITING) if plain else None
    except FileNotFoundError:
        reason = "is a link to nothing" if os.path.islink(path) else "no such file"
        raise InputError(f"{path}: {reason}; expected {expected}") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a zero within the name
        raise InputError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from None
    if descriptor is not None:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size > 0:
            return open(descriptor, "rb")
        os.close(descriptor)
        mode = found.st_mode
    kind = "is a pipe, socket or device"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        kind = "is a folder" if stat.S_ISDIR(mode) else "is empty"
    raise InputError(f"{path}: {kind}; expected {expected}")
