"""Ctrl-C and SIGTERM are noted, and acted on where nothing is lost."""

import signal
import threading

import numpy as np
import pytest

from abpnet import GeneratorNetwork, parallel
from abpnet.interruption import delay_interruption, stopped_at_once
from abpnet.tasks.session import Interrupted, run_part
from abpnet.tasks.video import VideoSettings
from commands import COMPLETE, final_tensors, run

pytestmark = pytest.mark.usefixtures("ctrl_c_is_heard")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_noted_and_handlers_come_back(number):
    handlers = {known: signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM)}
    with delay_interruption() as interruption:
        assert not interruption.requested()
        signal.raise_signal(number)
        assert interruption.requested() == number
    assert {known: signal.getsignal(known) for known in handlers} == handlers


def test_second_interruption_stops_at_once_and_handlers_come_back():
    handlers = {known: signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM)}
    reached = []
    with pytest.raises(KeyboardInterrupt), delay_interruption() as interruption:  # noqa: PT012
        interruption.requested()
        signal.raise_signal(signal.SIGTERM)
        reached.append("after the first")
        signal.raise_signal(signal.SIGINT)
        reached.append("after the second")
    assert reached == ["after the first"]
    assert {known: signal.getsignal(known) for known in handlers} == handlers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("within", [delay_interruption, stopped_at_once])
def test_it_stops_at_once_while_there_is_nothing_to_save(within, number):
    handlers = {known: signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(KeyboardInterrupt), within():
        signal.raise_signal(number)
    assert {known: signal.getsignal(known) for known in handlers} == handlers


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
def test_before_the_first_pass_has_ended_a_command_stops_at_once_and_can_be_resumed(
    data, tmp_path, monkeypatch, capsys, number, code
):
    def stopped(*arguments, **settings):
        signal.raise_signal(number)
        raise AssertionError("it went on")

    with monkeypatch.context() as patch:
        patch.setattr("abpnet.estimator.begin", stopped)
        command = ["complete", data / "images.npz", "--max-iter", "2", "--out", tmp_path / "run"]
        assert run(*command) == code
    assert "stopped at once" in capsys.readouterr().err
    assert run("resume", tmp_path / "run") == 0


def test_before_the_first_pass_has_ended_fit_stops_at_once(monkeypatch):
    network = GeneratorNetwork(latent_dim=2, max_iter=2, verbose=False)
    with monkeypatch.context() as patch:
        patch.setattr("abpnet.estimator.begin", lambda *arguments, **settings: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(KeyboardInterrupt):
            network.fit(np.zeros((4, 3)))


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_learning_is_concluded_is_heard(monkeypatch, number):
    from abpnet.tables import TableImputer

    x = np.random.default_rng(0).normal(size=(12, 3))
    x[::4, 0] = np.nan
    for learner in (
        GeneratorNetwork(latent_dim=2, max_iter=2, verbose=False),
        TableImputer(1, n_networks=1, width=4, max_iter=2),
    ):
        with monkeypatch.context() as patch:
            conclude = type(learner)._conclude

            def concluded(self, *arguments, conclude=conclude):
                signal.raise_signal(number)
                conclude(self, *arguments)

            patch.setattr(type(learner), "_conclude", concluded)
            with pytest.warns(UserWarning, match="was interrupted"):
                learner.fit(x)


def test_a_command_is_stopped_while_learning_is_concluded_and_goes_on_to_the_same(data, tmp_path, monkeypatch):
    options = [*COMPLETE, "--no-baselines", "--out"]
    assert run("complete", data / "images.npz", *options, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        conclude = GeneratorNetwork._conclude

        def concluded(self, *arguments):
            signal.raise_signal(signal.SIGTERM)
            conclude(self, *arguments)

        patch.setattr(GeneratorNetwork, "_conclude", concluded)
        assert run("complete", data / "images.npz", *options, tmp_path / "stopped") == 143
    assert run("resume", tmp_path / "stopped") == 0
    whole, stopped = final_tensors(tmp_path / "whole"), final_tensors(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all((whole[name] == stopped[name]).all() for name in whole)
