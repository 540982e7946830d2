from dataclasses import replace

import numpy as np
import pytest
import torch

from abpnet.baselines.spectral_noise import phase_randomised
from abpnet.cochlea import loop
from abpnet.data.builtin import sound_recording
from abpnet.observations import hide_missing
from abpnet.rhythm import find_period
from abpnet.sound_statistics import LEAST_SAMPLES, SoundStatistics

RATE = 4000


def recordings(name="crackle"):
    """Four stretches of one sound."""
    return torch.from_numpy(sound_recording(name, 24.0, RATE)).split(6 * RATE)


def recording(name="crackle"):
    return recordings(name)[0]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def squared_error(statistics, sounds):
    with torch.no_grad():
        return (statistics(sounds) - statistics.target).square().sum(1)


@pytest.fixture(scope="module")
def crackle():
    return SoundStatistics.of(recording(), RATE)


def test_the_recording_is_nearest_then_more_of_it_then_noise_of_the_same_spectrum_then_another_sound(crackle):
    itself = squared_error(crackle, loop(recording(), RATE)[None])
    assert itself < 1e-9
    others = torch.stack([loop(stretch, RATE) for stretch in recordings()[1:]])
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(phase_randomised(loop(recording(), RATE).numpy()[None], rng))
    more, spectral = squared_error(crackle, others).mean(), squared_error(crackle, noise)
    assert more < 0.4 * spectral
    assert spectral < squared_error(crackle, loop(recording("chirps"), RATE)[None])


def test_a_loop_has_no_click_at_its_seam():
    time = torch.arange(RATE) / RATE
    clip = 0.5 * torch.sin(2 * torch.pi * 3.3 * time)
    looped = loop(clip, RATE)
    assert len(looped) % 16 == 0
    assert (looped - looped.roll(1)).abs().max() < 0.05
    assert (clip[0] - clip[len(looped)]).abs() > 0.3
    torch.testing.assert_close(looped[100:], clip[100 : len(looped)])


def test_sounds_of_any_length_can_be_compared(crackle):
    for n_samples in (LEAST_SAMPLES, LEAST_SAMPLES + 16, 5 * LEAST_SAMPLES):
        measured = crackle(randn(2, n_samples))
        assert measured.shape == (2, crackle.target.shape[1])
        assert measured.isfinite().all()


def test_repeating_the_circle_or_turning_it_changes_nothing(crackle):
    sound = loop(recording(), RATE)[None, : 2 * LEAST_SAMPLES]
    torch.testing.assert_close(crackle(sound.tile(1, 2)), crackle(sound), rtol=0, atol=2e-3)
    torch.testing.assert_close(crackle(sound.roll(LEAST_SAMPLES, 1)), crackle(sound), rtol=0, atol=1e-4)


def test_loudness_colour_direction_of_time_and_order_are_seen(crackle):
    sound = loop(recording(), RATE)[None]
    envelope = torch.linspace(0.2, 1.8, sound.shape[1])
    for changed in (0.7 * sound, sound - 0.8 * sound.roll(1, 1), sound.flip(1), envelope * sound):
        assert squared_error(crackle, changed) > 0.05


def test_sounds_of_a_batch_do_not_depend_on_one_another(crackle):
    x = randn(3, LEAST_SAMPLES)
    changed = x.clone()
    changed[1] *= 5
    assert torch.equal(crackle(x)[[0, 2]], crackle(changed)[[0, 2]])


def test_gradient_agrees_with_differences(crackle):
    names = ("power", "spread", "scales", "target")
    double = replace(crackle, **{name: getattr(crackle, name).double() for name in names})
    x = (0.3 * randn(1, LEAST_SAMPLES)).double().requires_grad_()
    direction = randn(1, LEAST_SAMPLES, seed=1).double()

    def error(x):
        return (double(x) - double.target).square().sum()

    (gradient,) = torch.autograd.grad(error(x), x)
    with torch.no_grad():
        slope = (error(x + 1e-6 * direction) - error(x - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-3, atol=0)


def test_it_is_an_observation_like_the_others(crackle):
    assert crackle.observed is None
    assert crackle.select(torch.tensor([0])) is crackle
    _, observation = hide_missing(crackle.target.expand(3, -1), crackle)
    assert observation is crackle
    assert crackle.to(torch.device("meta")).target.is_meta


def test_silence_between_sounds_and_pure_tones_stay_finite():
    time = torch.arange(3 * RATE) / RATE
    for clip in (torch.sin(2 * torch.pi * 440 * time), torch.where(time > 1.5, randn(3 * RATE), 0.0)):
        statistics = SoundStatistics.of(clip, RATE)
        x = torch.zeros(1, LEAST_SAMPLES, requires_grad=True)
        statistics(x).sum().backward()
        assert statistics(x).isfinite().all()
        assert x.grad.isfinite().all()
        assert squared_error(statistics, randn(1, LEAST_SAMPLES)).isfinite().all()


@pytest.mark.parametrize("clip", [torch.zeros(9000), torch.ones(1, 9000), torch.ones(LEAST_SAMPLES)])
def test_what_is_no_sound_too_short_or_silent_is_refused(clip):
    with pytest.raises(ValueError, match=r"shape \(samples,\)|silent"):
        SoundStatistics.of(clip, RATE)


@pytest.mark.parametrize("seconds", [0.25, 0.6, 1.3])
def test_the_period_of_ticks_is_found(seconds):
    rng = np.random.default_rng(0)
    sound = 0.01 * rng.standard_normal(6 * RATE)
    tick = np.exp(-np.arange(200) / 40)
    for start in np.arange(0.1, 5.9, seconds):
        place = round((start + rng.uniform(0, 0.004)) * RATE)
        sound[place : place + 200] += tick * rng.standard_normal(200)
    clip = torch.from_numpy(sound.astype(np.float32))
    period = find_period(clip, SoundStatistics.of(clip, RATE))
    assert period == pytest.approx(seconds * RATE, rel=0.02)


@pytest.mark.parametrize("name", ["crackle", "rain"])
def test_events_at_random_have_no_period(name):
    assert find_period(recording(name), SoundStatistics.of(recording(name), RATE)) is None
