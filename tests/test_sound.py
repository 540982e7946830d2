"""Experiment 2 end to end on tiny data."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import safetensors.torch
import soundfile
from PIL import Image

from abpnet.runs import RunFolder
from commands import run

FAST = ["--rate", "4000", "--width", "4", "--n-chains", "1", "--max-iter", "3", "--precision", "float32"]


@pytest.fixture(scope="module")
def crackle(tmp_path_factory):
    """Folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "crackle"
    assert run("sound", "builtin:crackle", *FAST, "--seconds", "7.3", "--out", out) == 0
    return out


def test_sound_leaves_a_whole_run_folder(crackle):
    for name, seconds in (("original", 5.0), ("synthesis", 7.3), ("noise", 5.0)):
        sound, rate = soundfile.read(crackle / f"{name}.wav")
        assert rate == 4000
        assert sound.shape == (round(4000 * seconds),)
        assert sound.std() > 1e-4
    result = json.loads((crackle / "result.json").read_text())
    ours, noise, halves = result["table"]
    assert ours["method"] == "abpnet, fresh z"
    assert halves["distance"] < noise["distance"]
    assert np.isfinite(ours["distance"])
    assert result["period"] is None
    assert result["iteration"] == 3
    assert Image.open(crackle / "sounds.png").size[0] > 1000
    assert (crackle / "report.html").read_text().count("<audio controls") == 3
    assert len((crackle / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_finished_run_gives_more_sounds_of_any_length(crackle, tmp_path):
    assert run("sample", crackle, "-n", "2", "--seconds", "3.1", "--out", tmp_path / "samples") == 0
    sounds = [soundfile.read(tmp_path / "samples" / "samples" / f"{index:06d}.wav") for index in range(2)]
    assert [(sound.shape, rate) for sound, rate in sounds] == [((12_400,), 4000)] * 2
    assert not np.array_equal(sounds[0][0], sounds[1][0])
    assert "<audio" in (tmp_path / "samples" / "report.html").read_text()
    assert run("sample", crackle, "-n", "1", "--seconds", "3.1", "--out", tmp_path / "again") == 0
    again, _ = soundfile.read(tmp_path / "again" / "samples" / "000000.wav")
    assert np.array_equal(again, sounds[0][0]), "the first of one is the first of two"


def test_stopped_and_resumed_equals_never_stopped(crackle, tmp_path, monkeypatch):
    log, out = RunFolder.log, tmp_path / "out"

    def log_and_stop(folder, row):
        log(folder, row)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "log", log_and_stop)
    assert run("sound", "builtin:crackle", *FAST, "--seconds", "7.3", "--out", out) == 130
    assert not (out / "result.json").exists()
    monkeypatch.undo()
    assert run("resume", out) == 0
    one, other = (
        safetensors.torch.load((folder / "model" / "state.safetensors").read_bytes()) for folder in (crackle, out)
    )
    assert all((one[name] == tensor).all() for name, tensor in other.items())
    assert (out / "synthesis.wav").read_bytes() == (crackle / "synthesis.wav").read_bytes()


def test_a_rhythm_goes_into_the_network(tmp_path):
    rng = np.random.default_rng(0)
    ticks = 0.002 * rng.standard_normal(16_000)
    for start in range(500, 15_500, 2000):
        ticks[start : start + 100] += 0.5 * rng.standard_normal(100) * np.exp(-np.arange(100) / 20)
    soundfile.write(tmp_path / "clock.wav", ticks, 4000)
    assert run("sound", tmp_path / "clock.wav", *FAST, "--max-iter", "1", "--out", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["period"] == pytest.approx(0.5, rel=0.02)
    facts = json.loads((tmp_path / "out" / "model" / "state.json").read_text())
    assert facts["settings"]["network"]["period"] == pytest.approx(2000, rel=0.02)
    arguments = [tmp_path / "clock.wav", *FAST, "--max-iter", "1", "--no-rhythm", "--out", tmp_path / "without"]
    assert run("sound", *arguments) == 0
    assert json.loads((tmp_path / "without" / "result.json").read_text())["period"] is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seconds", "0"),
        ("--seconds", "1e9"),
        ("--seconds", "nan"),
        ("--rate", "100"),
        ("--rate", "1000000"),
        ("--n-chains", "0"),
        ("--width", "0"),
        ("--noise-std", "nan"),
        ("--max-seconds", "0"),
    ],
)
def test_numbers_out_of_range(tmp_path, capsys, option, value):
    assert run("sound", "builtin:rain", option, value, "--out", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert option in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_sounds_that_cannot_be_used(data, crackle, tmp_path, capsys):
    soundfile.write(tmp_path / "short.wav", np.full(3000, 0.1), 4000)
    soundfile.write(tmp_path / "two.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 4000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(9000), 4000)
    (tmp_path / "text.wav").write_text("no sound")
    shutil.copy(data / "photos" / "photo 0.png", tmp_path / "picture.png")
    cases = {
        ("sound", "builtin:thunder"): "builtin:rain",
        ("sound", tmp_path / "short.wav"): "short.wav",
        ("sound", tmp_path / "two.wav", "--rate", "4000"): "two.wav",
        ("sound", tmp_path / "silent.wav"): "silent",
        ("sound", tmp_path / "text.wav"): "text.wav",
        ("sound", tmp_path / "picture.png"): "picture.png",
        ("sound", tmp_path / "absent.wav"): "absent.wav",
        ("sound", tmp_path): "folder",
        ("sample", crackle, "--map", "2", "2"): "--seconds",
        ("sample", crackle, "--seconds", "0"): "--seconds",
        ("explain", crackle, data / "photos"): "explain",
    }
    for arguments, named in cases.items():
        capsys.readouterr()
        assert run(*arguments, "--out", tmp_path / "out") == 2, arguments
        message = capsys.readouterr().err
        assert named in message, arguments
        assert message.count("\n") == 1, message
        assert not (tmp_path / "out").exists(), f"{arguments} left a folder behind"


@pytest.mark.parametrize(("rate", "seconds"), [(4000, 2.2), (16000, 1.0)])
def test_the_shortest_recordings(tmp_path, rate, seconds):
    noise = np.random.default_rng(0).normal(0, 0.1, round(rate * seconds))
    soundfile.write(tmp_path / "short.wav", noise, rate)
    arguments = [*FAST, "--rate", rate, "--max-iter", "1", "--seconds", "0.1", "--out", tmp_path / "out"]
    assert run("sound", tmp_path / "short.wav", *arguments) == 0
    assert len(soundfile.read(tmp_path / "out" / "synthesis.wav")[0]) == rate // 10


def test_images_have_no_length_in_seconds(completed, tmp_path, capsys):
    assert run("sample", completed, "--seconds", "3", "--out", tmp_path / "out") == 2
    assert "--seconds" in capsys.readouterr().err
