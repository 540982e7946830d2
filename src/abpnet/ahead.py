"""The next piece of work is prepared by a thread while the caller is busy with the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prepared_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def prepared_ahead(prepare: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(prepare, items)`, with one result prepared ahead.

    The thread ends with the iterator: when it is exhausted, or closed, or dropped because of an error of the caller's.

    Args:
        prepare: Called by the thread, for one item at a time; its errors are raised where its result is asked for.
        items: What to prepare.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        waiting: Future[Result] | None = None
        for item in items:
            coming = thread.submit(prepare, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
