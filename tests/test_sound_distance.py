import numpy as np
import pytest

from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.data.builtin import sound_recording
from abpnet.metrics import difference_of_statistics
from abpnet.sound_distance import mean_distance, measure

RATE = 8000


@pytest.fixture(scope="module")
def rain():
    return sound_recording("rain", 6.0, RATE)


def test_a_sound_is_at_no_distance_from_itself(rain):
    assert all(value == 0 for value in difference_of_statistics(measure(rain, RATE), measure(rain, RATE)).values())


def test_more_of_the_same_is_nearer_than_noise_of_its_spectrum(rain):
    more = sound_recording("rain", 12.0, RATE)[6 * RATE :]
    noise = phase_randomised(rain[None], np.random.default_rng(0))[0]
    near, far = (mean_distance([sound], rain, RATE) for sound in (more, noise))
    assert near["distance"] < 0.6 * far["distance"]
    assert near["kurtosis"] < 0.6 * far["kurtosis"]


def test_twice_as_loud_is_half_of_log_2_in_level_and_nothing_else(rain):
    louder = difference_of_statistics(measure(rain, RATE), measure(0.5 * rain, RATE))
    assert louder["level"] == pytest.approx(0.5 * np.log(2), rel=1e-3)
    assert all(louder[kind] < 1e-3 for kind in louder if kind not in ("level", "distance"))


def test_a_tremolo_is_seen_where_it_is():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(6 * RATE)
    time = np.arange(6 * RATE) / RATE
    plain, trembling = (measure(sound, RATE) for sound in (noise, noise * (1 + 0.9 * np.sin(2 * np.pi * 6 * time))))
    changed = (trembling["modulation"] - plain["modulation"]).reshape(24, -1).mean(0)
    assert changed.argmax() == 3, "4 to 8 Hz"
    assert difference_of_statistics(plain, trembling)["correlation"] > 0.2


@pytest.mark.parametrize("rate", [4000, 11025, 48000])
def test_filters_pass_what_lies_at_their_centre_at_every_rate(rate):
    time = np.arange(3 * rate) / rate
    levels = measure(0.5 * np.sin(2 * np.pi * 440 * time), rate)["level"]
    centres = np.geomspace(60, 0.43 * rate, 24)
    nearest = np.abs(np.log(centres / 440)).argmin()
    assert levels.argmax() == nearest
    detuning = (440 - centres[nearest]) / (1.019 * 24.7 * (1 + 0.00437 * centres[nearest]))
    passed = 0.5 * (1 + detuning**2) ** -2
    assert levels[nearest] == pytest.approx(0.5 * np.log(passed), abs=0.03)


def test_digital_silence_stays_finite():
    sound = np.zeros(2 * RATE, np.float32)
    sound[RATE] = 0.5
    assert np.isfinite(list(difference_of_statistics(measure(sound, RATE), measure(0 * sound, RATE)).values())).all()
