"""Decoders of other programs, from files: TorchScript as it is, weights in safetensors with what builds the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from abpnet.errors import InputError

__all__ = ["load_decoder"]

WEIGHTS = ".safetensors"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def load_decoder(path: str | Path, factory: Callable[[], nn.Module] | None = None) -> nn.Module:
    """A decoder for `infer`, `evaluate` and `analysis`, on the CPU and in evaluation mode.

    Neither kind of file is read by Python's pickle.

    Args:
        path: A TorchScript file (from `torch.jit.save`), or weights in a .safetensors file.
        factory: Called without arguments, builds the network that the weights of a .safetensors file belong to.

    Raises:
        InputError: If there is no such file, it cannot be read, or the weights do not fit; or if the factory is missing
            or not needed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected TorchScript, or weights as {WEIGHTS}")
    if path.suffix != WEIGHTS:
        if factory is not None:
            raise InputError(f"{path}: factory= goes with weights in a {WEIGHTS} file; TorchScript brings its network")
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()
        except RuntimeError as error:
            raise InputError(
                f"{path}: no TorchScript file ({_first_line(error)}); write one by torch.jit.save, or the weights by "
                f"safetensors.torch.save_file to a {WEIGHTS} file"
            ) from None
    if factory is None:
        raise InputError(f"{path}: holds weights only; pass what builds their network, for example factory=MyDecoder")
    import safetensors
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: damaged, or no {WEIGHTS} file ({_first_line(error)})") from None
    decoder = factory()
    if not isinstance(decoder, nn.Module):
        raise InputError(f"factory must return a torch.nn.Module, got {type(decoder).__name__}")
    try:
        decoder.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: the weights do not fit what factory builds ({error})") from None
    return decoder.eval()
