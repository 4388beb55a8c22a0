"""What `genomics_assets doctor` looks at: each store, its schema, what lies in it, clocks and disks.

Each look gives findings; none raises, changes data, or shows a secret. A probe object and a probe document are written
and removed again, for nothing else tells whether a store may be written to.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resources.environment import Environment, masked
from resources.inbox import InboxError, InboxResource
from resources.invariants import RULES, check_invariants
from resources.mongo import MongoError, MongoResource
from resources.object_store import ObjectStoreError, ObjectStoreResource
from resources.postgres import PostgresError, PostgresResource

if TYPE_CHECKING:
    import psycopg

State = Literal["ok", "warning", "problem"]

OLDEST_POSTGRES = 15
MOST_CLOCK_SECONDS = 2.0
MOST_HEARTBEAT_SECONDS = 120.0
LOW_DISK_BYTES, FULL_DISK_BYTES = 5 << 30, 512 << 20
BUSY_CONNECTIONS = 0.8
PROBE = "doctor"
SHOWN = 3
"""Subjects that are named of each kind of contradiction; the rest is counted."""

_MIGRATE = "run `python -m genomics_assets env` once, which brings the schemas up to date"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what was looked at.
        state: `problem` fails the command; `warning` deserves a look.
        what: what was found.
        remedy: what to do about it; empty where all is well.
    """

    check: str
    state: State
    what: str
    remedy: str = ""


class Diagnosis:
    """Looks at everything that a set of settings leads to.

    Args:
        environment: the settings.
        deep: also read objects whose content a row vouches for; takes as long as reading them.
    """

    def __init__(self, environment: Environment, *, deep: bool = False) -> None:
        self.environment = environment
        self.deep = deep
        self.postgres = PostgresResource(url=environment.postgres_url, patience_seconds=5)
        self.mongo = MongoResource(url=environment.mongo_url, server_selection_seconds=5)
        self.objects = ObjectStoreResource(url=environment.object_store_url)
        self._usable: set[str] = set()

    def findings(self) -> Iterator[Finding]:
        """Everything, store by store; what cannot be looked at for want of a store is left out."""
        for look in (
            self._postgres,
            self._schema,
            self._mongo,
            self._layout,
            self._objects,
            self._inbox,
            self._contradictions,
            self._runs,
            self._disks,
        ):
            yield from _guarded(look)
        self.postgres.close()
        self.mongo.close()

    # -- Postgres ----------------------------------------------------------------------------------------------------

    def _postgres(self) -> Iterator[Finding]:
        try:
            with self.postgres.connection(statement_timeout=30) as connection:
                yield from self._server(connection)
                self._usable.add("postgres")
        except PostgresError as error:
            yield _problem("postgres", error)

    def _server(self, connection: psycopg.Connection[Any]) -> Iterator[Finding]:
        before = time.time()
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, "
            "extract(epoch FROM clock_timestamp())::float8, current_user, "
            "has_database_privilege(current_database(), 'CREATE'), "
            "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
            "current_setting('max_connections')::int, pg_is_in_recovery()"
        ).fetchone()
        assert row is not None  # noqa: S101 - one row always
        version, major, now, user, may_create, used, most, is_replica = row
        offset = now - (before + time.time()) / 2
        if major < OLDEST_POSTGRES:
            yield Finding("postgres", "problem", f"PostgreSQL {version}",
                          f"use PostgreSQL {OLDEST_POSTGRES} or newer")  # fmt: skip
        else:
            yield Finding("postgres", "ok", f"PostgreSQL {version} answers, as {user}")
        if is_replica:
            yield Finding("postgres role", "problem", "this server is a read-only replica",
                          "point GENOMICS_POSTGRES_URL at the primary")  # fmt: skip
        elif not may_create:
            yield Finding("postgres role", "warning", f"{user} may not create schemas in this database",
                          "migrate as a role that may: GRANT CREATE ON DATABASE … TO …")  # fmt: skip
        if used >= BUSY_CONNECTIONS * most:
            yield Finding("postgres connections", "warning", f"{used} of {most} are in use",
                          "raise max_connections, or put a pooler in front")  # fmt: skip
        yield _clock("postgres clock", offset)

    def _schema(self) -> Iterator[Finding]:
        if "postgres" not in self._usable:
            return
        from resources.migrations import head_revision
        from resources.migrations.layout import expected_layout, missing, read_layout

        with self.postgres.connection(statement_timeout=60) as connection:
            there = connection.execute("SELECT to_regclass('genomics.schema_version') IS NOT NULL").fetchone()
            if there != (True,):
                yield Finding("schema", "problem", "this database has no schema of the project", _MIGRATE)
                return
            row = connection.execute("SELECT version_num FROM genomics.schema_version").fetchone()
            at, head = (row[0] if row else None), head_revision()
            found = read_layout(connection)
        if at != head:
            newer = at is not None and at > head
            yield Finding("schema", "problem", f"the database is at revision {at}, this version makes {head}",
                          "update the project, or point GENOMICS_POSTGRES_URL elsewhere" if newer else _MIGRATE)  # fmt: skip
            return
        self._usable.add("schema")
        drift = missing(found, expected_layout())
        if drift:
            yield Finding("schema drift", "problem", _some(drift),
                          "somebody changed the schema by hand: put back what is missing, or restore from a backup")  # fmt: skip
        else:
            yield Finding(
                "schema", "ok", f"revision {head}; {len(found.tables)} tables as migrations make them"
            )

    # -- MongoDB -----------------------------------------------------------------------------------------------------

    def _mongo(self) -> Iterator[Finding]:
        from pymongo.errors import PyMongoError

        try:
            database = self.mongo.database()
            version = database.client.server_info().get("version")
            yield Finding(
                "mongo", "ok", f"MongoDB {version} answers" if version else "the embedded server answers"
            )
            self._usable.add("mongo")
        except (MongoError, PyMongoError) as error:
            yield _problem("mongo", error)
            return
        probe = {"_id": f"{PROBE}-{uuid.uuid4().hex}"}
        try:
            database[PROBE].insert_one(dict(probe))
            found = database[PROBE].find_one(probe)
            database[PROBE].delete_one(probe)
            database.drop_collection(PROBE)
        except PyMongoError as error:
            yield Finding("mongo role", "problem", f"cannot be written to ({type(error).__name__})",
                          "give the user of GENOMICS_MONGO_URL the role readWrite on its database")  # fmt: skip
            return
        if found is None:
            yield Finding("mongo role", "problem", "what was written could not be read back",
                          "check the server's log")  # fmt: skip
        if version:
            before = time.time()
            now = database.command("hello").get("localTime")
            if isinstance(now, datetime):
                offset = now.replace(tzinfo=UTC).timestamp() - (before + time.time()) / 2
                yield _clock("mongo clock", offset)

    def _layout(self) -> Iterator[Finding]:
        if "mongo" not in self._usable:
            return
        from resources.zygotrix_store import ZygotrixStore

        drift = ZygotrixStore(mongo=self.mongo, objects=self.objects).drift()
        harmful = [
            f"{d.collection}: {d.kind.replace('_', ' ')} {d.what}".strip() for d in drift if not d.is_harmless
        ]
        if not harmful:
            yield Finding("mongo layout", "ok", "collections and indexes are as the layout wants them")
            return
        never_made = all(d.kind == "missing_collection" for d in drift if not d.is_harmless)
        yield Finding("mongo layout", "warning" if never_made else "problem", _some(harmful),
                      "materialize zygotrix/collections, which makes what is missing")  # fmt: skip

    # -- objects and inbox -------------------------------------------------------------------------------------------

    def _objects(self) -> Iterator[Finding]:
        key = f"{PROBE}/{uuid.uuid4().hex}"
        shown = masked(self.environment.object_store_url)
        try:
            self.objects.put_bytes(key, b"probe")
            same = self.objects.read_bytes(key) == b"probe"
            self.objects.delete(key)
        except ObjectStoreError as error:
            yield _problem("object store", error)
            return
        if not same:
            yield Finding("object store", "problem", f"{shown} gives back other bytes than it was given",
                          "check the disk, or the S3 server's health")  # fmt: skip
            return
        self._usable.add("objects")
        yield Finding("object store", "ok", f"{shown} can be written, read and deleted from")

    def _inbox(self) -> Iterator[Finding]:
        from genomics_assets.drops import DropKind

        inbox = InboxResource(url=self.environment.inbox)
        try:
            # A kind of its own, so that no other kind's folder is made by a look.
            if "://" in self.environment.inbox:
                inbox.look(DropKind(PROBE, PROBE, (".doctor",)))
            elif not Path(self.environment.inbox).is_dir():
                yield Finding("inbox", "warning", f"{self.environment.inbox} is not there yet",
                              "`up`, `drain` and `env` make it")  # fmt: skip
                return
            else:
                sum(1 for _ in Path(self.environment.inbox).iterdir())
        except (InboxError, OSError) as error:
            yield _problem("inbox", error)
            return
        yield Finding("inbox", "ok", f"{masked(self.environment.inbox)} can be listed")

    # -- what lies in the stores -------------------------------------------------------------------------------------

    def _contradictions(self) -> Iterator[Finding]:
        if not {"postgres", "schema"} <= self._usable:
            return
        found = check_invariants(
            self.postgres,
            self.mongo if "mongo" in self._usable else None,
            self.objects if "objects" in self._usable else None,
            deep=self.deep,
        )
        for name, count in Counter(violation.rule for violation in found).items():
            rule = RULES[name]
            subjects = [violation.subject for violation in found if violation.rule == name]
            yield Finding(name.replace("_", " "), "problem" if rule.is_error else "warning",
                          f"{count} x {rule.broken}: {_some(subjects)}", rule.remedy)  # fmt: skip
        if not found:
            yield Finding("contents", "ok", "files, audit, tables, documents, objects and jobs agree")

    def _runs(self) -> Iterator[Finding]:
        if "postgres" not in self._usable:
            return
        with self.postgres.connection(statement_timeout=30) as connection:
            there = connection.execute("SELECT to_regclass('dagster.runs') IS NOT NULL").fetchone()
            if there != (True,):
                yield Finding("dagster", "warning", "this database has no schema `dagster` with Dagster's tables",
                              "run `make up` once; where Dagster's storage is elsewhere, this is as it should be")  # fmt: skip
                return
            waiting, age = connection.execute(
                "SELECT (SELECT count(*) FROM dagster.runs WHERE status IN ('QUEUED', 'NOT_STARTED')), "
                "(SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') - max(timestamp))::float8 "
                " FROM dagster.daemon_heartbeats)"
            ).fetchone() or (0, None)
        if age is not None and age > MOST_HEARTBEAT_SECONDS:
            yield Finding("daemon", "warning", f"the daemon was last heard of {_ago(age)} ago; {waiting} runs wait",
                          "start it (`make up`), or use `drain` from cron")  # fmt: skip
        elif age is not None:
            yield Finding("daemon", "ok", f"the daemon is alive; {waiting} runs wait")

    def _disks(self) -> Iterator[Finding]:
        import psutil

        folders = {"home": self.environment.home}
        if "://" not in self.environment.inbox:
            folders["inbox"] = Path(self.environment.inbox)
        if self.environment.object_store_url.startswith("file://"):
            folders["objects"] = Path(self.environment.object_store_url.removeprefix("file://"))
        seen: dict[int, list[str]] = {}
        for name, folder in folders.items():
            there = next((place for place in (folder, *folder.parents) if place.exists()), None)
            if there is not None:
                seen.setdefault(there.stat().st_dev, []).append(name)
                folders[name] = there
        for names in seen.values():
            usage = psutil.disk_usage(str(folders[names[0]]))
            state: State = (
                "problem"
                if usage.free < FULL_DISK_BYTES
                else "warning"
                if usage.free < LOW_DISK_BYTES
                else "ok"
            )
            yield Finding("disk", state, f"{usage.free / (1 << 30):.1f} GiB free for {', '.join(names)}",
                          "" if state == "ok" else "make room, or move GENOMICS_HOME to a larger disk")  # fmt: skip


def _guarded(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a look; whatever goes wrong in it is one more finding."""
    name = look.__name__.strip("_")
    try:
        yield from look()
    except (PostgresError, MongoError, ObjectStoreError) as error:
        yield _problem(name, error)
    except Exception as error:  # noqa: BLE001 - drivers have no common ancestor, and a doctor looks on
        # Not the message: a driver's may repeat values.
        yield Finding(
            name, "problem", f"could not be looked at ({type(error).__name__})", "see the server's log"
        )


def _problem(check: str, error: Exception) -> Finding:
    """An error that says itself what to do."""
    said, _, remedy = str(error).partition(" Remedy: ")
    return Finding(
        check, "problem", masked(said), masked(remedy).rstrip(".") or "see that it is there and readable"
    )


def _clock(check: str, offset: float) -> Finding:
    if abs(offset) <= MOST_CLOCK_SECONDS:
        return Finding(check, "ok", f"within {MOST_CLOCK_SECONDS:g} s of this machine's")
    ahead = "ahead of" if offset > 0 else "behind"
    return Finding(check, "warning", f"{abs(offset):.1f} s {ahead} this machine's",
                   "synchronise both with NTP; what is told by age (settling files, heartbeats) may be wrong")  # fmt: skip


def _ago(seconds: float) -> str:
    """A time that went by, in one unit.

    >>> _ago(130), _ago(7300)
    ('2 min', '2 h')
    """
    return f"{seconds / 3600:.0f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _some(subjects: list[str]) -> str:
    more = len(subjects) - SHOWN
    return "; ".join(subjects[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
