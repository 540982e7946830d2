"""Several processes learn as one: `torchrun --nproc-per-node 2 -m abpnet COMMAND ...`.

Every process holds all observations, or reads the same file, and holds weights and chains. Of each batch it explains a
part of its own, a run of rows; gradients are summed before each update of the weights, and chains are exchanged after
each pass over the examples. Parts are cut from the same shuffled batches whatever the number of processes, so all of
them have as much to do, and the result is that of one process but for rounding.

Without a process group of torch.distributed there is one process, and everything here returns what it was given.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from abpnet.chance import Share
from abpnet.errors import InputError

__all__ = [
    "GivenUp",
    "ProcessLost",
    "are_alike",
    "ending",
    "exchange",
    "first_alone",
    "from_first",
    "is_first",
    "largest",
    "mean",
    "meet",
    "n_processes",
    "n_processes_here",
    "number_of_first",
    "share_of",
    "started_by_torchrun",
    "sum_gradients",
    "total",
]

Result = TypeVar("Result")
# How long a process that failed waits for the others to fail as well.
PATIENCE_SECONDS, SECONDS_BETWEEN_LOOKS = 10.0, 0.05


class ProcessLost(RuntimeError):
    """Another process ended, or cannot be reached."""


class GivenUp(InputError):
    """The first process could not do what was its to do, and says why."""


def n_processes() -> int:
    """How many processes learn together; 1 = this one alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def n_processes_here() -> int:
    """How many of them run on this machine, as torchrun says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return n_processes() == 1 or dist.get_rank() == 0


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ProcessLost(f"another process ended, or cannot be reached ({reason})") from error


def _carried(tensor: Tensor) -> Tensor:
    """On the GPU where nothing else can be sent."""
    return tensor.cuda() if dist.get_backend() == "nccl" else tensor


def _reduce(tensor: Tensor, most: bool = False) -> Tensor:
    """Sum (or maximum) over all processes of a contiguous tensor, which may be overwritten."""
    sent = _carried(tensor)
    with _connected():
        dist.all_reduce(sent, dist.ReduceOp.MAX if most else dist.ReduceOp.SUM)
    return sent.to(tensor.device)


def total(tensor: Tensor) -> Tensor:
    """Sum over all processes."""
    return tensor if n_processes() == 1 else _reduce(tensor.detach().clone(memory_format=torch.contiguous_format))


def largest(number: int) -> int:
    """The largest of what the processes have."""
    return number if n_processes() == 1 else int(_reduce(torch.tensor(number), most=True))


def meet() -> None:
    """Wait until every process has come so far."""
    largest(0)


def are_alike(numbers: Sequence[int]) -> bool:
    """Whether all processes have the same numbers, as many in each."""
    if n_processes() == 1:
        return True
    both = torch.tensor([*numbers, *(-number for number in numbers)])
    most, opposite_of_least = _reduce(both, most=True).chunk(2)
    return bool((most == -opposite_of_least).all())


def from_first(tensor: Tensor) -> Tensor:
    """What the first process has; of the same shape in each."""
    if n_processes() == 1:
        return tensor
    # Bytes, since not every type of numbers can be sent.
    sent = _carried(tensor.detach().reshape(-1).contiguous().view(torch.uint8).clone())
    with _connected():
        dist.broadcast(sent, 0)
    return sent.to(tensor.device).view(tensor.dtype).view(tensor.shape)


def number_of_first(number: float) -> float:
    """What the first process has."""
    return number if n_processes() == 1 else float(from_first(torch.tensor(number, dtype=torch.float64)))


def first_alone(work: Callable[[], Result]) -> Result | None:
    """Let the first process do something while the others wait, and return what came of it; None in the others.

    Raises:
        GivenUp: In the others, if it failed; in the first, its own error.
    """
    done = False
    try:
        result = work() if is_first() else None
        done = True
    finally:
        first_is_done = number_of_first(float(done))
    if not first_is_done:
        raise GivenUp("the first process has given up")
    return result


def share_of(n: int, generator: torch.Generator) -> Share:
    """This process's rows of a batch of n.

    Args:
        n: Rows of the whole batch.
        generator: Source of all chance, in the same state in each process.
    """
    world = n_processes()
    rank = 0 if world == 1 else dist.get_rank()
    if n < world:  # one row each, and the first row once more for those that get none
        return Share(generator, slice(rank, rank + 1) if rank < n else slice(1), n, rank >= n)
    return Share(generator, slice(rank * n // world, (rank + 1) * n // world), n)


def mean(of_share: Tensor, share: Share) -> Tensor:
    """Mean over a batch.

    Args:
        of_share: Mean over the rows of the share.
        share: Rows of this process.
    """
    if n_processes() == 1:
        return of_share
    n = 0 if share.is_spare else share.rows.stop - share.rows.start
    return total(of_share * (n / share.n))


def sum_gradients(weights: Iterable[Tensor], number: Tensor) -> Tensor:
    """Replace the gradients of all weights by their sums over all processes, sent as one.

    Args:
        weights: The same in each process.
        number: Is summed on the way.

    Returns:
        The sum of that number.
    """
    if n_processes() == 1:
        return number
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    sent = [*gradients, number.to(gradients[0])]
    parts = _reduce(torch.cat([tensor.flatten() for tensor in sent])).split([tensor.numel() for tensor in sent])
    for gradient, part in zip(gradients, parts, strict=False):
        gradient.copy_(part.view_as(gradient))
    return parts[-1].view(())


def exchange(values: Tensor, moved: Tensor) -> None:
    """Give each process the rows that the others changed, in place.

    Args:
        values: (n, ...) the same in all processes but for what was changed.
        moved: Indices of the rows that this process changed; each row was by one.
    """
    if n_processes() == 1:
        return
    own = torch.zeros_like(values, memory_format=torch.contiguous_format)
    own[moved] = values[moved]
    values.copy_(_reduce(own))


@contextmanager
def started_by_torchrun() -> Iterator[dist.Store | None]:
    """A process group within the block, if torchrun started this process beside others.

    Yields:
        A board where the processes leave each other notes; None if there are no others.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield None
        return
    place = int(os.environ["LOCAL_RANK"])
    if place < torch.cuda.device_count():
        torch.cuda.set_device(place)
    notes, rank, world = next(dist.rendezvous("env://"))
    dist.init_process_group(store=notes, rank=rank, world_size=world)
    try:
        yield notes
    finally:
        dist.destroy_process_group()


@contextmanager
def ending(notes: dist.Store | None) -> Iterator[bool]:
    """Where a process fails: whether it is the one to say why, which is the first of those that failed.

    So what all of them fail at is told once; and each waits a little for the others, so that all end alike, before
    torchrun ends those that are left.

    Args:
        notes: Board of the processes; None = there is one process.
    """
    if notes is None:
        yield True
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    rank, failures = dist.get_rank(), [f"failed {rank}" for rank in range(dist.get_world_size())]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends all once one has ended, with reasons untold
    notes.set(failures[rank], "")

    def wait_until(happened: Callable[[], bool]) -> bool:
        while not happened() and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return happened()

    try:
        yield rank == 0 or not wait_until(lambda: any(notes.check([failure]) for failure in failures[:rank]))
    finally:
        wait_until(lambda: notes.check(failures))
