"""Networks that put another to a different use."""

import torch

from abpnet.networks import FrameByFrame, LinearNetwork, NonNegative, build_network, describe_network, initialise


def network_of(shape):
    return initialise(LinearNetwork(3, shape), torch.Generator().manual_seed(0))


def test_factors_without_a_sign():
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    network = network_of((7,))
    assert torch.equal(NonNegative(network)(z), network(z.abs()))
    assert torch.equal(NonNegative(network)(-z), NonNegative(network)(z))


def test_each_frame_of_a_clip_has_its_own_factors():
    z = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1))
    network = network_of((2, 4, 5))
    clips = FrameByFrame(network)(z)
    assert clips.shape == (2, 2, 6, 4, 5)
    for t in range(6):
        torch.testing.assert_close(clips[:, :, t], network(z[:, :, t]))


def test_a_description_builds_the_same_again():
    for kind in (NonNegative, FrameByFrame):
        network = kind(network_of((2, 4, 5)))
        built = build_network(describe_network(network))
        built.load_state_dict(network.state_dict())
        z = torch.randn((2, 3) if kind is NonNegative else (2, 3, 6), generator=torch.Generator().manual_seed(1))
        assert torch.equal(built(z), network(z))
