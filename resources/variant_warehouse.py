"""The variant warehouse in Postgres: the load audit, the current load of each file, samples, and what checks ask.

Every write to the audit goes through here. The rule that makes a load atomic: the audit row `started` is committed
first; rows, `completed` and the pointer in `current_loads` are committed together; nobody reads rows by any other way.
A session advisory lock on the load's id shows that its worker lives.
"""

import hashlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import dagster as dg

from genomics_assets.drops import Drop, DropKind
from genomics_assets.input_error import InputError
from genomics_assets.variants.load import DroppedVcf, VariantLoad, new_load_id
from resources.environment import Genome
from resources.failures import permanent_failure
from resources.inbox import InboxError, InboxResource
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg

    from genomics_assets.variants.pedigree import PedigreeEntry
    from genomics_assets.variants.reader import Tally
    from resources.variant_indexes import FullIndex

_NO_HASH = "0" * 64
_TABLES_OF_A_LOAD = ("variants", "genotypes", "variant_summary", "load_samples", "sample_conflicts")


@dataclass(frozen=True)
class CurrentLoad:
    """The load whose rows stand for a dropped file."""

    load_id: UUID
    partition_key: str
    loaded: int
    skipped: int
    total: int
    is_reload: bool
    file_hash: str


@dataclass(frozen=True)
class SampleReport:
    """What became of a file's samples; counts only, for samples are people."""

    in_file: int
    added: int
    filled: int
    conflicts: Mapping[str, int] = field(default_factory=dict)
    not_in_file: int = 0


class VariantWarehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The load audit and its neighbours, in schema `genomics`."""

    postgres: dg.ResourceDependency[PostgresResource]

    # -- the life of a load -------------------------------------------------------------------------------------

    def start(self, load: VariantLoad, run_id: str) -> None:
        """Write the audit row `started`, in a transaction of its own."""
        header = load.file.header
        with self.postgres.connection() as connection:
            connection.execute(
                """
                INSERT INTO genomics.variant_load_audit (
                    load_batch_id, vcf_file_path, vcf_file_hash, vcf_file_size, reference_genome, vep_version,
                    snpeff_version, clinvar_version, gnomad_version, samples_count, status, loaded_by, partition_key,
                    load_settings, annotation_fields, run_id)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'started', %s, %s, %s, %s, %s)
                """,
                (
                    load.load_id,
                    load.file.file_path,
                    load.file.file_hash,
                    load.file.file_size,
                    load.reference_genome,
                    _at_most(header.tools.get("VEP"), 20),
                    _at_most(header.tools.get("SnpEff"), 20),
                    header.clinvar_date,
                    _at_most(header.tools.get("gnomAD"), 20),
                    len(header.samples),
                    _at_most(f"genomics_assets@{socket.gethostname()}", 100),
                    load.file.partition_key,
                    json.dumps(load.settings, sort_keys=True),
                    json.dumps({tag: list(names) for tag, names in header.annotations.items()}),
                    run_id,
                ),
            )

    def complete(
        self, connection: "psycopg.Connection[Any]", load: VariantLoad, tally: "Tally"
    ) -> CurrentLoad:
        """Inside the load's transaction: close the audit row, move the pointer, remove the rows it stood for."""
        file = load.file
        previous = self._current_load_id(connection, file.partition_key)
        connection.execute(
            """
            UPDATE genomics.variant_load_audit
            SET status = 'completed', load_completed_at = clock_timestamp(), total_variants_in_file = %s,
                variants_loaded = %s, variants_skipped = %s, content_hash = %s, skipped_reasons = %s, noted = %s,
                is_reload = %s, previous_load_id = %s
            WHERE load_batch_id = %s
            """,
            (
                tally.alleles,
                tally.loaded,
                sum(tally.skipped.values()),
                tally.content_hash,
                json.dumps(tally.skipped),
                json.dumps(tally.noted),
                previous is not None,
                previous,
                load.load_id,
            ),
        )
        self._point(connection, file, load.load_id, previous)
        return CurrentLoad(
            load.load_id,
            file.partition_key,
            tally.loaded,
            sum(tally.skipped.values()),
            tally.alleles,
            previous is not None,
            file.file_hash,
        )

    def adopt(self, load: VariantLoad) -> CurrentLoad | None:
        """Let a dropped file stand on a load of the same bytes, where there is one: no new rows."""
        with self.postgres.connection(statement_timeout=0) as connection:
            self.lock_pointers(connection)
            known = self.known_content(connection, load.settings, file_hash=load.file.file_hash)
            if known is not None:
                self.stand_on(connection, load, known)
            return known

    def stand_on(self, connection: "psycopg.Connection[Any]", load: VariantLoad, known: CurrentLoad) -> None:
        """Point a dropped file to a known load; the connection holds the pointers' lock."""
        previous = self._current_load_id(connection, load.file.partition_key)
        self._point(connection, load.file, known.load_id, previous)

    def lock_pointers(self, connection: "psycopg.Connection[Any]") -> None:
        """Wait for whoever moves a pointer in `current_loads`; the lock goes with the transaction.

        A load that one file leaves may be the one that another file adopts: with one at a time, neither decides on
        what the other is about to change.
        """
        self.lock(connection, "current loads")

    def _point(
        self,
        connection: "psycopg.Connection[Any]",
        file: DroppedVcf,
        load_id: UUID,
        previous: UUID | None,
    ) -> None:
        connection.execute(
            """
            INSERT INTO genomics.current_loads (partition_key, load_batch_id, file_hash) VALUES (%s, %s, %s)
            ON CONFLICT (partition_key) DO UPDATE
            SET load_batch_id = excluded.load_batch_id, file_hash = excluded.file_hash
            """,
            (file.partition_key, load_id, file.file_hash),
        )
        if previous is None or previous == load_id:
            return
        superseded = connection.execute(
            """
            UPDATE genomics.variant_load_audit SET superseded_by = %s
            WHERE load_batch_id = %s
              AND NOT EXISTS (SELECT FROM genomics.current_loads WHERE load_batch_id = %s)
            RETURNING load_batch_id
            """,
            (load_id, previous, previous),
        ).fetchone()
        if superseded is not None:
            connection.execute("DELETE FROM genomics.variants WHERE load_batch_id = %s", (previous,))

    def fail(self, load_id: UUID, error: str) -> None:
        """Close the audit row of a load that cannot succeed."""
        self._close(load_id, "failed", error)

    def roll_back(self, load_id: UUID, reason: str) -> None:
        """Close the audit row of a load that was given up; its rows never were visible."""
        self._close(load_id, "rolled_back", reason)

    def _close(self, load_id: UUID, status: str, message: str) -> None:
        with self.postgres.connection() as connection:
            connection.execute(
                """
                UPDATE genomics.variant_load_audit
                SET status = %s, error_message = %s, load_completed_at = now(), variants_loaded = 0
                WHERE load_batch_id = %s AND status <> 'completed'
                """,
                (status, message, load_id),
            )

    @contextmanager
    def taking(self, inbox: InboxResource, kind: DropKind, partition_key: str, run_id: str) -> Iterator[Drop]:
        """The dropped file of a partition; an `InputError` of the block becomes a failed audit row.

        Raises:
            dagster.Failure: for every `InputError`; it is not retried, for the same bytes would fail again.
        """
        drop: Drop | None = None
        try:
            drop = inbox.drop(kind, partition_key)
            yield drop
        except InputError as error:
            file_path = drop.uri if drop else f"{kind.folder}/{partition_key}"
            told = error if error.file else error.in_file(file_path)
            digest, size = _digest(inbox, drop) if drop else (None, None)
            self.refuse(
                load_id=new_load_id(),
                partition_key=partition_key,
                file_path=file_path,
                file_hash=digest,
                file_size=size,
                error=str(told),
                run_id=run_id,
            )
            raise permanent_failure(told, partition_key) from error

    def refuse(
        self,
        *,
        load_id: UUID,
        partition_key: str,
        file_path: str,
        file_hash: str | None,
        file_size: int | None,
        error: str,
        run_id: str,
    ) -> None:
        """Write the audit row of a file that could not even be started."""
        with self.postgres.connection() as connection:
            connection.execute(
                """
                INSERT INTO genomics.variant_load_audit (
                    load_batch_id, vcf_file_path, vcf_file_hash, vcf_file_size, reference_genome, status, loaded_by,
                    error_message, load_completed_at, variants_loaded, partition_key, run_id)
                VALUES (%s, %s, %s, %s, 'unknown', 'failed', %s, %s, now(), 0, %s, %s)
                """,
                (
                    load_id,
                    file_path,
                    file_hash or _NO_HASH,
                    file_size,
                    _at_most(f"genomics_assets@{socket.gethostname()}", 100),
                    error,
                    partition_key,
                    run_id,
                ),
            )

    def close_dead_loads(self) -> int:
        """Mark loads whose worker is gone as rolled back, and say how many; they left no rows behind."""
        with self.postgres.connection() as connection:
            closed = connection.execute(
                """
                UPDATE genomics.variant_load_audit
                SET status = 'rolled_back', load_completed_at = now(), variants_loaded = 0,
                    error_message = 'the worker ended before the load was committed; nothing of it was visible'
                WHERE audit_id IN (
                    SELECT audit_id FROM genomics.variant_load_audit
                    WHERE status = 'started' AND pg_try_advisory_xact_lock(hashtextextended(load_batch_id::text, 0)))
                """
            )
            return closed.rowcount

    def sweep(self) -> dict[str, int]:
        """Close loads whose worker is gone and delete what superseded loads left; counts by what was swept."""
        swept = {"loads_closed": self.close_dead_loads()}
        gone = self.all_superseded()
        with self.postgres.connection() as connection:
            for table in _TABLES_OF_A_LOAD:
                swept[f"{table}_rows_deleted"] = self.delete_rows(connection, f"genomics.{table}", gone)
        return swept

    @staticmethod
    def hold_alive(connection: "psycopg.Connection[Any]", load_id: UUID) -> None:
        """Hold, until the transaction ends, the lock that shows that a load's worker lives."""
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s::text, 0))", (load_id,))

    @staticmethod
    def lock(connection: "psycopg.Connection[Any]", what: str) -> None:
        """Wait until no other transaction holds the lock on `what`."""
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (what,))

    @staticmethod
    def delete_rows(connection: "psycopg.Connection[Any]", table: str, load_ids: Sequence[UUID]) -> int:
        """Delete the rows of loads from a table that has a `load_batch_id`, and say how many there were."""
        from psycopg import sql

        from resources.postgres_catalogue import table_identifier

        deleted = connection.execute(
            sql.SQL("DELETE FROM {} WHERE load_batch_id = ANY(%s)").format(table_identifier(table)),
            (list(load_ids),),
        )
        return deleted.rowcount

    # -- what is known --------------------------------------------------------------------------------------------

    def known_content(
        self,
        connection: "psycopg.Connection[Any]",
        settings: Mapping[str, Any],
        *,
        file_hash: str | None = None,
        content_hash: str | None = None,
    ) -> CurrentLoad | None:
        """A current load of the same bytes under the same settings, by either hash."""
        row = connection.execute(
            """
            SELECT load_batch_id, partition_key, variants_loaded, variants_skipped, total_variants_in_file, is_reload,
                   vcf_file_hash
            FROM genomics.variant_load_audit AS a
            WHERE status = 'completed' AND superseded_by IS NULL AND (vcf_file_hash = %s OR content_hash = %s)
              AND load_settings = %s::jsonb
              AND EXISTS (SELECT FROM genomics.current_loads AS c WHERE c.load_batch_id = a.load_batch_id)
            ORDER BY audit_id DESC LIMIT 1
            """,
            (file_hash, content_hash, json.dumps(settings)),
        ).fetchone()
        return None if row is None else CurrentLoad(*row)

    def current_load(self, partition_key: str) -> CurrentLoad | None:
        """The load whose rows stand for a dropped file; None before its first load."""
        with self.postgres.connection() as connection:
            row = connection.execute(
                """
                SELECT load_batch_id, a.partition_key, variants_loaded, variants_skipped, total_variants_in_file, is_reload,
                       current_loads.file_hash
                FROM genomics.current_loads JOIN genomics.variant_load_audit AS a USING (load_batch_id)
                WHERE current_loads.partition_key = %s
                """,
                (partition_key,),
            ).fetchone()
            return None if row is None else CurrentLoad(*row)

    def expect_load(self, partition_key: str, file_hash: str | None = None) -> CurrentLoad:
        """The load whose rows stand for a dropped file.

        Args:
            partition_key: the file's partition.
            file_hash: where given, the load must be of a file with this hash: calls and people of one version of a
                file must never join the rows of another.

        Raises:
            dagster.Failure: when there is none yet, or only of another version of the file.
        """
        load = self.current_load(partition_key)
        if load is None or (file_hash is not None and load.file_hash != file_hash):
            missing = "has no rows" if load is None else "has only the rows of an older version of the file"
            raise dg.Failure(
                f"{partition_key!r} {missing}. Remedy: materialize that partition of variants/variants first.",
                allow_retries=False,
            )
        return load

    def all_superseded(self) -> list[UUID]:
        """Every load that another one replaced."""
        with self.postgres.connection() as connection:
            rows = connection.execute(
                "SELECT load_batch_id FROM genomics.variant_load_audit WHERE superseded_by IS NOT NULL"
            ).fetchall()
            return [row[0] for row in rows]

    def superseded(self, partition_key: str, load_id: UUID) -> list[UUID]:
        """Loads whose rows the partition no longer stands for."""
        with self.postgres.connection() as connection:
            rows = connection.execute(
                "SELECT genomics.superseded_loads(%s, %s)", (partition_key, load_id)
            ).fetchall()
            return [row[0] for row in rows]

    def _current_load_id(self, connection: "psycopg.Connection[Any]", partition_key: str) -> UUID | None:
        row = connection.execute(
            "SELECT load_batch_id FROM genomics.current_loads WHERE partition_key = %s FOR UPDATE",
            (partition_key,),
        ).fetchone()
        return None if row is None else row[0]

    # -- samples ---------------------------------------------------------------------------------------------------

    def record_samples(
        self, load_id: UUID, names: Sequence[str], pedigree: Sequence["PedigreeEntry"]
    ) -> SampleReport:
        """Add a file's samples, fill what the pedigree knows and the warehouse does not, and keep every conflict.

        Names in the pedigree that the file does not have are added too: a family is more than the people sequenced.
        """
        from genomics_assets.variants.pedigree import KnownSample, PedigreeEntry, merge

        by_name = {entry.individual_id: entry for entry in pedigree}
        wanted = [*names, *(name for name in by_name if name not in set(names))]
        with self.postgres.connection() as connection:
            self.lock(connection, "samples")
            rows = connection.execute(
                """
                SELECT external_id, family_id, sex, phenotype, metadata FROM genomics.samples
                WHERE external_id = ANY(%s)
                """,
                (wanted,),
            ).fetchall()
            known = [KnownSample(*row) for row in rows]
            incoming = [by_name.get(name) or PedigreeEntry.of_name(name) for name in wanted]
            merged = merge(known, incoming)
            with connection.cursor() as cursor:
                cursor.executemany(
                    """
                    INSERT INTO genomics.samples (external_id, family_id, sex, phenotype, metadata)
                    VALUES (%s, %s, %s, coalesce(%s, 0), %s)
                    ON CONFLICT (external_id) DO UPDATE
                    SET family_id = excluded.family_id, sex = excluded.sex, phenotype = excluded.phenotype,
                        metadata = excluded.metadata
                    """,
                    [
                        (s.external_id, s.family_id, s.sex, s.phenotype, json.dumps(s.metadata))
                        for s in [*merged.to_insert, *merged.to_fill]
                    ],
                )
                cursor.execute("DELETE FROM genomics.sample_conflicts WHERE load_batch_id = %s", (load_id,))
                cursor.executemany(
                    """
                    INSERT INTO genomics.sample_conflicts (load_batch_id, external_id, field, known_value, file_value)
                    VALUES (%s, %s, %s, %s, %s)
                    """,
                    [
                        (load_id, c.external_id, c.field, str(c.known), str(c.incoming))
                        for c in merged.conflicts
                    ],
                )
                cursor.execute("DELETE FROM genomics.load_samples WHERE load_batch_id = %s", (load_id,))
                cursor.execute(
                    """
                    INSERT INTO genomics.load_samples (load_batch_id, ordinal, sample_id)
                    SELECT %s, name.ordinality - 1, s.sample_id
                    FROM unnest(%s::text[]) WITH ORDINALITY AS name JOIN genomics.samples AS s ON s.external_id = name.name
                    """,
                    (load_id, list(names)),
                )
            conflicts: dict[str, int] = {}
            for conflict in merged.conflicts:
                conflicts[conflict.field] = conflicts.get(conflict.field, 0) + 1
            return SampleReport(
                in_file=len(names),
                added=len(merged.to_insert),
                filled=len(merged.to_fill),
                conflicts=conflicts,
                not_in_file=len(wanted) - len(names),
            )

    # -- what checks ask ----------------------------------------------------------------------------------------

    def count_variants(self, load_id: UUID) -> int:
        """Rows of a load that readers see."""
        return self._number("SELECT count(*) FROM genomics.variants WHERE load_batch_id = %s", load_id)

    def count_duplicates(self, load_id: UUID) -> int:
        """Rows of a load beyond the first of their (chrom, pos, ref, alt)."""
        return self._number(
            """
            SELECT coalesce(sum(n - 1), 0) FROM (
                SELECT count(*) AS n FROM genomics.variants WHERE load_batch_id = %s
                GROUP BY chrom, pos, ref, alt HAVING count(*) > 1) AS repeated
            """,
            load_id,
        )

    def count_unknown_samples(self, load_id: UUID) -> int:
        """Samples that a load names and the warehouse does not know."""
        return self._number(
            """
            SELECT count(DISTINCT v.sample_id) FROM genomics.variants AS v
            WHERE v.load_batch_id = %s AND v.sample_id IS NOT NULL
              AND NOT EXISTS (SELECT FROM genomics.samples AS s WHERE s.external_id = v.sample_id)
            """,
            load_id,
        )

    def count_load_samples(self, load_id: UUID) -> int:
        """Sample columns of a load that are tied to a known sample."""
        return self._number("SELECT count(*) FROM genomics.load_samples WHERE load_batch_id = %s", load_id)

    def unplaced_contigs(self, load_id: UUID) -> dict[str, int]:
        """Rows of a load on each contig that is not a canonical chromosome, most first, at most 20."""
        with self.postgres.connection() as connection:
            rows = connection.execute(
                """
                SELECT chrom, count(*) FROM genomics.variants
                WHERE load_batch_id = %s AND chrom !~ '^chr([1-9]|1[0-9]|2[0-2]|X|Y|M)$'
                GROUP BY chrom ORDER BY count(*) DESC, chrom LIMIT 20
                """,
                (load_id,),
            ).fetchall()
            return dict(rows)

    def noted(self, load_id: UUID) -> dict[str, int]:
        """What a load tolerated, by reason."""
        with self.postgres.connection() as connection:
            row = connection.execute(
                "SELECT noted FROM genomics.variant_load_audit WHERE load_batch_id = %s", (load_id,)
            ).fetchone()
            return dict(row[0] or {}) if row else {}

    def genome(self) -> Genome:
        """What the warehouse was made for: human or other."""
        with self.postgres.connection() as connection:
            row = connection.execute("SELECT genome FROM genomics.warehouse").fetchone()
            return "other" if row is not None and row[0] == "other" else "human"

    def samples_in_file(self, load_id: UUID) -> int:
        """Sample columns that a load's header names."""
        return self._number(
            "SELECT samples_count FROM genomics.variant_load_audit WHERE load_batch_id = %s", load_id
        )

    def chromosomes(self, load_id: UUID) -> list[str]:
        """Contigs on which a load has rows."""
        with self.postgres.connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT chrom::text FROM genomics.variants WHERE load_batch_id = %s ORDER BY 1",
                (load_id,),
            ).fetchall()
            return [row[0] for row in rows]

    def reference_alleles(self, load_id: UUID, at_most: int) -> list[tuple[str, int, str]]:
        """(chrom, pos, ref) of a load's rows, spread over the load, at most so many."""
        with self.postgres.connection() as connection:
            return connection.execute(
                """
                SELECT chrom::text, pos, ref FROM genomics.variants
                WHERE load_batch_id = %s AND variant_type IN ('snp', 'mnp', 'indel')
                ORDER BY hashint8(variant_id) LIMIT %s
                """,
                (load_id, at_most),
            ).fetchall()

    def ratios(self, load_id: UUID) -> tuple[int, int, int, int]:
        """Transitions, transversions, heterozygous and homozygous-ALT calls of a load."""
        with self.postgres.connection() as connection:
            row = connection.execute(
                """
                SELECT coalesce(sum(transitions), 0)::bigint, coalesce(sum(transversions), 0)::bigint,
                       coalesce(sum(het_calls), 0)::bigint, coalesce(sum(hom_alt_calls), 0)::bigint
                FROM genomics.variant_summary WHERE load_batch_id = %s
                """,
                (load_id,),
            ).fetchone()
            assert row is not None  # noqa: S101 - an aggregate always gives one row
            return row[0], row[1], row[2], row[3]

    # -- the dear indexes -----------------------------------------------------------------------------------------

    def build_full_indexes(self, *, concurrently: bool = False, connections: int = 2) -> "list[FullIndex]":
        """Build what is missing of the index set "full"; see `resources.variant_indexes`.

        Args:
            concurrently: build without holding loads up, which takes about twice as long.
            connections: how many partitions are worked on at a time.
        """
        from resources.variant_indexes import build_full_indexes

        return build_full_indexes(self._index_connection, concurrently=concurrently, connections=connections)

    def drop_full_indexes(self) -> int:
        """Drop the index set "full", and say how many indexes there were, counted by partition."""
        from resources.variant_indexes import drop_full_indexes

        return drop_full_indexes(self._index_connection)

    def _index_connection(self) -> "AbstractContextManager[psycopg.Connection[Any]]":
        return self.postgres.connection(autocommit=True, statement_timeout=0)

    def _number(self, query: str, load_id: UUID) -> int:
        with self.postgres.connection() as connection:
            row = connection.execute(query, (load_id,)).fetchone()
            return 0 if row is None else int(row[0])


def _digest(inbox: InboxResource, drop: Drop) -> tuple[str | None, int]:
    """SHA-256 and size of a drop; no hash where it cannot be read any more."""
    try:
        with inbox.local(drop) as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
    except (OSError, InputError, InboxError):
        return None, drop.size


def _at_most(text: str | None, width: int) -> str | None:
    return None if text is None else text[:width]
