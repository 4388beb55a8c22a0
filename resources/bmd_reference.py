"""Platforms and gene sets in Postgres: which probe stands for which genes, which genes belong together; by version.

Other bytes under the same name are a new version. Older ones stay, for results name the version they were made with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

import dagster as dg

from resources.bmd_rows import copy_rows, insert_row, lock, next_id, supersede
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa


@dataclass(frozen=True)
class NewReference:
    """A platform or a collection of gene sets as it was dropped.

    Attributes:
        name: its partition; what a sidecar names it by.
        version: as its own sidecar says, if it does.
        file_path: where the file lay.
        file_hash: SHA-256 of its bytes.
        about: further columns of its header row.
        rows: probe_id, gene and symbol of a platform; category_id, category_name, gene and level of gene sets.
    """

    name: str
    version: str | None
    file_path: str
    file_hash: str
    about: Mapping[str, Any]
    rows: "pa.Table" = field(repr=False)


@dataclass(frozen=True)
class StoredReference:
    """The current version of a platform or of a collection of gene sets; `rows` as in `NewReference`."""

    id: int
    name: str
    version: str | None
    file_hash: str
    rows: "pa.Table" = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"id": self.id, "name": self.name, "version": self.version, "sha256": self.file_hash}


class BmdReference(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads and writes platforms and gene sets."""

    postgres: dg.ResourceDependency[PostgresResource]

    def save_platform(self, platform: NewReference) -> tuple[int, bool]:
        """Make a platform's file its current version; returns the version's id and whether it is new."""
        with self.postgres.connection(statement_timeout=0) as connection:
            lock(connection, f"platform {platform.name}")
            known = self._known(connection, "chip_annotations", platform)
            if known is not None:
                return known, False
            chip = {
                "geo_id": platform.name,
                "chip_id": platform.name,
                "chip_name": platform.name,
                **platform.about,
            }
            connection.execute(
                """
                INSERT INTO bmd.chip_info (chip_id, chip_name, provider, species, geo_id, geo_name)
                VALUES (%(chip_id)s, %(chip_name)s, %(provider)s, %(species)s, %(geo_id)s, %(chip_name)s)
                ON CONFLICT (geo_id) DO UPDATE
                SET chip_name = excluded.chip_name, provider = excluded.provider, species = excluded.species,
                    geo_name = excluded.geo_name
                """,
                {"provider": None, "species": None, **chip},
            )
            row = connection.execute(
                "SELECT id FROM bmd.chip_info WHERE geo_id = %s", (platform.name,)
            ).fetchone()
            assert row is not None  # noqa: S101 - it was just inserted
            header = {
                "chip_info_id": row[0],
                "num_probes": _distinct(platform.rows, "probe_id"),
                "num_genes": _distinct(platform.rows, "gene"),
            }
            return self._insert(
                connection, "chip_annotations", "chip_probes", "chip_annotation_id", platform, header
            ), True

    def save_gene_sets(self, gene_sets: NewReference) -> tuple[int, bool]:
        """Make a file of gene sets the current version; returns the version's id and whether it is new."""
        with self.postgres.connection(statement_timeout=0) as connection:
            lock(connection, f"gene sets {gene_sets.name}")
            known = self._known(connection, "gene_sets", gene_sets)
            if known is not None:
                return known, False
            header = {
                "name": gene_sets.name,
                **gene_sets.about,
                "num_categories": _distinct(gene_sets.rows, "category_id"),
                "num_genes": _distinct(gene_sets.rows, "gene"),
            }
            return self._insert(
                connection, "gene_sets", "gene_set_members", "gene_set_id", gene_sets, header
            ), True

    def platform(self, name: str) -> StoredReference:
        """The current version of a platform.

        Raises:
            dagster.Failure: there is none of this name; it says which there are.
        """
        return self._current(
            "chip_annotations", "chip_probes", "chip_annotation_id", name, "platform", "bmd_platforms"
        )

    def gene_sets(self, name: str) -> StoredReference:
        """The current version of a collection of gene sets.

        Raises:
            dagster.Failure: there is none of this name; it says which there are.
        """
        return self._current(
            "gene_sets", "gene_set_members", "gene_set_id", name, "collection of gene sets", "bmd_gene_sets"
        )

    def has(self, kind: str, name: str) -> bool:
        """Whether there is a platform (`kind` bmd_platforms) or a collection of gene sets (bmd_gene_sets)."""
        table: LiteralString = "chip_annotations" if kind == "bmd_platforms" else "gene_sets"
        with self.postgres.connection() as connection:
            return self._header(connection, table, name) is not None

    def _known(
        self, connection: "psycopg.Connection[Any]", table: LiteralString, new: NewReference
    ) -> int | None:
        header = self._header(connection, table, new.name)
        return header[0] if header is not None and header[1:] == (new.version, new.file_hash) else None

    def _insert(
        self,
        connection: "psycopg.Connection[Any]",
        table: LiteralString,
        members: str,
        reference: str,
        new: NewReference,
        header: Mapping[str, Any],
    ) -> int:
        new_id = next_id(connection, table)
        supersede(connection, table, new.name)
        columns = {
            "id": new_id,
            "partition_key": new.name,
            "version": new.version,
            "file_path": new.file_path,
            "file_hash": new.file_hash,
            **header,
        }
        insert_row(connection, table, columns)
        copy_rows(connection, f"bmd.{members}", new.rows, {reference: new_id})
        return new_id

    def _current(
        self, table: LiteralString, members: str, reference: str, name: str, what: str, folder: str
    ) -> StoredReference:
        from resources.copy_binary import read_table

        with self.postgres.connection() as connection:
            header = self._header(connection, table, name)
            if header is None:
                raise dg.Failure(
                    f"there is no {what} {name!r} (known: {self._names(connection, table)}). "
                    f"Remedy: drop its file into the inbox's folder {folder}, or correct the name in the sidecar.",
                    allow_retries=False,
                )
            rows = read_table(connection, f"bmd.{members}", None, {reference: str(header[0])})
        return StoredReference(header[0], name, header[1], header[2], rows.drop_columns([reference]))

    @staticmethod
    def _header(
        connection: "psycopg.Connection[Any]", table: LiteralString, name: str
    ) -> tuple[Any, ...] | None:
        from psycopg import sql

        return connection.execute(
            sql.SQL(
                "SELECT id, version, file_hash FROM bmd.{} WHERE partition_key = %s AND superseded_at IS NULL"
            ).format(sql.Identifier(table)),
            (name,),
        ).fetchone()

    @staticmethod
    def _names(connection: "psycopg.Connection[Any]", table: LiteralString) -> str:
        from psycopg import sql

        rows = connection.execute(
            sql.SQL(
                "SELECT partition_key FROM bmd.{} WHERE superseded_at IS NULL ORDER BY partition_key LIMIT 20"
            ).format(sql.Identifier(table))
        ).fetchall()
        return ", ".join(name for (name,) in rows) or "none"


def _distinct(rows: "pa.Table", column: str) -> int:
    import pyarrow.compute as pc

    return int(pc.count_distinct(rows[column]).as_py())
