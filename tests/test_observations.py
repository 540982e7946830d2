import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from abpnet.observations import Complete, Mask, Operator, Projection, as_observation, hide_missing

RUBBISH = st.sampled_from([math.nan, 1e30, -1e30, math.inf, 0.0])


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_complete_is_the_identity_and_hides_nothing():
    x = randn(3, 2)
    complete = Complete()
    assert complete(x) is x
    assert complete.observed is None
    assert complete.select(torch.tensor([1])) is complete
    assert complete.to(torch.device("cpu")) is complete


def test_projection_by_the_identity_flattens_exactly():
    x = randn(4, 2, 3, 5)
    assert torch.equal(Projection(torch.eye(30))(x), x.flatten(1))


def test_projection_measures_each_example_by_every_row():
    matrix, x = randn(4, 6, seed=1), randn(3, 1, 2, 3, seed=2)
    measured = Projection(matrix)(x)
    for example, y in zip(x, measured, strict=True):
        torch.testing.assert_close(y, torch.mv(matrix, example.reshape(-1)))
    assert Projection(matrix).observed is None


def test_projection_holds_for_any_selection_and_moves_its_matrix():
    projection = Projection(randn(4, 6).double())
    assert projection.select(torch.tensor([2])) is projection
    moved = projection.to(torch.device("meta"))
    assert moved.matrix.device.type == "meta"
    assert projection.matrix.device.type == "cpu"


def test_random_projection_preserves_squared_length_on_average():
    n_measurements, n_matrices = 8, 400
    x = randn(1, 3, 4, seed=3)
    squared = torch.tensor(
        [
            Projection.random((3, 4), n_measurements, seed)(x).square().sum() / x.square().sum()
            for seed in range(n_matrices)
        ]
    )
    # |A x|^2 / |x|^2 is chi-squared with k degrees of freedom over k: variance 2 / k
    assert abs(squared.mean() - 1) < 5 * math.sqrt(2 / n_measurements / n_matrices)
    assert abs(squared.var() / (2 / n_measurements) - 1) < 0.5


def test_random_projection_is_decided_by_its_seed_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second, other = (Projection.random((2, 3), 5, seed).matrix for seed in (7, 7, 8))
    assert first.shape == (5, 6)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_mask_selects_the_rows_of_the_chosen_examples():
    observed = randn(5, 1, 3, 3, seed=4) > 0
    index = torch.tensor([4, 0, 4])
    assert torch.equal(Mask(observed).select(index).observed, observed[index])


def test_mask_of_one_row_holds_for_any_selection():
    observed = randn(1, 1, 3, 3, seed=5) > 0
    assert torch.equal(Mask(observed).select(torch.tensor([4, 0, 7])).observed, observed)


@pytest.mark.parametrize("observed", [[[1, 0, 1]], np.array([[True, False, True]]), torch.tensor([[1.0, 0.0, 1.0]])])
def test_mask_takes_lists_arrays_and_numbers(observed):
    mask = Mask(observed)
    assert mask.observed.dtype == torch.bool
    assert mask.observed.tolist() == [[True, False, True]]


def test_mask_hands_selection_device_and_measurement_to_what_it_covers():
    class Numbered(Complete):
        def __init__(self, *note):
            object.__setattr__(self, "note", note)

        def select(self, index):
            return Numbered("selected", index.tolist())

        def to(self, device):
            return Numbered("moved", device.type)

        def __call__(self, x):
            return 3 * x

    mask = Mask(torch.ones(3, 2), Numbered())
    assert mask.select(torch.tensor([2, 1])).of.note == ("selected", [2, 1])
    assert mask.to(torch.device("cpu")).of.note == ("moved", "cpu")
    x = randn(3, 2)
    assert torch.equal(mask(x), 3 * x)


def test_mask_of_a_projection_hides_measurements():
    projection = Projection(randn(4, 6, seed=6))
    mask = Mask(torch.tensor([[1, 0, 1, 1], [0, 1, 1, 1]]), projection)
    x = randn(2, 1, 2, 3, seed=7)
    assert torch.equal(mask(x), projection(x))
    y, hidden = hide_missing(projection(x), mask)
    assert y.eq(0).nonzero().tolist() == [[0, 1], [1, 0]]
    assert hidden.of is projection
    assert torch.equal(hidden.observed, mask.observed)


def test_hide_missing_leaves_complete_data_alone():
    y = randn(3, 2)
    for observation in (Complete(), Projection(torch.eye(2)), Mask(torch.ones(1, 2))):
        same, unchanged = hide_missing(y, observation)
        assert same is y
        assert unchanged is observation


def test_hide_missing_keeps_the_callers_values():
    y = torch.tensor([[1.0, math.nan]])
    hidden, observation = hide_missing(y, Complete())
    assert hidden.tolist() == [[1.0, 0.0]]
    assert observation.observed.tolist() == [[True, False]]
    assert y[0, 1].isnan()


@settings(deadline=None, max_examples=60)
@given(
    by_nan=hnp.arrays(bool, (4, 2, 3)),
    by_mask=hnp.arrays(bool, (4, 2, 3)) | hnp.arrays(bool, (1, 2, 3)) | hnp.arrays(bool, (4, 1, 3)),
    rubbish=RUBBISH,
)
def test_hide_missing_unites_nan_and_mask_and_forgets_what_stood_there(by_nan, by_mask, rubbish):
    clean = randn(4, 2, 3, seed=8)
    by_nan, mask = torch.from_numpy(by_nan), torch.from_numpy(by_mask)
    missing = by_nan | ~mask
    # Under the mask anything may stand; elsewhere only NaN says that an entry is missing.
    y = clean.masked_fill(~mask.expand(4, 2, 3), rubbish).masked_fill(by_nan, math.nan)
    hidden, observation = hide_missing(y, Mask(mask))
    assert torch.equal(hidden, clean.masked_fill(missing, 0.0))
    assert torch.equal(observation.observed.expand(4, 2, 3), ~missing)
    assert isinstance(observation.of, Complete)


@settings(deadline=None, max_examples=30)
@given(missing=hnp.arrays(bool, (3, 4)), rubbish=RUBBISH)
def test_nan_and_mask_lead_to_identical_observations(missing, rubbish):
    clean, missing = randn(3, 4, seed=9), torch.from_numpy(missing)
    projection = Projection(torch.eye(4))
    by_nan, first = hide_missing(clean.masked_fill(missing, math.nan), projection)
    by_mask, second = hide_missing(clean.masked_fill(missing, rubbish), Mask(~missing, projection))
    assert torch.equal(by_nan, by_mask)
    if missing.any():
        assert torch.equal(first.observed, second.observed)
        assert first.of is second.of is projection


@pytest.mark.parametrize(
    "candidate", [Complete(), Mask(torch.ones(1, 2)), Projection(torch.eye(2)), Operator(torch.sin)]
)
def test_observations_stay_themselves(candidate):
    assert as_observation(candidate) is candidate


def test_nothing_means_complete_data():
    assert as_observation(None) == Complete()


class WithA:
    def A(self, x):
        return 2 * x

    def forward(self, x):
        raise AssertionError("A comes before forward: deepinv's forward adds noise")


class WithForward:
    def forward(self, x):
        return 2 * x

    def __call__(self, x):
        raise AssertionError("forward comes before __call__")


class Callable:
    def __call__(self, x):
        return 2 * x


def double_linear():
    layer = nn.Linear(3, 3, bias=False)
    layer.weight = nn.Parameter(2 * torch.eye(3))
    return layer


@pytest.mark.parametrize("candidate", [WithA(), WithForward(), Callable(), double_linear(), lambda x: 2 * x])
def test_whatever_measures_becomes_an_operator(candidate):
    operator = as_observation(candidate)
    x = randn(4, 3)
    assert isinstance(operator, Operator)
    assert torch.equal(operator(x), 2 * x)
    assert operator.observed is None
    assert operator.select(torch.tensor([0])) is operator
    assert operator.to(torch.device("cpu")) is operator


def test_gradients_pass_through_an_operator():
    x = randn(2, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(as_observation(double_linear())(x).sum(), x)
    assert torch.equal(gradient, torch.full((2, 3), 2.0))


@pytest.mark.parametrize(
    ("candidate", "name"), [(3, "int"), ("mask", "str"), (torch.ones(2), "Tensor"), (np.ones(2), "ndarray")]
)
def test_anything_else_is_refused_by_the_name_of_its_type(candidate, name):
    with pytest.raises(TypeError, match=rf"got {name}$"):
        as_observation(candidate)


def test_mask_of_a_mask_hides_what_either_hides():
    nested = Mask(torch.tensor([[True, True, False]]), Mask(torch.tensor([[False, True, True]])))
    y, observation = hide_missing(torch.tensor([[5.0, 6.0, 7.0]]), nested)
    assert y.tolist() == [[0.0, 6.0, 0.0]]
    assert observation.observed.tolist() == [[False, True, False]]


def test_own_class_that_follows_the_protocol_stays_itself():
    class Own:
        observed = torch.tensor([[True, False]])

        def __call__(self, x):
            return x

        def select(self, index):
            return self

        def to(self, device):
            return self

    own = Own()
    assert as_observation(own) is own


@pytest.mark.parametrize("matrix", [np.eye(3), np.eye(3, dtype=int), torch.eye(3, dtype=torch.float64)])
def test_projections_take_matrices_of_any_kind(matrix):
    x = randn(2, 3)
    assert torch.equal(Projection(matrix)(x), x)


@pytest.mark.parametrize("matrix", [np.ones(3), np.ones((0, 3)), np.ones((2, 3, 1))])
def test_what_is_no_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match="one row per measurement"):
        Projection(matrix)


def test_there_is_at_least_one_projection():
    with pytest.raises(ValueError, match="n_measurements"):
        Projection.random((3,), 0)


@pytest.mark.parametrize(
    ("measure", "error", "match"),
    [
        (lambda x: x.detach().numpy(), TypeError, "ndarray"),
        (lambda x: None, TypeError, "NoneType"),
        (lambda x: x[:1], ValueError, "for 2"),
        (lambda x: x.sum(1), ValueError, "measured"),
        (lambda x: x.detach(), ValueError, "gradients"),
    ],
)
def test_operators_that_return_something_else_are_named(measure, error, match):
    with pytest.raises(error, match=match):
        as_observation(measure)(randn(2, 3).requires_grad_())


class Blur(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", torch.ones(1, 1, 3, 3))

    def A(self, x):
        return torch.nn.functional.conv2d(x, self.kernel)


@pytest.mark.parametrize("module", [Blur(), torch.nn.Linear(4, 2)], ids=["a method of it", "itself"])
def test_a_module_that_measures_is_copied_to_another_device(module):
    operator = as_observation(module)
    assert operator.to(torch.device("cpu")) is operator
    moved = operator.to(torch.device("meta"))
    signals = torch.empty(5, *((1, 8, 8) if isinstance(module, Blur) else (4,)), device="meta")
    assert moved(signals).device.type == "meta"
    assert all(tensor.device.type == "cpu" for tensor in module.state_dict().values())
    assert operator(torch.zeros(signals.shape)).device.type == "cpu"


def test_a_function_stays_where_its_owner_has_it():
    operator = Operator(lambda x: x * 2)
    assert operator.to(torch.device("meta")) is operator
