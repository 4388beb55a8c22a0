"""The statements behind a filtered cohort: which columns there are, and what is asked of the server.

Names of columns and tables are quoted as identifiers and values are parameters; no text of an expression is part of a
statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from genomics_assets.annotations.cohort import VARIANT_COLUMNS, CohortRequest, Region
from genomics_assets.annotations.filter_expression import VARIANTS, Column, Expression, Kind
from genomics_assets.annotations.filter_sql import Parameter, sql_pieces
from genomics_assets.input_error import InputError
from genomics_assets.variants.summary import chromosome_order
from resources.postgres_catalogue import PostgresColumn, PostgresType, table_columns

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

# Where a row comes from; beside the columns that expressions may name, in Parquet and CSV alone.
PROVENANCE = ("sample_id", "load_batch_id")

_KEY = ("chrom", "pos", "ref", "alt")
_KINDS: dict[str, Kind] = {
    "text": "text", "varchar": "text", "int2": "integer", "int4": "integer", "int8": "integer", "float4": "real",
    "float8": "double", "bool": "boolean",
}  # fmt: skip
_TEXT = PostgresType(25, "text")


@dataclass(frozen=True)
class Catalogue:
    """What a cohort can be made of.

    Attributes:
        held: how the server holds each column that an expression may name, in the order of the files.
        provenance: how it holds `PROVENANCE`.
        versions: of the annotation sources, by name.
    """

    held: dict[Column, PostgresColumn]
    provenance: tuple[PostgresColumn, ...]
    versions: dict[str, str | None] = field(default_factory=dict)

    def output(self) -> list[PostgresColumn]:
        """The columns of what `CohortQuery.rows` asks for, under their labels."""
        return [replace(held, name=column.label) for column, held in self.held.items()] + [*self.provenance]


@dataclass(frozen=True)
class Statement:
    """A statement and its parameters, in order."""

    text: sql.Composed
    values: tuple[Any, ...]


def source_table(name: str) -> sql.Identifier:
    """The table of an annotation source, quoted."""
    from psycopg import sql

    return sql.Identifier("genomics", f"anno_{name}")


def source_names(connection: psycopg.Connection[Any]) -> list[str]:
    """Registered annotation sources that have a table."""
    rows = connection.execute(
        """
        SELECT name FROM genomics.annotation_sources
        WHERE to_regclass(format('genomics.%I', 'anno_' || name)) IS NOT NULL ORDER BY name
        """
    )
    return [name for (name,) in rows]


def read_catalogue(connection: psycopg.Connection[Any], sources: Sequence[str]) -> Catalogue:
    """The columns of the variants and of the given sources, and the sources' versions."""
    own = {column.name: column for column in table_columns(connection, "genomics.variants")}
    held = {column: own[column.name] for column in VARIANT_COLUMNS}
    for column in held:
        if column.name == "filter":
            held[column] = PostgresColumn("filter", "text", "text", _TEXT)
    catalogue = Catalogue(held, tuple(own[name] for name in PROVENANCE))
    rows = connection.execute(
        "SELECT name, version, field_config FROM genomics.annotation_sources WHERE name = ANY(%s) ORDER BY name",
        (list(sources),),
    )
    for name, version, fields in rows.fetchall():
        catalogue.versions[name] = version
        catalogue.held.update(_columns_of(connection, name, fields))
    return catalogue


def _columns_of(
    connection: psycopg.Connection[Any], source: str, fields: Sequence[dict[str, Any]]
) -> dict[Column, PostgresColumn]:
    """What the registry tells of a source's columns, with the types of its table."""
    told = {str(entry["alias"]): str(entry.get("description") or "") for entry in fields}
    return {
        Column(source, held.name, _KINDS[held.type.name], told[held.name]): held
        for held in table_columns(connection, f"genomics.anno_{source}")
        if held.name in told and held.type.name in _KINDS
    }


@dataclass(frozen=True)
class CohortQuery:
    """One cohort's statements.

    Args:
        catalogue: of the database, read in the snapshot that the statements run in.
        request: what is asked for.
        expression: of the request.
        sample_ids: of `request.samples`.
    """

    catalogue: Catalogue
    request: CohortRequest
    expression: Expression
    sample_ids: tuple[int, ...] = ()

    def counts(self) -> Statement:
        """How many variants are considered, and for how many the expression is unknown."""
        from psycopg import sql

        condition, values = self._condition()
        origin, origin_values = self._origin()
        text = sql.SQL("SELECT count(*), count(*) FILTER (WHERE ({}) IS NULL) FROM {}").format(
            condition, origin
        )
        return Statement(text, (*values, *origin_values))

    def rows(self, contigs: Sequence[str]) -> Statement:
        """The variants of the cohort, by contig in the order that is given, then by position and alleles."""
        from psycopg import sql

        condition, values = self._condition()
        origin, origin_values = self._origin()
        selected: list[sql.Composable] = [
            sql.SQL("{} AS {}").format(self._identifier(column), sql.Identifier(column.label))
            for column in self.catalogue.held
        ]
        selected += [sql.Identifier("v", name) for name in PROVENANCE]
        text = sql.SQL(
            "SELECT {} FROM {} AND {} ORDER BY array_position(%s::text[], v.chrom::text), v.chrom, v.pos, v.ref, v.alt, "
            "v.variant_id"
        ).format(sql.SQL(", ").join(selected), origin, condition)
        return Statement(text, (*origin_values, *values, list(contigs)))

    def _origin(self) -> tuple[sql.Composable, list[Any]]:
        """Variants of current loads with what the sources say of them, regions and samples applied."""
        from psycopg import sql

        joins = [
            sql.SQL(" LEFT JOIN {} AS {} ON {}").format(
                source_table(name),
                sql.Identifier(f"anno_{name}"),
                sql.SQL(" AND ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(f"anno_{name}", key), sql.Identifier("v", key))
                    for key in _KEY
                ),
            )
            for name in self.catalogue.versions
        ]
        text = sql.SQL(
            "genomics.variants AS v{} WHERE v.load_batch_id IN (SELECT load_batch_id FROM genomics.current_loads)"
        ).format(sql.SQL("").join(joins))
        values: list[Any] = []
        for clause, parameters in (self._regions(), self._carriers()):
            if parameters:
                text += sql.SQL(" AND (") + clause + sql.SQL(")")
                values += parameters
        return text, values

    def _regions(self) -> tuple[sql.Composable, list[Any]]:
        from psycopg import sql

        clauses: list[sql.Composable] = []
        values: list[Any] = []
        for region in self.request.regions:
            clause, parameters = _overlap(region)
            clauses.append(clause)
            values += parameters
        return sql.SQL(" OR ").join(clauses), values

    def _carriers(self) -> tuple[sql.Composable, list[Any]]:
        """One of the samples has ALT; in a file without genotypes, the file is that sample's."""
        from psycopg import sql

        if not self.request.samples:
            return sql.SQL(""), []
        clause = sql.SQL(
            """EXISTS (
            SELECT FROM genomics.genotypes AS g JOIN genomics.load_samples AS l USING (load_batch_id)
            WHERE g.load_batch_id = v.load_batch_id AND g.chrom = v.chrom AND g.pos = v.pos AND g.ref = v.ref
              AND g.alt = v.alt AND l.sample_id = ANY (%s::integer[]) AND get_byte(g.gt, l.ordinal) & 7 > 0)
            OR v.call_rate IS NULL AND v.sample_id = ANY (%s::text[])"""
        )
        return clause, [list(self.sample_ids), list(self.request.samples)]

    def _condition(self) -> tuple[sql.Composable, list[Any]]:
        from psycopg import sql

        parts: list[sql.Composable] = []
        values: list[Any] = []
        for piece in sql_pieces(self.expression):
            if isinstance(piece, str):
                # One of filter_sql.SQL_WORDS.
                parts.append(sql.SQL(cast(Any, piece)))
            elif isinstance(piece, Parameter):
                is_list = isinstance(piece.value, tuple)
                parts.append(sql.SQL(cast(Any, f"%s::{piece.type}{'[]' if is_list else ''}")))
                values.append(list(piece.value) if isinstance(piece.value, tuple) else piece.value)
            else:
                parts.append(self._identifier(piece))
        return sql.Composed(parts), values

    @staticmethod
    def _identifier(column: Column) -> sql.Composable:
        from psycopg import sql

        if column.source != VARIANTS:
            return sql.Identifier(f"anno_{column.source}", column.name)
        identifier = sql.Identifier("v", column.name)
        if column.name == "filter":
            return sql.SQL("array_to_string({}, ';')").format(identifier)
        return identifier


def _overlap(region: Region) -> tuple[sql.Composable, list[Any]]:
    """By the standard indexes, as `genomics.variants_overlapping` does it."""
    from psycopg import sql

    if region.first is None:
        return sql.SQL("v.chrom = %s::text"), [region.contig]
    clause = sql.SQL(
        "v.chrom = %s::text AND v.pos_range && int8range(%s::bigint, %s::bigint, '[]') "
        "AND (v.end_pos - v.pos >= 1000 OR v.pos BETWEEN %s::bigint - 999 AND %s::bigint)"
    )
    return clause, [region.contig, region.first, region.last, region.first, region.last]


def sample_ids(connection: psycopg.Connection[Any], names: Sequence[str]) -> tuple[int, ...]:
    """Numbers of samples.

    Raises:
        InputError: one is unknown; it is not named, for samples are people.
    """
    wanted = set(names)
    rows = connection.execute(
        "SELECT sample_id FROM genomics.samples WHERE external_id = ANY(%s) ORDER BY 1", (sorted(wanted),)
    ).fetchall()
    if len(rows) < len(wanted):
        raise InputError(
            f"{len(wanted) - len(rows)} of the {len(wanted)} samples that are asked for are unknown",
            remedy="compare the names with genomics.samples.external_id",
        )
    return tuple(number for (number,) in rows)


def current_contigs(connection: psycopg.Connection[Any]) -> list[str]:
    """Contigs of current loads as their summaries tell, in natural order."""
    rows = connection.execute(
        "SELECT DISTINCT chrom FROM genomics.variant_summary JOIN genomics.current_loads USING (load_batch_id)"
    )
    return sorted((chrom for (chrom,) in rows), key=chromosome_order)


def current_assembly(connection: psycopg.Connection[Any]) -> str | None:
    """The assembly of the current loads, where they all have one."""
    rows = connection.execute(
        "SELECT DISTINCT reference_genome FROM genomics.variant_load_audit JOIN genomics.current_loads USING (load_batch_id)"
    ).fetchall()
    return rows[0][0] if len(rows) == 1 else None
