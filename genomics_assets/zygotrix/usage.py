"""What each user has and used: datasets, jobs, SNPs tested, CPU seconds and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Usage:
    """One user's use of the store; sums over everything that is stored now."""

    user_id: str
    datasets: int = 0
    jobs: int = 0
    jobs_active: int = 0
    jobs_completed: int = 0
    jobs_failed: int = 0
    snps_tested: int = 0
    cpu_seconds: float = 0.0
    dataset_bytes: int = 0
    result_bytes: int = 0


def usage_of(
    users: Iterable[Any],
    datasets: Iterable[Mapping[str, Any]],
    jobs: Iterable[Mapping[str, Any]],
    sizes: Mapping[str, int],
) -> list[Usage]:
    """Usage by user, in the order of their ids.

    Args:
        users: ids of all users; whoever owns something is counted besides.
        datasets: documents of gwas_datasets, `user_id` at least.
        jobs: documents of gwas_jobs: `user_id`, `status`, `snps_tested`, `cpu_seconds`.
        sizes: bytes by key of the objects at and below `gwas-datasets` and `gwas-results`.

    >>> [used] = usage_of(["u"], [{"user_id": "u"}], [{"user_id": "u", "status": "completed", "snps_tested": 9}], {})
    >>> used.datasets, used.jobs_completed, used.snps_tested
    (1, 1, 9)
    """
    found: dict[str, Usage] = {}

    def of(user_id: Any) -> Usage:
        return found.setdefault(str(user_id), Usage(str(user_id)))

    for user_id in users:
        of(user_id)
    for dataset in datasets:
        of(dataset.get("user_id")).datasets += 1
    for job in jobs:
        used = of(job.get("user_id"))
        used.jobs += 1
        used.jobs_active += job.get("status") in ("pending", "running")
        used.jobs_completed += job.get("status") == "completed"
        used.jobs_failed += job.get("status") == "failed"
        used.snps_tested += job.get("snps_tested") or 0
        used.cpu_seconds += job.get("cpu_seconds") or 0.0
    for key, size in sizes.items():
        kind, _, rest = key.partition("/")
        user_id, slash, _ = rest.partition("/")
        if slash and kind == "gwas-datasets":
            of(user_id).dataset_bytes += size
        elif slash and kind == "gwas-results":
            of(user_id).result_bytes += size
    return [found[user_id] for user_id in sorted(found)]


def usage_table(used: Iterable[Usage], as_of: datetime) -> pa.Table:
    """Usage as a table, one row a user, with the moment for which it holds."""
    import pyarrow as pa

    numbers = {
        name: pa.int64() for name in Usage.__dataclass_fields__ if name not in ("user_id", "cpu_seconds")
    }
    types = {
        "user_id": pa.string(),
        **numbers,
        "cpu_seconds": pa.float64(),
        "as_of": pa.timestamp("ms", tz="UTC"),
    }
    schema = pa.schema([pa.field(name, types[name]) for name in (*Usage.__dataclass_fields__, "as_of")])
    return pa.Table.from_pylist([{**asdict(one), "as_of": as_of} for one in used], schema=schema)
