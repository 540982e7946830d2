"""Decoders from files, and TorchScript ones explained as those that they were made of."""

import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import abpnet
from abpnet import load_decoder
from abpnet.errors import InputError
from abpnet.model import frozen_decoder


def network(seed=0):
    layers = [nn.Linear(16, 32), nn.BatchNorm1d(32), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(32, 20), nn.Tanh()]
    whole = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return whole


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoders")
    save_file(network().state_dict(), folder / "weights.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(network().train()), folder / "scripted.pt")
    (folder / "text.pt").write_text("no archive")
    (folder / "text.safetensors").write_text("no archive")
    return folder


@pytest.mark.parametrize(("name", "factory"), [("scripted.pt", None), ("weights.safetensors", lambda: network(1))])
def test_a_decoder_from_a_file_explains_as_the_one_that_was_saved(files, name, factory):
    loaded, original = load_decoder(files / name, factory), network()
    y = torch.rand(70, 20, generator=torch.Generator().manual_seed(1)) * 2 - 1
    y[torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) < 0.3] = torch.nan
    z = abpnet.infer(loaded, y, latent_shape=(16,), n_steps=30)
    torch.testing.assert_close(z, abpnet.infer(original, y, latent_shape=(16,), n_steps=30), atol=1e-4, rtol=0)
    for row in (0, 40, 69):
        assert torch.equal(abpnet.infer(loaded, y[row : row + 1], latent_shape=(16,), n_steps=30)[0], z[row])
    assert torch.equal(abpnet.infer(loaded, y, latent_shape=(16,), n_steps=30), z), "nor on what was computed before"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_torchscript_is_frozen_and_left_alone(files, precision):
    loaded = load_decoder(files / "scripted.pt").train()
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    decoder = frozen_decoder(loaded, precision)
    z = torch.randn(5, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    signals = decoder(z)
    (gradient,) = torch.autograd.grad(signals.sum(), z)
    assert (gradient != 0).any()
    assert not decoder(z.detach()).requires_grad, "gradients are computed for z alone"
    assert signals.dtype == torch.float32
    other = torch.cat([z[:1], 5 * z[1:]])
    assert torch.equal(decoder(z)[0], decoder(other)[0]), "batch normalisation and dropout do not couple examples"
    assert loaded.training
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_files_that_hold_no_decoder(files):
    cases = {
        ("absent.pt", None): "absent.pt: no such file",
        ("text.pt", None): "text.pt: no TorchScript file",
        ("scripted.pt", network): "factory= goes with weights",
        ("weights.safetensors", None): "pass what builds their network",
        ("text.safetensors", network): "text.safetensors: damaged",
        ("weights.safetensors", dict): "factory must return a torch.nn.Module, got dict",
        ("weights.safetensors", lambda: nn.Linear(16, 20)): "weights.safetensors: the weights do not fit",
    }
    for (name, factory), message in cases.items():
        with pytest.raises(InputError, match=message):
            load_decoder(files / name, factory)
