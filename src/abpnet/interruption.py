"""Ctrl-C and SIGTERM: noted, and acted on where nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from abpnet import parallel

__all__ = ["Interruption", "delay_interruption"]


class Interruption:
    """Whether the user (SIGINT) or the system (SIGTERM) asked to stop; a second request stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def request(self, number: int, frame: FrameType | None) -> None:
        """Note the request, or give up waiting if it is the second one."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    def requested(self) -> int | None:
        """The signal that came to this process, or to any of several, which all have to ask at the same point."""
        return parallel.largest(self.signal or 0) or None


@contextmanager
def delay_interruption() -> Iterator[Interruption]:
    """Within the block, SIGINT and SIGTERM are noted instead of raised, so that an iteration is always finished."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield interruption
        return
    previous = {number: signal.signal(number, interruption.request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
