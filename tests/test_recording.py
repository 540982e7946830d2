"""On a CPU recorded work is the work itself; what replaying gives is tested on a GPU, in test_gpu.py."""

import torch

from abpnet.arithmetic import reproducible
from abpnet.recording import WARM_UPS, Recorded


def test_on_a_cpu_the_work_itself_is_done_each_time():
    calls = []

    def work(x, y):
        calls.append(x.shape)
        x.add_(1)
        return x * y, y.sum()

    recorded = Recorded(work, torch.Generator())
    for count in range(1, WARM_UPS + 4):
        x, y = torch.arange(3.0), torch.full((3,), float(count))
        product, total = recorded(x, y)
        assert torch.equal(product, count * torch.tensor([1.0, 2.0, 3.0]))
        assert float(total) == 3 * count
        assert torch.equal(x, torch.tensor([1.0, 2.0, 3.0])), "tensors may be changed in place"
        assert len(calls) == count


def test_nothing_is_set_where_there_is_no_gpu():
    with reproducible(torch.device("cpu")):
        assert not torch.are_deterministic_algorithms_enabled()


def test_what_was_set_for_a_gpu_is_set_back(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with reproducible(torch.device("cuda")):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32
        with reproducible(torch.device("cuda")):
            pass
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    after = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    assert before == after
