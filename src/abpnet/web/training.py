"""How learning went, or goes: curves of several runs, and where each of them stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from abpnet.errors import InputError
from abpnet.web.served import ServedRun

__all__ = ["curve", "curves", "known_quantities", "quantities", "standing"]

MOST_POINTS = 400
TITLES = {
    "error": "error on observed entries",
    "latent_std": "deviation of the chains (prior: 1)",
    "latent_divergence": "divergence of the chains, nats",
    "energy": "energy, -log p(y, z) per example",
    "noise_std": "standard deviation of the noise",
    "acceptance": "chains: acceptance of a step",
    "r_hat": "chains: split R-hat (1 = at rest)",
    "diverged": "chains put back",
}


def quantities(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of what was recorded of each pass, those that say most first."""
    names = dict.fromkeys(
        name
        for row in (*rows[:1], *rows[-1:])
        for name, value in row.items()
        if isinstance(value, int | float) and name not in ("iteration", "seconds", "latent_dim")
    )
    return [*(name for name in TITLES if name in names), *(name for name in names if name not in TITLES)]


def known_quantities(runs: Sequence[ServedRun]) -> list[str]:
    """What was recorded of any of the runs."""
    return list(dict.fromkeys(name for run in runs for name in quantities(_rows(run))))


def _rows(run: ServedRun) -> list[dict[str, Any]]:
    """Rows of a run; none where there are none yet, or they cannot be read."""
    try:
        return run.rows()
    except InputError:
        return []


def curve(rows: Sequence[Mapping[str, Any]], quantity: str, against: str) -> list[tuple[float, float]]:
    """Points of a curve, thinned if they are many; the last one is among them.

    Args:
        rows: Of one run.
        quantity: What is drawn.
        against: "iteration" or "seconds".
    """
    points = [
        (float(row[against]), float(row[quantity]))
        for row in rows
        if row.get(against) is not None and row.get(quantity) is not None and np.isfinite(row[quantity])
    ]
    if len(points) <= MOST_POINTS:
        return points
    return [points[index] for index in np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)]


def curves(runs: Sequence[ServedRun], quantity: str, against: str) -> list[dict[str, Any]]:
    """Rows for a plot: where each run stood.

    Args:
        runs: Which.
        quantity: What is drawn.
        against: "iteration" or "seconds".
    """
    return [{against: x, quantity: y, "run": run.name} for run in runs for x, y in curve(_rows(run), quantity, against)]


def standing(runs: Sequence[ServedRun]) -> list[list[str]]:
    """One row for each run: name, command, status, passes, seconds and the last error."""
    table = []
    for run in runs:
        rows = _rows(run)
        last: Mapping[str, Any] = rows[-1] if rows else {}
        seconds, error = last.get("seconds"), last.get("error")
        table.append(
            [
                run.name,
                run.command,
                run.status(),
                f"{last.get('iteration', 0):,}",
                "-" if seconds is None else f"{seconds:.0f}",
                "-" if error is None else f"{error:.4f}",
            ]
        )
    return table
