"""Where the blocks of one heavy run are worked on: in this process, or on a Dask cluster."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from genomics_assets.blocks import AHEAD, Block, BlockMap, Item, Result, in_threads

if TYPE_CHECKING:
    from distributed import Client

_ANSWER_SECONDS = 10


class ComputePoolError(RuntimeError):
    """The cluster cannot be used; the message says what to do."""


class ComputePool(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A cluster for the blocks of heavy runs, where one is named; else the run's own threads.

    The workers of the cluster need this package, of the same version.
    """

    scheduler: str | None = None
    """`tcp://host:8786` or `tls://…`. None: `GENOMICS_DASK_SCHEDULER`, else this process's threads."""

    @contextmanager
    def blocks(self) -> Iterator[BlockMap]:
        """What does a run's blocks, while the block of code lasts.

        Raises:
            ComputePoolError: Dask is not installed, or the scheduler does not answer or has no workers.
        """
        from resources.environment import Environment

        address = self.scheduler or Environment.from_environ().dask_scheduler
        if address is None:
            yield in_threads
            return
        with _client(address) as client:
            yield _OnCluster(client)


@contextmanager
def _client(address: str) -> "Iterator[Client]":
    try:
        from distributed import Client
    except ImportError:
        raise ComputePoolError(
            "GENOMICS_DASK_SCHEDULER is set and Dask is not installed. Remedy: install the extra, "
            "pip install 'genomics_assets[dask]', or unset it."
        ) from None
    try:
        client = Client(address, timeout=_ANSWER_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ComputePoolError(
            f"the Dask scheduler {address} does not answer ({type(error).__name__}). Remedy: see that it runs, "
            "correct GENOMICS_DASK_SCHEDULER, or unset it to work on this machine."
        ) from error
    with client:
        if not client.nthreads():
            raise ComputePoolError(
                f"the Dask scheduler {address} has no workers. Remedy: start some, `dask worker {address}`."
            )
        yield client


class _OnCluster:
    """A `BlockMap` for a cluster: what the work needs is sent once, each block to whoever is free."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def __call__(
        self,
        read: Callable[[Item], Block],
        work: Callable[[Block], Result],
        items: Sequence[Item],
        threads: int,
    ) -> Iterator[Result]:
        """Results in the order of the items; blocks are read as they are needed."""
        shared = self._client.scatter([work], broadcast=True, hash=False)[0]
        ahead = AHEAD * sum(self._client.nthreads().values())
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(self._client.submit(_work_on, shared, read(item), pure=False))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            self._client.cancel(list(waiting))


def _work_on(work: Callable[[Any], Any], block: Any) -> Any:
    return work(block)
