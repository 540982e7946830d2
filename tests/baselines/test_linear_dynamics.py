import numpy as np
import pytest

from abpnet.baselines.linear_dynamics import fit_linear_dynamics, n_components_of


@pytest.fixture
def frames():
    """Five pictures that turn into one another, with a little noise."""
    rng = np.random.default_rng(0)
    z = np.zeros((60, 5))
    for t in range(1, 60):
        z[t] = 0.9 * z[t - 1] + 0.4 * rng.standard_normal(5)
    pictures = rng.normal(size=(5, 1, 6, 6)) * 0.05
    return (0.1 + np.tensordot(z, pictures, 1) + 0.001 * rng.normal(size=(60, 1, 6, 6))).astype(np.float32)


def test_frames_of_that_rank_are_explained(frames):
    system = fit_linear_dynamics(frames, 5)
    assert np.abs(system.frames(system.factors) - frames).std() < 0.002
    assert np.abs(fit_linear_dynamics(frames, 4).frames(system.factors[:, :4]) - frames).std() > 0.005
    gram = np.tensordot(system.pictures, system.pictures, ((1, 2, 3), (1, 2, 3)))
    assert np.allclose(gram, np.eye(5), atol=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_synthesised_frames_have_the_covariance_of_the_original(frames, order):
    system = fit_linear_dynamics(frames, 5, order)
    assert system.process.order == order
    z = system.process.simulate(20_000, np.random.default_rng(0))
    spread = np.abs(np.cov(z.T) / np.cov(system.factors.T) - 1).diagonal()
    assert spread.max() < 0.25
    long = system.synthesise(1000, np.random.default_rng(0))
    assert long.shape == (1000, 1, 6, 6)
    assert np.abs(long).max() <= 1


def test_least_squares_moves_otherwise_through_the_same_pictures(frames):
    ours, theirs = fit_linear_dynamics(frames, 5), fit_linear_dynamics(frames, 5, least_squares=True)
    assert np.array_equal(ours.pictures, theirs.pictures)
    assert not np.allclose(ours.process.transitions, theirs.process.transitions)
    before, now = theirs.factors[:-1], theirs.factors[1:]
    assert np.allclose(theirs.process.transitions[0].T, np.linalg.lstsq(before, now, rcond=None)[0], atol=1e-2)


def test_parameters_are_counted_and_spent(frames):
    for order in (1, 2):
        n = fit_linear_dynamics(frames, 5, order).n_parameters
        assert n == 36 + 5 * 36 + order * 25 + 15
        assert n_components_of(n, 60, 36, order) == 5
        assert n_components_of(n - 1, 60, 36, order) == 4
        assert n_components_of(10**9, 60, 36, order) == (60 - order - 2) // (order + 1)
    assert n_components_of(1, 60, 36) == 1


def test_a_periodic_clip_has_no_more_components_than_it_holds():
    """A wave that comes again to the bit: the third component is rounding, and rounding is not stationary."""
    across, time = np.meshgrid(np.arange(16), np.arange(48))
    wave = np.sin(2 * np.pi * (across / 16 + time / 8)).astype(np.float32)
    frames = np.broadcast_to(wave[:, None, None, :], (48, 1, 16, 16)).copy()
    for least_squares in (False, True):
        system = fit_linear_dynamics(frames, 5, least_squares=least_squares)
        assert len(system.pictures) == 2
        assert np.abs(system.frames(system.factors) - frames).max() < 1e-4
        assert np.isfinite(system.synthesise(100, np.random.default_rng(0))).all()
