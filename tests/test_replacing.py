"""An earlier run stands again wherever the one that was to replace it learned nothing."""

import contextlib
import json
import signal
from pathlib import Path

import numpy as np
import pytest

from abpnet.durable import remove
from abpnet.errors import DivergenceError
from abpnet.replacing import has_started
from abpnet.runs import RunFolder
from commands import COMPLETE, run
from test_runs import PowerFailureError, content_of, dying, new_run

pytestmark = pytest.mark.usefixtures("ctrl_c_is_heard")

SHORT = [*COMPLETE, "--no-baselines", "--overwrite"]


@pytest.fixture
def earlier(tmp_path):
    """A run with results, a part and a picture."""
    earlier = new_run(tmp_path)
    earlier.log({"iteration": 1})
    part = RunFolder.create(earlier.path / "d20", "evaluate", {})
    part.log({"iteration": 1})
    part.finish({})
    (earlier.path / "samples.png").write_bytes(b"picture")
    earlier.finish({"error": 1.0})
    return earlier.path


def raising(error):
    def raises(*arguments, **settings):
        if isinstance(error, signal.Signals):
            signal.raise_signal(error)
        raise error

    return raises


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 2, "not enough memory"),
        (OSError(28, "No space left on device"), 2, "No space left"),
        (DivergenceError("all explode", iteration=1, examples=[0], step_size=1.0, noise_stds=[0.2]), 4, "explode"),
        (RuntimeError("odd"), 1, "a fault of abpnet itself"),
        (signal.SIGINT, 130, "stopped at once"),
        (signal.SIGTERM, 143, "stopped at once"),
    ],
    ids=["memory", "disk", "divergence", "fault", "ctrl-c", "sigterm"],
)
def test_whatever_ends_a_run_before_its_first_pass(earlier, data, monkeypatch, capsys, error, code, said):
    before = content_of(earlier)
    monkeypatch.setattr("abpnet.estimator.begin", raising(error))
    assert run("complete", data / "images.npz", *SHORT, "--out", earlier) == code
    message = capsys.readouterr().err
    assert said in message
    assert f"the earlier run is back in {earlier}" in message
    assert content_of(earlier) == before
    assert run("complete", data / "missing.npz", *SHORT, "--out", earlier) == 2
    assert content_of(earlier) == before


def test_once_a_pass_was_learned_the_earlier_run_is_gone(earlier, data, monkeypatch, capsys):
    monkeypatch.setattr("abpnet.estimator.GeneratorNetwork.save", raising(signal.SIGINT))
    assert run("complete", data / "images.npz", *SHORT, "--out", earlier) == 130
    assert "abpnet resume" in capsys.readouterr().err
    assert not (earlier / ".replaced").exists()
    assert len((earlier / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_disk_without_room_for_settings_leaves_the_earlier_run(earlier, monkeypatch):
    before = content_of(earlier)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("abpnet.durable._write_durably", full)
    with pytest.raises(ValueError, match="No space left"):
        RunFolder.create(earlier, "demo", {"seed": 1}, overwrite=True)
    assert content_of(earlier) == before
    with pytest.raises(ValueError, match="No space left"):
        RunFolder.create(earlier.parent / "new", "demo", {"seed": 1})
    assert not (earlier.parent / "new").exists()


@pytest.mark.parametrize("moment", range(1, 9))
def test_killed_while_it_is_put_back_it_is_not_lost(earlier, monkeypatch, moment):
    before, dies = content_of(earlier), dying(moment)
    new = RunFolder.create(earlier, "demo", {"seed": 1}, overwrite=True)
    (earlier / "metrics.jsonl").touch()
    (earlier / "d20").mkdir()

    with monkeypatch.context() as patch, contextlib.suppress(PowerFailureError):
        for name in ("rename", "rmdir"):
            patch.setattr(Path, name, dies(getattr(Path, name)))
        patch.setattr("abpnet.replacing.remove", dies(remove))
        new.discard()
    new.release()
    RunFolder.create(earlier, "demo", {"seed": 2}, overwrite=True).discard()
    assert content_of(earlier) == before


def test_what_counts_as_started(tmp_path):
    path = new_run(tmp_path).path
    (path / "metrics.jsonl").touch()
    (path / "original.png").write_bytes(b"picture")
    RunFolder.create(path / "digits", "complete", {}).load_checkpoint()
    assert not has_started(path)
    RunFolder(path / "digits").log({"iteration": 1})
    assert has_started(path)
    assert not has_started(tmp_path)


def test_a_new_run_that_was_stopped_from_outside_says_how_to_go_on(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("abpnet.estimator.begin", raising(signal.SIGTERM))
        assert run("complete", data / "images.npz", *SHORT, "--out", out) == 143
    assert f"go on with: abpnet resume {out}" in capsys.readouterr().err
    assert run("resume", out) == 0


def test_other_settings_than_a_run_began_with_are_refused(data, tmp_path, monkeypatch, capsys, types_unchecked):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:  # its model is learned, its report not written
        patch.setattr("abpnet.tasks.complete.write_recovery", raising(signal.SIGINT))
        assert run("complete", data / "images.npz", *SHORT, "--out", out) == 130
    config = json.loads((out / "config.json").read_text())
    for changed in ({"latent_dim": 7}, {"noise_std": 0.9}, {"residuals": "nope"}, {"mask": None}):
        (out / "config.json").write_text(json.dumps(config | {"settings": config["settings"] | changed}))
        assert run("resume", out) == 2
        assert "not those that this run began with" in capsys.readouterr().err
    for changed in ({"max_iter": 60.0}, {"max_iter": True}, {"max_seconds": "long"}, {"device": 3}):
        (out / "config.json").write_text(json.dumps(config | {"settings": config["settings"] | changed}))
        assert run("resume", out) == 2
        assert next(iter(changed)).replace("_", "-") in capsys.readouterr().err
    (out / "config.json").write_text(json.dumps(config | {"settings": config["settings"] | {"max_iter": 5}}))
    assert run("resume", out) == 0


def test_a_part_keeps_the_settings_it_began_with(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    options = ["--latent-dims", "2", "3", "--new-images", "4", "--max-iter", "1", "--precision", "float32"]
    with monkeypatch.context() as patch:
        patch.setattr("abpnet.tasks.evaluate.figures.save_picture", raising(signal.SIGINT))
        assert run("evaluate", data / "images.npz", *options, "--no-baselines", "--out", out) == 130
    for name in ("config.json", "d2/config.json"):
        config = json.loads((out / name).read_text())
        config["settings"]["noise_std"] = 0.5
        del config["began_with"]
        if name == "config.json":
            (out / name).write_text(json.dumps(config))
    assert run("resume", out) == 2
    assert "d2/config.json: its settings are not those" in capsys.readouterr().err


def test_images_that_components_reconstruct_exactly_have_no_ratio(tmp_path):
    np.savez(tmp_path / "grey.npz", images=np.full((8, 8, 8), 100, np.uint8))
    options = ["--latent-dims", "2", "--new-images", "2", "--max-iter", "1", "--precision", "float32"]
    assert run("evaluate", tmp_path / "grey.npz", *options, "--out", tmp_path / "out") == 0
    table = json.loads((tmp_path / "out" / "result.json").read_text())["table"]
    assert table[-1] == {"method": "ours / principal components", "d = 2": None}
