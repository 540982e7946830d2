"""Progress of long work on stderr: a live line on a terminal, plain lines now and then when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from abpnet import parallel
from abpnet.learning_state import Iteration

__all__ = ["say", "show_progress", "show_stage"]

SECONDS_BETWEEN_LINES = 10.0


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(round(seconds), 0), 60)
    return f"{minutes}:{seconds:02d}"


def _console() -> Console:
    """Standard error, on which brackets and colons of file names mean nothing."""
    return Console(stderr=True, markup=False, emoji=False)


def say(message: object) -> None:
    """Print one line to stderr; what is no text of a line, as names of files may hold, is spelled out."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(message))
    print(f"abpnet: {line}", file=sys.stderr)


def show_progress(
    iterations: Iterable[Iteration], *, title: str, max_iter: int, max_seconds: float | None, first: int = 0
) -> Iterator[Iteration]:
    """Pass iterations through, telling the user where learning stands; of several processes the first one tells.

    Args:
        iterations: What learning yields.
        title: What is being learned.
        max_iter: Where it stops at the latest.
        max_seconds: Where it stops as well, counted by `Iteration.seconds`.
        first: Iterations done in an earlier session.
    """
    if not parallel.is_first():
        yield from iterations
        return
    console = _console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
    start, last_line = time.monotonic(), 0.0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=max_iter, completed=first, state="")
        for iteration in iterations:
            elapsed = time.monotonic() - start
            speed = (iteration.iteration - first) / max(elapsed, 1e-9)
            left = (max_iter - iteration.iteration) / max(speed, 1e-9)
            if max_seconds is not None:
                left = min(left, max_seconds - iteration.seconds)
            state = f"error {iteration.error:.4f}, {speed:.2f} iterations/s, {_clock(left)} left"
            progress.update(task, completed=iteration.iteration, state=state)
            if not console.is_terminal and (elapsed - last_line > SECONDS_BETWEEN_LINES or last_line == 0.0):
                last_line = elapsed
                console.print(f"{title}: iteration {iteration.iteration}/{max_iter}, {state}", soft_wrap=True)
            yield iteration


@contextmanager
def show_stage(title: str) -> Iterator[None]:
    """Say what is being done within the block, and afterwards how long it took."""
    console, start = _console(), time.monotonic()
    if console.is_terminal:
        with console.status(title):
            yield
    else:
        console.print(f"{title} ...", soft_wrap=True)
        yield
    console.print(f"{title}: {_clock(time.monotonic() - start)}", soft_wrap=True)
