"""What all targets share: a reader of files fed with bytes, of which it may refuse any by InputError alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from abpnet.errors import InputError

__all__ = ["reads"]


def reads(reader: Callable[[Path], Any], suffix: str) -> Callable[[bytes], None]:
    """A function of the content of a file.

    Args:
        reader: Reads a file; InputError is its right, anything else a finding.
        suffix: Of the file's name.
    """
    folder = tempfile.TemporaryDirectory(prefix="fuzzed-")

    def read(content: bytes) -> None:
        path = Path(folder.name) / f"file{suffix}"
        path.write_bytes(content)
        with suppress(InputError):
            reader(path)

    return read
