import numpy as np
import pytest

from abpnet.errors import InputError
from abpnet.interpolation import latent_grid, sphere
from abpnet.web import latent_space
from abpnet.web.latent_space import Place, along, corners_square, grid_point, main_axes, place_of, point_of, reach_of
from abpnet.web.served import find_runs


def cloud(n=500):
    """Chains that differ most along a known direction."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    return (rng.normal(size=(n, 4)) * [3, 1, 0.3, 0.1] @ directions.T + 5).astype(np.float32), directions.T


def test_axes_are_where_chains_differ_most():
    chains, directions = cloud()
    axes = main_axes(chains, 2)
    assert axes.directions.shape == (2, 4)
    np.testing.assert_allclose(np.abs(np.diag(axes.directions @ directions[:2].T)), 1, atol=0.01)
    np.testing.assert_allclose(axes.deviations, [3, 1], rtol=0.1)
    np.testing.assert_allclose(axes.shares, [9 / 10.1, 1 / 10.1], atol=0.02)
    np.testing.assert_allclose(axes.mean, chains.mean(0), rtol=1e-5)


def test_directions_along_which_chains_do_not_differ_are_left_out():
    chains = cloud()[0]
    chains[:, 1:] = 2
    assert len(main_axes(chains, 4).directions) == 1


def test_a_point_is_found_again_from_its_place():
    chains, _ = cloud()
    axes = main_axes(chains, 2)
    z = chains[7].astype(float)
    place = place_of(z, axes)
    np.testing.assert_allclose(point_of(place, axes), z, atol=1e-6)
    np.testing.assert_allclose(axes.directions @ place.rest, 0, atol=1e-5)
    moved = point_of(Place(place.coordinates + np.array([1, 0]), place.rest), axes)
    np.testing.assert_allclose(moved - z, axes.deviations[0] * axes.directions[0], atol=1e-6)


def test_sliders_reach_every_chain():
    chains, _ = cloud()
    axes = main_axes(chains, 3)
    farthest = max(np.abs(place_of(z.astype(float), axes).coordinates).max() for z in chains)
    assert farthest <= reach_of(chains, axes) < max(farthest, 3) + 1


def test_axes_of_two_factors_are_the_factors():
    chains = cloud()[0][:, :2]
    axes = main_axes(chains, 8)
    np.testing.assert_array_equal(point_of(Place(np.array([0.5, -1.0]), np.zeros(2)), axes), [0.5, -1.0])
    assert axes.shares.sum() == pytest.approx(1)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (4, 7), (8, 8)])
def test_a_click_on_the_grid_is_the_point_whose_image_stands_there(right, down):
    expected = latent_grid(2)[down * 9 + right]
    np.testing.assert_allclose(grid_point((right + 0.5) / 9, (down + 0.5) / 9, 2), expected)
    np.testing.assert_allclose(grid_point(-1.0, 2.0, 2), [-2, 2])


def test_the_grid_is_what_the_network_makes(flat):
    network = find_runs([flat])[0].network()
    images = latent_space.grid_images(network)
    assert images.shape == (81, 1, 16, 16)
    np.testing.assert_array_equal(images, network.inverse_transform(latent_grid(2)))


def test_the_way_passes_through_all_corners_on_the_sphere():
    corners = [np.array(z, float) for z in ([3, 0, 0], [0, 3, 0], [0, 0, 3])]
    for share, corner in zip((0, 0.5, 1), corners, strict=True):
        np.testing.assert_allclose(along(corners, share), corner, atol=1e-9)
    np.testing.assert_allclose(along(corners, 0.25), sphere(corners[0], corners[1], 0.5))
    assert np.linalg.norm(along(corners, 0.6)) == pytest.approx(3)
    with pytest.raises(InputError, match="2 to 4 examples, got 1"):
        along(corners[:1], 0.5)


def test_between_four_corners_is_a_square_and_between_fewer_a_row():
    corners = list(np.random.default_rng(0).normal(size=(4, 5)))
    square = corners_square(corners, 6)
    assert square.shape == (36, 5)
    np.testing.assert_allclose(square[[0, 5, 30, 35]], corners, atol=1e-5)
    row = corners_square(corners[:3], 7)
    np.testing.assert_allclose(row[[0, 3, 6]], corners[:3], atol=1e-9)
