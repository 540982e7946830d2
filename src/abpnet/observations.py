"""Observations: which measurement `A` of a signal x was observed.

The model explains `y` by `A(f(z))`. An observation is callable (x -> A x), tells which entries of y were observed
and can be narrowed to a few examples, because every example may have been observed in its own way.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from abpnet.chance import seed_for
from abpnet.errors import InputError
from abpnet.values import check_count, plain_tensor, real_tensor, shown, sizes_of, truths

__all__ = [
    "Complete",
    "Mask",
    "Observation",
    "Operator",
    "Projection",
    "as_observation",
    "check_mask",
    "hide_missing",
    "measure",
    "unmasked",
]


@runtime_checkable
class Observation(Protocol):
    """What the model asks of an observation."""

    @property
    def observed(self) -> Tensor | None:
        """True where an entry of y was observed, broadcastable to y; None if all of it was."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """The noise-free measurement A x."""
        ...

    def select(self, index: Tensor) -> Observation:
        """The observation of the examples in `index`."""
        ...

    def to(self, device: torch.device) -> Observation:
        """The same observation on another device."""
        ...


@dataclass(frozen=True)
class Complete:
    """Everything was observed: `A x = x`."""

    @property
    def observed(self) -> None:
        """Nothing is hidden."""
        return None

    def __call__(self, x: Tensor) -> Tensor:
        """Return x itself."""
        return x

    def select(self, index: Int[Tensor, "m"]) -> Complete:
        """Every example is observed alike."""
        return self

    def to(self, device: torch.device) -> Complete:
        """Nothing to move."""
        return self


@dataclass(frozen=True, eq=False)
class Projection:
    """Linear measurements `A x = matrix @ x` of the flattened signal.

    Args:
        matrix: (k, d) tensor or array: one row per measurement, one column per entry of the signal.
        shape: Shape of one signal; flat by default.

    Raises:
        ValueError: If the matrix is none, or the shape does not fit it.
    """

    matrix: Any
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.matrix, Tensor):
            matrix = real_tensor("matrix", self.matrix)
        elif self.matrix.is_meta:  # one of which nothing but the shape is asked
            matrix = self.matrix.float()
        else:
            matrix = plain_tensor("matrix", self.matrix).float()
            if not matrix.isfinite().all():
                raise InputError("matrix: must be finite")
        if matrix.dim() != 2 or 0 in matrix.shape:
            raise ValueError(f"expected a matrix, one row per measurement; got shape {tuple(matrix.shape)}")
        object.__setattr__(self, "matrix", matrix)
        is_flat = isinstance(self.shape, tuple) and not self.shape
        shape = (matrix.shape[1],) if is_flat else sizes_of("shape", self.shape)
        if math.prod(shape) != self.matrix.shape[1]:
            raise ValueError(f"a signal of shape {shape} does not fit a matrix of {self.matrix.shape[1]} columns")
        object.__setattr__(self, "shape", shape)

    @classmethod
    def random(cls, shape: Sequence[int], n_measurements: int, random_state: int = 0) -> Projection:
        """White-noise projections: independent entries N(0, 1 / n_measurements).

        At that scale A preserves lengths on average (`E |A x|^2 = |x|^2`), so that step sizes which suit complete
        data suit the projections as well.

        Args:
            shape: Shape of one signal.
            n_measurements: Number of rows.
            random_state: Seed of the rows.

        Raises:
            ValueError: If `n_measurements` is below 1.
        """
        check_count("n_measurements", n_measurements)
        shape = sizes_of("shape", shape)
        if not isinstance(random_state, Integral):
            raise InputError(f"random_state must be a whole number, got {shown(random_state)}")
        generator = torch.Generator().manual_seed(seed_for("projections", int(random_state)))
        matrix = torch.randn(n_measurements, math.prod(shape), generator=generator)
        return cls(matrix / math.sqrt(n_measurements), shape)

    @property
    def observed(self) -> None:
        """All measurements were observed."""
        return None

    def __call__(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        """The measurements of each example."""
        return x.flatten(1) @ self.matrix.T

    def select(self, index: Int[Tensor, "m"]) -> Projection:
        """Every example is measured alike."""
        return self

    def to(self, device: torch.device) -> Projection:
        """The same projection with its matrix on another device."""
        return Projection(self.matrix.to(device), self.shape)


@dataclass(frozen=True, eq=False)
class Operator:
    """Any differentiable measurement, such as a physics operator of deepinv or a `torch.nn.Module`.

    Args:
        measure: Function of a batch of signals that returns a batch of noise-free measurements.
        linear: Whether it is known to be linear; inference then starts closer to its end.
    """

    measure: Callable[[Tensor], Tensor]
    linear: bool = False

    @property
    def observed(self) -> None:
        """All measurements were observed."""
        return None

    def __call__(self, x: Tensor) -> Tensor:
        """The measurements of each example.

        Raises:
            TypeError: If what comes out is no tensor.
            ValueError: If it has another number of rows, or gradients cannot pass through it.
        """
        measured = self.measure(x)
        if not isinstance(measured, Tensor):
            raise TypeError(f"the observation must return a torch.Tensor, got {type(measured).__name__}")
        if measured.dim() < 2 or len(measured) != len(x):
            raise ValueError(
                f"the observation must return (n, *measured) for n signals; got {tuple(measured.shape)} for {len(x)}"
            )
        if x.requires_grad and not measured.requires_grad:
            raise ValueError("the observation cuts off gradients; it must consist of differentiable torch functions")
        return measured

    def select(self, index: Int[Tensor, "m"]) -> Operator:
        """Every example is measured alike."""
        return self

    def to(self, device: torch.device) -> Operator:
        """The operator on another device: a copy of a module or of the module whose method it is.

        The module itself stays where it is. What anything else holds is its owner's to move.
        """
        module = getattr(self.measure, "__self__", self.measure)
        if not isinstance(module, nn.Module):
            return self
        place = torch.empty(0, device=device).device
        if all(tensor.device == place for tensor in (*module.parameters(), *module.buffers())):
            return self
        moved = copy.deepcopy(module).to(device)
        return replace(self, measure=moved if module is self.measure else getattr(moved, self.measure.__name__))


@dataclass(frozen=True, eq=False)
class Mask:
    """Some entries were not observed; whatever stands there never influences anything.

    Args:
        observed: (n, *shape) tensor, array or list, 1 or True = observed; a single row holds for all examples.
        of: What was measured before entries were lost.

    Raises:
        InputError: If `observed` holds anything but 0 and 1, or masks within one another do not fit.
    """

    observed: Any
    of: Observation = field(default_factory=Complete)

    def __post_init__(self) -> None:
        observed, of = truths("observed", self.observed), as_observation(self.of)
        if isinstance(of, Mask):  # a mask of masked entries is one mask
            sides = list(zip(observed.shape, of.observed.shape, strict=False))
            if observed.dim() != of.observed.dim() or any(1 not in side and side[0] != side[1] for side in sides):
                raise InputError(
                    f"observed: a mask of shape {tuple(observed.shape)} does not fit the one within it, of shape "
                    f"{tuple(of.observed.shape)}"
                )
            observed, of = observed & of.observed, of.of
        object.__setattr__(self, "observed", observed)
        object.__setattr__(self, "of", of)

    def __call__(self, x: Tensor) -> Tensor:
        """The measurement before entries were lost."""
        return self.of(x)

    def select(self, index: Int[Tensor, "m"]) -> Mask:
        """The masks of the examples in `index`."""
        rows = self.observed if self.observed.shape[0] == 1 else self.observed[index.to(self.observed.device)]
        return Mask(rows, self.of.select(index))

    def to(self, device: torch.device) -> Mask:
        """The same mask on another device."""
        return Mask(self.observed.to(device), self.of.to(device))


def unmasked(observation: Observation) -> Observation:
    """What was measured before entries were lost."""
    return observation.of if isinstance(observation, Mask) else observation


def as_observation(candidate: Any) -> Observation:
    """Turn what users hand over into an observation.

    Args:
        candidate: None (complete data), an observation, or any object with `A(x)` (noise-free measurement; deepinv's
            habit), else with `forward(x)`, else callable.

    Raises:
        TypeError: If it is none of these.
    """
    if candidate is None:
        return Complete()
    if isinstance(candidate, Observation):
        return candidate
    for method in ("A", "forward", "__call__"):
        if callable(getattr(candidate, method, None)):
            return Operator(getattr(candidate, method))
    raise TypeError(
        "observation must be abpnet.Complete, Mask or Projection, or any object with A(x) or forward(x); "
        f"got {type(candidate).__name__}"
    )


def measure(observation: Observation, x: Tensor) -> Tensor:
    """The measurement of signals that it may never have seen.

    Raises:
        InputError: If it cannot take them.
    """
    try:
        return observation(x)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"observation: cannot measure signals of shape {tuple(x.shape[1:])} ({reason})") from error


def check_mask(mask: Sequence[int], y: Sequence[int]) -> None:
    """Refuse masks that would be broadcast to something else than the observations.

    Args:
        mask: Its shape.
        y: Shape of the observations.

    Raises:
        ValueError: If an axis of the mask is neither as long as that of the observations nor of length 1.
    """
    if len(mask) != len(y) or any(side not in (1, length) for side, length in zip(mask, y, strict=True)):
        raise ValueError(
            f"a mask of shape {tuple(mask)} does not fit observations of shape {tuple(y)}; expected as many axes, each "
            "of the same length or of length 1"
        )


def hide_missing(y: Float[Tensor, "n *shape"], observation: Observation) -> tuple[Tensor, Observation]:
    """Move missing entries from the values into the observation.

    Unobserved entries of y are overwritten with 0, so that nothing later can depend on what stood there.

    Args:
        y: Observations; NaN = missing.
        observation: How they came about.

    Returns:
        The finite y, and the observation with the missing entries masked.

    Raises:
        ValueError: If the observation's mask does not fit y.
    """
    missing = y.isnan()
    if observation.observed is not None:
        check_mask(observation.observed.shape, y.shape)
        missing = missing | ~observation.observed.to(y.device)
    if not missing.any():
        return y, observation
    return y.masked_fill(missing, 0.0), Mask(~missing, observation)
