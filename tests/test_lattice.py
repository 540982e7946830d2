import numpy as np
import pytest

from abpnet.data.builtin import texture_photograph
from abpnet.lattice import find_lattice, fitting_map


def spotted(lattice, height=180, width=200, noise=0.1, seed=0):
    """Spots at the points of a lattice, under noise and a slope of light."""
    y, x = np.mgrid[:height, :width]
    cells = np.stack([y, x], -1) @ np.linalg.inv(lattice)
    away = (cells - cells.round()) @ lattice
    spots = np.exp(-np.square(away).sum(-1) / 8)
    rng = np.random.default_rng(seed)
    return (spots + noise * rng.standard_normal(spots.shape) + 0.004 * x)[None].astype(np.float32)


@pytest.mark.parametrize(
    "lattice",
    [[[14.5, 0.0], [0.0, 20.0]], [[12.0, 9.0], [-4.0, 17.25]], [[30.0, -42.7], [29.5, 43.3]], [[7.0, 0.0], [3.5, 6.0]]],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_lattice_under_noise_is_found(lattice, channels):
    lattice = np.array(lattice)
    found = find_lattice(np.repeat(spotted(lattice), channels, 0))
    assert found is not None
    change = found @ np.linalg.inv(lattice)
    assert np.abs(change - change.round()).max() < 0.02, "its vectors are those of the lattice"
    assert abs(np.linalg.det(change)) == pytest.approx(1, abs=0.05), "all of them"


@pytest.mark.parametrize("name", ["grass", "gravel"])
def test_random_materials_have_none(name):
    assert find_lattice(texture_photograph(name, 256)) is None


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_none(seed):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((1, 160, 160))
    assert find_lattice(noise) is None
    from scipy.ndimage import gaussian_filter

    assert find_lattice(gaussian_filter(noise, (0, 3, 3))) is None


def test_a_constant_image_has_none():
    assert find_lattice(np.full((1, 120, 120), 0.3)) is None


def test_the_torus_holds_whole_cells_where_a_few_more_pixels_let_it():
    lattice = np.array([[51.2, 0.0], [0.0, 16.0]])  # 5 cells in 4 positions of 64 pixels, 4 in 1
    assert fitting_map(lattice, (3, 3), 64) == (4, 3)
    assert fitting_map(lattice, (4, 7), 64) == (4, 7)
    assert fitting_map(None, (3, 5), 64) == (3, 5)


def test_a_larger_torus_must_be_worth_its_size():
    lattice = np.array([[27.0, 0.0], [0.0, 64.0]])  # each position gives way by 1 pixel of 3 positions, 0.8 of 5
    assert fitting_map(lattice, (3, 3), 64) == (3, 3)
