"""Work that is the same every time: on a GPU its kernels are recorded once and replayed.

Launching the kernels of a network one by one takes a processor longer than a GPU takes to run them.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["WARM_UPS", "Recorded"]

Work = Callable[..., tuple[Tensor, ...]]
Shapes = tuple[tuple[tuple[int, ...], torch.dtype], ...]
# Libraries and optimizers set themselves up in the first calls, which must not be recorded.
WARM_UPS = 2


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Within the block nothing is collected: to free an earlier recording spoils the one being made."""
    was_collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collected:
            gc.enable()


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Recorded:
    """A function of tensors, run as it is on a CPU; on a GPU its kernels are recorded as a CUDA graph and replayed.

    They are the same kernels, those of chance included, so it gives the same numbers. One recording is kept for each
    combination of shapes, made after a few calls. A function that waits for the GPU, or looks at what a tensor holds,
    cannot be recorded: it is run as it is, with a warning.

    Args:
        work: Takes tensors and returns a tuple of them. It may change tensors in place, such as weights, if they stay
            where they are in memory; what it does apart from tensors is done while recording only.
        generator: Its source of chance, whose device it runs on.
    """

    def __init__(self, work: Work, generator: torch.Generator) -> None:
        self.work = work
        self.generator = generator
        self.can_record = generator.device.type == "cuda"
        self._calls: dict[Shapes, int] = {}
        self._recordings: dict[Shapes, _Recording] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the function returns for these inputs."""
        shapes = tuple((tuple(tensor.shape), tensor.dtype) for tensor in inputs)
        self._calls[shapes] = self._calls.get(shapes, 0) + 1
        if self.can_record and shapes not in self._recordings and self._calls[shapes] > WARM_UPS:
            chance = self.generator.clone_state()
            try:
                with _garbage_kept():
                    self._recordings[shapes] = self._record(inputs)
            except RuntimeError as error:
                self.can_record = False
                self.generator.graphsafe_set_state(chance)  # the one in use waits for a recording to end
                reason = str(error).splitlines()[0]
                warnings.warn(f"this cannot be recorded as a CUDA graph and is slower: {reason}", stacklevel=2)
        if shapes not in self._recordings:
            return self.work(*inputs)
        recording = self._recordings[shapes]
        for kept, tensor in zip(recording.inputs, inputs, strict=True):
            kept.copy_(tensor)
        recording.graph.replay()
        return tuple(tensor.clone() for tensor in recording.outputs)

    def _record(self, inputs: Sequence[Tensor]) -> _Recording:
        kept = tuple(tensor.clone() for tensor in inputs)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        with torch.cuda.graph(graph):
            outputs = self.work(*kept)
        return _Recording(graph, kept, outputs)
