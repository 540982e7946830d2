"""Ctrl-C and SIGTERM are noted, and acted on where nothing is lost."""

import signal
import threading

import pytest

from abpnet import parallel
from abpnet.runs import delay_interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_noted_and_handlers_come_back(number):
    handlers = {known: signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM)}
    with delay_interruption() as interruption:
        assert not interruption.requested()
        signal.raise_signal(number)
        assert interruption.requested()
        assert interruption.signal == number
    assert {known: signal.getsignal(known) for known in handlers} == handlers


def test_second_interruption_stops_at_once_and_handlers_come_back():
    handlers = {known: signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM)}
    reached = []
    with pytest.raises(KeyboardInterrupt), delay_interruption():  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        reached.append("after the first")
        signal.raise_signal(signal.SIGINT)
        reached.append("after the second")
    assert reached == ["after the first"]
    assert {known: signal.getsignal(known) for known in handlers} == handlers


def test_handlers_come_back_after_an_error_inside():
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), delay_interruption():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is handler


def test_what_came_to_another_process_counts(monkeypatch):
    monkeypatch.setattr(parallel, "largest", lambda number: max(number, signal.SIGTERM))
    with delay_interruption() as interruption:
        assert interruption.requested() == signal.SIGTERM


def test_other_threads_leave_the_handlers_alone():
    handler, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with delay_interruption() as interruption:
            seen.append((signal.getsignal(signal.SIGINT), interruption.requested()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(handler, None)]
