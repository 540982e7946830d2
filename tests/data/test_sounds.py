import numpy as np
import pytest
import soundfile

from abpnet.data.builtin import SOUNDS, sound_recording
from abpnet.data.sounds import load_sound, save_sound
from abpnet.errors import InputError

RATE = 8000


def tone(rate=RATE, seconds=1.0, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("name", ["tone.wav", "tone.flac", "tone.ogg"])
def test_files_of_every_kind_and_rate_come_in_at_the_working_rate(tmp_path, name):
    soundfile.write(tmp_path / name, tone(44100), 44100)
    sound = load_sound(tmp_path / name, rate=RATE)
    assert sound.dtype == np.float32
    assert sound.shape == (RATE,)
    np.testing.assert_allclose(sound[200:-200], tone()[200:-200], atol=0.02)


def test_what_is_faster_than_half_of_the_rate_does_not_fold_back(tmp_path):
    soundfile.write(tmp_path / "high.wav", tone(44100, hertz=7000.0) + tone(44100, hertz=300.0), 44100)
    sound = load_sound(tmp_path / "high.wav", rate=RATE)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert spectrum.argmax() == 300
    assert spectrum[900:1100].max() < 0.01 * spectrum[300]


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone(), 0.2 * tone(), 0 * tone()], 1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_sound(tmp_path / "stereo.wav", rate=RATE), 0.4 * tone(), atol=1e-6)


def test_of_a_long_file_the_middle_is_read(tmp_path):
    ramp = np.linspace(-1, 1, 10 * RATE)
    soundfile.write(tmp_path / "long.wav", ramp, RATE, subtype="FLOAT")
    sound = load_sound(tmp_path / "long.wav", rate=RATE, most_seconds=2.0)
    np.testing.assert_allclose(sound, ramp[4 * RATE : 6 * RATE], atol=1e-6)


def test_more_than_full_scale_is_scaled_down(tmp_path):
    soundfile.write(tmp_path / "loud.wav", 6 * tone(), RATE, subtype="FLOAT")
    sound = load_sound(tmp_path / "loud.wav", rate=RATE)
    assert np.abs(sound).max() == pytest.approx(1)
    np.testing.assert_allclose(sound, 2 * tone(), atol=1e-3)


def test_written_and_read_again_a_sound_is_the_same_to_16_bits(tmp_path):
    save_sound(tmp_path / "tone.wav", np.append(tone(), [3.0]), RATE)
    sound = load_sound(tmp_path / "tone.wav", rate=RATE)
    np.testing.assert_allclose(sound[:-1], tone(), atol=1e-4)
    assert sound[-1] == pytest.approx(1, abs=1e-3), "clipped, not wrapped"


def test_files_that_cannot_be_used(tmp_path):
    broken = tone()
    broken[7] = np.nan
    soundfile.write(tmp_path / "broken.wav", broken, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    (tmp_path / "text.wav").write_text("no sound")
    cases = {
        "broken.wav": "no finite numbers",
        "empty.wav": "no samples",
        "silent.wav": "silent",
        "text.wav": "not a sound",
        "absent.wav": "no such file",
        "": "is a folder",
    }
    for name, reason in cases.items():
        with pytest.raises(InputError, match=reason):
            load_sound(tmp_path / name, rate=RATE)


@pytest.mark.parametrize("name", SOUNDS)
def test_built_in_sounds_are_always_the_same(name):
    sound = sound_recording(name, 2.0, RATE)
    assert sound.shape == (2 * RATE,)
    assert sound.dtype == np.float32
    assert np.abs(sound).max() == pytest.approx(0.9)
    assert np.array_equal(sound, sound_recording(name, 2.0, RATE))
    kurtosis = (sound**4).mean() / np.square((sound**2).mean())
    assert kurtosis > 4, "events stand out"


@pytest.mark.parametrize(("name", "seconds"), [("thunder", 1.0), ("rain", 0.0), ("rain", float("nan"))])
def test_built_in_sounds_that_are_not_there(name, seconds):
    with pytest.raises(ValueError, match=r"expected one of chirps, crackle, rain"):
        sound_recording(name, seconds, RATE)
