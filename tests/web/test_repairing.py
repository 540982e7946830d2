from itertools import islice

import numpy as np
import pytest

from abpnet.errors import InputError
from abpnet.web.repairing import N_STEPS, hidden_error, repair, steps
from abpnet.web.served import find_runs


def damaged(network, index=0):
    """An image that the network makes, its middle hidden."""
    truth = network.inverse_transform(network.latents_[index : index + 1]).reshape(-1, *network.signal_shape_[-2:])
    image = truth.copy()
    image[:, 4:9, 4:9] = np.nan
    return truth, image


@pytest.mark.parametrize("name", ["deep", "colour"])
def test_inference_comes_to_explain_what_is_seen_and_the_hole_is_filled(name, request):
    network = find_runs([request.getfixturevalue(name)])[0].network()
    truth, image = damaged(network)
    path = list(steps(network, image))
    assert [step.number for step in path] == list(range(N_STEPS + 1))
    assert np.mean([step.misfit for step in path[-10:]]) < 0.4 * path[0].misfit
    np.testing.assert_array_equal(path[-1].signal, network.inverse_transform(path[-1].z).reshape(path[-1].signal.shape))
    done = repair(network, image, path[-1].z)
    seen = ~np.isnan(image)
    np.testing.assert_array_equal(done.completed[seen], image[seen])
    assert done.draws.shape == (5, *image.shape)
    assert (done.draws[:, seen] == image[seen]).all()
    assert (np.abs(done.draws[0] - done.draws[1])[~seen] > 0).all()
    assert (done.deviation[4:9, 4:9] > 0).all()
    assert done.deviation.sum() == pytest.approx(done.deviation[4:9, 4:9].sum(), rel=1e-4)
    error = hidden_error(done.completed, truth, image)
    assert error < 0.3 * hidden_error(np.zeros_like(truth) + truth[seen].mean(), truth, image)


def test_the_same_seed_gives_the_same_repair(deep):
    network = find_runs([deep])[0].network()
    _, image = damaged(network)
    first, second, third = (next(islice(steps(network, image, seed), 3, None)).z for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


@pytest.mark.usefixtures("search_shortened")
def test_weights_stay_as_they_are(deep):
    network = find_runs([deep])[0].network()
    before = {name: tensor.clone() for name, tensor in network.model_.state_dict().items()}
    _, image = damaged(network)
    repair(network, image, next(steps(network, image)).z)
    assert all((before[name] == tensor).all() for name, tensor in network.model_.state_dict().items())


def test_a_whole_picture_and_an_empty_one_are_refused(deep):
    network = find_runs([deep])[0].network()
    truth, _ = damaged(network)
    with pytest.raises(InputError, match="nothing is hidden"):
        next(steps(network, truth))
    with pytest.raises(InputError, match="every pixel is hidden"):
        repair(network, np.full_like(truth, np.nan), network.latents_[:1])


def test_the_error_counts_hidden_pixels_of_known_truth_alone():
    truth = np.array([[[0.0, 0.5, np.nan, 1.0]]])
    image = np.array([[[np.nan, 0.5, np.nan, np.nan]]])
    assert hidden_error(np.array([[[0.2, 9.0, 9.0, 3.0]]]), truth, image) == pytest.approx((0.2 + 0) / 2 / 2)
    assert hidden_error(truth, truth, truth) is None
