"""What learning tells after each pass, for those who watch it: TensorBoard, or any object with `log(dict, step)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from abpnet.errors import InputError
from abpnet.learning_state import Iteration
from abpnet.values import shown

__all__ = ["check_tracker", "track"]

Log = Callable[[Mapping[str, Any], int], None]


def _log_of(tracker: Any) -> Log | None:
    """How to tell a tracker the figures of a pass; None if it is none."""
    if callable(getattr(tracker, "log", None)):
        return lambda row, step: tracker.log(dict(row), step=step)
    if callable(getattr(tracker, "add_scalar", None)):

        def add(row: Mapping[str, Any], step: int) -> None:
            for name, value in row.items():
                tracker.add_scalar(name, value, step)

        return add
    return None


def check_tracker(tracker: Any) -> None:
    """Refuse what cannot be told anything; None is left alone.

    Raises:
        InputError: If it has neither `log(dict, step=...)` nor `add_scalar(name, value, step)`.
    """
    if tracker is not None and _log_of(tracker) is None:
        raise InputError(
            "tracker must have log(dict, step=...), as those of wandb and trackio, or add_scalar(name, value, step), "
            f"as TensorBoard's SummaryWriter; got {shown(tracker)}"
        )


def track(iterations: Iterable[Iteration], tracker: Any) -> Iterator[Iteration]:
    """Pass iterations through, telling a tracker the figures of each, by their names, at the step of its number.

    Args:
        iterations: What learning yields.
        tracker: See `check_tracker`; figures that are no numbers yet are left out.
    """
    log = _log_of(tracker)
    assert log is not None
    for iteration in iterations:
        row = {name: value for name, value in iteration.row().items() if value is not None and name != "iteration"}
        log(row, iteration.iteration)
        yield iteration
