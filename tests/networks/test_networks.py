import pytest
import torch
from torch import nn

from abpnet.networks import (
    FrameByFrame,
    FrameNetwork,
    LinearNetwork,
    ObjectNetwork,
    PatchworkNetwork,
    SoundNetwork,
    SpaceTimeNetwork,
    TextureNetwork,
    VectorNetwork,
    auto_network,
    build_network,
    describe_network,
    initialise,
)
from abpnet.networks.tables import TableNetwork

CASES = {
    "linear": lambda: LinearNetwork(5, (7,)),
    "linear image": lambda: LinearNetwork(5, (3, 8, 8)),
    "vector": lambda: VectorNetwork(5, (7,), width=16),
    "bounded vector": lambda: VectorNetwork(5, (1, 8, 8), width=16, n_hidden=1, bounded=True),
    "smallest object": lambda: ObjectNetwork(5, (1, 8, 8), width=32),
    "odd object": lambda: ObjectNetwork(5, (3, 29, 29), width=32),
    "wide object": lambda: ObjectNetwork(5, (3, 17, 40), width=32),
    "narrow object": lambda: ObjectNetwork(5, (3, 17, 40), width=8),
    "object without channels": lambda: ObjectNetwork(5, (16, 16), width=32),
    "object of repeated pixels": lambda: ObjectNetwork(5, (3, 17, 40), width=32, repeat=True),
    "frame": lambda: FrameNetwork(5, (3, 17, 24), width=32),
}


@pytest.fixture(params=CASES, ids=CASES)
def network(request):
    with torch.device("meta"):
        blank = CASES[request.param]()
    return initialise(blank, torch.Generator().manual_seed(0))


@pytest.fixture
def z():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def test_shape_and_type(network, z):
    signal = network(z)
    assert signal.shape == (4, *network.shape)
    assert signal.dtype == torch.float32
    assert signal.isfinite().all()
    assert signal.std() > 0.05, "factors of the prior must move the signal from the start"


def test_gradients_reach_every_weight_and_factor(network, z):
    z.requires_grad_()
    network(z).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
    assert (z.grad != 0).all()


def test_examples_do_not_depend_on_one_another(network, z):
    other = z.clone()
    other[1:] = 3.0
    assert torch.equal(network(z)[0], network(other)[0])


def test_rebuilt_from_its_description(network, z):
    description = describe_network(network)
    again = build_network(description)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(z), network(z))


def test_initialised_by_the_generator_alone(network):
    description = describe_network(network)
    before = torch.get_rng_state()
    first, second, third = (initialise(build_network(description), torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([weight.flatten() for weight in net.parameters()]) for net in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_foreign_networks_have_no_description():
    class LinearNetwork(nn.Linear):  # of the same name
        pass

    assert describe_network(LinearNetwork(2, 3)) is None


@pytest.mark.parametrize("shape", [(7,), (3, 7, 9), (4, 4)])
def test_images_are_at_least_8_pixels(shape):
    with pytest.raises(ValueError, match="at least 8"):
        ObjectNetwork(5, shape)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((7,), VectorNetwork), ((1, 8, 8), VectorNetwork), ((3, 64, 64), ObjectNetwork), ((20, 20), ObjectNetwork)],
)
def test_the_network_suits_the_shape(shape, kind):
    assert type(auto_network((5,), shape)) is kind


def test_a_map_of_factors_needs_a_network():
    with pytest.raises(ValueError, match="network="):
        auto_network((5, 7, 7), (3, 64, 64))


NARROW = {
    "sound of a high rate": lambda: SoundNetwork.with_noise(192_000, width=1, n_coarse=2, n_fine=0),
    "texture": lambda: TextureNetwork(2, n_channels=1, width=1, n_fine=0),
    "space and time": lambda: SpaceTimeNetwork(2, (1, 16, 16), width=1),
    "patchwork": lambda: PatchworkNetwork((1, 1, 96, 96), width=1),
    "table": lambda: TableNetwork(1, 2, 1),
    "frame by frame": lambda: FrameByFrame(VectorNetwork(1, (1,), width=1, n_hidden=9)),
}


@pytest.mark.parametrize("kind", NARROW)
def test_the_narrowest_networks_fit_their_own_weights(kind):
    network = initialise(NARROW[kind](), torch.Generator().manual_seed(0))
    again = build_network(describe_network(network), network.state_dict())
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in network.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_hidden": 10**6}, "1,000,000 layers"),
        ({"latent_dim": 2**40}, "smaller network"),
        ({"width": 17}, "in the file"),
    ],
)
def test_descriptions_that_weights_do_not_fit_are_refused_at_once(changed, message):
    network = VectorNetwork(5, (7,), width=16)
    with pytest.raises(ValueError, match=message):
        build_network(describe_network(network) | changed, network.state_dict())
