"""What the README and the examples show runs as it stands there."""

import re
import runpy
from pathlib import Path

import numpy as np
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


def test_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {}
    for whole, short in (("max_iter=100", "max_iter=2"), ("images = digits()", "images = digits()[:300]")):
        assert whole in code
        code = code.replace(whole, short)
    exec(code, names)
    damaged, recovered = names["images"], names["recovered"]
    assert np.isfinite(recovered).all()
    assert np.array_equal(recovered[~np.isnan(damaged)], damaged[~np.isnan(damaged)])
    assert names["draws"].shape == (3, 5, 1, 8, 8)
    assert names["new"].shape == (16, 1, 8, 8)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_every_example_has_a_test(name):
    assert f'"{name}"' in Path(__file__).read_text()


def test_incomplete_digits(capsys):
    main = main_of("incomplete_digits.py", digits=lambda: digits()[:400])
    assert main(max_iter=10) < 0.17  # mean fill: 0.19
    assert "mean fill" in capsys.readouterr().out


def test_random_projections():
    ours, shortest = main_of("random_projections.py", N_IMAGES=100)(max_iter=15)
    assert ours < 0.6 * shortest


def test_foreign_operator(capsys):
    ours, shortest = main_of("foreign_operator.py", N_IMAGES=100)(max_iter=15)
    assert ours < 0.6 * shortest
    assert ": 40 numbers for 256 pixels" in capsys.readouterr().out


def test_model_evaluation():
    main = main_of("model_evaluation.py", digits=lambda: digits()[:600])
    ours, components = main(max_iter=40, latent_dims=(5,))[5]
    assert ours < 0.85 * components


def test_objects():
    quality = main_of("objects.py")(max_iter=10)
    floor, worst = quality["training images themselves"].kernel_distance, quality["their mean"].kernel_distance
    assert floor < quality["abpnet"].kernel_distance < 0.5 * worst
    assert quality["abpnet"].recall > quality["their mean"].recall == 0


def test_dynamic_texture(tmp_path):
    def beginning_of(source, size, limit):
        return load_clip(source, size=size, limit=100)

    scores = main_of("dynamic_texture.py", load_clip=beginning_of)(
        size=16, latent_dim=4, max_iter=6, n_frames=120, out=str(tmp_path / "waves.gif")
    )
    assert scores["abpnet"][0] < scores["linear dynamic system"][0] + 0.5
    assert scores["abpnet"][1] < 0.05
    assert (tmp_path / "waves.gif").is_file()


def test_sound_texture(tmp_path):
    ours, noise = main_of("sound_texture.py")(
        max_iter=8, max_seconds=120.0, width=8, rate=4000, out=tmp_path / "sound.wav"
    )
    assert ours < 0.5 * noise
    assert (tmp_path / "sound.wav").stat().st_size > 40_000


def test_texture(tmp_path):
    ours, noise = main_of("texture.py")(max_iter=4, side=128, out=tmp_path / "tile.png")
    assert ours < 0.8 * noise
    assert (tmp_path / "tile.png").is_file()


def test_analysis(tmp_path):
    ratio, explained, n_pieces = main_of("analysis.py")(max_iter=5, latent_dim=6, out=str(tmp_path))
    assert 1 < ratio < 6
    assert 2 < explained < 6
    assert n_pieces > 10
    assert {path.stem for path in tmp_path.iterdir()} == {"loadings", "traversals", "pieces", "dimension"}
