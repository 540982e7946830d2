"""One picture file decoded by Pillow, which is kept from what pictures should not need: other programs, much memory."""

from __future__ import annotations

import mmap
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from abpnet.data.files import open_file
from abpnet.data.limits import Limits
from abpnet.errors import InputError

__all__ = ["KINDS", "SUFFIXES", "decode"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
KINDS = "PNG, JPEG, TIFF, WebP, GIF, BMP, PPM or PGM"
# Not all that Pillow knows: some kinds start other programs, and each is more code to trust.
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "DIB", "PPM")
# Tags of TIFF: photometric interpretation, bits per sample, sample format, kind of page.
PHOTOMETRIC, BITS, SAMPLES, PAGE = 262, 258, 339, 254
MOST_PAGES = 100
# Scans of a JPEG file, which usually has ten at most; each goes over the whole picture, however few its bytes.
MOST_SCANS, MOST_SEGMENTS = 50, 10_000
# Markers of JPEG: any but those within a scan; the beginning of a picture, of a scan, and the end.
MARKER, BEGINNING, SCAN, END = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]"), 0xD8, 0xDA, 0xD9
# Pillow's limit and Python's warnings are the process's; one thread at a time changes them.
_ALONE = threading.RLock()


@contextmanager
def _limited(limits: Limits) -> Iterator[None]:
    """Within the block Pillow raises at more pixels than allowed, and says nothing about what it finds odd."""
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        usual = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = limits.max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def _check_scans(path: str | Path, file: BinaryIO) -> None:
    """Refuse a JPEG file that would keep its decoder busy for minutes by many scans of few bytes each."""
    n_scans = 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = MARKER.search(content, 2)
        for _ in range(MOST_SEGMENTS):
            if found is None or content[found.end() - 1] in (BEGINNING, END) or n_scans > MOST_SCANS:
                break
            n_scans += content[found.end() - 1] == SCAN
            length = int.from_bytes(content[found.end() : found.end() + 2], "big")
            found = MARKER.search(content, found.end() + length)
        else:
            n_scans = MOST_SCANS + 1
        del found
    if n_scans > MOST_SCANS:
        raise InputError(f"{path}: a JPEG image of more than {MOST_SCANS} scans, usual ones have 10; save it anew")


def _check_tiff(path: str | Path, picture: TiffImageFile) -> None:
    """Refuse pixels of which Pillow does not tell what they mean, and several pages.

    Smaller versions of the first page, which may stand behind it, are no pages.
    """
    tags = picture.tag_v2
    odd = {
        "of 12 bits": 12 in tags.get(BITS, ()),
        "with a sign": 2 in tags.get(SAMPLES, ()) and max(tags.get(BITS, (1,))) <= 16,
        "of 16 bits of which 0 is white": picture.mode.startswith("I;16") and tags.get(PHOTOMETRIC) == 0,
    }
    for kind in (kind for kind, found in odd.items() if found):
        raise InputError(f"{path}: pixels {kind} are not read; save 8 or 16 bits a channel, 0 = black")
    if not picture.is_animated:
        return
    page = 0
    try:
        for page in range(1, MOST_PAGES):
            picture.seek(page)
            if not int(picture.tag_v2.get(PAGE, 0)) & 1:
                break
    except EOFError:
        return
    finally:
        picture.seek(0)
    raise InputError(f"{path}: holds several pages; save each as a file of its own")


def _check_kind(path: str | Path, file: BinaryIO, picture: Image.Image) -> None:
    """Refuse what is more than one picture, or no picture of the usual kind."""
    if picture.format == "TIFF":
        _check_tiff(path, cast(TiffImageFile, picture))
    elif picture.format in ("JPEG", "MPO"):  # MPO: cameras put a preview or a depth map behind the picture
        _check_scans(path, file)
    elif getattr(picture, "is_animated", False):
        raise InputError(
            f"{path}: holds several pictures (an animation); save the one that is meant as a file of its own"
        )


def decode(path: str | Path, limits: Limits) -> Image.Image:
    """Read a picture whole, turned as its EXIF data says.

    Args:
        path: A file of one of `KINDS`, whatever its name.
        limits: Of its size, which its header tells.

    Returns:
        The picture in any of Pillow's modes.

    Raises:
        InputError: If the file cannot be read, is damaged, holds several pictures, or is too large.
    """
    with open_file(path, "an image") as file, _limited(limits):
        try:
            picture = Image.open(file, formats=FORMATS)
            limits.check_pixels(path, *picture.size)
            limits.check_bytes(path, 4 * picture.width * picture.height)
            _check_kind(path, file, picture)
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return picture
        except InputError:
            raise
        except UnidentifiedImageError:
            raise InputError(f"{path}: not an image that is read, or a damaged one; expected {KINDS}") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise InputError(
                f"{path}: more than the {limits.max_pixels:,} pixels allowed; scale it down, or raise --max-pixels if "
                "you trust the file"
            ) from None
        except Exception as error:  # Pillow raises whatever its decoders meet
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{path}: damaged or unreadable image ({reason}); replace or remove it") from None
