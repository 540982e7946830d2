"""Images in and out: files, folders and arrays become float32 in [-1, 1] with NaN where a pixel is missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from abpnet.data.array_files import ARRAYS, read_array
from abpnet.data.builtin import BUILTIN_PREFIX, digits
from abpnet.data.limits import Limits
from abpnet.data.pictures import SUFFIXES, decode
from abpnet.data.scaling import scaled
from abpnet.errors import InputError

__all__ = ["ImageSet", "SkippedFile", "from_picture", "is_image", "load_image", "load_images", "save_image", "to_uint8"]

Crop = tuple[int, int, int, int]
FLOAT_BYTES = 4
# Names of files have 255 bytes at most, and results are named by images with a few characters more.
LONGEST_NAME = 200


class SkippedFile(NamedTuple):
    """A file of a folder that was left out.

    Attributes:
        file: Its path.
        reason: Why it could not be read.
    """

    file: str
    reason: str


class ImageSet(NamedTuple):
    """Images with the names they came under.

    Attributes:
        pixels: float32 (n, channels, height, width) in [-1, 1]; NaN = missing.
        names: One per image, for files written later.
        skipped: Files that were left out because they could not be read.
    """

    pixels: np.ndarray
    names: list[str]
    skipped: tuple[SkippedFile, ...] = ()


def _eight_bits(path: str | Path, picture: Image.Image) -> Image.Image:
    """A picture of one of the modes that Pillow can turn into RGB or RGBA without loss, but for depth.

    Raises:
        InputError: If it is of real numbers, or of whole ones that are no brightness.
    """
    if picture.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    if not (picture.mode.startswith("I") or picture.mode == "F"):
        return picture
    values = np.asarray(picture, dtype=np.float32)
    if "transparency" in picture.info:
        raise InputError(f"{path}: transparency of 16-bit images is not read; save 8 bits a channel")
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise InputError(f"{path}: pixels of type {picture.mode} are not read; save 8 or 16 bits a channel")
    return Image.fromarray((values / 257.0).round().astype(np.uint8))


def load_image(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    crop: Crop | None = None,
    limits: Limits = Limits(),
) -> np.ndarray:
    """Read one image.

    Args:
        path: A PNG, JPEG, TIFF, WebP, GIF, BMP, PPM or PGM file of one picture, whatever its name; colours of more
            than 8 bits are rounded to 8.
        size: If given, the central square is scaled to this many pixels a side; or the middle of a (width, height)'s
            proportions to that many pixels.
        crop: If given, the (left, top, right, bottom) pixels cut out first.
        limits: Of what is decoded.

    Returns:
        float32 (1 or 3, height, width) in [-1, 1]; NaN where the image is not fully opaque.

    Raises:
        InputError: If the file cannot be read as an image, is too large, or the crop lies outside of it.
    """
    picture = decode(path, limits)
    if crop is not None:
        left, top, right, bottom = crop
        if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
            raise InputError(f"{path}: crop {crop} lies outside of the {picture.width} x {picture.height} image")
        picture = picture.crop(crop)
    return from_picture(path, picture, size=size, limits=limits)


def from_picture(
    name: str | Path,
    picture: Image.Image,
    *,
    size: int | tuple[int, int] | None = None,
    limits: Limits = Limits(),
) -> np.ndarray:
    """A decoded picture as an array.

    Args:
        name: What messages call it.
        picture: Of Pillow; colours of more than 8 bits are rounded to 8.
        size: As in `load_image`.
        limits: Of the array.

    Returns:
        float32 (1 or 3, height, width) in [-1, 1]; NaN where the image is not fully opaque.

    Raises:
        InputError: If its pixels are no brightness, or it is too large.
    """
    picture = _eight_bits(name, picture)
    n_channels = 1 if picture.mode in ("1", "L", "LA", "La") else 3
    picture, opaque = _colours_and_opaque(picture)
    width, height = picture.size if size is None else (size, size) if isinstance(size, int) else size
    limits.check_bytes(name, n_channels * width * height * FLOAT_BYTES)
    if opaque is None and picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    channels = np.asarray(picture).transpose(2, 0, 1)[:n_channels]
    if opaque is not None:
        channels = scaled(channels, opaque, width, height).clip(0, 255)
    pixels = np.divide(channels, np.float32(127.5), order="C")
    pixels -= 1
    return pixels


def _colours_and_opaque(picture: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    """The picture in RGB, and where it is opaque unless it is everywhere."""
    if not (picture.mode.endswith(("A", "a")) or "transparency" in picture.info):
        return picture.convert("RGB"), None
    # Pillow does not turn premultiplied grey into RGBA at once.
    picture = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    opaque = np.asarray(picture.getchannel("A")) == 255
    return picture.convert("RGB"), None if opaque.all() else opaque


def _image_files(folder: Path) -> list[tuple[str, bool]]:
    """Names that are those of images, in their order; whether each is a link."""
    try:
        with os.scandir(folder) as entries:
            # Hidden files are no images of the user's: macOS leaves a "._name.png" beside every name.png on foreign
            # disks.
            found = [
                (entry.name, entry.is_symlink())
                for entry in entries
                if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
            ]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from None
    if not found:
        raise InputError(f"{folder}: no images in this folder; expected files ending in {', '.join(SUFFIXES)}")
    return sorted(found)


def _check_link(path: Path, folder: str) -> None:
    """Refuse a link that leads out of its folder; one that leads nowhere is left to be found out."""
    try:
        target = Path(os.path.realpath(path, strict=True))
    except OSError:
        return
    if not target.is_relative_to(folder):
        raise InputError(f"{path}: is a link out of its folder, to {target}; --follow-links reads such links")


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names that differ, for the files of results."""
    for names in ([path.stem for path in paths], [path.name for path in paths]):
        if len(set(names)) == len(names) and max(len(os.fsencode(name)) for name in names) <= LONGEST_NAME:
            return names
    return [f"{index:06d}" for index in range(len(paths))]


class _Stack:
    """Images of one size gathered in one array; grey ones become coloured once one of them is.

    Args:
        source: Where they are from.
        n: How many there are at most.
        limits: Of all together.
    """

    def __init__(self, source: Path, n: int, limits: Limits) -> None:
        self._source, self._n, self._limits = source, n, limits
        self._pixels = np.empty((0, 1, 0, 0), np.float32)
        self.paths: list[Path] = []

    def add(self, path: Path, image: np.ndarray) -> None:
        """Put one more image behind the others.

        Raises:
            InputError: If its size is another, or all together would be too large.
        """
        height, width = self._pixels.shape[2:] if self.paths else image.shape[1:]
        if image.shape[1:] != (height, width):
            raise InputError(
                f"{path}: {image.shape[2]} x {image.shape[1]} pixels, but {self.paths[0].name} has {width} x {height}; "
                "pass --size to crop and scale all to one square"
            )
        if not self.paths or len(image) > self._pixels.shape[1]:
            shape = (self._n, len(image), height, width)
            self._limits.check_bytes(self._source, int(np.prod(shape, dtype=object)) * FLOAT_BYTES)
            # Memory is taken as it is written to: less if there are fewer images than files.
            pixels = np.empty(shape, np.float32)
            if self.paths:
                pixels[: len(self.paths)] = self.pixels
            self._pixels = pixels
        self._pixels[len(self.paths)] = image
        self.paths.append(path)

    @property
    def pixels(self) -> np.ndarray:
        """(n, channels, height, width)."""
        return self._pixels[: len(self.paths)]


def _load_folder(
    folder: Path,
    size: int | None,
    crop: Crop | None,
    limit: int | None,
    limits: Limits,
    skip_bad: bool,
    follow_links: bool,
) -> ImageSet:
    files = _image_files(folder)
    n = len(files) if limit is None else min(limit, len(files))
    stack, skipped, inside = _Stack(folder, n, limits), list[SkippedFile](), os.path.realpath(folder)
    for name, is_link in files:
        path = folder / name
        try:
            if is_link and not follow_links:
                _check_link(path, inside)
            image = load_image(path, size=size, crop=crop, limits=limits)
        except InputError as error:
            if not skip_bad:
                raise InputError(f"{error}; --on-bad-file skip leaves such files out") from None
            skipped.append(SkippedFile(str(path), str(error).removeprefix(f"{path}: ")))
            continue
        stack.add(path, image)
        if len(stack.paths) == n:
            break
    if not stack.paths:
        raise InputError(f"{folder}: none of its {len(files):,} images can be read; the first: {skipped[0].reason}")
    return ImageSet(stack.pixels, _names(stack.paths), tuple(skipped))


def load_images(
    source: str | Path,
    *,
    size: int | None = None,
    crop: Crop | None = None,
    limit: int | None = None,
    limits: Limits = Limits(),
    on_bad_file: Literal["error", "skip"] = "error",
    follow_links: bool = False,
) -> ImageSet:
    """Read many images of one size.

    Args:
        source: A folder of image files, a .npy or .npz file (whole numbers 0 to 255, real numbers in [-1, 1] with
            NaN = missing, or True = white), or "builtin:digits".
        size: If given, the central square of each file is scaled to this many pixels a side.
        crop: If given, the (left, top, right, bottom) pixels cut out of each file first.
        limit: Read at most this many, in the order of their names.
        limits: Of what is decoded.
        on_bad_file: What to do about a file of a folder that cannot be read: raise, or leave it out.
        follow_links: Whether to read links of a folder that lead out of it, which are bad files otherwise.

    Raises:
        InputError: If something cannot be read or is too large, the images differ in size, or none is left.
    """
    if str(source) == f"{BUILTIN_PREFIX}digits":
        if size is not None or crop is not None:
            raise InputError(f"{source}: size and crop apply to image files, not to these 8 x 8 digits")
        pixels = digits()[:limit]
        return ImageSet(pixels, [f"digit_{index:04d}" for index in range(len(pixels))])
    path = Path(source)
    if path.suffix.lower() in ARRAYS:
        if size is not None or crop is not None:
            raise InputError(f"{path}: size and crop apply to image files, not to arrays")
        pixels = read_array(path, limit, limits)
        return ImageSet(pixels, [f"{index:06d}" for index in range(len(pixels))])
    if path.is_dir():
        return _load_folder(path, size, crop, limit, limits, on_bad_file == "skip", follow_links)
    if os.path.lexists(path):
        raise InputError(f"{path}: expected a folder of images, a .npy or a .npz file")
    raise InputError(f"{path}: no such folder or file; expected a folder of images, a .npy or a .npz file")


def is_image(shape: Sequence[int]) -> bool:
    """Whether signals of this shape can be shown: (height, width) or (1 or 3, height, width)."""
    return len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Pixels in [-1, 1] as whole numbers 0..255; values outside are clipped."""
    return ((np.clip(pixels, -1, 1) + 1) * 127.5).round().astype(np.uint8)


def save_image(path: str | Path, pixels: np.ndarray | Sequence) -> None:
    """Write a (1 or 3, height, width) or (height, width) array in [-1, 1] as a picture."""
    whole = to_uint8(np.asarray(pixels))
    whole = whole[0] if whole.ndim == 3 and len(whole) == 1 else whole
    Image.fromarray(whole.transpose(1, 2, 0) if whole.ndim == 3 else whole).save(path)
