"""Settings of the commands that read files: how much of them is decoded, and what becomes of bad ones in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from abpnet.data.limits import Limits
from abpnet.tasks.session import RunSettings, check_number

__all__ = ["FolderSettings", "PictureSettings", "ReadingSettings"]

MOST_GIGABYTES, MOST_PIXELS = 1e6, 2**40


@dataclass(frozen=True, kw_only=True)
class ReadingSettings(RunSettings):
    """Settings of every command that reads what users have."""

    max_gigabytes: float = Limits.max_bytes / 2**30
    """Refuse what takes more GiB of memory once decoded; a small file can hold very much."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--max-gigabytes", self.max_gigabytes, 1e-6, MOST_GIGABYTES)

    @property
    def limits(self) -> Limits:
        """What is refused before it is decoded."""
        return Limits(max_bytes=int(self.max_gigabytes * 2**30))


@dataclass(frozen=True, kw_only=True)
class PictureSettings(ReadingSettings):
    """Settings of every command that reads pictures or videos."""

    max_pixels: int = Limits.max_pixels
    """Refuse pictures and frames of more pixels, before they are scaled."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        check_number("--max-pixels", self.max_pixels, 1, MOST_PIXELS)

    @property
    def limits(self) -> Limits:
        """What is refused before it is decoded."""
        return Limits(max_pixels=self.max_pixels, max_bytes=super().limits.max_bytes)


@dataclass(frozen=True, kw_only=True)
class FolderSettings(PictureSettings):
    """Settings of every command that reads folders of pictures."""

    on_bad_file: Literal["error", "skip"] = "error"
    """What to do about files of a folder that cannot be read: stop, or leave them out and list them in the report."""
    follow_links: bool = False
    """Read links of a folder that lead out of it, instead of refusing them."""
