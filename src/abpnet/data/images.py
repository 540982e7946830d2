"""Images in and out: files, folders and arrays become float32 in [-1, 1] with NaN where a pixel is missing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from abpnet.data.builtin import BUILTIN_PREFIX, digits
from abpnet.errors import InputError

__all__ = ["ImageSet", "is_image", "load_image", "load_images", "save_image", "to_uint8"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
Crop = tuple[int, int, int, int]


class ImageSet(NamedTuple):
    """Images with the names they came under.

    Attributes:
        pixels: float32 (n, channels, height, width) in [-1, 1]; NaN = missing.
        names: One per image, for files written later.
    """

    pixels: np.ndarray
    names: list[str]


def _open(path: Path) -> Image.Image:
    """Read a picture whole, turned as its EXIF data says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return ImageOps.exif_transpose(picture)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected an image") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; expected an image file") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that Pillow can read; check that the content fits the name") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels; scale it down first") from None
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged or unreadable image ({error}); replace or remove it") from None


def load_image(path: str | Path, *, size: int | None = None, crop: Crop | None = None) -> np.ndarray:
    """Read one image.

    Args:
        path: Any file that Pillow reads.
        size: If given, the central square is scaled to this many pixels a side.
        crop: If given, the (left, top, right, bottom) pixels cut out first.

    Returns:
        float32 (1 or 3, height, width) in [-1, 1]; NaN where the image is not fully opaque.

    Raises:
        InputError: If the file cannot be read as an image or the crop lies outside of it.
    """
    picture = _open(Path(path))
    if crop is not None:
        left, top, right, bottom = crop
        if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
            raise InputError(f"{path}: crop {crop} lies outside of the {picture.width} x {picture.height} image")
        picture = picture.crop(crop)
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 or 32 bits a pixel
        values = np.asarray(picture, dtype=np.float32)
        if "transparency" in picture.info:
            raise InputError(f"{path}: transparency of 16-bit images is not read; save 8 bits a channel")
        if values.min() < 0 or values.max() > 65535 or picture.mode == "F":
            raise InputError(f"{path}: pixels of type {picture.mode} are not read; save 8 or 16 bits a channel")
        picture = Image.fromarray((values / 257.0).round().astype(np.uint8))
    grey = picture.mode in ("1", "L", "LA")
    transparent = "A" in picture.getbands() or "transparency" in picture.info
    # Premultiplied colours, so that scaling never mixes in the colour of a transparent pixel.
    picture = picture.convert("RGBA").convert("RGBa") if transparent else picture.convert("RGB")
    if size is not None:
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, dtype=np.float32).transpose(2, 0, 1)
    missing = pixels[3] < 255 if transparent else np.zeros(pixels.shape[1:], bool)
    colours = pixels[:1] if grey else pixels[:3]
    return np.where(missing, np.float32(np.nan), colours / 127.5 - 1.0)


def _load_folder(folder: Path, size: int | None, crop: Crop | None, limit: int | None) -> ImageSet:
    # Hidden files are no images of the user's: macOS leaves a "._name.png" beside every name.png on foreign disks.
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    paths = sorted(path for path in visible if path.suffix.lower() in SUFFIXES)[:limit]
    if not paths:
        raise InputError(f"{folder}: no images in this folder; expected files ending in {', '.join(SUFFIXES)}")
    images = [load_image(path, size=size, crop=crop) for path in paths]
    n_channels = max(len(image) for image in images)
    images = [np.broadcast_to(image, (n_channels, *image.shape[1:])) for image in images]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise InputError(
                f"{path}: {image.shape[2]} x {image.shape[1]} pixels, but {paths[0].name} has "
                f"{images[0].shape[2]} x {images[0].shape[1]}; pass --size to crop and scale all to one square"
            )
    stems = [path.stem for path in paths]
    return ImageSet(np.stack(images), stems if len(set(stems)) == len(stems) else [path.name for path in paths])


def _load_array(path: Path, limit: int | None) -> ImageSet:
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {path.stem: content} if isinstance(content, np.ndarray) else {name: content[name] for name in content}
        arrays = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a .npy or .npz file of images") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; check its permissions") from None
    except Exception as error:  # numpy raises whatever its zip, header or pickle reader meets
        reason = "its content is none" if "pickle" in str(error) else error  # nor is anybody told how to unpickle it
        raise InputError(f"{path}: cannot be read as a numpy file of plain numbers ({reason})") from None
    stacks = {name: array for name, array in arrays.items() if array.ndim >= 3 and array.dtype.kind in "fui"}
    if len(stacks) != 1:
        found = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in arrays.items())
        raise InputError(f"{path}: expected exactly one numeric array (n, height, width[, channels]), found {found}")
    (pixels,) = stacks.values()
    pixels = pixels[:limit]
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim == 4 and pixels.shape[1] not in (1, 3) and pixels.shape[3] in (1, 3):
        pixels = pixels.transpose(0, 3, 1, 2)
    if pixels.size == 0:
        raise InputError(f"{path}: holds no images (an array of shape {pixels.shape})")
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise InputError(f"{path}: expected images with 1 or 3 channels, found an array of shape {pixels.shape}")
    if pixels.dtype.kind in "ui":
        if pixels.min() < 0 or pixels.max() > 255:
            raise InputError(f"{path}: whole numbers must lie in 0..255, found {pixels.min()}..{pixels.max()}")
        pixels = pixels / 127.5 - 1.0
    finite = pixels[~np.isnan(pixels)]
    if finite.size and (finite.min() < -1 or finite.max() > 1):
        raise InputError(
            f"{path}: real numbers must lie in [-1, 1] with NaN = missing, found {finite.min():.4g}..{finite.max():.4g}"
        )
    return ImageSet(pixels.astype(np.float32), [f"{index:06d}" for index in range(len(pixels))])


def load_images(
    source: str | Path, *, size: int | None = None, crop: Crop | None = None, limit: int | None = None
) -> ImageSet:
    """Read many images of one size.

    Args:
        source: A folder of image files, a .npy or .npz file (uint8, or real numbers in [-1, 1] with NaN = missing),
            or "builtin:digits".
        size: If given, the central square of each file is scaled to this many pixels a side.
        crop: If given, the (left, top, right, bottom) pixels cut out of each file first.
        limit: Read at most this many, in the order of their names.

    Raises:
        InputError: If something cannot be read, or the images differ in size.
    """
    if str(source) == f"{BUILTIN_PREFIX}digits":
        if size is not None or crop is not None:
            raise InputError(f"{source}: size and crop apply to image files, not to these 8 x 8 digits")
        pixels = digits()[:limit]
        return ImageSet(pixels, [f"digit_{index:04d}" for index in range(len(pixels))])
    path = Path(source)
    if path.suffix.lower() in (".npy", ".npz"):
        if size is not None or crop is not None:
            raise InputError(f"{path}: size and crop apply to image files, not to arrays")
        return _load_array(path, limit)
    if path.is_dir():
        return _load_folder(path, size, crop, limit)
    if path.exists():
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
