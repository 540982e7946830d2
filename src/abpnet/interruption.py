"""Ctrl-C and SIGTERM: acted on where nothing is lost, which is at once, or after a pass over the examples."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from abpnet import parallel

__all__ = ["Interruption", "StoppedAtOnce", "delay_interruption", "stopped_at_once"]


class StoppedAtOnce(KeyboardInterrupt):
    """SIGINT or SIGTERM came while there was nothing new to save, or for the second time."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


class Interruption:
    """Whether the user (SIGINT) or the system (SIGTERM) asked to stop.

    There is something to save once the caller has asked for the first time. Before that a request stops at once, and
    so does a second one.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._is_something_to_save = False

    def request(self, number: int, frame: FrameType | None) -> None:
        """Note the request, or act on it at once."""
        if self.signal is not None or not self._is_something_to_save:
            raise StoppedAtOnce(number)
        self.signal = number

    def requested(self) -> int | None:
        """The signal that came to this process, or to any of several, which all have to ask at the same point."""
        self._is_something_to_save = True
        return parallel.largest(self.signal or 0) or None


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """Within the block these signals are handled so; in threads other than the main one, where none arrive, as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler_before in previous.items():
            signal.signal(number, handler_before)


@contextmanager
def delay_interruption() -> Iterator[Interruption]:
    """Within the block, once something was learned, SIGINT and SIGTERM are noted, so that a pass is always finished."""
    interruption = Interruption()
    with _handled_by(interruption.request, signal.SIGINT, signal.SIGTERM):
        yield interruption


def _stop(number: int, frame: FrameType | None) -> None:
    raise StoppedAtOnce(number)


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """Within the block SIGTERM, which else ends a process as it stands, is raised as SIGINT is: all is cleaned up."""
    with _handled_by(_stop, signal.SIGTERM):
        yield
