"""What a command needs before it can work: servers, tables, the Dagster home, the bundled examples."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomics_assets.pools import CPU_HEAVY
from resources.dagster_storage import dagster_schema, dagster_storage_url
from resources.environment import Environment

if TYPE_CHECKING:
    from dagster import DagsterInstance

PROJECT = Path(__file__).resolve().parents[2]
"""The checkout: it holds `dagster.yaml`, `workspace.yaml` and the examples."""

MADE_UP_REFERENCE = PROJECT / "examples" / "verbal_autopsy_reference"
"""What the bundled batches of verbal autopsies are worked on with; it refuses everything else."""


@dataclass(frozen=True)
class Stack:
    """Addresses of what runs.

    Attributes:
        environment: the settings that led here.
        postgres_url: PostgreSQL's address, with its password.
        mongo_url: the MongoDB-wire server's address.
        migrated: the revisions that were applied just now.
    """

    environment: Environment
    postgres_url: str
    mongo_url: str
    migrated: list[str]

    @property
    def dagster_home(self) -> Path:
        """Dagster's home: its settings, compute logs and artefacts."""
        return self.environment.home / "dagster"

    def dagster_variables(self) -> dict[str, str]:
        """What the processes of Dagster need to know.

        The servers' addresses are not among it: each process asks for the embedded server itself, so that it
        keeps it running, and finds it again should its port have changed.
        """
        return {
            "GENOMICS_HOME": str(self.environment.home),
            "GENOMICS_VA_REFERENCE": str(self.environment.va_reference or MADE_UP_REFERENCE),
            "DAGSTER_HOME": str(self.dagster_home),
            "GENOMICS_DAGSTER_STORAGE_URL": dagster_storage_url(self.postgres_url),
            # `telemetry: enabled: false` alone leaves the thread on that posts what is in $DAGSTER_HOME/logs.
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }

    def variables(self) -> dict[str, str]:
        """The effective settings, with secrets; `env` prints them."""
        environment = self.environment
        optional = {
            "GENOMICS_S3_ENDPOINT_URL": environment.s3_endpoint_url,
            "GENOMICS_REFERENCE_FASTA": environment.reference_fasta and str(environment.reference_fasta),
            "GENOMICS_ANNOTATION_REFRESH": environment.annotation_refresh
            and str(environment.annotation_refresh),
            "GENOMICS_DASK_SCHEDULER": environment.dask_scheduler,
            "GENOMICS_RUN_QUEUE_URL": environment.run_queue_url,
        }
        return {
            "GENOMICS_HOME": str(environment.home),
            "GENOMICS_INBOX": environment.inbox,
            "GENOMICS_POSTGRES_URL": self.postgres_url,
            "GENOMICS_MONGO_URL": self.mongo_url,
            "GENOMICS_OBJECT_STORE_URL": environment.object_store_url,
            "GENOMICS_GENOME": environment.genome,
            **{name: value for name, value in optional.items() if value},
            **self.dagster_variables(),
        }


def start_stack(environment: Environment) -> Stack:
    """Start the embedded servers where they are needed; bring database and Dagster home up to date.

    Raises:
        ServerError: when a server cannot start.
        MigrationError: when the database is not one that this version can use.
    """
    from resources.embedded import ensure_servers
    from resources.migrations import migrate

    postgres_url, mongo_url = ensure_servers(environment)
    stack = Stack(environment, postgres_url, mongo_url, migrate(postgres_url, environment.genome))
    make_dagster_home(stack.dagster_home, environment)
    _make_dagster_tables(stack)
    if "://" not in environment.inbox:
        Path(environment.inbox).mkdir(parents=True, exist_ok=True)
    return stack


@contextmanager
def dagster_variables(stack: Stack) -> Iterator[None]:
    """Dagster's variables in this process's own environment."""
    before = dict(os.environ)
    os.environ.update(stack.dagster_variables())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def drop_examples(
    environment: Environment,
    examples: Path = PROJECT / "examples" / "inbox",
    *,
    into_bucket: bool = False,
) -> int:
    """Copy the bundled examples into the inbox, once in the life of a home; returns how many were copied.

    A folder of one's own gets no examples among its data, nor does a bucket that holds anything.

    Args:
        environment: says where the inbox is.
        examples: what is copied.
        into_bucket: whether an inbox in a bucket gets them at all.
    """
    marker = environment.home / "examples-dropped"
    if marker.exists() or not examples.is_dir():
        return 0
    in_bucket = environment.inbox.startswith("s3://")
    if not (into_bucket if in_bucket else Path(environment.inbox).is_relative_to(environment.home)):
        return 0
    copied = _copy_into_inbox(environment, examples, only_if_empty=in_bucket)
    if copied or not in_bucket:
        marker.write_text(environment.inbox)
    return copied


def drop_later_examples(environment: Environment, examples: Path = PROJECT / "examples" / "later") -> int:
    """Copy new versions of the bundled examples into the inbox, once too: what changes shows when they are loaded."""
    first, marker = environment.home / "examples-dropped", environment.home / "later-examples-dropped"
    if marker.exists() or not first.exists() or not examples.is_dir():
        return 0
    if first.read_text() not in ("", environment.inbox):
        return 0
    copied = _copy_into_inbox(environment, examples)
    marker.write_text(environment.inbox)
    return copied


def shell_line(name: str, value: str) -> str:
    """One setting as a shell reads it; quoted only where it has to be.

    >>> shell_line("GENOMICS_HOME", "/data/my genomes")
    "GENOMICS_HOME='/data/my genomes'"
    """
    return f"{name}={shlex.quote(value) if _needs_quotes(value) else value}"


def _needs_quotes(value: str) -> bool:
    # shlex quotes '=' and '?' as well; inside an assignment neither means anything to a shell.
    return shlex.quote(value.replace("=", "").replace("?", "")) != value.replace("=", "").replace("?", "")


def _copy_into_inbox(environment: Environment, examples: Path, *, only_if_empty: bool = False) -> int:
    """Copy what the inbox does not hold, each file in one step; returns how many files that were."""
    from resources.inbox import InboxResource

    inbox = InboxResource(url=environment.inbox, s3_endpoint_url=environment.s3_endpoint_url)
    there = inbox.paths()
    if there and only_if_empty:
        return 0
    files = {file.relative_to(examples).as_posix(): file for file in examples.rglob("*") if file.is_file()}
    missing = sorted(set(files) - there)
    for path in missing:
        with inbox.deliver(path) as target:
            shutil.copyfile(files[path], target)
    return len(missing)


def dagster_settings(environment: Environment) -> str:
    """The text of `dagster.yaml`; where there is a run queue, what `deploy/celery/dagster.yaml` says laid over it."""
    settings = (PROJECT / "dagster.yaml").read_text() + _compute_log_settings(environment)
    if environment.run_queue_url is None:
        return settings
    import yaml

    over = yaml.safe_load((PROJECT / "deploy" / "celery" / "dagster.yaml").read_text())
    return yaml.safe_dump(_laid_over(over, yaml.safe_load(settings)), sort_keys=False)


def _laid_over(over: Any, under: Any) -> Any:
    if not isinstance(over, dict) or not isinstance(under, dict):
        return over
    return {**under, **{key: _laid_over(value, under.get(key)) for key, value in over.items()}}


def make_dagster_home(folder: Path, environment: Environment) -> None:
    """Write Dagster's settings where they are missing or others."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = dagster_settings(environment)
    file = folder / "dagster.yaml"
    if not file.exists() or file.read_text() != settings:
        new = file.with_suffix(f".{os.getpid()}")
        new.write_text(settings)
        new.replace(file)


def _compute_log_settings(environment: Environment) -> str:
    """With the objects in a bucket, what runs print goes there as well: the UI may be on another machine."""
    if not environment.object_store_url.startswith("s3://"):
        return ""
    import yaml

    bucket, _, prefix = environment.object_store_url.removeprefix("s3://").strip("/").partition("/")
    config: dict[str, object] = {
        "bucket": bucket,
        "prefix": f"{prefix}/dagster".lstrip("/"),
        "upload_interval": 30,
    }
    if environment.s3_endpoint_url:
        config["endpoint_url"] = environment.s3_endpoint_url
    manager = {
        "module": "dagster_aws.s3.compute_log_manager",
        "class": "S3ComputeLogManager",
        "config": config,
    }
    return "\n" + yaml.safe_dump({"compute_logs": manager}, sort_keys=False)


def _make_dagster_tables(stack: Stack) -> None:
    """Create or upgrade Dagster's tables before its processes start, which would otherwise race to do so."""
    ours = version("dagster")
    made_by = stack.dagster_home / "storage-version"
    with dagster_schema(stack.postgres_url) as has_tables:
        if has_tables and made_by.exists() and made_by.read_text() == ours:
            return
        from dagster import DagsterInstance

        with dagster_variables(stack), DagsterInstance.from_config(str(stack.dagster_home)) as instance:
            if has_tables:
                instance.upgrade()
            _limit_heavy_runs(instance)
    made_by.write_text(ours)


def _limit_heavy_runs(instance: DagsterInstance) -> None:
    """Give the pool of runs that use several cores its first limit; one that somebody has set stays."""
    limits = {pool.name: pool for pool in instance.event_log_storage.get_pool_limits()}
    if CPU_HEAVY not in limits or limits[CPU_HEAVY].from_default:
        instance.event_log_storage.set_concurrency_slots(CPU_HEAVY, max(1, (os.cpu_count() or 2) // 2))
