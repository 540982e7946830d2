import pytest
import torch

from abpnet.errors import InputError
from abpnet.latents import Latents

CPU = torch.device("cpu")


@pytest.fixture(params=["in memory", "memory-mapped"])
def latents(request, tmp_path):
    values = torch.arange(24.0).reshape(4, 2, 3)
    if request.param == "in memory":
        return Latents(values)
    mapped = Latents.memory_mapped(tmp_path / "latents", 4, (2, 3))
    mapped.write(torch.arange(4), values)
    return mapped


def test_length_is_the_number_of_chains(latents):
    assert len(latents) == 4


def test_read_returns_the_rows_in_the_order_asked_for(latents):
    assert torch.equal(latents.read(torch.tensor([3, 0, 3]), CPU), torch.arange(24.0).reshape(4, 2, 3)[[3, 0, 3]])


@pytest.mark.parametrize("index", [[0, 1, 2, 3], [2]])
def test_read_returns_a_copy(latents, index):
    latents.read(torch.tensor(index), CPU).fill_(-1)
    assert torch.equal(latents.values, torch.arange(24.0).reshape(4, 2, 3))


def test_write_touches_its_rows_only(latents):
    z = -torch.ones(2, 2, 3)
    latents.write(torch.tensor([2, 0]), torch.stack([z[0], 2 * z[1]]))
    expected = torch.arange(24.0).reshape(4, 2, 3)
    expected[2], expected[0] = -1, -2
    assert torch.equal(latents.values, expected)


def test_no_chains_are_read_and_written_as_well(latents):
    none = torch.tensor([], dtype=torch.int64)
    latents.write(none, torch.empty(0, 2, 3))
    assert latents.read(none, CPU).shape == (0, 2, 3)
    assert torch.equal(latents.values, torch.arange(24.0).reshape(4, 2, 3))


@pytest.mark.parametrize("part", [1, 3, 4, 9])
def test_parts_are_all_chains_in_their_order(latents, monkeypatch, part):
    monkeypatch.setattr("abpnet.latents.PART", part)
    parts = list(latents.parts())
    assert max(map(len, parts)) == min(part, 4)
    assert torch.equal(torch.cat(parts), torch.arange(24.0).reshape(4, 2, 3))


@pytest.mark.parametrize("part", [1, 3, 9])
def test_all_chains_are_moved_in_parts(latents, monkeypatch, part):
    monkeypatch.setattr("abpnet.latents.PART", part)
    values = -torch.arange(24.0).reshape(4, 2, 3)
    latents.copy_from(values)
    assert torch.equal(latents.values, values)
    with pytest.raises(ValueError, match="3 chains for 4 examples"):
        latents.copy_from(values[:3])


def test_chains_of_another_shape_are_refused(latents):
    with pytest.raises((RuntimeError, ValueError)):
        latents.copy_from(torch.ones(4, 2, 2))


@pytest.mark.parametrize("part", [1, 3, 9])
def test_chains_that_others_moved_are_taken_over(latents, monkeypatch, part):
    monkeypatch.setattr("abpnet.latents.PART", part)
    monkeypatch.setattr("abpnet.parallel.n_processes", lambda: 2)
    told = []

    def exchange(values, moved):
        told.extend(values[moved][:, 0, 0].tolist())
        values += 100 * (torch.arange(len(values)) != moved.view(-1, 1)).all(0).view(-1, 1, 1)

    monkeypatch.setattr("abpnet.parallel.exchange", exchange)
    latents.exchange(torch.tensor([3, 0]))
    assert sorted(told) == [0, 18], "what this process moved"
    expected = torch.arange(24.0).reshape(4, 2, 3)
    expected[1:3] += 100
    assert torch.equal(latents.values, expected)


def test_write_keeps_a_copy_without_history_in_single_precision(latents):
    z = torch.ones(1, 2, 3, dtype=torch.float64, requires_grad=True)
    latents.write(torch.tensor([1]), z)
    with torch.no_grad():
        z.fill_(9)
    assert latents.values.dtype == torch.float32
    assert not latents.values.requires_grad
    assert torch.equal(latents.values[1], torch.ones(2, 3))


def test_new_file_starts_with_zeros(tmp_path):
    latents = Latents.memory_mapped(tmp_path / "latents", 5, (2,))
    assert torch.equal(latents.values, torch.zeros(5, 2))
    assert (tmp_path / "latents").stat().st_size == 5 * 2 * 4


def test_reopened_file_keeps_its_values(tmp_path):
    path, z = tmp_path / "latents", torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    first = Latents.memory_mapped(path, 4, (3,))
    first.write(torch.tensor([3, 1]), z)
    del first
    again = Latents.memory_mapped(path, 4, (3,))
    assert torch.equal(again.values[[3, 1]], z)
    assert torch.equal(again.values[[0, 2]], torch.zeros(2, 3))


def test_a_file_of_other_chains_is_refused(tmp_path):
    Latents.memory_mapped(tmp_path / "latents", 4, (3,))
    with pytest.raises(InputError, match="48 bytes; 5 chains"):
        Latents.memory_mapped(tmp_path / "latents", 5, (3,))
