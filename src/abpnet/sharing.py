"""A learned model for others: its files with a model card beside them, in a folder or on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from abpnet import report, saving
from abpnet.durable import FILES
from abpnet.errors import InputError, NotWrittenError

__all__ = ["download", "push"]

CARD, HUB = "README.md", "hf://"


def _client(name: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(f"{name}: needs huggingface_hub; install it by: pip install 'abpnet[hub]'") from None
    return huggingface_hub


def _cell(value: Any) -> str:
    return " ".join(report.brief(value).split()).replace("|", "\\|")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    lines: list[list[Any]] = [names, ["---"] * len(names), *([row.get(name) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _card(estimator: Any, title: str, place: str, results: Sequence[Mapping[str, Any]]) -> str:
    """Text of the model card, with the facts that the Hub reads at its top."""
    from abpnet import __version__

    settings = {name: value for name, value in estimator.get_params(deep=False).items() if name != "network"}
    settings["network"] = type(estimator.model_.network).__name__
    last = estimator.history_[-1]
    parts = [
        "---",
        "library_name: abpnet",
        "tags: [generative-model, latent-variable-model, alternating-back-propagation, missing-data]",
        "---",
        f"# {title}",
        "",
        "A generator network `y = f(z) + noise`, `z ~ N(0, I)`, learned by alternating back-propagation (Han, Lu, Zhu "
        f"and Wu, AAAI 2017, arXiv 1606.08571) with abpnet {__version__}: from factors "
        f"{estimator.model_.latent_shape} to signals {estimator.signal_shape_}.",
        "",
        "```python",
        "import abpnet",
        "",
        f"net = abpnet.GeneratorNetwork.load({place!r})",
        "new = net.sample(16)",
        "```",
        "",
        "It draws what it was learned from; what it fills in is likely, not evidence.",
        "",
        "## Learning",
        "",
        f"{estimator.n_iter_} passes in {last['seconds']:.0f} s; mean absolute error on observed entries "
        f"{last['error']:.4f} of the dynamic range.",
        "",
        *(["## Results", "", _table(results), ""] if results else []),
        "## Settings",
        "",
        _table([{"setting": name, "value": value} for name, value in settings.items()]),
        "",
    ]
    return "\n".join(parts)


def push(
    estimator: Any,
    destination: str | Path,
    *,
    title: str,
    results: Sequence[Mapping[str, Any]],
    with_chains: bool,
    private: bool,
) -> None:
    """Write a fitted estimator and its model card into a folder, or to the Hugging Face Hub.

    Args:
        estimator: A fitted `GeneratorNetwork`.
        destination: A folder, which is created, or replaced if an estimator was pushed or saved there; or
            "hf://owner/name", which `huggingface_hub` uploads to as whoever is logged in.
        title: Heading of the card.
        results: Rows of a table of figures, such as "table" of result.json.
        with_chains: Whether `latents_` go with it, from which the training examples can be reconstructed.
        private: Whether a repository that is created on the Hub is private.

    Raises:
        InputError: If something else stands in the folder, or the Hub's client is not installed.
        NotWrittenError: If it cannot be written.
    """
    name = str(destination)
    if name.startswith(HUB):
        client = _client(name)
        with tempfile.TemporaryDirectory(prefix="abpnet-") as kept:
            folder = Path(kept) / "model"
            _write(estimator, folder, title, name, results, with_chains)
            repository = name.removeprefix(HUB)
            client.create_repo(repository, private=private, exist_ok=True)
            client.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"Model: {title}")
        return
    folder = Path(destination)
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {*FILES, CARD}:
        (folder / CARD).unlink(missing_ok=True)
    _write(estimator, folder, title, name, results, with_chains)


def _write(
    estimator: Any,
    folder: Path,
    title: str,
    place: str,
    results: Sequence[Mapping[str, Any]],
    with_chains: bool,
) -> None:
    saving.save(estimator, folder, with_chains=with_chains)
    try:
        (folder / CARD).write_text(_card(estimator, title, place, results), encoding="utf-8")
    except OSError as error:
        raise NotWrittenError(f"{folder / CARD}: cannot be written ({error.strerror})") from None


def download(name: str) -> Path:
    """The folder of a model on the Hugging Face Hub, "hf://owner/name", downloaded unless it is there already.

    Raises:
        InputError: If the Hub's client is not installed, or there is no such model.
    """
    client = _client(name)
    try:
        return Path(client.snapshot_download(name.removeprefix(HUB), allow_patterns=[*FILES]))
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be downloaded ({' '.join(str(error).split())})") from None
