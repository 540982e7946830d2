"""What every experiment shares: learning inside a run folder that survives interruption."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from abpnet import figures, parallel, report
from abpnet.durable import FILES
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from abpnet.interruption import delay_interruption
from abpnet.learning_state import Iteration
from abpnet.progress import show_progress
from abpnet.recipes import RECIPES, Recipe
from abpnet.runs import RunFolder
from abpnet.tables import TableImputer
from abpnet.tasks.settings import LearningSettings, RunSettings, as_toml, command_line, settings_to_json
from abpnet.trackers import track

__all__ = ["Interrupted", "keep_data", "learn", "logged"]

SECONDS_BETWEEN_CHECKPOINTS = 30.0


class Interrupted(Exception):
    """The user or the system asked to stop; everything was saved.

    Attributes:
        exit_code: 128 + the signal's number.
    """

    def __init__(self, path: Path, iteration: int, signal_number: int) -> None:
        super().__init__(f"stopped after iteration {iteration}, nothing is lost; go on with: abpnet resume {path}")
        self.iteration, self.signal_number = iteration, signal_number
        self.exit_code = 128 + signal_number


def new_network(settings: LearningSettings, **model: Any) -> GeneratorNetwork:
    """An estimator not yet fitted, learned as the settings say.

    Args:
        settings: How long, where, how exactly and from which seed to learn.
        model: What is the experiment's own: `latent_dim`, `noise_std`, `network`, `recipe`.
    """
    return GeneratorNetwork(
        max_iter=settings.max_iter,
        max_seconds=settings.max_seconds,
        device=settings.device,
        precision=settings.precision,
        random_state=settings.seed,
        **model,
    )


def _keep_recipe(network: GeneratorNetwork, run: RunFolder) -> None:
    """A run keeps its recipe, whatever a later version means by that name.

    Raises:
        InputError: If the one that was recorded is damaged.
    """
    recipe = RECIPES[network.recipe] if isinstance(network.recipe, str) else network.recipe
    if "recipe" not in run.config:
        run.record(recipe=dataclasses.asdict(recipe))
    try:
        recorded = Recipe(**run.config["recipe"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{run.path / 'config.json'}: its recipe is damaged, or of another version of abpnet ({error})"
        ) from None
    if recorded != recipe:
        network.set_params(recipe=recorded)


def keep_data(data: np.ndarray, run: RunFolder, kind: str = "data") -> None:
    """A run goes on with the data it began with.

    Args:
        data: What it learns from, or judges by.
        run: Its folder.
        kind: What these data are called.

    Raises:
        InputError: If these are others.
    """
    digest = hashlib.sha256(repr(data.shape).encode())
    for row in data:
        digest.update(row.tobytes())
    name = kind.replace(" ", "_")
    if name not in run.config:
        run.record(**{name: digest.hexdigest()})
    if run.config[name] != digest.hexdigest():
        raise InputError(
            f"{run.path}: the {kind} are not those that this run began with; restore them, or start a new run on these"
        )


@contextmanager
def _tensorboard(run: RunFolder, first: int) -> Iterator[Any]:
    """A writer into the run folder, which drops what an earlier session wrote beyond its checkpoint.

    Yields:
        None if it was not asked for, or another process writes.
    """
    if not (run.config["settings"].get("tensorboard") and parallel.is_first()):
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run.path / "tensorboard"), purge_step=first + 1) as writer:
        yield writer


def logged(
    learner: GeneratorNetwork | TableImputer, passes: Generator[Iteration], run: RunFolder, *, title: str, first: int
) -> Generator[Iteration]:
    """Pass the passes of learning through; show, log and checkpoint each of them once the caller has seen it.

    Args:
        learner: Whose passes they are.
        passes: Its loop.
        run: Where everything is written.
        title: What the progress line says.
        first: Passes that an earlier session made.

    Raises:
        Interrupted: If SIGINT or SIGTERM came; a checkpoint was written.
    """
    with delay_interruption() as interruption, closing(passes), _tensorboard(run, first) as writer:
        saved = time.monotonic()
        tracked = passes if writer is None else track(passes, writer)
        shown = show_progress(
            tracked, title=title, max_iter=learner.max_iter, max_seconds=learner.max_seconds, first=first
        )
        for iteration in shown:
            yield iteration
            run.log(iteration.row())
            stopped_by = interruption.requested()
            is_due = parallel.is_first() and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS
            if stopped_by is not None or is_due:
                run.save_checkpoint(iteration.iteration, learner.state_.tensors(), learner.state_.facts())
                saved = time.monotonic()
            if stopped_by is not None:
                raise Interrupted(run.path, iteration.iteration, stopped_by)
        stopped_by = interruption.requested()
        if stopped_by is not None:  # while learning was concluded, which is done again from the last checkpoint
            raise Interrupted(run.path, learner.state_.iteration, stopped_by)


def learn(
    network: GeneratorNetwork,
    data: np.ndarray,
    run: RunFolder,
    *,
    title: str,
    observation: Any = None,
    start: np.ndarray | None = None,
) -> GeneratorNetwork:
    """Fit inside a run folder: progress, one row of metrics per iteration, checkpoints, and the finished model.

    A run that was stopped goes on from its last checkpoint, to the same bits as if it had never stopped, by the recipe
    it began with.

    Args:
        network: Not yet fitted.
        data: (n, *shape).
        run: Where everything is written.
        title: What the progress line says.
        observation: How the data came about.
        start: Where the chains start; as the recipe says by default.

    Raises:
        InputError: If the checkpoint or the recipe of an earlier session is damaged.
        Interrupted: If SIGINT or SIGTERM came; a checkpoint was written.
    """
    keep_data(data, run)
    if (run.path / "model").exists():
        learned = GeneratorNetwork.load(run.path / "model", device=network.device)
        run.log_anew(learned.history_)
        return learned
    checkpoint = run.load_checkpoint()
    _keep_recipe(network, run)
    precision = run.config.get("precision")
    if precision is not None:  # a trial may choose otherwise on a busy machine; a run keeps its first choice
        network.set_params(precision=precision["precision"])
    passes = network.iterations(data, observation, checkpoint, start)
    with closing(logged(network, passes, run, title=title, first=first_of(checkpoint))) as iterations:
        for _ in iterations:
            if precision is None:
                precision = network.precision_
                run.record(precision=precision)
    network.save(run.path / "model")
    return network


def first_of(checkpoint: tuple[dict[str, Any], dict[str, Any]] | None) -> int:
    """Passes made before a checkpoint."""
    return checkpoint[1]["iteration"] if checkpoint else 0


def run_part(
    command: str, settings: Any, run: Callable[[Any, RunFolder], dict[str, Any]]
) -> tuple[RunFolder, dict[str, Any]]:
    """Run one part of an experiment in its own folder, or go on with it, or take its result.

    Args:
        command: That can resume the part.
        settings: Of the part; `settings.out` is its folder, within that of the whole.
        run: What the command runs.
    """
    config = settings.out / "config.json"
    folder = RunFolder(settings.out) if config.exists() else None
    folder = folder or RunFolder.create(settings.out, command, settings_to_json(settings))
    folder.check_settings(settings_to_json(settings))
    if folder.result is None:
        try:
            folder.finish(run(settings, folder))
        except Interrupted as stopped:  # the whole goes on with its part
            raise Interrupted(settings.out.parent, stopped.iteration, stopped.signal_number) from None
    result = folder.result
    assert result is not None
    return folder, result


def curves(run: RunFolder) -> list[str]:
    """Parts of the report: how learning went."""
    path = run.path / "curves.png"
    figures.save_curves(path, run.metrics())
    last = run.metrics()[-1]
    summary = (
        f"{last['iteration']} passes over the examples in {last['seconds']:.0f} s. "
        f"Chains: mean {last['latent_mean']:.3f}, standard deviation {last['latent_std']:.3f} (prior: 0 and 1)."
    )
    diverged = sum(row.get("diverged", 0) for row in run.metrics())
    if diverged:
        summary += f" {diverged} times a chain ran away and was put back."
    return [report.paragraph(summary), report.picture(path, "One point per iteration.")]


def reproduction(settings: RunSettings, run: RunFolder) -> list[str]:
    """Parts of the report: the command that gives the same again, and the versions it had."""
    command = run.config["command"]
    lines = [command_line(settings, command)]
    lines.append(", ".join(f"{name} {version}" for name, version in run.config["versions"].items()))
    if "precision" in run.config:
        tried = run.config["precision"].get("speedup")
        told = "" if tried is None else f"; bfloat16 was {tried:.2g} times as fast in a trial"
        lines.append(f"computed in {run.config['precision']['precision']}{told}")
    title = f"All settings, as abpnet {command} --settings-file takes them"
    return [report.preformatted("\n".join(lines)), report.folded(title, report.preformatted(as_toml(settings)))]


def load_model(path: Path, device: str) -> GeneratorNetwork:
    """The model of a finished run, or a saved one.

    Args:
        path: Folder of the run or of the model.
        device: Where it is to compute.

    Raises:
        InputError: If there is none.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected that of a finished run or of a saved model")
    if (path / "model").is_dir():
        return GeneratorNetwork.load(path / "model", device=device)
    if not any((path / name).exists() for name in ("config.json", *FILES)):
        raise InputError(f"{path}: neither a run nor a saved model is in this folder")
    if (path / "config.json").exists():
        if RunFolder(path).result is not None:
            inner = sorted(str(model.parent) for model in path.glob("*/model"))
            others = " or ".join(inner) or "a run that learned from images, sounds or a video"
            raise InputError(f"{path}: this run keeps no model; name instead {others}")
        raise InputError(f"{path}: this run has not finished learning; go on with: abpnet resume {path}")
    return GeneratorNetwork.load(path, device=device)
