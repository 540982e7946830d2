import numpy as np
import pytest

from abpnet.baselines.quilting import OVERLAP, PATCH, _beyond_cut, quilt


def test_the_cut_follows_the_path_of_least_error():
    rng = np.random.default_rng(0)
    error = rng.random((9, 6)) + 1
    path = np.array([3, 4, 4, 5, 4, 3, 2, 1, 0])
    error[np.arange(9), path] = 0
    assert np.array_equal(_beyond_cut(error), np.arange(6) >= path[:, None])


def test_the_cut_is_the_best_of_all_paths():
    error = np.random.default_rng(1).random((5, 4))

    def least(row, column):
        if not 0 <= column < 4:
            return np.inf
        return error[row, column] + (0 if row == 4 else min(least(row + 1, column + step) for step in (-1, 0, 1)))

    path = _beyond_cut(error).argmax(1)
    assert (np.abs(np.diff(path)) <= 1).all()
    assert error[np.arange(5), path].sum() == pytest.approx(min(least(0, column) for column in range(4)))


@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize("size", [(20, 30), (100, 131)])
def test_every_pixel_is_one_of_the_photograph(matched, size):
    rng = np.random.default_rng(0)
    image = rng.permutation(3 * 60 * 70).reshape(3, 60, 70).astype(np.float32)
    sewn = quilt(image, size, rng, matched)
    assert sewn.shape == (3, *size)
    colours = {tuple(pixel) for pixel in image.reshape(3, -1).T}
    assert {tuple(pixel) for pixel in sewn.reshape(3, -1).T} <= colours


def test_matched_pieces_of_a_grating_join_without_a_step_and_random_ones_do_not():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :80]
    image = np.sin(2 * np.pi * (x + 0.5 * y) / 11)[None].astype(np.float32)
    steps = {
        matched: np.mean([np.abs(np.diff(quilt(image, (120, 120), rng, matched)[0])).max() for _ in range(2)])
        for matched in (True, False)
    }
    smooth = np.abs(np.diff(image[0])).max()
    assert steps[True] < 1.3 * smooth < 1.8 * smooth < steps[False]


def test_too_small_photographs_are_refused():
    with pytest.raises(ValueError, match="at least 48"):
        quilt(np.zeros((1, PATCH - 1, 100), np.float32), (64, 64), np.random.default_rng(0))
    assert OVERLAP < PATCH / 2
