"""Annotation sources in Postgres: their registry, the versions they went through, and the annotation of variants.

A version is loaded in one transaction: built beside the last one, checked, applied as a difference, registered. So a
worker that dies leaves nothing behind, and a reader sees either version, whole.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import dagster as dg

from genomics_assets.annotations.field_config import SEED_COLUMNS, SEED_TYPES, SourceField, check_source_name
from genomics_assets.annotations.pictures import Origin
from genomics_assets.annotations.source_load import SourceLoad, check_content, check_likeness
from genomics_assets.annotations.source_records import SourceTally
from genomics_assets.drops import Drop, DropKind
from genomics_assets.input_error import InputError
from resources import annotation_pass, annotation_tables
from resources.annotation_pass import PassReport, RegisteredSource
from resources.annotation_tables import Difference, anno_table, build_table, undo_table
from resources.failures import permanent_failure
from resources.inbox import InboxResource
from resources.postgres import PostgresResource
from resources.postgres_catalogue import PostgresColumn, table_columns

if TYPE_CHECKING:
    import psycopg

ASSEMBLIES = ("GRCh38", "GRCh37", "T2T-CHM13")
_PASS = "annotation pass"  # noqa: S105 - names a lock


@dataclass(frozen=True)
class SourceVersion:
    """A version of a source that was loaded; fields as the columns of `genomics.annotation_versions`."""

    version_id: int
    source: str
    version: str | None
    source_type: str | None
    file_path: str
    content_hash: str | None
    assembly: str | None
    field_config: list[dict[str, Any]]
    rows: int
    present: dict[str, int]
    previous_id: int | None
    restores: int | None

    @property
    def content_of(self) -> int:
        """The version whose rows it holds."""
        return self.restores or self.version_id

    @property
    def fields(self) -> tuple[SourceField, ...]:
        """Its columns."""
        return tuple(
            SourceField(
                entry["field"],
                entry["alias"],
                entry["type"],
                missing=entry.get("missing_value"),
                description=entry.get("description", ""),
                fills=entry.get("fills"),
            )
            for entry in self.field_config
        )


@dataclass(frozen=True)
class Loaded:
    """What became of a version.

    Attributes:
        version: what stands now.
        last: what stood before; None for a first version.
        difference: rows by which they differ.
        held_changes: values of variants in the warehouse that changed.
        tally: what was read; None for a rollback.
        columns: the table's, as the catalogue has them.
    """

    version: SourceVersion
    last: SourceVersion | None
    difference: Difference
    held_changes: int
    tally: SourceTally | None
    columns: list[PostgresColumn]


_VERSION_FIELDS = tuple(f.name for f in fields(SourceVersion))
_VERSION_COLUMNS = (
    "version_id, source, version, source_type, file_path, content_hash, assembly, field_config, rows_loaded, present, "
    "previous_id, restores"
)


class AnnotationWarehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The registry of annotation sources and their tables, in schema `genomics`."""

    postgres: dg.ResourceDependency[PostgresResource]

    # -- one version ------------------------------------------------------------------------------------------------

    @contextmanager
    def taking(self, inbox: InboxResource, kind: DropKind, source: str, run_id: str) -> Iterator[Drop]:
        """The dropped folder of a source; an `InputError` of the block becomes a failed version.

        Raises:
            dagster.Failure: for every `InputError`; it is not retried, for the same bytes would fail again.
        """
        file_path = f"{kind.folder}/{source}"
        try:
            drop = inbox.drop(kind, source)
            file_path = drop.uri
            yield drop
        except InputError as error:
            told = error.in_file(f"{file_path}/{error.file}" if error.file else file_path)
            self.refuse(source, file_path, str(told), run_id)
            raise permanent_failure(told, source) from error

    def refuse(self, source: str, file_path: str, error: str, run_id: str) -> None:
        """Write down a version that could not be taken."""
        with self.postgres.connection() as connection:
            connection.execute(
                """
                INSERT INTO genomics.annotation_versions (source, status, file_path, error_message, run_id, propagated)
                VALUES (%s, 'failed', %s, %s, %s, true)
                """,
                (source[:100], file_path, error, run_id),
            )

    def load(self, load: SourceLoad, run_id: str) -> Loaded | None:
        """Make a version the one that stands; None where it stands already.

        Raises:
            InputError: it cannot be taken; the last version stands.
            BusyTableError: a change of columns could not get the table for itself.
        """
        check_source_name(load.name)
        with self.postgres.connection(statement_timeout=0) as connection:
            self._lock(connection, f"source {load.name}")
            last = self._current(connection, load.name)
            if last is not None and last.content_hash == load.content_hash:
                return None
            self._check_assembly(connection, load, last)
            version_id = self._next_id(connection)
            build = build_table(version_id)
            repeated = annotation_tables.fill_build(connection, build, load.fields, load.batches)
            tally = load.tally()
            tally.reject("duplicate_key", repeated)
            rows = tally.rows - repeated
            check_content(load, rows, None if last is None else last.present)
            if last is None or not annotation_tables.exists(connection, anno_table(load.name)):
                difference, before = self._first(connection, load.name, build, rows), None
            else:
                before = [c.name for c in annotation_tables.value_columns(connection, anno_table(load.name))]
                difference = self._replace(connection, load, last, version_id, rows)
            version = self._register(connection, load, version_id, last, rows, difference, run_id)
            return self._finish(connection, version, last, difference, before, tally)

    def rollback(self, source: str, run_id: str) -> Loaded:
        """Bring back the version before the one that stands.

        Raises:
            InputError: there is none, or retention has dropped it.
            BusyTableError: a change of columns could not get the table for itself.
        """
        check_source_name(source)
        with self.postgres.connection(statement_timeout=0) as connection:
            self._lock(connection, f"source {source}")
            last = self._current(connection, source)
            content = None if last is None else self._version(connection, last.content_of)
            before = (
                None
                if content is None or content.previous_id is None
                else self._version(connection, content.previous_id)
            )
            if last is None or content is None or before is None:
                raise InputError(
                    f"source {source!r} has no version before the one that stands",
                    remedy="drop the file of the version that is wanted",
                )
            before = self._version(connection, before.content_of) or before
            values = undo_table(content.version_id)
            if not annotation_tables.exists(connection, values):
                raise InputError(
                    f"version {before.version or before.version_id} of {source!r} is no longer kept",
                    remedy="drop its file again; `keep_days` of the maintenance job decides how long it is kept",
                )
            version_id = self._next_id(connection)
            table = anno_table(source)
            columns = [c.name for c in annotation_tables.value_columns(connection, table)]
            undo = undo_table(version_id)
            difference = annotation_tables.keep_reverse(connection, undo, table, values)
            annotation_tables.fit_columns(
                connection, table, before.fields, lambda: annotation_pass.drop_view(connection)
            )
            annotation_tables.apply_difference(
                connection, table, undo, values, [f.alias for f in before.fields]
            )
            version = self._restore(connection, version_id, last, before, difference, run_id)
            return self._finish(connection, version, last, difference, columns, None)

    def _first(self, connection: "psycopg.Connection[Any]", source: str, build: str, rows: int) -> Difference:
        annotation_tables.adopt_build(connection, build, anno_table(source))
        connection.execute(f"ANALYZE {anno_table(source)}")
        return Difference(rows, 0, 0)

    def _replace(
        self,
        connection: "psycopg.Connection[Any]",
        load: SourceLoad,
        last: SourceVersion,
        version_id: int,
        rows: int,
    ) -> Difference:
        table, build, undo = anno_table(load.name), build_table(version_id), undo_table(version_id)
        connection.execute(f"ANALYZE {build}")
        difference = annotation_tables.keep_difference(connection, undo, table, build, load.fields)
        check_likeness(load, rows=rows, last_rows=last.rows, removed=difference.removed)
        annotation_tables.fit_columns(
            connection, table, load.fields, lambda: annotation_pass.drop_view(connection)
        )
        annotation_tables.apply_difference(connection, table, undo, build, [f.alias for f in load.fields])
        annotation_tables.drop_table(connection, build)
        return difference

    def _finish(
        self,
        connection: "psycopg.Connection[Any]",
        version: SourceVersion,
        last: SourceVersion | None,
        difference: Difference,
        columns_before: Sequence[str] | None,
        tally: SourceTally | None,
    ) -> Loaded:
        table = anno_table(version.source)
        changes = 0
        if last is not None and columns_before is not None:
            changes = annotation_tables.report_changes(
                connection,
                undo=undo_table(version.version_id),
                table=table,
                columns_before=columns_before,
                version_id=version.version_id,
                source=version.source,
                old_version=last.version,
                new_version=version.version,
            )
        if columns_before is None or list(columns_before) != [f.alias for f in version.fields]:
            annotation_pass.make_view(connection, lambda: self._sources(connection))
        return Loaded(version, last, difference, changes, tally, table_columns(connection, table))

    # -- the registry -------------------------------------------------------------------------------------------------

    def _register(
        self,
        connection: "psycopg.Connection[Any]",
        load: SourceLoad,
        version_id: int,
        last: SourceVersion | None,
        rows: int,
        difference: Difference,
        run_id: str,
    ) -> SourceVersion:
        tally = load.tally()
        config = [field.as_json() for field in load.fields]
        self._close(connection, last, "replaced")
        connection.execute(
            """
            INSERT INTO genomics.annotation_versions (
                version_id, source, version, source_type, status, previous_id, file_path, content_hash, assembly,
                field_config, alleles_in_file, rows_loaded, rows_added, rows_changed, rows_removed, rejected, noted,
                present, run_id)
            VALUES (%s, %s, %s, %s, 'current', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            (
                version_id,
                load.name,
                load.version,
                load.type,
                None if last is None else last.version_id,
                load.file_path,
                load.content_hash,
                load.assembly,
                json.dumps(config),
                tally.alleles,
                rows,
                difference.added,
                difference.changed,
                difference.removed,
                json.dumps(tally.rejected),
                json.dumps(tally.noted),
                json.dumps(tally.present),
                run_id,
            ),
        )
        return self._point(connection, version_id)

    def _restore(
        self,
        connection: "psycopg.Connection[Any]",
        version_id: int,
        last: SourceVersion,
        before: SourceVersion,
        difference: Difference,
        run_id: str,
    ) -> SourceVersion:
        self._close(connection, last, "rolled_back")
        connection.execute(
            """
            INSERT INTO genomics.annotation_versions (
                version_id, source, version, source_type, status, previous_id, restores, file_path, content_hash,
                assembly, field_config, alleles_in_file, rows_loaded, rows_added, rows_changed, rows_removed, rejected,
                noted, present, run_id)
            SELECT %s, source, version, source_type, 'current', %s, version_id, file_path, content_hash,
                   assembly, field_config, alleles_in_file, rows_loaded, %s, %s, %s, rejected, noted, present, %s
            FROM genomics.annotation_versions WHERE version_id = %s
            """,
            (
                version_id,
                last.version_id,
                difference.added,
                difference.changed,
                difference.removed,
                run_id,
                before.version_id,
            ),
        )
        return self._point(connection, version_id)

    def _close(self, connection: "psycopg.Connection[Any]", last: SourceVersion | None, status: str) -> None:
        if last is not None:
            connection.execute(
                "UPDATE genomics.annotation_versions SET status = %s WHERE version_id = %s",
                (status, last.version_id),
            )

    def _point(self, connection: "psycopg.Connection[Any]", version_id: int) -> SourceVersion:
        connection.execute(
            """
            INSERT INTO genomics.annotation_sources
                (name, source_type, version, vcf_path, field_config, loaded_at, variant_count, version_id, assembly)
            SELECT source, source_type, version, file_path, field_config, loaded_at, rows_loaded, version_id, assembly
            FROM genomics.annotation_versions WHERE version_id = %s
            ON CONFLICT (name) DO UPDATE
            SET source_type = excluded.source_type, version = excluded.version, vcf_path = excluded.vcf_path,
                field_config = excluded.field_config, loaded_at = excluded.loaded_at,
                variant_count = excluded.variant_count, version_id = excluded.version_id, assembly = excluded.assembly
            """,
            (version_id,),
        )
        version = self._version(connection, version_id)
        assert version is not None  # noqa: S101 - it was written just now
        return version

    def sources(self) -> list[RegisteredSource]:
        """Every registered source, in the order of registration."""
        with self.postgres.connection() as connection:
            return self._sources(connection)

    def filled_columns(self) -> list[PostgresColumn]:
        """The columns of `genomics.variants` that sources fill."""
        with self.postgres.connection() as connection:
            columns = table_columns(connection, "genomics.variants")
        return [column for column in columns if column.name in SEED_COLUMNS]

    def current(self, source: str) -> SourceVersion | None:
        """The version of a source that stands."""
        with self.postgres.connection() as connection:
            return self._current(connection, source)

    def expect_current(self, source: str) -> SourceVersion:
        """The version of a source that stands.

        Raises:
            dagster.Failure: when there is none.
        """
        version = self.current(source)
        if version is None:
            raise dg.Failure(
                f"source {source!r} has no version. Remedy: materialize that partition of "
                "annotations/annotation_source first.",
                allow_retries=False,
            )
        return version

    def version(self, version_id: int) -> SourceVersion | None:
        """A version by its number."""
        with self.postgres.connection() as connection:
            return self._version(connection, version_id)

    def _sources(self, connection: "psycopg.Connection[Any]") -> list[RegisteredSource]:
        rows = connection.execute(
            """
            SELECT source_id, name, source_type, version, version_id, variant_count, field_config
            FROM genomics.annotation_sources WHERE version_id IS NOT NULL ORDER BY source_id
            """
        ).fetchall()
        return [
            RegisteredSource(
                source_id,
                name,
                kind,
                version,
                version_id,
                count,
                tuple(entry["alias"] for entry in config),
                {entry["fills"]: entry["alias"] for entry in config if entry.get("fills") in SEED_TYPES},
            )
            for source_id, name, kind, version, version_id, count, config in rows
        ]

    def _current(self, connection: "psycopg.Connection[Any]", source: str) -> SourceVersion | None:
        return self._one(connection, "source = %s AND status = 'current'", source)

    def _version(self, connection: "psycopg.Connection[Any]", version_id: int) -> SourceVersion | None:
        return self._one(connection, "version_id = %s", version_id)

    @staticmethod
    def _one(connection: "psycopg.Connection[Any]", where: str, value: object) -> SourceVersion | None:
        row = connection.execute(
            f"SELECT {_VERSION_COLUMNS} FROM genomics.annotation_versions WHERE {where}",  # noqa: S608
            (value,),
        ).fetchone()
        if row is None:
            return None
        *head, config, rows, present, previous, restores = row
        values = (*head, config or [], rows or 0, present or {}, previous, restores)
        return SourceVersion(**dict(zip(_VERSION_FIELDS, values, strict=True)))

    @staticmethod
    def _next_id(connection: "psycopg.Connection[Any]") -> int:
        row = connection.execute(
            "SELECT nextval(pg_get_serial_sequence('genomics.annotation_versions', 'version_id'))"
        ).fetchone()
        assert row is not None  # noqa: S101 - a sequence gives a number
        return int(row[0])

    @staticmethod
    def _lock(connection: "psycopg.Connection[Any]", what: str) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 3))", (what,))

    @staticmethod
    def _check_assembly(
        connection: "psycopg.Connection[Any]", load: SourceLoad, last: SourceVersion | None
    ) -> None:
        """Refuse a source of an assembly that none of the warehouse's variants has."""
        if load.assembly is None:
            return
        if last is not None and last.assembly not in (None, load.assembly):
            raise InputError(
                f"it is of {load.assembly}, the last version of {last.assembly}",
                remedy=f"drop a release for {last.assembly}, or use another folder for this one",
            )
        known = [
            row[0]
            for row in connection.execute(
                """
                SELECT DISTINCT reference_genome FROM genomics.variant_load_audit
                WHERE status = 'completed' AND superseded_by IS NULL AND reference_genome <> 'unknown'
                """
            ).fetchall()
        ]
        # A sidecar may call the assembly as it likes; only names that headers are told by can be compared.
        known = [name for name in known if name in ASSEMBLIES]
        if known and load.assembly not in known:
            raise InputError(
                f"it is of {load.assembly}, the variants in the warehouse are of {', '.join(sorted(known))}",
                remedy="drop the release for that assembly: positions of one say nothing in the other",
            )

    # -- annotating variants -------------------------------------------------------------------------------------

    def annotate(self, *, everything: bool = False) -> PassReport:
        """Do all that waits: loads that were never annotated, and versions that are not shown yet.

        Args:
            everything: look at each variant of each load anew.
        """
        with self.postgres.connection(statement_timeout=0) as connection:
            self._lock(connection, _PASS)
            if everything:
                connection.execute("DELETE FROM genomics.annotated_loads")
            sources = self._sources(connection)
            loads = [
                row[0]
                for row in connection.execute(
                    """
                    SELECT DISTINCT load_batch_id FROM genomics.current_loads AS c
                    WHERE NOT EXISTS (
                        SELECT FROM genomics.annotated_loads AS a WHERE a.load_batch_id = c.load_batch_id)
                    """
                ).fetchall()
            ]
            versions = connection.execute(
                """
                SELECT version_id, source FROM genomics.annotation_versions
                WHERE NOT propagated AND status <> 'failed' ORDER BY version_id
                """
            ).fetchall()
            annotation_pass.fill_targets(connection, sources, loads)
            for version_id, source in versions:
                undo = undo_table(version_id)
                # A first version has changed nothing: all of its keys are new.
                keys = undo if annotation_tables.exists(connection, undo) else anno_table(source)
                annotation_pass.add_targets_of_version(connection, sources, keys, loads)
            updated, by_column = annotation_pass.update_variants(connection)
            looked_at = self._settle(connection, loads, [version_id for version_id, _ in versions])
            if not annotation_tables.exists(connection, annotation_pass.VIEW):
                annotation_pass.make_view(connection, lambda: self._sources(connection))
            return PassReport(len(loads), looked_at, tuple(v for v, _ in versions), updated, by_column)

    @staticmethod
    def _settle(connection: "psycopg.Connection[Any]", loads: Sequence[Any], versions: Sequence[int]) -> int:
        connection.execute(
            "INSERT INTO genomics.annotated_loads (load_batch_id) SELECT unnest(%s::uuid[]) ON CONFLICT DO NOTHING",
            (list(loads),),
        )
        connection.execute(
            """
            DELETE FROM genomics.annotated_loads AS a
            WHERE NOT EXISTS (SELECT FROM genomics.current_loads AS c WHERE c.load_batch_id = a.load_batch_id)
            """
        )
        connection.execute(
            "UPDATE genomics.annotation_versions SET propagated = true WHERE version_id = ANY(%s)",
            (list(versions),),
        )
        row = connection.execute(
            "SELECT coalesce(sum(variants_loaded), 0)::bigint FROM genomics.variant_load_audit "
            "WHERE load_batch_id = ANY(%s)",
            (list(loads),),
        ).fetchone()
        return 0 if row is None else int(row[0])

    def changes(self, versions: Sequence[int]) -> list[tuple[str, str | None, str | None, str, int]]:
        """What versions changed for variants that were held: source, old and new version, column, variants."""
        with self.postgres.connection() as connection:
            return connection.execute(
                """
                SELECT source, old_version, new_version, column_name, count(*) FROM genomics.annotation_changes
                WHERE version_id = ANY(%s) GROUP BY version_id, 1, 2, 3, 4 ORDER BY version_id, 4
                """,
                (list(versions),),
            ).fetchall()

    def reclassified(
        self, versions: Sequence[int], fills: str, at_most: int = 30
    ) -> list[tuple[str | None, str | None, int]]:
        """Old value, new value and variants, of the column that fills one of `genomics.variants`; most first."""
        columns = [source.fills[fills] for source in self.sources() if fills in source.fills]
        with self.postgres.connection() as connection:
            return connection.execute(
                """
                SELECT old_value, new_value, count(*) FROM genomics.annotation_changes
                WHERE version_id = ANY(%s) AND column_name = ANY(%s)
                GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %s
                """,
                (list(versions), columns, at_most),
            ).fetchall()

    # -- what checks ask -----------------------------------------------------------------------------------------------

    def preview(self, source: str, at_most: int = 5) -> list[dict[str, Any]]:
        """A few rows of a source's table."""
        from psycopg import sql
        from psycopg.rows import dict_row

        with self.postgres.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            query = sql.SQL("SELECT * FROM {} LIMIT %s").format(
                annotation_tables.name_of(anno_table(check_source_name(source)))
            )
            return cursor.execute(query, (at_most,)).fetchall()

    def has_primary_key(self, source: str) -> bool:
        """Whether the source's table has a primary key on (chrom, pos, ref, alt)."""
        with self.postgres.connection() as connection:
            row = connection.execute(
                """
                SELECT array_agg(a.attname::text ORDER BY a.attnum) = ARRAY['chrom', 'pos', 'ref', 'alt']
                FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
                WHERE i.indrelid = to_regclass(%s) AND i.indisprimary
                """,
                (anno_table(check_source_name(source)),),
            ).fetchone()
            return bool(row and row[0])

    def count_rows(self, source: str) -> int:
        """Rows of a source's table."""
        return self._number("SELECT count(*) FROM {}", source)

    def count_outside_unit(self, source: str, alias: str, missing: object) -> int:
        """Rows whose frequency is below 0 or above 1; the value that stands for a missing one is none."""
        from psycopg import sql

        condition = sql.SQL("SELECT count(*) FROM {{}} WHERE NOT ({0} BETWEEN 0 AND 1){1}").format(
            sql.Identifier(alias),
            sql.SQL("")
            if missing is None
            else sql.SQL(" AND {} <> {}").format(sql.Identifier(alias), sql.Literal(missing)),
        )
        with self.postgres.connection() as connection:
            return self._number(condition.as_string(connection), source)

    def reference_alleles(self, source: str, at_most: int) -> list[tuple[str, int, str]]:
        """(chrom, pos, ref) of rows spread over a source's table, at most so many."""
        from psycopg import sql

        with self.postgres.connection() as connection:
            return connection.execute(
                sql.SQL(
                    "SELECT chrom::text, pos, ref FROM {} WHERE alt ~ '^[A-Z]+$' ORDER BY hashint8(pos) LIMIT %s"
                ).format(annotation_tables.name_of(anno_table(check_source_name(source)))),
                (at_most,),
            ).fetchall()

    def held(self, source: str) -> tuple[int, int]:
        """Distinct variants of the warehouse, and how many of them the source knows."""
        from psycopg import sql

        with self.postgres.connection() as connection:
            row = connection.execute(
                sql.SQL(
                    """
                    SELECT count(*), count(a.chrom)
                    FROM (SELECT DISTINCT chrom, pos, ref, alt FROM genomics.variants) AS v LEFT JOIN {} AS a ON {}
                    """
                ).format(
                    annotation_tables.name_of(anno_table(check_source_name(source))),
                    annotation_tables.same_key("a", "v"),
                )
            ).fetchone()
            return (0, 0) if row is None else (row[0], row[1])

    def _number(self, query: str, source: str) -> int:
        from psycopg import sql

        table = annotation_tables.name_of(anno_table(check_source_name(source)))
        with self.postgres.connection() as connection:
            row = connection.execute(sql.SQL(query).format(table)).fetchone()
            return 0 if row is None else int(row[0])

    # -- housekeeping ----------------------------------------------------------------------------------------------

    def sweep(self, keep_days: int) -> int:
        """Drop what is kept for rollbacks to versions that were replaced more than `keep_days` ago; says how many."""
        dropped = 0
        with self.postgres.connection() as connection:
            old = connection.execute(
                """
                SELECT version_id FROM genomics.annotation_versions
                WHERE propagated AND status <> 'failed' AND loaded_at < now() - make_interval(days => %s)
                """,
                (keep_days,),
            ).fetchall()
            for (version_id,) in old:
                if annotation_tables.exists(connection, undo_table(version_id)):
                    annotation_tables.drop_table(connection, undo_table(version_id))
                    dropped += 1
        return dropped


def origins(sources: Sequence[RegisteredSource]) -> dict[str, list[Origin]]:
    """By column of `genomics.variants` the columns of sources that fill it, first the one that goes first."""
    return {
        column: [
            Origin(source.name, source.version or "", source.fills[column])
            for source in sources
            if column in source.fills
        ]
        for column in SEED_COLUMNS
    }


def filled_columns_lineage(filled_by: Mapping[str, Sequence[Origin]]) -> dg.TableColumnLineage:
    """Columns of `genomics.variants` by the columns of sources that fill them, as `origins` has them, and by their own."""
    source_asset = dg.AssetKey(["annotations", "annotation_source"])
    variants = dg.AssetKey(["variants", "variants"])
    return dg.TableColumnLineage(
        {
            column: [
                *(
                    dg.TableColumnDep(asset_key=source_asset, column_name=alias)
                    for alias in dict.fromkeys(origin.column for origin in found)
                ),
                dg.TableColumnDep(asset_key=variants, column_name=column),
            ]
            for column, found in filled_by.items()
        }
    )
