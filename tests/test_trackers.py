"""Who watches learning is told the figures of each pass."""

import json

import pytest

from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from commands import COMPLETE, run
from estimators import FAST, images


class Recorder:
    """Like a run of wandb or trackio."""

    def __init__(self):
        self.rows = []

    def log(self, metrics, step=None):
        self.rows.append((step, metrics))


def test_any_object_with_log_is_told_each_pass():
    recorder = Recorder()
    net = GeneratorNetwork(**FAST).fit(images(), tracker=recorder)
    assert [step for step, _ in recorder.rows] == [1, 2, 3]
    for (_, told), row in zip(recorder.rows, net.history_, strict=True):
        assert told == {name: value for name, value in row.items() if value is not None and name != "iteration"}
        assert "error" in told


def test_learning_is_the_same_with_a_tracker():
    alone = GeneratorNetwork(**FAST).fit(images())
    watched = GeneratorNetwork(**FAST).fit(images(), tracker=Recorder())
    assert (alone.latents_ == watched.latents_).all()


def test_what_is_no_tracker_is_refused_before_learning():
    with pytest.raises(InputError, match=r"tracker must have log\(dict, step=...\)"):
        GeneratorNetwork(**FAST).fit(images(), tracker=print)


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in found.Scalars("error")]


def test_tensorboard_reads_what_a_summary_writer_was_told(tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        net = GeneratorNetwork(**FAST).fit(images(), tracker=writer)
    assert events(tmp_path) == [(row["iteration"], pytest.approx(row["error"], rel=1e-6)) for row in net.history_]


def test_runs_write_for_tensorboard_and_go_on_without_steps_told_twice(data, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    out = tmp_path / "out"
    options = [*COMPLETE, "--no-baselines", "--tensorboard", "--out", out]
    monkeypatch.setattr("abpnet.tasks.session.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with monkeypatch.context() as patch:
        logged, n_logged = __import__("abpnet.runs").runs.RunFolder.log, []

        def fail_at_third(folder, row):
            n_logged.append(row)
            if len(n_logged) == 3:
                raise KeyboardInterrupt
            logged(folder, row)

        patch.setattr("abpnet.runs.RunFolder.log", fail_at_third)
        assert run("complete", data / "images.npz", *options) == 130
    assert run("resume", out) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert events(out / "tensorboard") == [(row["iteration"], pytest.approx(row["error"], rel=1e-6)) for row in rows]


def test_a_missing_tensorboard_is_said_before_anything_is_done(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("abpnet.tasks.settings.find_spec", lambda name: None)
    out = tmp_path / "out"
    assert run("complete", data / "images.npz", *COMPLETE, "--tensorboard", "--out", out) == 2
    assert "abpnet[tensorboard]" in capsys.readouterr().err
    assert not out.exists()
