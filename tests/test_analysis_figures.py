import numpy as np
import pytest
import torch
from PIL import Image

from abpnet.analysis import Pieces, effective_dimension
from abpnet.analysis_figures import SIDE, save_dimension, save_loadings, save_pieces, save_traversals
from abpnet.figures import GAP, rows_of_images


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def read(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (3, 8, 8)], ids=str)
def test_walks_through_images_are_rows_under_their_values(tmp_path, shape):
    walks = {name: torch.rand(3, *shape, generator=seeded(place)) * 2 - 1 for place, name in enumerate(("a", "b"))}
    save_traversals(tmp_path / "walks.png", walks, (-1.5, 0.0, 2.0))
    rows = {name: walk.reshape(3, -1, 8, 8).numpy() for name, walk in walks.items()}
    np.testing.assert_array_equal(read(tmp_path / "walks.png"), rows_of_images(rows, SIDE // 8, ("-1.5", "0", "+2")))


@pytest.mark.parametrize("channels", [1, 3])
def test_loadings_are_red_where_brighter_and_blue_where_darker(tmp_path, channels):
    signals = torch.zeros(2, channels, 2, 2)
    changes = torch.zeros(2, 2, channels, 2, 2)
    changes[:, 0, :, 0, 0], changes[:, 0, :, 1, 1], changes[:, 1, :, 0, 0] = 3.0, -3.0, 1.5
    changes[1] *= 100  # each example has a scale of its own
    save_loadings(tmp_path / "loadings.png", signals, changes, ["1", "2"])
    picture = read(tmp_path / "loadings.png")
    step = SIDE + GAP
    for row in range(2):
        tiles = []
        for column in range(3):
            top, left = picture.shape[0] - (2 - row) * (step + GAP) + GAP, picture.shape[1] - (3 - column) * step
            tiles.append(picture[top : top + SIDE : SIDE // 2, left : left + SIDE : SIDE // 2])
        signal, first, second = tiles
        assert abs(signal - 127.5).max() < 1
        (brighter, unchanged), (_, darker) = first
        assert brighter[0] > 240 > 20 > brighter[1] == brighter[2]
        assert darker[2] > 240 > 60 > darker[1] > darker[0]
        assert unchanged.min() == unchanged.max() > 220
        half = second[0, 0]
        assert abs(half - (brighter + unchanged) / 2).max() <= 1


def test_vectors_are_curves(tmp_path):
    walks = {"first": torch.randn(3, 12, generator=seeded()), "second": torch.randn(3, 12, generator=seeded(1))}
    save_traversals(tmp_path / "one.png", walks, (-1.0, 0.0, 1.0))
    save_traversals(tmp_path / "other.png", walks | {"first": walks["second"]}, (-1.0, 0.0, 1.0))
    one, other = read(tmp_path / "one.png"), read(tmp_path / "other.png")
    half = one.shape[1] // 2
    assert (one[:, :half] != other[:, :half]).any()
    changes = torch.randn(2, 3, 12, generator=seeded(2))
    save_loadings(tmp_path / "loadings.png", torch.zeros(2, 12), changes, ["1", "2", "3"])
    save_loadings(tmp_path / "more.png", torch.zeros(2, 12), -changes, ["1", "2", "3"])
    assert (read(tmp_path / "loadings.png") != read(tmp_path / "more.png")).any()


def test_pieces_are_steps_up_to_their_number(tmp_path):
    few = Pieces(torch.tensor([0.5], dtype=torch.float64), 1e-6)
    many = Pieces(torch.linspace(0.01, 0.99, 50, dtype=torch.float64), 1e-6)
    save_pieces(tmp_path / "pieces.png", {"few": few, "many": many})
    picture = read(tmp_path / "pieces.png")
    orange = np.abs(picture - np.array([255, 127, 14])).sum(2) < 60
    blue = np.abs(picture - np.array([31, 119, 180])).sum(2) < 60
    height, width, _ = picture.shape
    assert np.nonzero(orange)[0].min() < 0.2 * height, "the many rise to the top"
    assert np.nonzero(orange[:, : width // 3])[0].min() > 0.5 * height, "step by step"
    assert np.nonzero(blue)[0].min() > 0.7 * height, "the few stay low"


def test_dimension_is_drawn_of_what_is_given(tmp_path):
    jacobian = torch.randn(10, 20, 5, generator=seeded())
    save_dimension(tmp_path / "loud.png", effective_dimension(jacobian, 5.0), 5.0)
    save_dimension(tmp_path / "quiet.png", effective_dimension(jacobian, 0.5), 0.5)
    loud, quiet = read(tmp_path / "loud.png"), read(tmp_path / "quiet.png")
    assert loud.shape == quiet.shape

    def fall(picture):  # from the prior to the factor that is known least, in rows of pixels
        right = picture[:, picture.shape[1] // 2 :]
        blue = np.abs(right - np.array([0x34, 0x65, 0xA4])).sum(2) < 30
        red = np.abs(right - np.array([0xCC, 0x33, 0x33])).sum(2) < 30
        prior = red.sum(1).argmax()
        rows = np.flatnonzero(blue.any(1))
        return rows[rows > prior].min() - prior

    assert fall(quiet) > 1.5 * fall(loud), "quiet signals leave little variance"
    save_dimension(tmp_path / "nothing.png", effective_dimension(torch.zeros(2, 20, 5), 0.5), 0.5)
