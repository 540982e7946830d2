"""How much a file may hold once it is decoded: a few kilobytes can unpack to more than any memory has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from abpnet.errors import InputError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What is refused before it is decoded.

    Attributes:
        max_pixels: Of one picture or frame.
        max_bytes: Of all that is decoded from one source, as it stands in memory.
    """

    max_pixels: int = 2**26
    max_bytes: int = 2**33

    def check_pixels(self, path: str | Path, width: int, height: int) -> None:
        """Refuse a picture of too many pixels.

        Raises:
            InputError: If it has more than `max_pixels`.
        """
        if width * height > self.max_pixels:
            raise InputError(
                f"{path}: {width} x {height} pixels, more than the {self.max_pixels:,} allowed; scale it down, or "
                "raise --max-pixels if you trust the file"
            )

    def check_bytes(self, path: str | Path, n_bytes: int) -> None:
        """Refuse more than memory is meant to hold.

        Raises:
            InputError: If it is more than `max_bytes`.
        """
        if n_bytes > self.max_bytes:
            raise InputError(
                f"{path}: {n_bytes / 2**30:.3g} GiB once decoded, more than the {self.max_bytes / 2**30:.3g} allowed; "
                "read less of it, or raise --max-gigabytes if you trust the file"
            )
