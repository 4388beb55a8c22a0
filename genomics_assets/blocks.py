"""Work that falls into independent blocks, and the threads of this process as the place where it is done.

A computation takes a `BlockMap` and does not know where its blocks go: `resources.compute_pool` has one that sends them
to a Dask cluster. Results come in the order of the items, so that they do not depend on the place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Block = TypeVar("Block")
Result = TypeVar("Result")

# Blocks for each thread that are read or done and not yet taken: enough that none waits, and memory stays flat.
AHEAD = 2


class BlockMap(Protocol):
    """Does work on each block, somewhere."""

    def __call__(
        self,
        read: Callable[[Item], Block],
        work: Callable[[Block], Result],
        items: Sequence[Item],
        threads: int,
    ) -> Iterator[Result]:
        """Results in the order of the items; the first error ends it.

        Args:
            read: makes the block of an item, on this machine.
            work: does the work, perhaps on another: it and the blocks are sent there, and pure functions of blocks.
            items: what stands for the blocks.
            threads: how many blocks are worked on at a time where the place is this process.
        """
        ...


def in_threads(
    read: Callable[[Item], Block], work: Callable[[Block], Result], items: Sequence[Item], threads: int
) -> Iterator[Result]:
    """A `BlockMap` for work that gives up the interpreter's lock.

    >>> list(in_threads(lambda i: i + 1, lambda block: block * 10, [1, 2, 3], 2))
    [20, 30, 40]
    """
    if threads == 1:
        yield from (work(read(item)) for item in items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="blocks") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(lambda item: work(read(item)), item))
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()
