"""Errors that are the user's to mend, not ours."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["DivergenceError", "InputError", "NotWrittenError"]

# Examples that a message names.
NAMED = 5


class InputError(ValueError):
    """A file or setting that cannot be used; the message says which, what was expected, what came, what to do."""


class NotWrittenError(InputError):
    """A file or folder that cannot be written, for want of room or permission; what stood there before is kept."""


class DivergenceError(ArithmeticError):
    """Learning ran away: what it came to is no number, or chains explode. The weights are those before that happened.

    Attributes:
        iteration: The pass over the examples in which it happened.
        examples: Those that it happened with, by index.
        step_size: Of Langevin dynamics.
        noise_stds: Of the noise, as the emission has it.
    """

    def __init__(
        self, what: str, *, iteration: int, examples: Sequence[int], step_size: float, noise_stds: Sequence[float]
    ) -> None:
        named = ", ".join(str(example) for example in examples[:NAMED]) + (", ..." if len(examples) > NAMED else "")
        noise = ", ".join(f"{std:.3g}" for std in noise_stds[:NAMED]) or "not told"
        super().__init__(
            f"learning diverged in iteration {iteration}: {what} (examples {named}; step_size {step_size:.3g}, "
            f"noise_std {noise}); the weights were not changed by it. Try a smaller step_size or learning_rate, a "
            "larger noise_std, or the recipe 'default'"
        )
        self.iteration, self.examples = iteration, tuple(examples)
        self.step_size, self.noise_stds = step_size, tuple(noise_stds)
