"""Settings of the commands that read files: how much of them is decoded, and what becomes of bad ones in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from abpnet import report
from abpnet.data.images import Crop, ImageSet, SkippedFile, load_images
from abpnet.data.limits import Limits
from abpnet.errors import InputError
from abpnet.progress import say
from abpnet.runs import RunFolder
from abpnet.tasks.settings import RunSettings, check_number

__all__ = [
    "FolderSettings",
    "PictureSettings",
    "ReadingSettings",
    "note_files",
    "read_image_set",
    "skipped_result",
    "skipped_section",
]

MOST_GIGABYTES, MOST_PIXELS = 1e6, 2**40
# Skipped files that are named on the terminal.
TOLD = 3


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


def read_image_set(
    settings: FolderSettings,
    folder: RunFolder,
    source: str,
    *,
    size: int | None = None,
    crop: Crop | None = None,
    limit: int | None = None,
) -> ImageSet:
    """Images, read within the limits of the settings; see `abpnet.data.load_images` and `note_files`.

    Raises:
        InputError: If they cannot be read, or are others than this run began with.
    """
    images = load_images(
        source,
        size=size,
        crop=crop,
        limit=limit,
        limits=settings.limits,
        on_bad_file=settings.on_bad_file,
        follow_links=settings.follow_links,
    )
    note_files(folder, source, images.names, images.skipped)
    return images


def note_files(folder: RunFolder, source: str, names: Sequence[str], skipped: Sequence[SkippedFile] = ()) -> None:
    """Keep in a run's folder which files it reads, and tell of those it does not.

    Args:
        folder: The run's folder.
        source: Where they are from.
        names: Of what was read.
        skipped: What was left out.

    Raises:
        InputError: If this run began with other files: what it learned would no longer belong to them.
    """
    read = {"n": len(names), "sha256": hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()}
    known = folder.config.get("files", {})
    if known.get(source, read) != read:
        raise InputError(
            f"{source}: holds {len(names):,} images that can be read, not the {known[source]['n']:,} of the same names "
            "that this run began with; bring these back, or start a new run"
        )
    if source not in known:
        folder.record(files=known | {source: read})
    if skipped:
        shown = "; ".join(f"{one.file}: {one.reason}" for one in skipped[:TOLD])
        more = " ..." if len(skipped) > TOLD else ""
        say(f"left out {len(skipped):,} files of {source} (the report lists all): {shown}{more}")


def skipped_result(skipped: Sequence[SkippedFile]) -> dict[str, Any]:
    """What result.json says of files that were left out; nothing if there are none."""
    return {"skipped": [one._asdict() for one in skipped]} if skipped else {}


def skipped_section(skipped: Sequence[SkippedFile]) -> dict[str, list[str]]:
    """A section of the report on files that were left out; none if there are none."""
    if not skipped:
        return {}
    told = report.paragraph("They could not be read; nothing was learned from them.")
    return {"Files left out": [report.table([one._asdict() for one in skipped]), told]}
