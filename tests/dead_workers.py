"""Workers that are gone, as far as PostgreSQL can tell."""

from __future__ import annotations

import time
from typing import Any

import psycopg


def abandon(job: Any, postgres_url: str) -> None:
    """Let a job's worker be gone, as when its process is killed: its session is over, and its lock is free.

    A server under load sees some time later that a client is gone, and until then the job has its worker.
    """
    session = job._keeper._lock.connection.info.backend_pid
    job._keeper.release()
    deadline = time.monotonic() + 60
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        while connection.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (session,)).fetchall():
            assert time.monotonic() < deadline, "the session does not end"
            time.sleep(0.02)
