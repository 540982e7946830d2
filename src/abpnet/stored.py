"""What a fitted estimator leaves behind: files of its own, a model card, and its generator for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sklearn.utils.validation import check_is_fitted
from torch import nn

from abpnet import exporting, saving, sharing
from abpnet.arrays import resized
from abpnet.errors import InputError
from abpnet.model import GeneratorModel
from abpnet.values import check_count, named, shown

__all__ = ["StoredNetwork"]

Loaded = TypeVar("Loaded", bound="StoredNetwork")


def _path(name: str, value: Any) -> Path:
    with named(name):
        return Path(value)


class StoredNetwork:
    """The part of `GeneratorNetwork` that writes and reads it."""

    model_: GeneratorModel

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and settings (JSON) into a folder, complete or not at all; no pickle.

        Args:
            folder: Created, or replaced if a saved estimator is there.

        Raises:
            ValueError: If something else is there.
        """
        check_is_fitted(self)
        saving.save(self, _path("folder", folder))

    @classmethod
    def load(cls: type[Loaded], folder: str | Path, network: nn.Module | None = None, device: str = "auto") -> Loaded:
        """Read what `save` or `push` wrote.

        Args:
            folder: The folder, or "hf://owner/name" on the Hugging Face Hub.
            network: A module of the caller's own, if the estimator was fitted with one; its weights are replaced.
            device: Where it is to compute, whatever the machine it was learned on had.

        Raises:
            ValueError: If the folder is absent, damaged or of another version, or needs a network.
        """
        path = _path("folder", folder)
        if not isinstance(network, nn.Module | None):
            raise InputError(f"network must be a torch.nn.Module, got {shown(network)}")
        if str(folder).startswith(sharing.HUB):
            path = sharing.download(str(folder))
        return saving.load(cls, path, network, device)

    def push(
        self,
        destination: str | Path,
        *,
        title: str = "A generator network",
        results: Sequence[Mapping[str, Any]] = (),
        with_chains: bool = False,
        private: bool = True,
    ) -> None:
        """Write it, with a model card, into a folder or to the Hugging Face Hub, for `load` anywhere.

        Args:
            destination: A folder, or "hf://owner/name"; the latter needs `pip install 'abpnet[hub]'` and a login.
            title: Heading of the card.
            results: Rows of a table of figures to show on it, each by column.
            with_chains: Whether `latents_` go with it, from which the training examples can be reconstructed.
            private: Whether a repository that is created on the Hub is private.

        Raises:
            ValueError: If something else stands in the folder.
        """
        check_is_fitted(self)
        if not str(destination).startswith(sharing.HUB):
            destination = _path("destination", destination)
        sharing.push(self, destination, title=title, results=results, with_chains=with_chains, private=private)

    def module(self) -> nn.Module:
        """The generator alone: a `torch.nn.Module` from factors (n, *latent_shape) to signals (n, *shape).

        A copy in float32 on the CPU, in evaluation mode, whose weights need no gradient; of discrete emissions it gives
        expected observations, as `inverse_transform` does.
        """
        check_is_fitted(self)
        return exporting.plain_module(self.model_)

    def export(self, path: str | Path, *, n: int | None = None, latent_shape: Sequence[int] | None = None) -> float:
        """Write the generator as a file that runs without abpnet, and compare what it gives with `module()`.

        Args:
            path: Its suffix is the format: .onnx (needs `pip install 'abpnet[onnx]'`), .pt2 (`torch.export`) or .pt
                (TorchScript).
            n: Examples that it takes at a time; None = any number of them, which networks of sounds and patchworks
                cannot be written for.
            latent_shape: Height and width, or length, of the map of factors that it takes, where that is another than
                was learned with.

        Returns:
            Largest difference found, as a share of the largest signal or of 1; at most 1e-5.

        Raises:
            ValueError: If the suffix is another one, a package is missing, or the network cannot be written that way.
        """
        check_is_fitted(self)
        shape = self.model_.latent_shape
        if n is not None:
            check_count("n", n)
        if latent_shape is not None:
            shape = resized(shape, latent_shape)
        return exporting.export(self.module(), shape, _path("path", path), n)
