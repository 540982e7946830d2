import os
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from abpnet.data.builtin import SOUNDS, sound_recording
from abpnet.data.limits import Limits
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
    (tmp_path / "nothing.wav").write_bytes(b"")
    cases = {
        "broken.wav": "no finite numbers",
        "empty.wav": "no samples",
        "silent.wav": "silent",
        "text.wav": "not a sound",
        "nothing.wav": "is empty",
        "absent.wav": "no such file",
        "": "is a folder",
    }
    for name, reason in cases.items():
        with pytest.raises(InputError, match=reason):
            load_sound(tmp_path / name, rate=RATE)


FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3")
UNREADABLE = {"DWVW_12", "DWVW_16", "DWVW_24", "MPEG_LAYER_I", "MPEG_LAYER_II"}  # libsndfile cannot write them, or seek
CODINGS = [
    (name, subtype)
    for name in FORMATS
    for subtype in soundfile.available_subtypes(name)
    if subtype not in UNREADABLE and (name, subtype) != ("WAV", "MPEG_LAYER_III")
]


@pytest.mark.parametrize(("name", "subtype"), CODINGS)
def test_every_coding_is_read(tmp_path, name, subtype):
    soundfile.write(tmp_path / "tone", tone(), RATE, format=name, subtype=subtype)
    sound = load_sound(tmp_path / "tone", rate=RATE)
    assert len(sound) == pytest.approx(RATE, rel=0.05)
    spectrum = np.abs(np.fft.rfft(sound[:RATE]))
    assert abs(spectrum.argmax() - 440) <= 1
    assert spectrum[430:451].max() > 5 * spectrum[500:].max()


def test_names_do_not_matter(tmp_path):
    for name in ("tone.raw", "tone.txt", "der Ton ö 音 .mp3", "tone"):
        soundfile.write(tmp_path / name, tone(), RATE, format="WAV")
        np.testing.assert_allclose(load_sound(tmp_path / name, rate=RATE), tone(), atol=1e-4)


def test_one_sample_and_many_channels(tmp_path):
    soundfile.write(tmp_path / "one.wav", np.array([0.5]), RATE)
    np.testing.assert_allclose(load_sound(tmp_path / "one.wav", rate=RATE), [0.5], atol=1e-4)
    soundfile.write(tmp_path / "many.wav", np.tile(tone()[:, None], 300), RATE)
    np.testing.assert_allclose(load_sound(tmp_path / "many.wav", rate=RATE), tone(), atol=1e-4)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e308, -1e39])
def test_samples_that_are_no_finite_numbers(tmp_path, value):
    samples = np.stack([tone(), tone()], 1)
    samples[9] = value
    soundfile.write(tmp_path / "broken.wav", samples, RATE, subtype="DOUBLE")
    with pytest.raises(InputError, match="no finite numbers"):
        load_sound(tmp_path / "broken.wav", rate=RATE)


@pytest.mark.parametrize("rate", [1, 99, 1_000_001, 2**31 - 1])
def test_absurd_rates_are_refused(tmp_path, rate):
    soundfile.write(tmp_path / "tone.wav", tone(), RATE)
    content = bytearray((tmp_path / "tone.wav").read_bytes())
    content[24:28] = struct.pack("<I", rate)
    (tmp_path / "tone.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"tone\.wav: {rate:,} samples per second; expected 100 to 1,000,000"):
        load_sound(tmp_path / "tone.wav", rate=RATE)


def test_odd_rates_are_resampled_by_a_ratio_of_small_numbers(tmp_path):
    soundfile.write(tmp_path / "odd.wav", tone(999_983, 0.2), 999_983)
    sound = load_sound(tmp_path / "odd.wav", rate=RATE)
    np.testing.assert_allclose(sound[100:-100], tone(seconds=0.2)[100 : len(sound) - 100], atol=1e-3)


def flac_of(path, n_frames):
    """A file of one second whose header announces something else; 0 = it does not tell."""
    soundfile.write(path, tone(), RATE, format="FLAC")
    content = bytearray(path.read_bytes())
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | n_frames
    content[18:26] = packed.to_bytes(8, "big")
    path.write_bytes(content)


def test_what_a_header_announces_takes_no_memory(tmp_path):
    flac_of(tmp_path / "tone.flac", 2**36 - 1)
    with pytest.raises(InputError, match=r"GiB once decoded.*--max-gigabytes"):
        load_sound(tmp_path / "tone.flac", rate=RATE)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"ends after 8,000 of the|not a sound"):
        load_sound(tmp_path / "tone.flac", rate=RATE, limits=Limits(max_bytes=2**60))
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_of_a_file_that_does_not_tell_its_length_the_middle_is_read_as_well(tmp_path):
    flac_of(tmp_path / "tone.flac", 0)
    np.testing.assert_allclose(load_sound(tmp_path / "tone.flac", rate=RATE), tone(), atol=1e-4)
    middle = load_sound(tmp_path / "tone.flac", rate=RATE, most_seconds=0.5)
    np.testing.assert_allclose(middle, tone()[2000:6000], atol=1e-4)
    with pytest.raises(InputError, match="--max-gigabytes"):
        load_sound(tmp_path / "tone.flac", rate=RATE, most_seconds=0.1, limits=Limits(max_bytes=100_000))


def test_of_a_file_in_which_nobody_can_seek_the_middle_is_read_as_well(tmp_path):
    soundfile.write(tmp_path / "tone.wav", tone(seconds=3.0), RATE, subtype="GSM610")
    assert not soundfile.SoundFile(tmp_path / "tone.wav").seekable()
    whole = load_sound(tmp_path / "tone.wav", rate=RATE)
    start = (len(whole) - RATE) // 2
    middle = load_sound(tmp_path / "tone.wav", rate=RATE, most_seconds=1.0)
    np.testing.assert_array_equal(middle, whole[start : start + RATE])


@pytest.mark.parametrize(("name", "reason"), [("tone.mp3", "ends after"), ("tone.flac", "lost sync")])
def test_sounds_that_were_cut_off_are_told(tmp_path, name, reason):
    soundfile.write(tmp_path / name, tone(), RATE)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match=reason):
        load_sound(tmp_path / name, rate=RATE)


def test_resampling_is_within_the_limits_as_well(tmp_path):
    soundfile.write(tmp_path / "slow.wav", tone(100, hertz=20), 100)
    assert len(load_sound(tmp_path / "slow.wav", rate=RATE, limits=Limits(max_bytes=16 * RATE))) == RATE
    with pytest.raises(InputError, match="--max-gigabytes"):
        load_sound(tmp_path / "slow.wav", rate=RATE, limits=Limits(max_bytes=16 * RATE - 1))


def test_pipes_and_devices_keep_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", "/dev/zero"):
        with pytest.raises(InputError, match="is a pipe, socket or device"):
            load_sound(path, rate=RATE)


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
