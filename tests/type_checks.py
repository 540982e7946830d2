"""Shapes and types of annotated functions are checked while tests run: of each function the first calls in each test.

A check takes as long as a layer of a small network, and a loop of a thousand steps asks the same a thousand times.
"""

import functools
import inspect
from collections import Counter

import jaxtyping
from jaxtyping import install_import_hook

CALLS = 3
calls_of = Counter()
_jaxtyped = jaxtyping.jaxtyped


def _at_first(*arguments, **settings):
    """As `jaxtyping.jaxtyped`, but the later calls of a function go to it directly."""
    decorate = _jaxtyped(*arguments, **settings)

    def decorator(function):
        checked = decorate(function)
        if not inspect.isfunction(function):
            return checked

        @functools.wraps(function)
        def called(*args, **kwargs):
            calls_of[called] += 1
            return (checked if calls_of[called] <= CALLS else function)(*args, **kwargs)

        return called

    return decorator


def install(modules):
    """Check the functions of these modules, which must not have been imported yet."""
    jaxtyping.jaxtyped = _at_first
    install_import_hook(modules, "beartype.beartype")
