"""The drop ledger: which dropped files were seen, which held still, and which were handed on, in Postgres.

A file's row goes settling -> ready -> claimed -> requested, and back to settling when its fingerprint changes. A claim
is committed before the run is asked for, and confirmed only once the one who claimed says that the request got
through; a claim that never is, is given back. So a crash between the two loses no file, and Dagster's run key doubles
none.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dagster as dg

from genomics_assets.drops import DropKind, Found, Oddity, assign_keys, original, storable
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg

DRAIN = "drain "
"""How the name of every claimant begins that holds the session for as long as its claims are open."""


_PLACE = {
    "ready": lambda seen: seen.ready,
    "claimed": lambda seen: seen.pending,
    "requested": lambda seen: seen.known,
}


class DropLedgerError(RuntimeError):
    """The ledger cannot be read or written; the message says why and what to do."""


@dataclass(frozen=True)
class Request:
    """A drop that was claimed, and by which key Dagster knows its run."""

    path: str
    partition_key: str
    fingerprint: str
    run_key: str
    attempt: int = 1


@dataclass(frozen=True)
class Observation:
    """What a look came to, by path below the kind's folder.

    Args:
        settling: not seen unchanged twice yet.
        ready: held still, and wait for their turn.
        pending: claimed by another sensor, which has not said yet whether it got through.
        known: nothing new about them.
        oddities: cannot be given a partition.
    """

    settling: list[str] = field(default_factory=list)
    ready: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    """A row of the ledger; the age is in seconds since the fingerprint changed."""

    path: str
    partition_key: str
    fingerprint: str
    state: str
    age: float


class DropLedgerResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The drop ledger, in table `genomics.drop_ledger`."""

    postgres: dg.ResourceDependency[PostgresResource]

    settle_seconds: float = 1.0
    """How long size and modification time must have held still, at least, between two looks."""

    claim_seconds: float = 60.0
    """How long another sensor's claim is believed before it counts as lost."""

    @contextmanager
    def session(self, kind: DropKind, inbox: str) -> Iterator["LedgerSession | None"]:
        """Sole access to what the ledger knows of one kind in one inbox; None while someone else has it.

        Nothing is kept that was not committed by `LedgerSession.commit`.

        Raises:
            DropLedgerError: when Postgres refuses, or the schema is older than this code.
        """
        import psycopg

        key = f"drops {kind.name} {inbox}"
        try:
            with self.postgres.connection() as connection:
                row = connection.execute(
                    "SELECT pg_try_advisory_lock(hashtextextended(%s, 2))", (key,)
                ).fetchone()
                connection.commit()
                if row is None or not row[0]:
                    yield None
                    return
                try:
                    yield LedgerSession(connection, kind, inbox, self.settle_seconds, self.claim_seconds)
                finally:
                    # A connection that broke has lost its locks by itself.
                    if not connection.broken:
                        connection.rollback()
                        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 2))", (key,))
        except psycopg.errors.UndefinedTable as error:
            raise DropLedgerError(
                "table genomics.drop_ledger does not exist in this database. Remedy: run `python -m genomics_assets "
                "env` once, which brings the schemas up to date."
            ) from error
        except psycopg.Error as error:
            raise DropLedgerError(
                f"the drop ledger cannot be used: {str(error).strip()}. Remedy: see that PostgreSQL runs and that "
                "its disk is not full; what was not confirmed is asked for again."
            ) from error

    def path_of(self, kind: DropKind, inbox: str, partition_key: str) -> str | None:
        """The path below the kind's folder that has this partition key; None where none ever had."""
        with self.postgres.connection() as connection:
            row = connection.execute(
                "SELECT path FROM genomics.drop_ledger WHERE kind = %s AND inbox = %s AND partition_key = %s",
                (kind.name, inbox, partition_key),
            ).fetchone()
            return None if row is None else original(row[0])


class LedgerSession:
    """One look at one kind in one inbox, alone. `DropLedgerResource.session` makes it."""

    def __init__(
        self,
        connection: "psycopg.Connection[Any]",
        kind: DropKind,
        inbox: str,
        settle_seconds: float,
        claim_seconds: float,
    ) -> None:
        self._connection = connection
        self._kind = kind
        self._inbox = inbox
        self._scope = (kind.name, inbox)
        self.settle_seconds = settle_seconds
        self.claim_seconds = claim_seconds

    def commit(self) -> None:
        """Keep everything since the last commit."""
        self._connection.commit()

    # -- claims ------------------------------------------------------------------------------------------------------

    def confirm(self, claims: Collection[str]) -> None:
        """The runs of these claims were asked for."""
        if claims:
            self._connection.execute(
                "UPDATE genomics.drop_ledger SET state = 'requested', requested_at = clock_timestamp() "
                "WHERE kind = %s AND inbox = %s AND state = 'claimed' "
                "AND claim::text = ANY(%s)",
                (*self._scope, list(claims)),
            )

    def lost(self, claimant: str) -> list[Request]:
        """Claims that were never confirmed and that nobody can still be working on.

        Those of `claimant` itself, which is here and not there; those of drains, which hold the session while they
        work; and those of other sensors once they are older than `claim_seconds`.
        """
        rows = self._connection.execute(
            "SELECT path, partition_key, fingerprint, run_key, attempt FROM genomics.drop_ledger "
            "WHERE kind = %s AND inbox = %s AND state = 'claimed' AND (claimed_by = %s OR starts_with(claimed_by, %s) "
            "OR claimed_at < clock_timestamp() - make_interval(secs => %s)) ORDER BY arrival",
            (*self._scope, claimant, DRAIN, self.claim_seconds),
        )
        return [Request(original(path), *rest) for path, *rest in rows]

    def mark_requested(self, requests: Iterable[Request]) -> None:
        """The runs of these requests were asked for, whatever became of them."""
        paths = [storable(request.path) for request in requests]
        self._connection.execute(
            "UPDATE genomics.drop_ledger SET state = 'requested', requested_at = clock_timestamp() "
            "WHERE kind = %s AND inbox = %s AND state = 'claimed' AND path = ANY(%s)",
            (*self._scope, paths),
        )

    def give_back(self, requests: Iterable[Request], *, cut_off: bool = False) -> None:
        """These requests got nowhere: they are ready again.

        Args:
            requests: what was claimed.
            cut_off: a run began and could not end; the next one needs a run key of its own.
        """
        paths = [storable(request.path) for request in requests]
        self._connection.execute(
            "UPDATE genomics.drop_ledger SET state = 'ready', attempt = attempt + %s WHERE kind = %s AND inbox = %s "
            "AND state = 'claimed' AND path = ANY(%s)",
            (int(cut_off), *self._scope, paths),
        )

    def claim(self, observation: Observation, claimant: str, limit: int) -> tuple[str, list[Request]]:
        """Claim the drops that are ready, in the order of their arrival; returns the claim and what it took."""
        claim = str(uuid4())
        rows = self._connection.execute(
            """
            WITH turn AS (
                SELECT kind, uri FROM genomics.drop_ledger
                WHERE kind = %s AND inbox = %s AND state = 'ready' AND path = ANY(%s) ORDER BY arrival LIMIT %s)
            UPDATE genomics.drop_ledger AS l
            SET state = 'claimed', claim = %s, claimed_by = %s, claimed_at = clock_timestamp(),
                run_key = l.kind || ':' || partition_key || ':' || fingerprint
                          || CASE WHEN attempt > 1 THEN ':' || attempt ELSE '' END
            FROM turn WHERE l.kind = turn.kind AND l.uri = turn.uri
            RETURNING arrival, path, partition_key, fingerprint, run_key, attempt
            """,
            (*self._scope, [storable(path) for path in observation.ready], limit, claim, claimant),
        ).fetchall()
        return claim, [Request(original(path), *rest) for _, path, *rest in sorted(rows)]

    # -- looks ---------------------------------------------------------------------------------------------------------

    def observe(self, found: Sequence[Found], *, at_once: bool) -> Observation:
        """Write down what lies there now, and say how far each drop got.

        Args:
            found: all drops of the kind.
            at_once: they appear whole, one look is enough.
        """
        rows = {row.path: row for row in self._rows()}
        stored = {f.path: storable(f.path) for f in found}
        keys, oddities = assign_keys(
            self._kind, found, {original(r.path): r.partition_key for r in rows.values()}
        )
        seen = Observation(oddities=oddities)
        new, changed, ripe = [], [], []
        first_state = seen.ready if at_once else seen.settling
        for drop in found:
            row = rows.get(stored[drop.path])
            if row is None:
                if drop.path in keys:
                    new.append(drop)
                    first_state.append(drop.path)
            elif row.fingerprint != drop.fingerprint:
                changed.append(drop)
                first_state.append(drop.path)
            elif row.state != "settling":
                _PLACE[row.state](seen).append(drop.path)
            elif at_once or row.age >= self.settle_seconds:
                ripe.append(drop)
                seen.ready.append(drop.path)
            else:
                seen.settling.append(drop.path)
        state = "ready" if at_once else "settling"
        self._insert(new, keys, stored, state)
        self._reset(changed, stored, state)
        self._ripen(ripe, stored)
        return seen

    def _rows(self) -> list[_Row]:
        rows = self._connection.execute(
            "SELECT path, partition_key, fingerprint, state, "
            "extract(epoch FROM clock_timestamp() - changed_at)::float8 "
            "FROM genomics.drop_ledger WHERE kind = %s AND inbox = %s",
            self._scope,
        )
        return [_Row(*row) for row in rows]

    def _insert(self, drops: list[Found], keys: dict[str, str], stored: dict[str, str], state: str) -> None:
        if not drops:
            return
        folder = storable(self._kind.folder)
        self._connection.execute(
            """
            INSERT INTO genomics.drop_ledger
                (kind, uri, inbox, path, partition_key, size, fingerprint, state, first_seen, changed_at)
            SELECT %s, %s || path, %s, path, key, size, fingerprint, %s, clock_timestamp(), clock_timestamp()
            FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[]) WITH ORDINALITY
                AS new (path, key, size, fingerprint, number) ORDER BY number
            """,
            (
                self._kind.name,
                f"{self._inbox}/{folder}/",
                self._inbox,
                state,
                [stored[drop.path] for drop in drops],
                [keys[drop.path] for drop in drops],
                [drop.size for drop in drops],
                [drop.fingerprint for drop in drops],
            ),
        )

    def _reset(self, drops: list[Found], stored: dict[str, str], state: str) -> None:
        """Begin anew with changed drops. An old version that comes back needs a run key that was never used."""
        if not drops:
            return
        self._connection.execute(
            """
            UPDATE genomics.drop_ledger AS l
            SET size = new.size, fingerprint = new.fingerprint, state = %s, looks = 1,
                changed_at = clock_timestamp(), arrival = DEFAULT,
                attempt = attempt + CASE WHEN state IN ('claimed', 'requested') THEN 1 ELSE 0 END
            FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS new (path, size, fingerprint)
            WHERE l.kind = %s AND l.inbox = %s AND l.path = new.path
            """,
            (
                state,
                [stored[drop.path] for drop in drops],
                [drop.size for drop in drops],
                [drop.fingerprint for drop in drops],
                *self._scope,
            ),
        )

    def _ripen(self, drops: list[Found], stored: dict[str, str]) -> None:
        if not drops:
            return
        self._connection.execute(
            "UPDATE genomics.drop_ledger SET state = 'ready', looks = looks + 1 "
            "WHERE kind = %s AND inbox = %s AND path = ANY(%s)",
            (*self._scope, [stored[drop.path] for drop in drops]),
        )
