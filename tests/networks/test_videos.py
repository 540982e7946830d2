"""Networks of frames and of clips."""

import pytest
import torch

from abpnet.beginning import begin
from abpnet.data.builtin import waves
from abpnet.model import GeneratorModel
from abpnet.networks import FrameNetwork, SpaceTimeNetwork, build_network, describe_network, initialise
from abpnet.observations import Mask
from abpnet.recipes import RECIPES


def made(kind, *arguments):
    with torch.device("meta"):
        network = kind(*arguments)
    return initialise(network, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def frames():
    return torch.from_numpy(waves(60, 16))


def test_frames_start_at_the_regression_on_their_chains(frames):
    model = GeneratorModel(made(FrameNetwork, 6, (1, 16, 16), 16), (6,))
    state = begin(model, frames, recipe=RECIPES["video"], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        residual = (model.network(state.latents.values) - frames).square().mean()
    centred = (frames - frames.mean(0)).flatten(1)
    singular = torch.linalg.svdvals(centred)
    principal = singular[6:].square().sum() / centred.numel()
    assert residual < 2 * principal, "the regression is of artanh y"
    assert centred.square().mean() > 10 * principal, "which is not for free"
    assert all(torch.equal(state.averaged[name], weight) for name, weight in model.named_parameters())


def test_the_start_is_the_least_squares_solution_of_artanh(frames):
    model = GeneratorModel(made(FrameNetwork, 6, (1, 16, 16), 16), (6,))
    z = begin(model, frames, recipe=RECIPES["video"], generator=torch.Generator().manual_seed(0)).latents.values
    factors = torch.cat([z, torch.ones(60, 1)], 1)
    solution = torch.linalg.lstsq(factors, torch.atanh(frames.clamp(-0.98, 0.98)).flatten(1)).solution
    assert torch.allclose(model.network.pictures.weight, solution[:-1].T, atol=1e-3)
    assert torch.allclose(model.network.still.bias, solution[-1], atol=1e-3)


def test_incomplete_frames_are_not_regressed_as_if_holes_were_grey(frames):
    network = made(FrameNetwork, 3, (1, 16, 16), 16)
    observed = torch.ones_like(frames, dtype=torch.bool)
    observed[:, :, :4] = False
    generator = torch.Generator().manual_seed(0)
    begin(GeneratorModel(network, (3,)), frames, Mask(observed), recipe=RECIPES["video"], generator=generator)
    assert (network.still.bias == 0).all()


@pytest.mark.parametrize(("shape", "length"), [((3, 16, 16), 5), ((1, 24, 17), 3)])
def test_a_longer_sequence_is_a_longer_clip(shape, length):
    network = made(SpaceTimeNetwork, 4, shape, 16)
    z = torch.randn(2, 4, length, generator=torch.Generator().manual_seed(0), requires_grad=True)
    clip = network(z)
    assert clip.shape == (2, shape[0], 4 * length, *shape[1:])
    clip.square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad.abs().sum() > 0, name
    assert (z.grad != 0).all()


def test_clips_do_not_depend_on_one_another_and_are_rebuilt():
    network = made(SpaceTimeNetwork, 4, (1, 16, 16), 16)
    z = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    other = z.clone()
    other[1] = 3.0
    again = build_network(describe_network(network))
    again.load_state_dict(network.state_dict())
    assert torch.equal(network(z)[0], network(other)[0])
    assert torch.equal(again(z), network(z))


def test_clips_start_at_their_mean_frame(frames):
    network = made(SpaceTimeNetwork, 4, (1, 16, 16), 16)
    clips = frames[:48].view(3, 16, 1, 16, 16).transpose(1, 2)
    begin(
        GeneratorModel(network, (4, 4)), clips, recipe=RECIPES["spacetime"], generator=torch.Generator().manual_seed(0)
    )
    expected = torch.atanh(frames[:48].clamp(-0.98, 0.98)).mean((0, 1)).flatten()
    assert torch.allclose(network.still.bias.detach(), expected, atol=1e-5)


def test_frames_that_are_too_small():
    with pytest.raises(ValueError, match="at least 16"):
        SpaceTimeNetwork(4, (1, 12, 16))
