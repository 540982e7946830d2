"""Learning from tables: a few networks side by side, each judged by cells that it does not see.

A table has few rows and says itself how much can be learned from it: every network has some of the observed cells held
back, how many factors there are and when learning ends is decided by how well all together predict theirs, and what
they expect in the end is averaged.
"""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Generator, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from abpnet import factor_analysis
from abpnet.beginning import begin
from abpnet.chance import seed_for
from abpnet.data.tables import Table
from abpnet.durable import by_part
from abpnet.emissions import noise_stds, with_noise
from abpnet.entrywise import entry_information
from abpnet.errors import InputError
from abpnet.history import History
from abpnet.learning import alternate
from abpnet.learning_state import Iteration, LearningState
from abpnet.model import frozen_decoder
from abpnet.observations import Complete, hide_missing
from abpnet.recipes import Recipe
from abpnet.tables.choosing import LATENT_DIMS, choose_latent_dim, hold_back, unexplained
from abpnet.tables.models import TableModel, expect, start_model

__all__ = ["Pass", "TableLearning"]

RECIPE = Recipe(
    step_size=1.0,
    n_steps=3,
    preconditioned=True,
    temperature=1.0,
    start="prior",
    optimizer="adam",
    learning_rate=1e-2,
    momentum=0.9,
    learning_rate_horizon=100,
    weight_decay=0.3,
    batch_size=100,
    average_decay=0.99,
    learn_noise=True,
    masked_metric=True,
)
# Cells that a network does not see, and after how many updates, or passes at most, they are asked whether learning is
# to go on: it ends once they are asked so often in vain.
SHARE_HELD_BACK, UPDATES_BETWEEN, MOST_PASSES_BETWEEN, PATIENCE = 0.1, 50, 10, 4
MOST_ROWS_JUDGED, JUDGING_DRAWS, MOST_ROWS_INFORMED = 2000, 10, 200


@dataclass(frozen=True)
class Pass(Iteration):
    """What one pass of all networks over the rows did: means of what each says of itself.

    Attributes:
        unexplained: Of the cells held back, see `unexplained`; None in passes after which nobody asked, and where there
            are none.
    """

    unexplained: float | None


class Snapshot(NamedTuple):
    """A network as it was after some pass.

    Attributes:
        weights: Running means of them, by name.
        information: What entries tell about its factors.
        noise_stds: Of its emission.
    """

    weights: dict[str, Tensor]
    information: Tensor
    noise_stds: tuple[float, ...]


class Best(NamedTuple):
    """Where the networks predicted the cells held back best; if no cell was, where they are now.

    Attributes:
        unexplained: Of these cells, see `unexplained`.
        iteration: After that many passes.
        networks: As they were then.
    """

    unexplained: float | None
    iteration: int
    networks: list[Snapshot]


class TableLearning:
    """Networks that learn side by side from the rows of a table.

    Args:
        table: What the matrix holds.
        matrix: (n, D) rows, NaN = missing.
        latent_dim: Number of factors; None = as many as predict cells held back best.
        width: Of each network.
        n_networks: How many.
        seed: Of all chance.

    Attributes:
        latent_dim: The number of factors.
        states: Of the networks.
        best: Where they were best so far.
        iteration: Passes so far.
        seconds: Spent so far, in all sessions of a run.
        history: One row per pass.
    """

    def __init__(
        self,
        table: Table,
        matrix: Float[np.ndarray, "n D"],
        *,
        latent_dim: int | None,
        width: int,
        n_networks: int,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed_for("cells held back", seed))
        self.table, self.matrix = table, matrix
        self.held_back = [hold_back(table, matrix, SHARE_HELD_BACK, rng) for _ in range(n_networks)]
        dims = LATENT_DIMS if latent_dim is None else (latent_dim,)
        self.latent_dim, self.linear = choose_latent_dim(table, matrix, self.held_back, dims)
        self.shown = [np.where(cells, np.float32(np.nan), matrix) for cells in self.held_back]
        self.states: list[LearningState] = []
        self._alternations = []
        for index, (rows, linear) in enumerate(zip(self.shown, self.linear, strict=True)):
            generator = torch.Generator().manual_seed(seed_for(f"network {index}", seed))
            model = start_model(table, rows, linear, width, generator)
            y, observation = hide_missing(torch.from_numpy(rows), Complete())
            state = begin(model, y, observation, recipe=RECIPE, generator=generator)
            z = factor_analysis.posterior(linear, torch.from_numpy(rows).double()).mean.float()
            state.latents.copy_from(z)
            decoder = frozen_decoder(model.network)
            state.latent_precision.copy_(entry_information(model, z[:MOST_ROWS_INFORMED], generator, decoder))
            self.states.append(state)
            self._alternations.append(alternate(model, y, observation, recipe=RECIPE, state=state))
        n_updates = -(-len(matrix) // RECIPE.batch_size)
        self._passes_between = min(max(round(UPDATES_BETWEEN / n_updates), 1), MOST_PASSES_BETWEEN)
        self.iteration, self.seconds = 0, 0.0
        self.history = History()
        self.best = self._judged()

    def passes(self, max_iter: int, max_seconds: float | None) -> Generator[Pass]:
        """Learn until the cells held back are predicted no better, at most so many passes and seconds."""
        start = time.monotonic() - self.seconds
        while (
            self.iteration < max_iter
            and (max_seconds is None or self.seconds < max_seconds)
            and self.iteration - self.best.iteration < PATIENCE * self._passes_between
        ):
            told = [next(alternation).row() for alternation in self._alternations]
            self.iteration += 1
            judged = None
            if self.iteration % self._passes_between == 0:
                latest = self._judged()
                judged = latest.unexplained
                if judged is None or self.best.unexplained is None or judged < self.best.unexplained:
                    self.best = latest
            self.seconds = time.monotonic() - start
            means = {name: _mean([row[name] for row in told]) for name in told[0]}
            counts = {"iteration": self.iteration, "diverged": int(sum(row["diverged"] or 0 for row in told))}
            means |= {"seconds": self.seconds, **counts}
            self.history.append(Pass(**means, unexplained=judged).row())
            yield Pass(**means, unexplained=judged)

    def models(self, networks: list[Snapshot]) -> list[TableModel]:
        """The networks as they were."""
        models = []
        for state, linear, (weights, information, stds) in zip(self.states, self.linear, networks, strict=True):
            model = copy.deepcopy(state.model)
            model.load_state_dict(weights, strict=False)
            model.emission = with_noise(model.emission, stds)
            models.append(TableModel(model, linear, information))
        return models

    def _judged(self) -> Best:
        """How well the networks, as they are now, predict the cells that each does not see."""
        networks = [
            Snapshot(
                {name: weight.clone() for name, weight in state.averaged.items()},
                state.latent_precision.clone(),
                noise_stds(state.model.emission),
            )
            for state in self.states
        ]
        errors = [unexplained(self.table, *guess) for guess in self._guesses(networks)]
        return Best(_mean([error for error in errors if error is not None]), self.iteration, networks)

    def _guesses(self, networks: list[Snapshot]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows, what each network expects of them, and which of their cells it does not see."""
        for fitted, rows, cells in zip(self.models(networks), self.shown, self.held_back, strict=True):
            some = np.flatnonzero(cells.any(1))[:MOST_ROWS_JUDGED]
            yield self.matrix[some], expect(fitted, rows[some], JUDGING_DRAWS), cells[some]

    def unexplained_by_column(self) -> dict[Hashable, float | None]:
        """See `unexplained`, of each column, by the networks where they were best; None where no cell was held back."""
        errors: dict[Hashable, list[float]] = {column.name: [] for column in self.table.columns}
        for rows, guess, cells in self._guesses(self.best.networks):
            for column in self.table.columns:
                where = np.zeros_like(cells)
                where[:, column.span] = cells[:, column.span]
                error = unexplained(self.table, rows, guess, where)
                if error is not None:
                    errors[column.name].append(error)
        return {name: _mean(found) for name, found in errors.items()}

    def told_worse(self) -> dict[Hashable, int]:
        """Categories of which the networks predict no more cells held back than the most frequent level; its place."""
        gains = dict.fromkeys((column for column in self.table.columns if column.kind == "category"), 0)
        usual, tried = {}, dict.fromkeys(gains, False)
        for column in gains:
            seen = self.matrix[~np.isnan(self.matrix[:, column.first]), column.span]
            usual[column] = int(np.bincount(column.places(seen)).argmax())
        for rows, guess, cells in self._guesses(self.best.networks):
            for column in gains:
                where = cells[:, column.first]
                tried[column] |= bool(where.any())
                right, told = (column.places(values[where, column.span]) for values in (rows, guess))
                gains[column] += int(np.sum(told == right)) - int(np.sum(right == usual[column]))
        return {column.name: usual[column] for column, gain in gains.items() if tried[column] and gain <= 0}

    # ---- checkpoints ----

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the networks, now and where they were best."""
        tensors: dict[str, Tensor] = {}
        for index, (state, snapshot) in enumerate(zip(self.states, self.best.networks, strict=True)):
            tensors |= {f"now {index}.{name}": tensor for name, tensor in state.tensors().items()}
            tensors |= {f"best {index}.{name}": tensor for name, tensor in snapshot.weights.items()}
            tensors[f"information {index}.all"] = snapshot.information
        return tensors

    def facts(self) -> dict[str, Any]:
        """Everything else."""
        return {
            "table": zlib.crc32(self.matrix.tobytes()),
            "iteration": self.iteration,
            "seconds": self.seconds,
            "history": self.history.packed(),
            "networks": [state.facts() for state in self.states],
            "best": [self.best.unexplained, self.best.iteration],
            "best_noise": [snapshot.noise_stds for snapshot in self.best.networks],
        }

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go back to what `tensors` and `facts` of equal learning said.

        Raises:
            InputError: If they belong to another table or other settings.
        """
        if facts.get("table") != zlib.crc32(self.matrix.tobytes()):
            raise InputError("the checkpoint belongs to another table; start a new run, or bring back the table")
        parts = by_part(tensors)
        try:
            best = []
            for index, (state, stds) in enumerate(zip(self.states, facts["best_noise"], strict=True)):
                state.restore(parts[f"now {index}"], facts["networks"][index])
                best.append(Snapshot(parts[f"best {index}"], parts[f"information {index}"]["all"], tuple(stds)))
            unexplained, iteration = facts["best"]
            self.best = Best(unexplained, iteration, best)
            self.models(best)
            self.iteration, self.seconds = facts["iteration"], facts["seconds"]
            self.history = History.unpacked(facts["history"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"the checkpoint does not fit this table: {' '.join(str(error).split())}") from None


def _mean(values: list[Any]) -> Any:
    """Of numbers; None if there are none, or one of them is."""
    return None if None in values or not values else float(np.mean(values))
