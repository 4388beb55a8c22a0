"""Items of an iterator made in a thread of their own, so that two stages of a stream work at the same time."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def made_ahead(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """Makes the items of an iterator in a thread, at most `depth` ahead of their use.

    An exception of the iterator is raised from the iteration. At the end the thread has ended and the
    iterator is closed, also when its items were not all used.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    unwanted = threading.Event()

    def hand_over(item: T | None, error: BaseException | None) -> bool:
        while not unwanted.is_set():
            try:
                ready.put((item, error), timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not hand_over(item, None):
                    break
            close(items)
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are used
            hand_over(None, error)
        else:
            hand_over(None, StopIteration())

    def taken() -> Iterator[T]:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    # The source sees the caller's context variables, as if it ran in the caller's thread.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(make,), name="made-ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        unwanted.set()
        thread.join()


def close(items: Iterator[Any]) -> None:
    """Close an iterator that can be closed, so that a generator's `finally` runs now."""
    closing = getattr(items, "close", None)
    if closing is not None:
        closing()
