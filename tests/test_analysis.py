"""The piecewise linear view, of a linear network in closed form and of networks of ReLU units piece by piece."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import abpnet
from abpnet.analysis import effective_dimension, loadings, pieces_along, principal_loadings, traversal
from abpnet.factor_analysis import FactorAnalysis, posterior
from abpnet.networks import LinearNetwork, ObjectNetwork, VectorNetwork, initialise

SIGMA = 0.5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(network, seed=0):
    """With biases, which `initialise` leaves at 0: all kinks would meet at z = 0."""
    network = initialise(network, seeded(seed))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.5, generator=seeded(seed + 1))
    return network


@pytest.fixture
def linear():
    return drawn(LinearNetwork(3, (1, 4, 5)))


def test_loadings_of_a_linear_network_are_its_weights(linear):
    z = torch.randn(70, 3, generator=seeded())
    weights = linear.loadings.weight.detach()
    for model in (linear, abpnet.GeneratorModel(linear, (3,))):
        jacobian = loadings(model, z)
        assert jacobian.shape == (70, 1, 4, 5, 3)
        torch.testing.assert_close(jacobian.flatten(1, -2), weights.expand(70, 20, 3))


@pytest.mark.parametrize("network", [VectorNetwork(3, (7,), 16, bounded=True), ObjectNetwork(3, (3, 8, 8), 32)])
def test_loadings_are_what_reverse_differentiation_finds(network):
    network = drawn(network)
    z = torch.randn(5, 3, generator=seeded())
    expected = torch.stack([torch.func.jacrev(lambda one: network(one[None])[0])(each) for each in z])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.testing.assert_close(loadings(network, z), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(loadings(network, z[2:3])[0], loadings(network, z)[2])
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_has_loadings_but_shows_no_units():
    network = drawn(nn.Sequential(nn.Linear(16, 20), nn.LeakyReLU(0.2), nn.Linear(20, 7)))
    scripted = torch.jit.script(network)
    z = torch.randn(3, 16, generator=seeded())
    torch.testing.assert_close(loadings(scripted, z), loadings(network, z))
    with pytest.raises(ValueError, match="TorchScript"):
        pieces_along(scripted, z[0], z[1])


def test_principal_loadings_are_the_singular_vectors(linear):
    jacobian = loadings(linear, torch.randn(2, 3, generator=seeded()))
    principal = principal_loadings(jacobian)
    assert principal.signals.shape == (2, 3, 1, 4, 5)
    moved = torch.einsum("n...d,nkd->nk...", jacobian, principal.directions)
    torch.testing.assert_close(principal.signals, moved)
    signals = principal.signals.flatten(2)
    torch.testing.assert_close(signals @ signals.mT, torch.diag_embed(principal.singular_values.square()))
    torch.testing.assert_close(principal.directions @ principal.directions.mT, torch.eye(3).expand(2, 3, 3))
    assert (principal.singular_values.diff() < 0).all()
    assert (principal.directions.max(2).values >= -principal.directions.min(2).values).all()
    few = principal_loadings(jacobian, 2)
    for some, all_of_them in zip(few, principal, strict=True):
        assert torch.equal(some, all_of_them[:, :2])


def test_effective_dimension_of_a_linear_network_in_closed_form(linear):
    jacobian = loadings(linear, torch.zeros(2, 3))
    observed = torch.rand(2, 1, 4, 5, generator=seeded(3)) < 0.4
    weights = linear.loadings.weight.detach().double()
    values = torch.linalg.svdvals(weights)
    whole = effective_dimension(jacobian, SIGMA)
    torch.testing.assert_close(whole.singular_values.double(), values.expand(2, 3))
    participation = values.square().sum() ** 2 / values.pow(4).sum()
    torch.testing.assert_close(whole.participation.double(), participation.expand(2))
    shrinkage = (values**2 / (values**2 + SIGMA**2)).sum()
    torch.testing.assert_close(whole.explained.double(), shrinkage.expand(2))
    partly = effective_dimension(jacobian, SIGMA, observed)
    model = FactorAnalysis(weights, torch.zeros(20).double(), torch.full((20,), SIGMA**2).double())
    exact = posterior(model, torch.zeros(2, 20).double(), observed.flatten(1))
    torch.testing.assert_close(partly.posterior_variance.double(), exact.covariance.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(partly.explained, (1 - partly.posterior_variance).sum(1))
    assert (partly.explained < whole.explained).all()


def test_effective_dimension_of_extremes():
    alike = effective_dimension(torch.eye(4)[None], 1.0)
    assert float(alike.participation) == pytest.approx(4)
    assert float(alike.explained) == pytest.approx(2)
    one = effective_dimension(torch.ones(1, 6, 4), 0.001)
    assert float(one.participation) == pytest.approx(1)
    assert float(one.explained) == pytest.approx(1, abs=1e-4)
    none = effective_dimension(torch.zeros(1, 6, 4), 0.1)
    assert float(none.participation) == float(none.explained) == 0
    with pytest.raises(ValueError, match=r"noise_std must be above 0, got 0\.0"):
        effective_dimension(torch.eye(4)[None], 0.0)


def test_what_the_jacobian_is_of_hidden_entries_influences_nothing():
    jacobian = torch.randn(3, 8, 2, generator=seeded())
    observed = torch.rand(3, 8, generator=seeded(1)) < 0.5
    clean = effective_dimension(jacobian, SIGMA, observed)
    for junk in (torch.nan, 1e30):
        dirty = effective_dimension(torch.where(observed[..., None], jacobian, junk), SIGMA, observed)
        for one, other in zip(clean, dirty, strict=True):
            assert torch.equal(one, other)


def test_traversal_walks_along_factors_and_directions(linear):
    z = torch.randn(30, 3, generator=seeded())
    values = (-2.0, 0.0, 1.0)
    weights = linear.loadings.weight.detach()
    walked = traversal(linear, z, 1, values)
    assert walked.shape == (30, 3, 1, 4, 5)
    moved = (walked - walked[:, 1:2]).flatten(2)
    torch.testing.assert_close(moved, (torch.tensor(values)[:, None] * weights[:, 1]).expand(30, 3, 20))
    directions = torch.randn(30, 3, generator=seeded(1))
    walked = traversal(linear, z, directions, values)
    moved = (walked[:, 2] - walked[:, 1]).flatten(1)
    torch.testing.assert_close(moved, directions @ weights.T, atol=1e-5, rtol=1e-5)
    assert torch.equal(traversal(linear, z, torch.eye(3)[2], values), traversal(linear, z, 2, values))
    with pytest.raises(ValueError, match="number of a factor, 0 to 2, got 3"):
        traversal(linear, z, 3, values)


def path(network, seed=5):
    return torch.randn(2, network.settings["latent_dim"], generator=seeded(seed)) * 2


def test_a_linear_network_is_one_piece(linear):
    pieces = pieces_along(linear, *path(linear))
    assert pieces.n_pieces == 1
    assert pieces.breakpoints.shape == (0,)


def test_kinks_of_one_layer_lie_where_its_units_cross_zero():
    network = drawn(VectorNetwork(3, (7,), 50, n_hidden=1))
    start, end = path(network)
    first = network.layers[0]
    with torch.no_grad():
        before, after = first(start[None])[0].double(), first(end[None])[0].double()
    times = before / (before - after)
    expected = times[(times > 0) & (times < 1)].sort().values
    pieces = pieces_along(network, start, end)
    assert pieces.n_pieces == len(expected) + 1 > 10
    torch.testing.assert_close(pieces.breakpoints, expected, atol=pieces.resolution, rtol=0)


def test_a_deep_network_is_linear_on_each_piece_and_on_no_two_together():
    network = drawn(VectorNetwork(3, (40,), 32, n_hidden=3)).double()
    start, end = path(network)
    pieces = pieces_along(network.float(), start, end)
    assert pieces.n_pieces > 20
    edges = torch.cat([torch.zeros(1), pieces.breakpoints, torch.ones(1)]).double()
    lengths = edges.diff()
    network, slopes = network.double(), []
    for left, length in zip(edges[:-1], lengths, strict=True):
        if length < 100 * pieces.resolution:
            continue
        times = left + length * torch.tensor([0.02, 0.5, 0.98], dtype=torch.float64)
        with torch.no_grad():
            one, two, three = network(torch.lerp(start.double(), end.double(), times[:, None]))
        torch.testing.assert_close(two, 0.5 * (one + three), atol=1e-6, rtol=0)
        slopes.append((three - one) / length)
    changes = torch.stack([(after - before).norm() for before, after in pairwise(slopes)])
    assert changes.min() > 1e-3 * torch.stack(slopes).norm(dim=1).mean()


def test_pieces_do_not_depend_on_the_first_cut_but_for_what_is_shorter():
    network = drawn(ObjectNetwork(3, (1, 8, 8), 32))
    start, end = path(network)
    coarse, fine = pieces_along(network, start, end, 4, 16), pieces_along(network, start, end, 512, 9)
    assert coarse.resolution == fine.resolution == 2**-18
    assert 0.95 * fine.n_pieces <= coarse.n_pieces <= fine.n_pieces
    blurred = pieces_along(network, start, end, 4, 2)
    assert blurred.resolution == 1 / 16
    assert blurred.n_pieces <= 17


@pytest.mark.parametrize(
    "kinked",
    [F.relu, torch.relu, lambda x: x.relu(), lambda x: F.leaky_relu(input=x), nn.PReLU(), nn.ReLU(inplace=True)],
    ids=["F.relu", "torch.relu", "method", "by name", "PReLU", "in place"],
)
def test_units_are_seen_however_they_are_called(kinked):
    class Kinked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 20)
            self.kinked = kinked

        def forward(self, z):
            return self.kinked(self.first(z))

    network = drawn(Kinked())
    start, end = path(VectorNetwork(2, (1,)))
    with torch.no_grad():
        sides = network.first(torch.stack([start, end])) > 0
    assert pieces_along(network, start, end).n_pieces == 1 + int((sides[0] != sides[1]).sum()) > 5


def test_paths_are_cut_at_least_once(linear):
    with pytest.raises(ValueError, match="n must be at least 1"):
        pieces_along(linear, torch.zeros(3), torch.ones(3), 0)
