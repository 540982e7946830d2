import pytest
import torch

from abpnet.cochlea import DECIMATION, analyse, cochlea, synthesise

RATE = 11025


def noise(n_samples, seed=0):
    return torch.randn(2, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n_samples", "rate", "n_bands"), [(4096, 11025, 32), (16 * 301, 4000, 23), (8192, 48000, 46)])
def test_taken_apart_and_put_together_a_signal_is_what_it_was(n_samples, rate, n_bands):
    bank, x = cochlea(n_samples, rate, n_bands), noise(n_samples)
    subbands = analyse(torch.fft.rfft(x), bank)
    assert subbands.shape == (2, n_bands, n_samples // DECIMATION)
    torch.testing.assert_close(synthesise(subbands, bank), x, rtol=0, atol=1e-5)


def test_the_envelope_of_a_tone_is_its_amplitude_times_the_filters_gain():
    n_samples, cycles = 11024, 1000
    time = torch.arange(n_samples)
    loudness = 1 + 0.5 * torch.cos(2 * torch.pi * 5 * time / n_samples)
    x = (loudness * torch.cos(2 * torch.pi * cycles * time / n_samples))[None]
    bank = cochlea(n_samples, RATE, 32)
    envelopes = analyse(torch.fft.rfft(x), bank).abs()[0]
    # Squares of the gains add up to 1 at every frequency; the side bands of the slow modulation pass with the tone.
    total = envelopes.square().sum(0).sqrt()
    torch.testing.assert_close(total, loudness[::DECIMATION], rtol=0.02, atol=0)
    loudest = int(envelopes.mean(1).argmax())
    expected = 31 * torch.log10(torch.tensor(1 + 0.00437 * 1000)) / torch.log10(torch.tensor(1 + 0.00437 * RATE / 2))
    assert abs(loudest - float(expected)) <= 0.6


def test_filters_do_not_depend_on_the_length():
    short, long = cochlea(1600, RATE, 32), cochlea(3200, RATE, 32)
    for band in (0, 7, 31):
        gains = [
            torch.zeros(n // 2 + 1).index_add(0, b.place[band], b.weight[band])
            for n, b in ((1600, short), (3200, long))
        ]
        torch.testing.assert_close(gains[1][::2], gains[0])


@pytest.mark.parametrize("arguments", [(1000, RATE, 32), (8, RATE, 32), (1600, RATE, 12)])
def test_lengths_and_numbers_of_filters_that_cannot_be(arguments):
    with pytest.raises(ValueError, match=r"multiple of 16|too few"):
        cochlea(*arguments)
