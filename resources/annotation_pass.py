"""SQL of an annotation pass: sources into the columns of `genomics.variants`, and the view over all of them.

A pass does all that waits: loads that were never annotated, and versions of sources that were not shown yet. It touches
rows whose values change, and no other. A source's value goes before the file's own, which is kept in
`file_annotations` and comes back when the source has none any more.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from genomics_assets.annotations.field_config import SEED_COLUMNS, SEED_TYPES, SEED_WIDTHS
from resources.annotation_tables import LONGEST_NAME, anno_table, name_of, patiently, same_key

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

VIEW = "genomics.annotated_variants"


@dataclass(frozen=True)
class RegisteredSource:
    """A source as the registry has it, in the order of registration.

    Attributes:
        fills: columns of `genomics.variants` by the alias that fills each.
        aliases: the source's columns.
    """

    source_id: int
    name: str
    type: str | None
    version: str | None
    version_id: int | None
    rows: int
    aliases: tuple[str, ...]
    fills: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PassReport:
    """What a pass did.

    Attributes:
        loads: loads that were annotated for the first time.
        looked_at: their variants.
        versions: versions of sources that are shown from now on.
        updated: variants whose values changed.
        by_column: how many of them, by column.
    """

    loads: int
    looked_at: int
    versions: tuple[int, ...]
    updated: int
    by_column: dict[str, int]


def fill_targets(
    connection: "psycopg.Connection[Any]", sources: Sequence[RegisteredSource], loads: Sequence[UUID]
) -> None:
    """Make the table of this transaction that takes rows to change; fill it with those of loads."""
    from psycopg import sql

    columns = sql.SQL(", ").join(
        [
            *(sql.SQL("{} {}").format(sql.Identifier(c), sql.SQL(SEED_TYPES[c])) for c in SEED_COLUMNS),
            *(sql.SQL("{} boolean").format(_changed(c)) for c in SEED_COLUMNS),
        ]
    )
    connection.execute("SET LOCAL work_mem = '128MB'")
    connection.execute("SET LOCAL enable_partitionwise_join = on")
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE annotation_targets (chrom text, variant_id bigint, {}) ON COMMIT DROP"
        ).format(columns)
    )
    if loads:
        _add_targets(connection, sources, sql.SQL("v.load_batch_id = ANY(%(loads)s)"), {"loads": list(loads)})


def add_targets_of_version(
    connection: "psycopg.Connection[Any]",
    sources: Sequence[RegisteredSource],
    keys_from: str,
    loads: Sequence[UUID],
) -> None:
    """Add the variants whose keys a table holds; those of `loads` are in already."""
    from psycopg import sql

    scope = sql.SQL(
        "EXISTS (SELECT FROM {} AS u WHERE {}) AND NOT v.load_batch_id = ANY(%(loads)s) "
        "AND NOT EXISTS (SELECT FROM annotation_targets AS t WHERE t.chrom = v.chrom AND t.variant_id = v.variant_id)"
    ).format(name_of(keys_from), same_key("u", "v"))
    _add_targets(connection, sources, scope, {"loads": list(loads)})


def _add_targets(
    connection: "psycopg.Connection[Any]",
    sources: Sequence[RegisteredSource],
    scope: "sql.Composable",
    parameters: dict[str, Any],
) -> None:
    from psycopg import sql

    filling = [source for source in sources if source.fills]
    joins = [
        sql.SQL("LEFT JOIN {} AS {} ON {}").format(
            name_of(anno_table(source.name)), sql.SQL(_alias(source)), same_key(_alias(source), "v")
        )
        for source in filling
    ]
    targets = [
        sql.SQL("{} AS {}").format(_target(column, filling), sql.Identifier(column))
        for column in SEED_COLUMNS
    ]
    connection.execute(
        sql.SQL(
            """
            INSERT INTO annotation_targets
            SELECT v.chrom, v.variant_id, {new}, {changed}
            FROM genomics.variants AS v {joins} CROSS JOIN LATERAL (SELECT {targets}) AS t
            WHERE {scope} AND ROW({old}) IS DISTINCT FROM ROW({new})
            """
        ).format(
            new=_columns("t"),
            old=_columns("v"),
            changed=sql.SQL(", ").join(
                sql.SQL("v.{0} IS DISTINCT FROM t.{0}").format(sql.Identifier(c)) for c in SEED_COLUMNS
            ),
            joins=sql.SQL(" ").join(joins),
            targets=sql.SQL(", ").join(targets),
            scope=scope,
        ),
        parameters,
    )


def update_variants(connection: "psycopg.Connection[Any]") -> tuple[int, dict[str, int]]:
    """Give the rows their values; returns how many changed, and how many by column."""
    from psycopg import sql

    connection.execute("ANALYZE annotation_targets")
    counted = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE {})").format(_changed(c)) for c in SEED_COLUMNS
    )
    row = connection.execute(sql.SQL("SELECT {} FROM annotation_targets").format(counted)).fetchone()
    own = sql.SQL(", ").join(
        sql.SQL("{}, v.{}").format(sql.Literal(column), sql.Identifier(column)) for column in SEED_COLUMNS
    )
    updated = connection.execute(
        sql.SQL(
            """
            UPDATE genomics.variants AS v
            SET {assignments},
                file_annotations = coalesce(v.file_annotations, jsonb_strip_nulls(jsonb_build_object({own})))
            FROM annotation_targets AS t WHERE v.chrom = t.chrom AND v.variant_id = t.variant_id
            """
        ).format(
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = t.{0}").format(sql.Identifier(column)) for column in SEED_COLUMNS
            ),
            own=own,
        )
    ).rowcount
    by_column = dict(zip(SEED_COLUMNS, row or (), strict=False))
    return updated, {column: count for column, count in by_column.items() if count}


def _target(column: str, sources: Sequence[RegisteredSource]) -> "sql.Composable":
    """What a variant should have in a column: the first source's value that there is, else the file's own."""
    from psycopg import sql

    kind = sql.SQL(SEED_TYPES[column])
    values = [
        _fitted(
            column,
            sql.SQL("{}.{}::{}").format(sql.SQL(_alias(source)), sql.Identifier(source.fills[column]), kind),
        )
        for source in sources
        if column in source.fills
    ]
    own = sql.SQL(
        "CASE WHEN v.file_annotations IS NULL THEN v.{0} ELSE (v.file_annotations ->> {1})::{2} END"
    ).format(sql.Identifier(column), sql.Literal(column), kind)
    return sql.SQL("coalesce({})").format(sql.SQL(", ").join([*values, own]))


def _fitted(column: str, value: "sql.Composable") -> "sql.Composable":
    from psycopg import sql

    width = SEED_WIDTHS.get(column)
    if width is None:
        return value
    return sql.SQL("CASE WHEN length({0}) > {1} THEN left({0}, {2}) || '…' ELSE {0} END").format(
        value, sql.Literal(width), sql.Literal(width - 1)
    )


def _columns(alias: str) -> "sql.Composable":
    from psycopg import sql

    return sql.SQL(", ").join(
        sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(c)) for c in SEED_COLUMNS
    )


def _changed(column: str) -> "sql.Identifier":
    """What tells, of a row to change, whether this column of it changes."""
    from psycopg import sql

    return sql.Identifier(f"{column} changes")


def _alias(source: RegisteredSource) -> str:
    return f"s{source.source_id}"


# -- the view ------------------------------------------------------------------------------------------------------


def view_column(source: str, alias: str) -> str:
    """What a source's column is called in the view.

    >>> view_column("gnomad", "an")
    'gnomad__an'
    """
    name = f"{source}__{alias}"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def make_view(
    connection: "psycopg.Connection[Any]", registered: Callable[[], Sequence[RegisteredSource]]
) -> None:
    """Make the view that has each variant with every column of every source, in the order of registration.

    Args:
        connection: has the view's lock from here to the end of its transaction.
        registered: gives the sources, those included that the last owner of the lock has registered.
    """
    import psycopg
    from psycopg import sql

    def make() -> None:
        lock_view(connection)
        body = _view_of(registered())
        try:
            with connection.transaction():
                connection.execute(sql.SQL("CREATE OR REPLACE ") + body)
        except psycopg.errors.InvalidTableDefinition:
            # Columns went or changed their order: only a new view has others.
            drop_view(connection)
            connection.execute(sql.SQL("CREATE ") + body)
        connection.execute(
            sql.SQL("COMMENT ON VIEW {} IS {}").format(
                name_of(VIEW),
                sql.Literal(
                    "Each variant with the columns of every registered source, as <source>__<column>"
                ),
            )
        )

    patiently(connection, VIEW, make)


def _view_of(sources: Sequence[RegisteredSource]) -> "sql.Composable":
    from psycopg import sql

    columns = [
        sql.SQL("{}.{} AS {}").format(
            sql.SQL(_alias(source)), sql.Identifier(alias), sql.Identifier(view_column(source.name, alias))
        )
        for source in sources
        for alias in source.aliases
    ]
    joins = [
        sql.SQL("LEFT JOIN {} AS {} ON {}").format(
            name_of(anno_table(source.name)), sql.SQL(_alias(source)), same_key(_alias(source), "v")
        )
        for source in sources
    ]
    return sql.SQL("VIEW {} AS SELECT {} FROM genomics.variants AS v {}").format(
        name_of(VIEW), sql.SQL(", ").join([sql.SQL("v.*"), *columns]), sql.SQL(" ").join(joins)
    )


def lock_view(connection: "psycopg.Connection[Any]") -> None:
    """Wait for whoever makes the view anew: two at once would each leave the other's source out."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('annotation view', 3))")


def drop_view(connection: "psycopg.Connection[Any]") -> None:
    """Take the view away, for `make_view` to make it anew in the same transaction."""
    from psycopg import sql

    lock_view(connection)
    connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(name_of(VIEW)))
