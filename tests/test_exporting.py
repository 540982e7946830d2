"""Generators as files that run without abpnet."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import abpnet
from abpnet import exporting
from abpnet.errors import InputError
from abpnet.networks.building import initialise
from commands import run
from estimators import FAST, images


def built(make):
    with torch.device("meta"):
        network = make()
    return initialise(network, torch.Generator().manual_seed(0)).eval().requires_grad_(False)


NETWORKS = {
    "vectors": (lambda: abpnet.VectorNetwork(5, (7,), 16), (5,), None),
    "objects": (lambda: abpnet.ObjectNetwork(6, (3, 16, 16), 16), (6,), None),
    "frames": (lambda: abpnet.FrameNetwork(5, (3, 16, 16), 16), (5,), None),
    "clips": (lambda: abpnet.SpaceTimeNetwork(5, (3, 16, 16), 16), (5, 4), None),
    "textures": (lambda: abpnet.TextureNetwork.with_noise(4, width=8, n_fine=1), (None, 2, 3), None),
    "patchworks": (lambda: abpnet.PatchworkNetwork((1, 3, 96, 96), width=4), (None, 2, 2), 1),
    "sounds": (lambda: abpnet.SoundNetwork.with_noise(width=4, n_coarse=4, n_fine=1), (None, 2), 1),
}


@pytest.mark.usefixtures("types_unchecked")  # while it is traced, TorchScript puts tensors in place of numbers
@pytest.mark.parametrize("suffix", exporting.FORMATS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_files_give_what_the_network_gives(kind, suffix, tmp_path):
    make, shape, n = NETWORKS[kind]
    network = built(make)
    shape = tuple(size or network.latent_dim for size in shape)
    path = tmp_path / f"generator{suffix}"
    if suffix == ".onnx" and n == 1:  # the format lacks what they need
        with pytest.raises(InputError, match=r"cannot be written; try \.pt2 or \.pt"):
            exporting.export(network, shape, path, n)
        assert list(tmp_path.iterdir()) == []
        return
    assert exporting.export(network, shape, path, n) <= 1e-5
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_expected_observations_of_discrete_emissions_are_exported(tmp_path):
    x = (np.random.default_rng(0).random((12, 1, 8, 8)) < 0.5).astype(np.float32)
    net = abpnet.GeneratorNetwork(emission=abpnet.Bernoulli(), precision="float32", **FAST).fit(x)
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    expected = net.inverse_transform(z)
    assert 0 < float(expected.min()) < float(expected.max()) < 1
    module = net.module()
    assert torch.allclose(module(z), expected, atol=1e-6)
    assert not any(weight.requires_grad for weight in module.parameters())
    net.export(tmp_path / "a.pt2")
    loaded = torch.export.load(tmp_path / "a.pt2").module()
    assert torch.allclose(loaded(z), expected, atol=1e-5)


def test_a_module_is_a_copy(fitted):
    module = fitted.module()
    z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    before = fitted.inverse_transform(z)
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
    np.testing.assert_array_equal(fitted.inverse_transform(z), before)


class OfConstant(torch.nn.Module):
    """Depends on the number of rows, which tracing takes for a constant."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(z, len(z))


@pytest.mark.parametrize(
    "function", [lambda z, n: z / n, lambda z, n: torch.zeros(n, 3)], ids=["other numbers", "another shape"]
)
def test_a_file_that_gives_something_else_is_not_kept(function, tmp_path):
    with pytest.raises(InputError, match="not kept, since what was written differs"):
        exporting.export(OfConstant(function), (3,), tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_an_earlier_file(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("earlier")
    with pytest.raises(InputError, match="expected a name that ends in"):
        exporting.export(torch.nn.Identity(), (3,), tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"a\.onnx"):
        exporting.export(built(NETWORKS["sounds"][0]), (4437, 2), path, 1)
    assert path.read_text() == "earlier"


def test_onnx_says_which_package_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"onnxruntime.*abpnet\[onnx\]"):
        exporting.export(torch.nn.Identity(), (3,), tmp_path / "a.onnx")


def test_the_command_writes_a_file_for_programs_without_abpnet(completed, tmp_path, capsys):
    path = tmp_path / "a.onnx"
    assert run("export", completed, path) == 0
    assert "signals differ by" in capsys.readouterr().out
    code = (
        "import sys, numpy, onnxruntime; session = onnxruntime.InferenceSession(sys.argv[1]); "
        "z = numpy.linspace(-1, 1, 12, dtype='float32').reshape(4, 3); "
        "numpy.save(sys.argv[2], session.run(None, {'z': z})[0]); print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code, path, tmp_path / "a.npy"], capture_output=True, text=True)
    assert told.stdout == "False\n"
    z = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
    expected = abpnet.GeneratorNetwork.load(completed / "model").module()(torch.from_numpy(z))
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), expected, atol=1e-5)
    assert run("export", completed, tmp_path / "a.txt") == 2
    assert run("export", completed, path, "--map", "2", "2") == 2
    assert "expected 0 sizes" in capsys.readouterr().err
    assert run("export", tmp_path, path) == 2


def test_sizes_of_maps_are_checked(fitted, tmp_path):
    with pytest.raises(InputError, match="expected 0 sizes"):
        fitted.export(tmp_path / "a.pt", latent_shape=(2, 2))
    with pytest.raises(InputError, match="n must be"):
        fitted.export(tmp_path / "a.pt", n=0)


def test_images_of_the_estimator_are_those_of_its_files(tmp_path):
    net = abpnet.GeneratorNetwork(precision="float32", **FAST).fit(images())
    z = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    net.export(tmp_path / "a.pt")
    found = torch.jit.load(str(tmp_path / "a.pt"))(torch.from_numpy(z))
    np.testing.assert_allclose(found, net.inverse_transform(z), atol=1e-5)
