"""The thread that keeps a running job: holds its lock, writes its log lines and its progress.

The one who works on the job only leaves notes here, so that keeping the job costs the work next to nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from resources.jobs.liveness import LivenessLock, lock_name
from resources.jobs.log_lines import LogLine, LogLines
from resources.jobs.store import JobClosedError, JobError, JobHeldError, JobStore
from resources.postgres import PostgresError, PostgresResource

TICK_SECONDS = 0.25
SECONDS_BETWEEN_PROGRESS = 1.0
# A full queue is written in several batches; this many at the end of a job.
MOST_LAST_BATCHES = 1000


class JobKeeper:
    """Keeps one job while it runs. `finish` writes what is left, `release` gives the lock back.

    Raises:
        JobHeldError: another process works on the job.
    """

    def __init__(self, postgres: PostgresResource, store: JobStore, job_id: Any) -> None:
        self._store = store
        self._job_id = job_id
        self._lock = LivenessLock(postgres, lock_name(store.name, job_id))
        self._wake = threading.Event()
        self._stopping = False
        self._unwritten: list[LogLine] = []
        self._progress: tuple[float | None, str | None] | None = None
        self._progress_written = 0.0
        self.lost: str | None = None
        self.lines = LogLines(self._wake, after=store.last_line(self._lock.connection, job_id))
        self._thread = threading.Thread(target=self._run, name=f"keeper of job {job_id}", daemon=True)
        self._thread.start()

    def note_progress(self, fraction: float | None, phase: str | None) -> None:
        """Leave a note of how far the job is; the latest one is written, at most once a second."""
        self._progress = (fraction, phase)

    def finish(self) -> None:
        """Write every line and the last progress, and stop. The lock is still held.

        Raises:
            JobClosedError: somebody else closed the job.
        """
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self.check()

    def release(self) -> None:
        """Give the lock back; what was not written by then is said on standard error."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._lock.release()
        left = len(self._unwritten)
        while lines := self.lines.take():
            left += len(lines)
        if left:
            print(f"job {self._job_id}: {left:,} log lines could not be kept", file=sys.stderr)

    def check(self) -> None:
        """See that the job is still this worker's.

        Raises:
            JobClosedError: it is not.
        """
        if self.lost is not None:
            raise JobClosedError(self.lost)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping and self.lost is None:
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
            self._tick(final=False)
        if self.lost is None:
            self._tick(final=True)

    def _tick(self, *, final: bool) -> None:
        import psycopg

        try:
            self._write_lines(MOST_LAST_BATCHES if final else 20)
            self._write_progress(final)
            self._lock.ping()
        except (JobClosedError, JobHeldError) as error:
            self.lost = str(error)
        except psycopg.OperationalError:
            self._reconnect()
            if final and self.lost is None:
                self._tick_again()
        except psycopg.Error as error:
            # The store refuses what it is given; the job must not go on as if it were kept.
            self.lost = (
                f"job {self._job_id} cannot be kept: {type(error).__name__} {error.sqlstate or ''}".strip()
            )

    def _tick_again(self) -> None:
        import psycopg

        try:
            self._write_lines(MOST_LAST_BATCHES)
            self._write_progress(True)
        except (JobError, psycopg.Error) as error:
            self.lost = f"job {self._job_id} cannot be kept: {type(error).__name__}"

    def _reconnect(self) -> None:
        try:
            self._lock.renew()
        except (JobHeldError, PostgresError) as error:
            self.lost = str(error)

    def _write_lines(self, batches: int) -> None:
        for _ in range(batches):
            self._unwritten = self._unwritten or self.lines.take()
            if not self._unwritten:
                return
            self._store.append_log(self._lock.connection, self._job_id, self._unwritten)
            self._unwritten = []

    def _write_progress(self, final: bool) -> None:
        noted = self._progress
        if noted is None:
            return
        if not final and time.monotonic() - self._progress_written < SECONDS_BETWEEN_PROGRESS:
            return
        self._store.note_progress(self._lock.connection, self._job_id, *noted)
        self._progress_written = time.monotonic()
        if self._progress is noted:
            self._progress = None
