"""The examples run, and what they show holds."""

import runpy
from pathlib import Path

import pytest

from abpnet.data import digits
from abpnet.data.videos import load_clip

ROOT = Path(__file__).parents[1]


def main_of(name, **shorter):
    """What an example runs, with some of its names standing for something shorter."""
    main = runpy.run_path(str(ROOT / "examples" / name))["main"]
    assert shorter.keys() <= main.__globals__.keys()
    main.__globals__.update(shorter)
    return main


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_every_example_has_a_test(name):
    assert f'"{name}"' in Path(__file__).read_text()


def test_incomplete_digits(capsys, tmp_path):
    main = main_of("incomplete_digits.py", digits=lambda: digits()[:400])
    assert main(max_iter=7, picture=tmp_path / "digits.png") < 0.17  # mean fill: 0.19
    assert (tmp_path / "digits.png").is_file()
    assert "mean fill" in capsys.readouterr().out


def test_random_projections(tmp_path):
    picture = tmp_path / "spots.png"
    ours, shortest = main_of("random_projections.py", N_IMAGES=100)(max_iter=10, picture=picture)
    assert picture.is_file()
    assert ours < 0.6 * shortest


def test_foreign_operator(capsys):
    ours, shortest = main_of("foreign_operator.py", N_IMAGES=100)(max_iter=10)
    assert ours < 0.6 * shortest
    assert ": 40 numbers for 256 pixels" in capsys.readouterr().out


def test_model_evaluation(tmp_path):
    main = main_of("model_evaluation.py", digits=lambda: digits()[:600])
    ours, components = main(max_iter=30, latent_dims=(5,), picture=tmp_path / "digits.png")[5]
    assert (tmp_path / "digits.png").is_file()
    assert ours < 0.85 * components


def test_objects(tmp_path):
    quality = main_of("objects.py")(max_iter=6, picture=tmp_path / "digits.png")
    assert (tmp_path / "digits.png").is_file()
    floor, worst = quality["training images themselves"].kernel_distance, quality["their mean"].kernel_distance
    assert floor < quality["abpnet"].kernel_distance < 0.5 * worst
    assert quality["abpnet"].recall > quality["their mean"].recall == 0


def test_dynamic_texture(tmp_path):
    def beginning_of(source, size, limit):
        return load_clip(source, size=size, limit=100)

    scores = main_of("dynamic_texture.py", load_clip=beginning_of)(
        size=16, latent_dim=4, max_iter=6, n_frames=120, out=str(tmp_path / "waves.gif"), picture=tmp_path / "waves.png"
    )
    assert scores["abpnet"][0] < scores["linear dynamic system"][0] + 0.5
    assert scores["abpnet"][1] < 0.05
    assert {path.name for path in tmp_path.iterdir()} == {"waves.gif", "waves.png"}


def test_sound_texture(tmp_path):
    ours, noise = main_of("sound_texture.py")(
        max_iter=8, max_seconds=120.0, width=8, rate=4000, out=tmp_path / "sound.wav", picture=tmp_path / "sound.png"
    )
    assert ours < 0.5 * noise
    assert (tmp_path / "sound.wav").stat().st_size > 40_000
    assert (tmp_path / "sound.png").is_file()


def test_texture(tmp_path):
    ours, noise = main_of("texture.py")(max_iter=4, side=128, out=tmp_path / "tile.png", picture=tmp_path / "row.png")
    assert ours < 0.8 * noise
    assert {path.name for path in tmp_path.iterdir()} == {"tile.png", "row.png"}


def test_analysis(tmp_path):
    ratio, explained, n_pieces = main_of("analysis.py")(max_iter=5, latent_dim=6, out=str(tmp_path))
    assert 1 < ratio < 6
    assert 2 < explained < 6
    assert n_pieces > 10
    assert {path.stem for path in tmp_path.iterdir()} == {"loadings", "traversals", "pieces", "dimension"}


def test_posterior(tmp_path):
    deviations = main_of("posterior.py", N_CHAINS=40)(n_steps=5, out=str(tmp_path / "posterior.png"))
    whole, pixels, projections = deviations.values()
    assert whole < 0.8 * projections < 0.64 * pixels < 0.5, "the more is known, the narrower"
    assert (tmp_path / "posterior.png").is_file()
