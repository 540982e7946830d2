"""Opening files that users name: regular ones only, since a pipe or a device can make a reader wait forever."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from abpnet.errors import InputError

__all__ = ["open_regular"]


def open_regular(path: str | Path, expected: str) -> BinaryIO:
    """Open a file for reading.

    Args:
        path: Its name; never taken for an address.
        expected: What it is to hold, for what users are told: "a sound".

    Raises:
        InputError: If it is not there, may not be read, or is a folder, a pipe, a device or a socket.
    """
    try:
        # Opening a pipe waits for its writer unless told not to; for regular files it makes no difference.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {expected}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; expected {expected}") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except (OSError, ValueError) as error:  # a socket, links in a circle, a name too long or with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be opened ({reason}); expected {expected}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InputError(f"{path}: is a pipe or a device; expected {expected} in a regular file")
    return file
