"""Errors that are the user's to mend, not ours."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A file or setting that cannot be used; the message says which, what was expected, what came, what to do."""
