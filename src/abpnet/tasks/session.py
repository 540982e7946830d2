"""What every experiment shares: common settings, and learning inside a run folder that survives interruption."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from abpnet import figures, report
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.progress import show_progress
from abpnet.runs import RunFolder, delay_interruption

__all__ = ["Interrupted", "LearningSettings", "RunSettings", "learn", "settings_from_json", "settings_to_json"]

SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of every command."""

    out: Path
    """Folder of the run; it must be new or empty."""
    seed: int = 0
    """Source of all chance: same seed, same machine, same bits."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto = a GPU if there is one."""
    overwrite: bool = False
    """Replace an earlier run that stands in --out."""

    def check(self) -> None:
        """Refuse settings that cannot be used.

        Raises:
            InputError: If one is out of its range.
        """
        check_device(self.device)


@dataclass(frozen=True, kw_only=True)
class LearningSettings(RunSettings):
    """Settings of every command that learns."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic inside the network; auto = bfloat16 if a short trial finds it faster and harmless."""
    max_iter: int = 600
    """Passes over the examples at most."""
    max_seconds: float | None = None
    """Seconds of learning at most."""

    def check(self) -> None:
        """Refuse settings that cannot be used."""
        super().check()
        if self.max_iter < 1:
            raise InputError(f"--max-iter must be at least 1, got {self.max_iter}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InputError(f"--max-seconds must be above 0, got {self.max_seconds}")


def check_device(name: str) -> None:
    """Refuse a device that torch does not know or this machine does not have.

    Raises:
        InputError: If it cannot be used.
    """
    try:
        torch.zeros(1, device=None if name == "auto" else name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: cannot be used here ({str(error).splitlines()[0]}); try auto") from None


class Interrupted(Exception):
    """The user or the system asked to stop; everything was saved.

    Attributes:
        exit_code: 128 + the signal's number.
    """

    def __init__(self, run: RunFolder, iteration: int, signal_number: int) -> None:
        super().__init__(f"stopped after iteration {iteration}, nothing is lost; go on with: abpnet resume {run.path}")
        self.exit_code = 128 + signal_number


def settings_to_json(settings: RunSettings) -> dict[str, Any]:
    """Settings as plain JSON values; paths are made absolute so that a run can be resumed from anywhere."""

    def plain(name: str, value: Any) -> Any:
        is_path = isinstance(value, Path) or (name in ("source", "input", "mask") and Path(str(value)).exists())
        return str(Path(value).absolute()) if is_path else value

    return {field.name: plain(field.name, getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def settings_from_json(kind: type[Any], values: dict[str, Any], path: Path) -> Any:
    """Settings from what `settings_to_json` wrote.

    Raises:
        InputError: If they are of another version.
    """

    def typed(name: str, value: Any) -> Any:
        if name == "out":
            return path
        return tuple(value) if isinstance(value, list) else value

    try:
        return kind(**{name: typed(name, value) for name, value in values.items()})
    except TypeError as error:
        raise InputError(f"{path / 'config.json'}: settings of another version of abpnet ({error})") from None


def learn(
    network: GeneratorNetwork, data: np.ndarray, run: RunFolder, *, title: str, observation: Any = None
) -> GeneratorNetwork:
    """Fit inside a run folder: progress, one row of metrics per iteration, checkpoints, and the finished model.

    A run that was stopped goes on from its last checkpoint, to the same bits as if it had never stopped.

    Args:
        network: Not yet fitted.
        data: (n, *shape).
        run: Where everything is written.
        title: What the progress line says.
        observation: How the data came about.

    Raises:
        Interrupted: If SIGINT or SIGTERM came; a checkpoint was written.
    """
    if (run.path / "model").exists():
        return GeneratorNetwork.load(run.path / "model")
    checkpoint = run.load_checkpoint()
    precision = run.config.get("precision")
    if precision is not None:  # a trial may choose otherwise on a busy machine; a run keeps its first choice
        network.set_params(precision=precision["precision"])
    with delay_interruption() as interruption, closing(network.iterations(data, observation, checkpoint)) as iterations:
        shown = show_progress(
            iterations,
            title=title,
            max_iter=network.max_iter,
            max_seconds=network.max_seconds,
            first=checkpoint[1]["iteration"] if checkpoint else 0,
        )
        saved = time.monotonic()
        for iteration in shown:
            if precision is None:
                precision = network.precision_
                run.record(precision=precision)
            run.log(iteration.row())
            if interruption.requested or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                run.save_checkpoint(iteration.iteration, network.state_.tensors(), network.state_.facts())
                saved = time.monotonic()
            if interruption.signal is not None:
                raise Interrupted(run, iteration.iteration, interruption.signal)
    network.save(run.path / "model")
    return network


def curves(run: RunFolder) -> list[str]:
    """Parts of the report: how learning went."""
    path = run.path / "curves.png"
    figures.save_curves(path, run.metrics())
    last = run.metrics()[-1]
    summary = (
        f"{last['iteration']} passes over the examples in {last['seconds']:.0f} s. "
        f"Chains: mean {last['latent_mean']:.3f}, standard deviation {last['latent_std']:.3f} (prior: 0 and 1)."
    )
    return [report.paragraph(summary), report.picture(path, "One point per iteration.")]


def reproduction(run: RunFolder) -> list[str]:
    """Parts of the report: how to get the same again."""
    lines = [f"abpnet {run.config['command']}"]
    lines += [f"{name} = {value}" for name, value in run.config["settings"].items()]
    lines += [f"{name} {version}" for name, version in run.config["versions"].items()]
    if "precision" in run.config:
        lines.append(f"precision: {run.config['precision']}")
    return [report.preformatted("\n".join(lines))]


def load_model(path: Path) -> GeneratorNetwork:
    """The model of a finished run, or a saved one.

    Raises:
        InputError: If there is none.
    """
    if (path / "model").is_dir():
        return GeneratorNetwork.load(path / "model")
    if (path / "config.json").exists():
        raise InputError(f"{path}: this run has not finished learning; go on with: abpnet resume {path}")
    return GeneratorNetwork.load(path)
