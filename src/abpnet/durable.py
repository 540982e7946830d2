"""Files and folders on disk that are whole or absent, and known to be what was written.

FOLDER/state.safetensors   tensors
FOLDER/state.json          facts
FOLDER/manifest.json       written last: version, size and SHA-256 of both, and its own
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from abpnet.errors import InputError, NotWrittenError

__all__ = ["FILES", "by_part", "read_folder", "read_json", "remove", "replace_file", "write_folder", "write_json"]

PARTIAL = ".partial-"
TENSORS, FACTS, MANIFEST = "state.safetensors", "state.json", "manifest.json"
FILES = (TENSORS, FACTS, MANIFEST)
# Version of what `write_folder` writes.
SCHEMA = 1


def _sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # not every file system can flush a folder
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _write_durably(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    _sync(path)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors durably; what is memory-mapped is not copied into memory on the way."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    owners = Counter(tensor.untyped_storage().data_ptr() for tensor in plain.values())
    own = {  # shared memory, such as that of tied weights, cannot be written twice
        name: tensor.clone() if owners[tensor.untyped_storage().data_ptr()] > 1 else tensor
        for name, tensor in plain.items()
    }
    path.touch()  # the umask says who may read it; safetensors asks nobody
    mode = path.stat().st_mode
    safetensors.torch.save_file(own, path)
    path.chmod(mode)
    _sync(path)


def _as_json(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


@contextmanager
def _given_up_whole(path: Path, partial: Path) -> Iterator[None]:
    """Where something cannot be written, the part of it is removed and the user told; what stood there is kept."""
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        remove(partial)
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise NotWrittenError(f"{path}: cannot be written ({reason}); what stood there before is kept") from None


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def replace_file(path: Path, content: str) -> None:
    """Write a file so that it is the old one or the new one, never a part.

    Raises:
        NotWrittenError: If it cannot be written; the old one is kept.
    """
    partial = path.with_name(PARTIAL + path.name)
    with _given_up_whole(path, partial):
        _write_durably(partial, content.encode())
        partial.replace(path)
        _sync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON; see `replace_file`."""
    replace_file(path, _as_json(content).decode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: If it is absent or damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a folder that abpnet wrote")
    if not path.is_file():  # reading a pipe would wait for ever
        raise InputError(f"{path}: damaged or unreadable (it is no file)")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged or unreadable ({error})") from None


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest but for this number itself."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_folder(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors (safetensors) and facts (JSON) into a folder that appears complete or not at all.

    Everything is written aside, the manifest last, flushed to disk and renamed; an existing folder of that name is
    replaced.

    Raises:
        NotWrittenError: If it cannot be written; an existing folder is kept.
    """
    from abpnet import __version__

    partial = folder.with_name(PARTIAL + folder.name)
    outdated = folder.with_name(PARTIAL + "outdated-" + folder.name)
    remove(partial)
    remove(outdated)
    with _given_up_whole(folder, partial):
        partial.mkdir(parents=True)
        _write_tensors(partial / TENSORS, tensors)
        _write_durably(partial / FACTS, _as_json(facts))
        files = {name: _digest(partial / name) for name in (TENSORS, FACTS)}
        manifest = {"schema": SCHEMA, "written_by": f"abpnet {__version__}", "files": files}
        _write_durably(partial / MANIFEST, _as_json(manifest | {"sha256": _digest_of(manifest)}))
        _sync(partial)
        if folder.exists():
            folder.rename(outdated)
        try:
            partial.rename(folder)
        except OSError:
            if outdated.exists():
                outdated.rename(folder)
            raise
        _sync(folder.parent)
    remove(outdated)


def by_part(tensors: Mapping[str, Tensor]) -> defaultdict[str, dict[str, Tensor]]:
    """Tensors named "part.rest", grouped by part; a part that is absent is empty."""
    parts: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def _verify(folder: Path) -> None:
    """Compare a folder with its manifest.

    Raises:
        InputError: If they differ, or either is absent or of another version.
    """
    path = folder / MANIFEST
    if folder.is_dir() and not path.exists():
        raise InputError(f"{path}: absent; the folder is incomplete, or of a version of abpnet that kept no manifest")
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        raise InputError(f"{path}: damaged (not a table of facts)")
    if manifest.get("schema") != SCHEMA:
        writer, schema = (str(manifest.get(name))[:40] for name in ("written_by", "schema"))
        raise InputError(
            f"{path}: written by {writer!r} in schema {schema}, or damaged; this version reads schema {SCHEMA}"
        )
    files = manifest.get("files")
    if manifest.get("sha256") != _digest_of(manifest) or not isinstance(files, dict) or set(files) != {TENSORS, FACTS}:
        raise InputError(f"{path}: damaged (it is not what was written)")
    for name, written in files.items():
        file = folder / name
        if not file.is_file():
            raise InputError(f"{file}: absent")
        try:
            found = _digest(file)
        except OSError as error:
            raise InputError(f"{file}: unreadable ({error.strerror})") from None
        if found != written:
            raise InputError(f"{file}: damaged (found {found}, but {written} was written)")


def read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_folder` wrote. The tensors are memory-mapped: whoever keeps one keeps the file.

    Raises:
        InputError: If a file is absent, or not to the bit what was written.
    """
    _verify(folder)
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict):
        raise InputError(f"{folder / FACTS}: damaged (not a table of facts)")
    try:
        return safetensors.torch.load_file(folder / TENSORS), facts
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder / TENSORS}: absent or damaged ({error})") from None
