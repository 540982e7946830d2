import numpy as np
import pytest

from abpnet.errors import InputError
from abpnet.web.holes import painted_pixels, random_pixels


def test_a_pixel_is_hidden_once_a_quarter_of_its_square_is_painted():
    paint = np.zeros((40, 60), bool)
    paint[10:15, 20:25] = True  # a quarter of the square of pixel (1, 2)
    paint[20:24, 40:45] = True  # a fifth of that of pixel (2, 4)
    hidden = painted_pixels(paint, 4, 6)
    assert np.argwhere(hidden).tolist() == [[1, 2]]


@pytest.mark.parametrize("size", [(4, 6), (7, 11), (80, 90)])
def test_the_hole_covers_the_same_part_of_any_image(size):
    paint = np.zeros((40, 60), bool)
    paint[:20] = True
    share = painted_pixels(paint, *size).mean(1)
    np.testing.assert_allclose(share[: size[0] // 2], 1)
    np.testing.assert_allclose(share[-(size[0] // 2) :], 0)


def test_random_pixels_are_as_many_as_asked_for_and_a_square_is_one():
    hidden = random_pixels("scattered pixels", 0.4, 10, 10, 0)
    assert hidden.sum() == 40
    assert (hidden != random_pixels("scattered pixels", 0.4, 10, 10, 1)).any()
    rows, columns = np.nonzero(random_pixels("one square", 0.25, 10, 12, 0))
    assert len(rows) == 25  # of 30: the largest square below
    assert (np.ptp(rows), np.ptp(columns)) == (4, 4)


@pytest.mark.parametrize("share", [-0.1, 0.96, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(InputError, match="share to hide"):
        random_pixels("scattered pixels", share, 8, 8, 0)
