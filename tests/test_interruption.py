"""Ctrl-C and SIGTERM are noted, and acted on where nothing is lost."""

import signal
import threading

import pytest

from abpnet import parallel
from abpnet.interruption import delay_interruption
from abpnet.tasks.session import Interrupted, run_part
from abpnet.tasks.video import VideoSettings


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


def test_the_whole_is_what_goes_on_where_a_part_was_stopped(tmp_path):
    def stopped(settings, folder):
        raise Interrupted(folder.path, 3, signal.SIGINT)

    with pytest.raises(Interrupted, match=rf"after iteration 3, .*: abpnet resume {tmp_path}$"):
        run_part("video", VideoSettings(source="builtin:waves", out=tmp_path / "frames"), stopped)
