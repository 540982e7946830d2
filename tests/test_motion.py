"""Frames learned together with how they move: against the truth of simulated clips."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import abpnet
from abpnet.data.builtin import waves
from abpnet.dynamic_textures import infer_paths, pieces
from abpnet.dynamics import moments, stationary_autoregression
from abpnet.model import GeneratorModel
from abpnet.motion import foretell, join, process_of, track
from abpnet.networks import FrameByFrame, FrameNetwork, LinearNetwork, initialise
from abpnet.priors import Autoregression, Recurrence
from abpnet.recipes import RECIPES
from moments import assert_stationary_moments

PIXELS, NOISE, N_KNOWN, N_NEW = 16, 0.12, 640, 320
# Little is to be said by one frame; so weights may move fast.
QUICK = replace(RECIPES["motion"], batch_size=20, learning_rate=3e-2)


def turning(modulus=0.98, angle=0.2):
    """A slow rotation of two factors."""
    cos, sin = modulus * np.cos(angle), modulus * np.sin(angle)
    return torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float32)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def linear(signal_to_noise):
    """A linear network of vectors of two factors."""
    loadings = torch.linalg.qr(torch.randn(PIXELS, 2, generator=seeded(0))).Q * NOISE * signal_to_noise
    network = initialise(LinearNetwork(2, (PIXELS,)), seeded(0))
    network.load_state_dict({name: torch.zeros_like(weight) for name, weight in network.state_dict().items()})
    with torch.no_grad():
        next(weight for weight in network.parameters() if weight.dim() == 2).copy_(loadings)
    return network


@pytest.fixture(scope="module")
def truth():
    """A model of vectors seen under so much noise that one frame leaves half of its factors' variance open."""
    return GeneratorModel(FrameByFrame(linear(1)), (2, 1), Autoregression(turning()), abpnet.Gaussian(NOISE))


@pytest.fixture(scope="module")
def clip(truth):
    """Frames of the truth, (n, pixels)."""
    z = truth.prior.sample((1, 2, N_KNOWN + N_NEW), seeded(1))
    with torch.no_grad():
        return truth.emission.sample(truth.network(z)[0].T.contiguous(), seeded(2))


def learned_alone(clip, n_passes):
    """The frames, each by itself, and the path of their factors."""
    settings = {"noise_std": NOISE, "recipe": replace(RECIPES["video"], learn_noise=False), "verbose": False}
    network = initialise(LinearNetwork(2, (PIXELS,)), seeded(0))
    learned = abpnet.GeneratorNetwork(2, network=network, max_iter=n_passes, precision="float32", **settings)
    learned.fit(clip[:N_KNOWN].numpy())
    modes = abpnet.infer(learned.model_, clip[:N_KNOWN], start=torch.from_numpy(learned.latents_), n_steps=40)
    return learned, modes.double().numpy()


def transition_of(path):
    return torch.from_numpy(stationary_autoregression([path]).transitions[0]).float()


def learned_together(clip, alone, path, prior, n_passes):
    learned = abpnet.GeneratorNetwork(
        (2, 32),
        network=FrameByFrame(alone.model_.network),
        prior=prior,
        noise_std=NOISE,
        recipe=QUICK,
        max_iter=n_passes,
        precision="float32",
        verbose=False,
    )
    return learned.fit(pieces(clip[:N_KNOWN].numpy()), start=pieces(path.astype(np.float32)))


@pytest.fixture(scope="module")
def in_two_steps(clip):
    return learned_alone(clip, 5)


@pytest.fixture(scope="module")
def together(clip, in_two_steps):
    return learned_together(clip, *in_two_steps, Autoregression(transition_of(in_two_steps[1])), 300)


def slowest(transition):
    return np.linalg.eigvals(np.asarray(transition))[0]


def test_together_the_motion_is_found_that_noise_hides_from_two_steps(in_two_steps, together):
    true = slowest(turning())
    two_steps = slowest(transition_of(in_two_steps[1]))
    assert abs(two_steps) < 0.7, "noise of the factors counts as motion"
    found = slowest(together.model_.prior.transition.detach())
    # Of a known path of this length the standard error is sqrt((1 - .98^2) / 640) = .008.
    assert abs(abs(found) - abs(true)) < 0.04
    assert abs(abs(np.angle(found)) - abs(np.angle(true))) < 0.04


def error(model, clip):
    z = track(model, clip[N_KNOWN:-1], seen_before=15, n_steps=30)
    told = foretell(model, clip[N_KNOWN:-1], z)
    return float((told - clip[N_KNOWN + 1 :]).square().mean())


def test_together_foretells_better_than_two_steps(truth, clip, in_two_steps, together):
    alone, path = in_two_steps
    prior = Autoregression(transition_of(path))
    two_steps = GeneratorModel(FrameByFrame(alone.model_.network), (2, 1), prior, abpnet.Gaussian(NOISE))
    best, ours, theirs = (error(model, clip) - NOISE**2 for model in (truth, together.model_, two_steps))
    assert 0 < best < ours < theirs
    assert ours - best < 0.5 * (theirs - best)


def test_a_memory_foretells_what_no_auto_regression_of_order_1_can():
    """Factors `z_(t+1) = 1.08 z_t - .8 z_(t-1) + .48 e`, of variance 1 and correlation .6 from one to the next."""
    noise, z = torch.randn(50 + N_KNOWN + N_NEW, 2, generator=seeded(1)), [torch.zeros(2), torch.zeros(2)]
    for innovation in noise:
        z.append(1.08 * z[-1] - 0.8 * z[-2] + 0.48 * innovation)
    with torch.no_grad():
        signal = linear(4)(torch.stack(z[52:]))
    clip = signal + NOISE * torch.randn(signal.shape, generator=seeded(2))
    alone, path = learned_alone(clip, 20)
    prior = Recurrence(Autoregression(transition_of(path)), 16, seeded(0))
    together = learned_together(clip, alone, path, prior, 40)
    share = (error(together.model_, clip) - NOISE**2) / float(signal.square().mean())
    # Of the variance of what comes next, z_t alone, were it known, leaves 1 - .6^2 open, all z before .48^2.
    assert 0.48**2 < share < 0.45 < 1 - 0.6**2


@pytest.fixture(scope="module")
def frames():
    return waves(44, 16)


@pytest.fixture(scope="module")
def alone(frames):
    settings = {"recipe": "video", "max_iter": 3, "precision": "float32", "verbose": False}
    with torch.device("meta"):
        network = FrameNetwork(3, (1, 16, 16), 16)
    return abpnet.GeneratorNetwork(3, network=network, **settings).fit(frames)


def test_joined_says_what_two_steps_said(frames, alone):
    (path,) = infer_paths(alone, frames)
    network, prior, factors = join(alone.model_.network, path)
    with torch.no_grad():
        before = alone.model_.network(torch.from_numpy(path).float())
        after = network(factors.T[None])[0].movedim(1, 0)
    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(factors.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(factors.T @ factors / len(factors), torch.eye(3), atol=1e-4)
    process, joined = stationary_autoregression([path]), np.linalg.eigvals(prior.transition.detach())
    for left, right in zip(np.linalg.eigvals(process.companion), joined, strict=True):
        assert abs(abs(left) - abs(right)) < 1e-4


@pytest.fixture(params=["auto-regression", "recurrence"])
def motion(request):
    """A motion to learn, given the auto-regression of two steps."""

    def start(linear):
        return linear if request.param == "auto-regression" else Recurrence(linear, 4, seeded(0))

    return start


def of_pieces(frames, alone, motion=lambda linear: linear, **settings):
    """An estimator to learn together, its data, and where its chains start."""
    network, linear, factors = join(alone.model_.network, infer_paths(alone, frames)[0])
    prior = motion(linear)
    start, data = pieces(factors.numpy()), pieces(frames)
    fixed = {"noise_std": 0.1, "recipe": "motion", "precision": "float32", "verbose": False}
    estimator = abpnet.GeneratorNetwork(start.shape[1:], network=network, prior=prior, **fixed | settings)
    return estimator, data, start


def test_chains_start_where_they_are_told(frames, alone):
    estimator, data, start = of_pieces(frames, alone, max_iter=1)
    iterations = estimator.iterations(data, start=start)
    next(iterations)
    assert np.abs(estimator.state_.latents.values.numpy() - start).max() < 2
    iterations.close()
    with pytest.raises(ValueError, match="start must be"):
        estimator.fit(data, start=start[:, :2])


def weights(estimator):
    """All weights, of the network and of the motion, in one row."""
    return torch.cat([weight.detach().flatten() for weight in estimator.model_.parameters()])


def test_resumed_equals_never_having_stopped(frames, alone, motion):
    whole, data, start = of_pieces(frames, alone, motion, max_iter=6)
    whole.fit(data, start=start)
    stopped, _, _ = of_pieces(frames, alone, motion, max_iter=6)
    iterations = stopped.iterations(data, start=start)
    for _ in range(3):
        next(iterations)
    checkpoint = {name: tensor.clone() for name, tensor in stopped.state_.tensors().items()}, stopped.state_.facts()
    iterations.close()
    resumed, _, _ = of_pieces(frames, alone, motion, max_iter=6)
    for _ in resumed.iterations(data, checkpoint=copy.deepcopy(checkpoint), start=start):
        pass
    assert torch.equal(weights(whole), weights(resumed))
    assert np.array_equal(whole.latents_, resumed.latents_)
    moved = zip(whole.model_.prior.parameters(), whole.prior.parameters(), strict=True)
    assert not any(torch.equal(learned, start) for learned, start in moved), "the motion is learned"


def test_hidden_frames_influence_nothing(frames, alone, motion):
    seen = np.ones(pieces(frames).shape, bool)
    seen[0, :, 5:9] = False
    learned = []
    for junk in (np.nan, 1e30):
        estimator, data, start = of_pieces(frames, alone, motion, max_iter=3)
        mask = None if np.isnan(junk) else abpnet.Mask(seen)
        estimator.fit(np.where(seen, data, np.float32(junk)), observation=mask, start=start)
        learned.append(estimator)
    assert np.array_equal(learned[0].latents_, learned[1].latents_)
    assert torch.equal(weights(learned[0]), weights(learned[1]))


def test_saved_and_loaded_it_foretells_the_same(frames, alone, motion, tmp_path):
    estimator, data, start = of_pieces(frames, alone, motion, max_iter=2)
    estimator.fit(data, start=start).save(tmp_path / "model")
    loaded = abpnet.GeneratorNetwork.load(tmp_path / "model")
    clip = torch.from_numpy(frames[:12])
    z = track(estimator.model_, clip, n_steps=5)
    told = foretell(estimator.model_, clip, z)
    assert told.shape == clip.shape
    assert torch.equal(z, track(loaded.model_, clip, n_steps=5))
    assert torch.equal(told, foretell(loaded.model_, clip, z))


def remembering(frames, alone, motion):
    """A model whose memory, if it has one, says something."""
    network, linear, _ = join(alone.model_.network, infer_paths(alone, frames)[0])
    prior = motion(linear)
    if isinstance(prior, Recurrence):
        torch.nn.init.normal_(prior.memory.readout.weight, generator=seeded(0))
    return GeneratorModel(network, (3, 32), prior, abpnet.Gaussian(0.1))


def test_it_moves_on_as_the_paths_that_were_found(frames, alone, motion):
    model, path = remembering(frames, alone, motion), np.random.default_rng(0).normal(1.0, 0.5, (50, 3))
    process = process_of(model, [path])
    assert process.n_parameters == sum(weight.numel() for weight in model.prior.parameters()) + 3 + 6
    paths, again = (
        np.stack([process.simulate(1000, rng) for rng in map(np.random.default_rng, range(5))], 1) for _ in range(2)
    )
    assert_stationary_moments(paths, *moments([path]))
    assert np.array_equal(paths, again)
    assert not np.array_equal(paths[:, 0], paths[:, 1])


def test_nothing_is_told_by_what_comes_later_or_is_missing(frames, alone, motion):
    model = remembering(frames, alone, motion)
    clip = torch.from_numpy(frames[:14]).clone()

    def tell(frames):
        return foretell(model, frames, track(model, frames, seen_before=4, n_steps=5), keep_residual=True)

    told = tell(clip)
    later = clip.clone()
    later[10:] = -1.0
    assert torch.equal(tell(later)[:10], told[:10])
    assert not torch.equal(tell(later)[10:], told[10:])
    holes = clip.clone()
    holes[8:] = torch.nan
    blind = tell(holes)
    assert torch.equal(blind[:8], told[:8])
    assert torch.isfinite(blind).all()
    assert not torch.equal(blind[9], blind[8]), "the motion goes on without frames"


def test_what_the_factors_leave_of_a_frame_stays_if_asked(frames, alone):
    network, prior, z = join(alone.model_.network, infer_paths(alone, frames)[0])
    model, clip = GeneratorModel(network, (3, 1), prior, abpnet.Gaussian(0.1)), torch.from_numpy(frames).clone()
    clip[0, 0, 0, 0] = torch.nan
    with torch.no_grad():
        ahead, residual = network.network(z @ prior.transition.T), clip - network.network(z)
    assert torch.allclose(foretell(model, clip, z), ahead, atol=1e-5)
    kept = foretell(model, clip, z, keep_residual=True)
    assert torch.allclose(kept, ahead + torch.where(residual.isnan(), 0.0, residual), atol=1e-5)


def test_other_models_foretell_nothing(alone, frames):
    with pytest.raises(TypeError, match="got FrameNetwork under StandardNormal"):
        track(alone.model_, torch.from_numpy(frames))
    with pytest.raises(TypeError, match="got FrameNetwork under StandardNormal"):
        process_of(alone.model_, [alone.latents_])
