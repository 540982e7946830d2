"""A learned generator as a file that runs without abpnet: ONNX, torch.export or TorchScript.

Each file is read again, and kept only if it gives the signals of the network itself.
"""

from __future__ import annotations

import copy
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from abpnet.emissions import ADDITIVE, Emission
from abpnet.errors import InputError, NotWrittenError
from abpnet.model import GeneratorModel

__all__ = ["FORMATS", "export", "plain_module"]

# Largest difference from the network's own signals, as a share of the largest of them where that is above 1.
TOLERANCE = 1e-5
# Numbers of examples that is traced with, and others at which a file has to agree.
TRACED, CHECKED = 2, (1, 5)
LONGEST_REASON = 160
# What torch colours its messages with.
COLOURS = re.compile(r"\x1b\[\d*m")
Runs = Callable[[Tensor], Tensor]


class _Expected(nn.Module):
    """Expected observations instead of what a discrete emission is told by.

    Args:
        network: f.
        emission: p(y | f(z)).
    """

    def __init__(self, network: nn.Module, emission: Emission) -> None:
        super().__init__()
        self.network, self.emission = network, emission

    def forward(self, z: Float[Tensor, "n *latent"]) -> Float[Tensor, "n *shape"]:
        return self.emission.mean(self.network(z))


def plain_module(model: GeneratorModel) -> nn.Module:
    """What maps factors (n, *latent_shape) to signals (n, *shape): a copy in float32 on the CPU, in evaluation mode.

    Args:
        model: What was learned.
    """
    network = copy.deepcopy(model.network).cpu().float().eval().requires_grad_(False)
    if isinstance(model.emission, ADDITIVE):
        return network
    return _Expected(network, copy.deepcopy(model.emission)).eval().requires_grad_(False)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what exporters say about their own workings: the files are compared instead."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _sizes(is_any_number: bool) -> Any:
    return ({0: torch.export.Dim("n")},) if is_any_number else None


def _onnx(network: nn.Module, z: Tensor, path: Path, is_any_number: bool) -> Runs:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{path}: ONNX needs {error.name}; install it by: pip install 'abpnet[onnx]'") from None
    torch.onnx.export(
        network,
        (z,),
        path,
        dynamo=True,
        dynamic_shapes=_sizes(is_any_number),
        input_names=["z"],
        output_names=["signals"],
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda z: torch.from_numpy(session.run(None, {"z": z.numpy()})[0])


def _exported(network: nn.Module, z: Tensor, path: Path, is_any_number: bool) -> Runs:
    program = torch.export.export(network, (z,), dynamic_shapes=_sizes(is_any_number))
    torch.export.save(program, path)
    return torch.export.load(path).module()


def _script(network: nn.Module, z: Tensor, path: Path, is_any_number: bool) -> Runs:
    torch.jit.trace(network, (z,)).save(str(path))
    return torch.jit.load(str(path))


FORMATS: dict[str, Callable[[nn.Module, Tensor, Path, bool], Runs]] = {
    ".onnx": _onnx,
    ".pt2": _exported,
    ".pt": _script,
}


def _difference(network: nn.Module, runs: Runs, z: Tensor) -> float:
    expected, found = network(z), runs(z)
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))


@torch.no_grad()
def export(network: nn.Module, latent_shape: tuple[int, ...], path: Path, n: int | None = None) -> float:
    """Write a network as a file that gives the same signals.

    Args:
        network: As `plain_module` gives it.
        latent_shape: Shape of one example's factors; of a map as large as the file is to take.
        path: File to write, in the format of its suffix: .onnx, .pt2 (torch.export) or .pt (TorchScript).
        n: Examples that the file takes at a time; None = any number of them, which networks of sounds and patchworks
            cannot be written for.

    Returns:
        Largest difference of a signal from the network's own, as a share of the largest signal or of 1.

    Raises:
        InputError: If the suffix is another one, a package is missing, or the file would not give the same.
        NotWrittenError: If it cannot be written.
    """
    write = FORMATS.get(path.suffix)
    if write is None:
        raise InputError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    generator = torch.Generator().manual_seed(0)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
            partial = Path(folder) / path.name
            try:
                with _quietly():
                    z = torch.randn(n or TRACED, *latent_shape, generator=generator)
                    network(z)  # what networks keep for signals of this size becomes part of the file
                    runs = write(network, z, partial, n is None)
                    counts = CHECKED if n is None else (n, n)
                    draws = [torch.randn(count, *latent_shape, generator=generator) for count in counts]
                    difference = max(_difference(network, runs, z) for z in draws)
            except (InputError, OSError):
                raise
            except Exception as error:  # whatever exporters and runtimes raise
                line = " ".join(COLOURS.sub("", str(error)).split())[:LONGEST_REASON]
                others = " or ".join(suffix for suffix in FORMATS if suffix != path.suffix)
                raise InputError(
                    f"{path}: cannot be written; try {others}, or n = 1 ({type(error).__name__}: {line} ...)"
                ) from None
            if not difference <= TOLERANCE:
                raise InputError(
                    f"{path}: not kept, since what was written differs from the network by {difference:.2g}, more than "
                    f"{TOLERANCE:g}; choose another format of {', '.join(FORMATS)}"
                )
            os.replace(partial, path)
    except OSError as error:
        raise NotWrittenError(f"{path}: cannot be written ({error.strerror})") from None
    return difference
