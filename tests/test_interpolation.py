import numpy as np
import pytest

from abpnet.interpolation import latent_grid, sphere, sphere_interpolation


def test_a_grid_reads_like_a_page():
    z = latent_grid(2).reshape(9, 9, 2)
    np.testing.assert_array_equal(z[0, 0], [-2, -2])
    np.testing.assert_array_equal(z[0, -1], [2, -2])
    np.testing.assert_array_equal(z[-1, 0], [-2, 2])
    np.testing.assert_array_equal(z[4, 4], [0, 0])
    np.testing.assert_array_equal(latent_grid(1, 3, 1.0), [[-1], [0], [1]])


def test_a_quarter_circle():
    root = np.sqrt(0.5)
    np.testing.assert_allclose(sphere(np.array([1, 0]), np.array([0, 1]), 0.5), [root, root])
    np.testing.assert_allclose(sphere(np.array([1, 0]), np.array([0, 3]), 0.5), [2 * root, 2 * root])
    third = sphere(np.array([2.0, 0, 0]), np.array([0, 0, 2.0]), 1 / 3)
    np.testing.assert_allclose(third, [2 * np.cos(np.pi / 6), 0, 1], atol=1e-12)


@pytest.mark.parametrize("scale", [1, -1, 0, 2, 1 + 1e-9], ids=["same", "opposite", "zero", "longer", "close"])
def test_where_the_circle_is_undecided_the_line_is_taken(scale):
    a = np.array([1.0, 2.0, -1.0])
    for t in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(sphere(a, scale * a, t), (1 - t) * a + t * scale * a, atol=1e-6)


def test_corners_are_the_given_points_and_lengths_stay_between_theirs():
    corners = np.random.default_rng(0).standard_normal((4, 100)).astype(np.float32)
    z = sphere_interpolation(corners, 8).reshape(8, 8, 100)
    for place, corner in zip(((0, 0), (0, -1), (-1, 0), (-1, -1)), corners, strict=True):
        np.testing.assert_allclose(z[place], corner, atol=1e-5)
    lengths, given = np.linalg.norm(z, axis=2), np.linalg.norm(corners, axis=1)
    assert given.min() - 1e-4 <= lengths.min()
    assert lengths.max() <= given.max() + 1e-4
    steps = np.linalg.norm(np.diff(z[0] / lengths[0, :, None], axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)
