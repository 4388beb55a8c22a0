"""The pools that limit how many runs use a store, or the processors, at the same time.

A run takes a place in each pool that one of its assets names, for as long as it lasts; what finds no place waits in the
queue. Limits are Dagster's: `dagster instance concurrency set cpu-heavy 2`, or the UI under Deployment, Concurrency.
"""

POSTGRES_WRITE = "postgres-write"
"""Runs that write to PostgreSQL."""

MONGO_WRITE = "mongo-write"
"""Runs that write to MongoDB."""

CPU_HEAVY = "cpu-heavy"
"""Runs that use several cores for long, and the memory that goes with it."""
