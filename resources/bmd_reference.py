"""Platforms and gene sets in Postgres: which probe stands for which genes, which genes belong together; by version.

Other bytes under the same name are a new version. Older ones stay, for results name the version they were made with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

import dagster as dg

from genomics_assets.bmd.experiment import GENERIC_CHIP
from genomics_assets.bmd.reference_files import NewReference
from genomics_assets.drops import DropKind
from genomics_assets.input_error import InputError
from resources.bmd_rows import copy_rows, insert_row, lock, next_id, supersede
from resources.inbox import InboxResource
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

    from genomics_assets.bmd.gene_sets import GeneSets
    from genomics_assets.bmd.platform_annotation import PlatformAnnotation

# A minute, within which a file in the inbox is loaded or refused.
WAITS = 20
SECONDS_BETWEEN_WAITS = 3


@dataclass(frozen=True)
class ReferenceTables:
    """Where one kind of reference is kept, and what people call it."""

    header: LiteralString
    members: LiteralString
    reference: LiteralString
    more: tuple[LiteralString, ...]
    what: str
    folder: str


PLATFORM_TABLES = ReferenceTables(
    "chip_annotations", "chip_probes", "chip_annotation_id", (), "platform", "bmd_platforms"
)
GENE_SET_TABLES = ReferenceTables(
    "gene_sets",
    "gene_set_members",
    "gene_set_id",
    ("category_type",),
    "collection of gene sets",
    "bmd_gene_sets",
)


@dataclass(frozen=True)
class StoredReference:
    """The current version of a platform or of a collection of gene sets; `rows` as in `NewReference`.

    `about` is what a result says of it: id, name, version, sha256, and of gene sets their category_type.
    """

    about: dict[str, Any]
    rows: "pa.Table" = field(repr=False)


class BmdReference(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads and writes platforms and gene sets."""

    postgres: dg.ResourceDependency[PostgresResource]

    def save_platform(self, platform: NewReference) -> tuple[int, bool]:
        """Make a platform's file its current version; returns the version's id and whether it is new."""
        with self.postgres.connection(statement_timeout=0) as connection:
            lock(connection, f"platform {platform.name}")
            known = self._known(connection, PLATFORM_TABLES, platform)
            if known is not None:
                return known, False
            row = connection.execute(
                """
                INSERT INTO bmd.chip_info (chip_id, chip_name, provider, species, geo_id, geo_name)
                VALUES (%(name)s, %(chip_name)s, %(provider)s, %(species)s, %(name)s, %(chip_name)s)
                ON CONFLICT (geo_id) DO UPDATE
                SET chip_name = excluded.chip_name, provider = excluded.provider, species = excluded.species,
                    geo_name = excluded.geo_name
                RETURNING id
                """,
                {"name": platform.name, **platform.about},
            ).fetchone()
            assert row is not None  # noqa: S101 - it was inserted or updated
            columns = {"chip_info_id": row[0], "num_probes": _distinct(platform.rows, "probe_id")}
            return self._insert(connection, PLATFORM_TABLES, platform, columns), True

    def save_gene_sets(self, gene_sets: NewReference) -> tuple[int, bool]:
        """Make a file of gene sets the current version; returns the version's id and whether it is new."""
        with self.postgres.connection(statement_timeout=0) as connection:
            lock(connection, f"gene sets {gene_sets.name}")
            known = self._known(connection, GENE_SET_TABLES, gene_sets)
            if known is not None:
                return known, False
            columns = {
                "name": gene_sets.name,
                "num_categories": _distinct(gene_sets.rows, "category_id"),
                **gene_sets.about,
            }
            return self._insert(connection, GENE_SET_TABLES, gene_sets, columns), True

    def annotation(self, chip: str, probes: Sequence[str]) -> "tuple[PlatformAnnotation, dict[str, Any]]":
        """The current version of a platform, and what a result says of it; of `generic`, that of the probes themselves.

        Raises:
            dagster.Failure: there is none of this name; it says which there are.
        """
        from genomics_assets.bmd.platform_annotation import generic_platform
        from genomics_assets.bmd.reference_files import annotation_of

        if chip == GENERIC_CHIP:
            return generic_platform(probes), {"name": GENERIC_CHIP}
        found = self._current(PLATFORM_TABLES, chip)
        return annotation_of(chip, found.rows), found.about

    def collection(self, name: str | None) -> "tuple[GeneSets | None, dict[str, Any] | None]":
        """The current version of a collection of gene sets, and what a result says of it; None where none is asked for.

        Raises:
            dagster.Failure: there is none of this name; it says which there are.
        """
        from genomics_assets.bmd.reference_files import gene_sets_of

        if name is None:
            return None, None
        found = self._current(GENE_SET_TABLES, name)
        return gene_sets_of(name, found.rows), found.about

    def wait_for(
        self, inbox: InboxResource, tables: ReferenceTables, kind: DropKind, name: str | None
    ) -> None:
        """Let the step be tried again later where a file of this name lies in the inbox, but is not loaded yet.

        A matrix and its platform are often dropped together, and are taken in any order.
        """
        if name in (None, GENERIC_CHIP) or self._is_there(tables, str(name)):
            return
        try:
            inbox.drop(kind, str(name))
        except InputError:
            return
        raise dg.RetryRequested(max_retries=WAITS, seconds_to_wait=SECONDS_BETWEEN_WAITS)

    def _is_there(self, tables: ReferenceTables, name: str) -> bool:
        with self.postgres.connection() as connection:
            return self._header(connection, tables, name) is not None

    def _known(
        self, connection: "psycopg.Connection[Any]", tables: ReferenceTables, new: NewReference
    ) -> int | None:
        header = self._header(connection, tables, new.name)
        more = tuple(new.about[name] for name in tables.more)
        return header[0] if header is not None and header[1:] == (new.version, new.file_hash, *more) else None

    @staticmethod
    def _insert(
        connection: "psycopg.Connection[Any]",
        tables: ReferenceTables,
        new: NewReference,
        columns: dict[str, Any],
    ) -> int:
        new_id = next_id(connection, tables.header)
        supersede(connection, tables.header, new.name)
        header = {
            "id": new_id,
            "partition_key": new.name,
            "version": new.version,
            "file_path": new.file_path,
            "file_hash": new.file_hash,
            "num_genes": _distinct(new.rows, "gene"),
        }
        insert_row(connection, tables.header, header | columns)
        copy_rows(connection, f"bmd.{tables.members}", new.rows, {tables.reference: new_id})
        return new_id

    def _current(self, tables: ReferenceTables, name: str) -> StoredReference:
        from resources.copy_binary import read_table

        with self.postgres.connection() as connection:
            header = self._header(connection, tables, name)
            if header is None:
                raise dg.Failure(
                    f"there is no {tables.what} {name!r} (known: {self._names(connection, tables)}). "
                    f"Remedy: drop its file into the inbox's folder {tables.folder}, or correct the name in the sidecar.",
                    allow_retries=False,
                )
            rows = read_table(connection, f"bmd.{tables.members}", None, {tables.reference: str(header[0])})
        reference_id, version, file_hash, *more = header
        about = {"id": reference_id, "name": name, "version": version, "sha256": file_hash}
        return StoredReference(about | dict(zip(tables.more, more, strict=True)), rows)

    @staticmethod
    def _header(
        connection: "psycopg.Connection[Any]", tables: ReferenceTables, name: str
    ) -> tuple[Any, ...] | None:
        from psycopg import sql

        columns = ("id", "version", "file_hash", *tables.more)
        return connection.execute(
            sql.SQL("SELECT {} FROM bmd.{} WHERE partition_key = %s AND superseded_at IS NULL").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(tables.header)
            ),
            (name,),
        ).fetchone()

    @staticmethod
    def _names(connection: "psycopg.Connection[Any]", tables: ReferenceTables) -> str:
        from psycopg import sql

        rows = connection.execute(
            sql.SQL(
                "SELECT partition_key FROM bmd.{} WHERE superseded_at IS NULL ORDER BY partition_key LIMIT 20"
            ).format(sql.Identifier(tables.header))
        ).fetchall()
        return ", ".join(name for (name,) in rows) or "none"


def _distinct(rows: "pa.Table", column: str) -> int:
    import pyarrow.compute as pc

    return int(pc.count_distinct(rows[column]).as_py())
