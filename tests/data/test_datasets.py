"""Datasets of PyTorch and of Hugging Face as arrays of signals."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from abpnet.data import stack_dataset
from abpnet.data.datasets import is_dataset
from abpnet.data.images import load_image
from abpnet.errors import InputError
from abpnet.estimator import GeneratorNetwork
from estimators import FAST, images


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("kind", ["tensors", "arrays", "tuples", "dictionaries", "TensorDataset", "Subset"])
def test_learning_from_a_dataset_is_learning_from_its_array(kind):
    x = images()
    dataset = {
        "tensors": Items(list(torch.from_numpy(x))),
        "arrays": Items(list(x)),
        "tuples": Items([(image, 3) for image in x]),
        "dictionaries": Items([{"label": 1, "image": image} for image in x]),
        "TensorDataset": TensorDataset(torch.from_numpy(x), torch.arange(len(x))),
        "Subset": Subset(Items([*x, *x]), range(len(x))),
    }[kind]
    assert is_dataset(dataset)
    np.testing.assert_array_equal(stack_dataset(dataset), x)
    net, same = GeneratorNetwork(**FAST).fit(dataset), GeneratorNetwork(**FAST).fit(x)
    np.testing.assert_array_equal(net.latents_, same.latents_)
    np.testing.assert_array_equal(net.transform(dataset), same.transform(x))
    np.testing.assert_array_equal(net.impute(dataset), same.impute(x))


def test_pictures_become_what_files_of_them_are(tmp_path):
    rng = np.random.default_rng(0)
    coloured = Image.fromarray(rng.integers(0, 256, (6, 5, 4), dtype=np.uint8), "RGBA")
    grey = Image.fromarray(rng.integers(0, 256, (6, 5), dtype=np.uint8))
    for name, picture in {"a": coloured, "b": grey}.items():
        picture.save(tmp_path / f"{name}.png")
    stacked = stack_dataset(Items([coloured, grey]))
    assert stacked.shape == (2, 3, 6, 5)
    np.testing.assert_array_equal(stacked[0], load_image(tmp_path / "a.png"))
    np.testing.assert_array_equal(stacked[1], np.broadcast_to(load_image(tmp_path / "b.png"), (3, 6, 5)))
    assert np.isnan(stacked[0]).any()


def test_columns_of_hugging_face():
    datasets = pytest.importorskip("datasets")
    x = images(4, missing=0.0)
    pixels = ((x[:, 0] + 1) * 127.5).round().astype(np.uint8)
    pictures = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(one) for one in pixels], "label": [0, 1, 0, 1]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    )
    assert is_dataset(pictures)
    np.testing.assert_allclose(stack_dataset(pictures), x, atol=1 / 127)
    arrays = datasets.Dataset.from_dict({"a": x.tolist(), "b": (-x).tolist(), "n": [1, 2, 3, 4]})
    with pytest.raises(InputError, match=r"columns a, b; name one: abpnet.data.stack_dataset"):
        GeneratorNetwork(**FAST).fit(arrays)
    np.testing.assert_allclose(stack_dataset(arrays, column="b"), -x, rtol=1e-6)
    np.testing.assert_allclose(stack_dataset(arrays.with_format("torch"), column="a"), x, rtol=1e-6)
    with pytest.raises(InputError, match="columns a, b, n; expected one of these"):
        stack_dataset(arrays, column="c")


def test_what_is_no_set_of_signals_is_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            yield torch.zeros(3)

    x = images(4)
    cases = {
        "its length is not known": Endless(),
        "loader.dataset": DataLoader(Items(list(x))),
        "holds no examples": Items([]),
        r"dataset\[1\]: expected the shape of dataset\[0\]": Items([x[0], x[1][:, :4]]),
        r"dataset\[0\].*text": Items([np.array(["a", "b"])]),
        "columns without arrays or images": Items([{"label": 1}]),
    }
    for message, dataset in cases.items():
        with pytest.raises(InputError, match=message):
            GeneratorNetwork(**FAST).fit(dataset)
