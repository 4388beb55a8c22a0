"""SQL of the tables of annotation sources: building one, comparing it with what stands, applying the difference.

`anno_<source>` is one table for as long as the source exists: a new version is built beside it and its difference is
applied as rows, so that readers, their locks, their views and their grants never meet a change of tables
(docs/adr/0005). The difference is kept as `annotation_undo_<version>`: what was before, for a rollback.

Everything works inside the caller's transaction. Names are quoted by `psycopg.sql.Identifier`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genomics_assets.annotations.field_config import SourceField
from resources.copy_binary import RepeatedKeyError, copy_batches
from resources.postgres_catalogue import PostgresColumn, table_columns

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    from psycopg import sql

KEYS = ("chrom", "pos", "ref", "alt")
# No alias can be this word.
CHANGE = "#change"
LOCK_TIMEOUT = "200ms"
LOCK_PATIENCE_SECONDS = 600.0
LONGEST_NAME = 63


class BusyTableError(RuntimeError):
    """A table stayed locked by others for too long; the message says which and what to do."""


@dataclass(frozen=True)
class Difference:
    """Rows by which a new version differs from the last."""

    added: int
    changed: int
    removed: int


def anno_table(source: str) -> str:
    """The name of a source's table.

    >>> anno_table("clinvar")
    'genomics.anno_clinvar'
    """
    return f"genomics.anno_{source}"


def build_table(version_id: int) -> str:
    """Where a version is built."""
    return f"genomics.annotation_build_{version_id}"


def undo_table(version_id: int) -> str:
    """Where it is kept what a version replaced."""
    return f"genomics.annotation_undo_{version_id}"


def fill_build(
    connection: "psycopg.Connection[Any]",
    table: str,
    fields: Sequence[SourceField],
    batches: Callable[[], Iterable["pa.RecordBatch"]],
) -> int:
    """Make a version's table with its key; returns how many rows had to go because an earlier one has their alleles.

    The key grows while the file is read, which costs no time of its own: the server waits for the reader. Only a
    source that repeats alleles far apart is read again, and gets its key afterwards.

    Args:
        connection: within a transaction.
        table: its name.
        fields: its columns.
        batches: the rows, from the begin at each call.
    """
    try:
        with connection.transaction():
            _create(connection, table, fields)
            _add_key(connection, table)
            _copy(connection, table, batches())
    except RepeatedKeyError:
        _create(connection, table, fields)
        _copy(connection, table, batches())
        removed = _remove_repeated(connection, table)
        _add_key(connection, table)
        return removed
    return 0


def _copy(connection: "psycopg.Connection[Any]", table: str, batches: Iterable["pa.RecordBatch"]) -> None:
    copy_batches(connection, table, batches, columns=table_columns(connection, table), freeze=True)


def _create(connection: "psycopg.Connection[Any]", table: str, fields: Sequence[SourceField]) -> None:
    from psycopg import sql

    chrom = _chromosome_type(connection)
    columns = [sql.SQL("{} {} NOT NULL").format(sql.Identifier("chrom"), chrom)]
    columns += [
        sql.SQL("{} {} NOT NULL").format(sql.Identifier(name), sql.SQL(kind))
        for name, kind in (("pos", "bigint"), ("ref", "text"), ("alt", "text"))
    ]
    columns += [sql.SQL("{} {}").format(sql.Identifier(f.alias), sql.SQL(f.type)) for f in fields]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name_of(table), sql.SQL(", ").join(columns)))
    comment_columns(connection, table, fields)


def _add_key(connection: "psycopg.Connection[Any]", table: str) -> None:
    from psycopg import sql

    connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
    connection.execute(
        sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (chrom, pos, ref, alt)").format(name_of(table))
    )


def _remove_repeated(connection: "psycopg.Connection[Any]", table: str) -> int:
    from psycopg import sql

    return connection.execute(
        # Rows lie in the order in which they were copied.
        sql.SQL(
            """
            DELETE FROM {table} WHERE ctid IN (
                SELECT ctid FROM (
                    SELECT ctid, row_number() OVER (PARTITION BY chrom, pos, ref, alt ORDER BY ctid) AS number
                    FROM {table}) AS numbered
                WHERE number > 1)
            """
        ).format(table=name_of(table))
    ).rowcount


def comment_columns(connection: "psycopg.Connection[Any]", table: str, fields: Iterable[SourceField]) -> None:
    """Say in the catalogue where each column comes from."""
    from psycopg import sql

    for field in fields:
        said = f"{field.field}: {field.description}" if field.description else field.field
        connection.execute(
            sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                name_of(table), sql.Identifier(field.alias), sql.Literal(said)
            )
        )


def adopt_build(connection: "psycopg.Connection[Any]", build: str, table: str) -> None:
    """Let a first version be the source's table."""
    from psycopg import sql

    short = table.rpartition(".")[2]
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(name_of(build), sql.Identifier(short)))
    index = f"{build.rpartition('.')[2]}_pkey"
    connection.execute(
        sql.SQL("ALTER INDEX {} RENAME TO {}").format(
            sql.Identifier("genomics", index), sql.Identifier(f"{short[: LONGEST_NAME - 5]}_pkey")
        )
    )


def value_columns(connection: "psycopg.Connection[Any]", table: str) -> list[PostgresColumn]:
    """A source's own columns, as the catalogue has them."""
    return [c for c in table_columns(connection, table) if c.name not in KEYS]


def keep_difference(
    connection: "psycopg.Connection[Any]", undo: str, table: str, build: str, fields: Sequence[SourceField]
) -> Difference:
    """Make the undo table: each row of `table` that a new version changes or removes, and each key that it adds."""
    from psycopg import sql

    old = value_columns(connection, table)
    kept, dropped, added = _columns_apart(old, fields)
    unlike: list[sql.Composable] = [sql.SQL("a.chrom IS NULL"), sql.SQL("b.chrom IS NULL")]
    if kept:
        unlike.append(sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(_of("a", kept), _of("b", kept)))
    unlike += [sql.SQL("a.{} IS NOT NULL").format(sql.Identifier(name)) for name in dropped]
    unlike += [sql.SQL("b.{} IS NOT NULL").format(sql.Identifier(name)) for name in added]
    connection.execute("SET LOCAL work_mem = '256MB'")
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE {undo} AS
            SELECT CASE WHEN b.chrom IS NULL THEN 'removed' WHEN a.chrom IS NULL THEN 'added' ELSE 'changed' END
                       AS {change},
                   {keys} {old}
            FROM {table} AS a FULL JOIN {build} AS b ON {same} WHERE {unlike}
            """
        ).format(
            undo=name_of(undo),
            change=sql.Identifier(CHANGE),
            keys=sql.SQL(", ").join(
                sql.SQL("coalesce(a.{0}, b.{0}) AS {0}").format(sql.Identifier(key)) for key in KEYS
            ),
            old=_trailing("a", [c.name for c in old]),
            table=name_of(table),
            build=name_of(build),
            same=same_key("a", "b"),
            unlike=sql.SQL(" OR ").join(unlike),
        )
    )
    connection.execute(sql.SQL("ANALYZE {}").format(name_of(undo)))
    return count_difference(connection, undo)


def keep_reverse(connection: "psycopg.Connection[Any]", undo: str, table: str, of_undo: str) -> Difference:
    """Make the undo table of a rollback: what stands now where `of_undo` says what was before."""
    from psycopg import sql

    old = [c.name for c in value_columns(connection, table)]
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE {undo} AS
            SELECT CASE u.{change} WHEN 'removed' THEN 'added' WHEN 'added' THEN 'removed' ELSE 'changed' END
                       AS {change},
                   u.chrom, u.pos, u.ref, u.alt {old}
            FROM {of_undo} AS u LEFT JOIN {table} AS a ON {same}
            """
        ).format(
            undo=name_of(undo),
            change=sql.Identifier(CHANGE),
            old=_trailing("a", old),
            of_undo=name_of(of_undo),
            table=name_of(table),
            same=same_key("a", "u"),
        )
    )
    connection.execute(sql.SQL("ANALYZE {}").format(name_of(undo)))
    return count_difference(connection, undo)


def count_difference(connection: "psycopg.Connection[Any]", undo: str) -> Difference:
    """How many rows an undo table has of each kind."""
    from psycopg import sql

    rows = dict(
        connection.execute(
            sql.SQL("SELECT {0}, count(*) FROM {1} GROUP BY 1").format(sql.Identifier(CHANGE), name_of(undo))
        ).fetchall()
    )
    return Difference(rows.get("added", 0), rows.get("changed", 0), rows.get("removed", 0))


def fit_columns(
    connection: "psycopg.Connection[Any]",
    table: str,
    fields: Sequence[SourceField],
    before: Callable[[], None],
) -> bool:
    """Give the table the columns of a version; returns whether it had others.

    Args:
        connection: within its transaction readers wait from here on, where columns differ.
        table: the source's.
        fields: its columns from now on.
        before: takes away what would be in the way.
    """
    from psycopg import sql

    _, dropped, added = _columns_apart(value_columns(connection, table), fields)
    if not dropped and not added:
        return False
    types = {f.alias: f.type for f in fields}
    changes = [sql.SQL("DROP COLUMN {}").format(sql.Identifier(name)) for name in dropped]
    changes += [
        sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(name), sql.SQL(types[name])) for name in added
    ]

    def alter() -> None:
        before()
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(name_of(table), sql.SQL(", ").join(changes)))

    patiently(connection, table, alter)
    comment_columns(connection, table, [f for f in fields if f.alias in added])
    return True


def apply_difference(
    connection: "psycopg.Connection[Any]", table: str, undo: str, values: str, columns: Sequence[str]
) -> None:
    """Change the table by the keys of `undo` to what `values` holds for them.

    Args:
        connection: readers see all of it at once, when its transaction is committed.
        table: the source's.
        undo: which rows are added, changed and removed.
        values: a table with the new values of the first two.
        columns: the source's own columns.
    """
    from psycopg import sql

    parts = {
        "table": name_of(table),
        "undo": name_of(undo),
        "values": name_of(values),
        "change": sql.Identifier(CHANGE),
        "of_undo": same_key("a", "u"),
        "of_values": same_key("b", "u"),
        "keys": sql.SQL(", ").join(map(sql.Identifier, KEYS)),
        "columns": _trailing(None, columns),
        "new": _trailing("b", columns),
    }
    connection.execute(
        sql.SQL(
            "DELETE FROM {table} AS a USING {undo} AS u WHERE u.{change} = 'removed' AND {of_undo}"
        ).format(**parts)
    )
    if columns:
        assignments = sql.SQL(", ").join(sql.SQL("{0} = b.{0}").format(sql.Identifier(c)) for c in columns)
        connection.execute(
            sql.SQL(
                "UPDATE {table} AS a SET {assignments} FROM {undo} AS u JOIN {values} AS b ON {of_values} "
                "WHERE u.{change} = 'changed' AND {of_undo}"
            ).format(assignments=assignments, **parts)
        )
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({keys} {columns}) SELECT b.chrom, b.pos, b.ref, b.alt {new} "
            "FROM {undo} AS u JOIN {values} AS b ON {of_values} WHERE u.{change} = 'added'"
        ).format(**parts)
    )


def report_changes(
    connection: "psycopg.Connection[Any]",
    *,
    undo: str,
    table: str,
    columns_before: Sequence[str],
    version_id: int,
    source: str,
    old_version: str | None,
    new_version: str | None,
) -> int:
    """Write down what a version changed for variants that the warehouse holds; returns how many values."""
    from psycopg import sql

    columns = [c.name for c in value_columns(connection, table)]
    both = list(dict.fromkeys([*columns_before, *columns]))
    if not both:
        return 0
    null = sql.SQL("NULL")
    values = sql.SQL(", ").join(
        sql.SQL("({}, {}, {})").format(
            sql.Literal(name),
            sql.SQL("u.{}::text").format(sql.Identifier(name)) if name in columns_before else null,
            sql.SQL("a.{}::text").format(sql.Identifier(name)) if name in columns else null,
        )
        for name in both
    )
    return connection.execute(
        sql.SQL(
            """
            INSERT INTO genomics.annotation_changes
                (version_id, source, old_version, new_version, chrom, pos, ref, alt, column_name, old_value, new_value)
            SELECT {version_id}, {source}, {old_version}, {new_version}, u.chrom, u.pos, u.ref, u.alt,
                   k.column_name, k.old_value, k.new_value
            FROM {undo} AS u LEFT JOIN {table} AS a ON {same}
            CROSS JOIN LATERAL (VALUES {values}) AS k (column_name, old_value, new_value)
            WHERE k.old_value IS DISTINCT FROM k.new_value
              AND EXISTS (SELECT FROM genomics.variants AS v WHERE {held})
            """
        ).format(
            version_id=version_id,
            source=source,
            old_version=old_version,
            new_version=new_version,
            undo=name_of(undo),
            table=name_of(table),
            same=same_key("a", "u"),
            held=same_key("v", "u"),
            values=values,
        )
    ).rowcount


def drop_table(connection: "psycopg.Connection[Any]", table: str) -> None:
    """Drop a table that nobody reads."""
    from psycopg import sql

    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name_of(table)))


def exists(connection: "psycopg.Connection[Any]", table: str) -> bool:
    """Whether there is a table of this name."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return row is not None and bool(row[0])


def patiently(connection: "psycopg.Connection[Any]", what: str, work: Callable[[], None]) -> None:
    """Do what needs a table for itself, without letting its readers queue behind the wait for those before them.

    Raises:
        BusyTableError: somebody held it all the time.
    """
    import psycopg

    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
                work()
                connection.execute("SELECT set_config('lock_timeout', '0', true)")
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise BusyTableError(
                    f"{what} was in use by others for {LOCK_PATIENCE_SECONDS:.0f} s. Remedy: see pg_locks and "
                    "pg_stat_activity for a transaction that stays open, end it, and run this again."
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
        else:
            return


def name_of(table: str) -> "sql.Identifier":
    """`schema.name`, quoted."""
    from psycopg import sql

    schema, _, name = table.partition(".")
    return sql.Identifier(schema, name)


def same_key(one: str, other: str) -> "sql.Composable":
    """That two aliases have the same key."""
    from psycopg import sql

    return sql.SQL(" AND ").join(
        sql.SQL("{0}.{2} = {1}.{2}").format(sql.SQL(one), sql.SQL(other), sql.Identifier(key)) for key in KEYS
    )


def _columns_apart(
    old: Sequence[PostgresColumn], fields: Sequence[SourceField]
) -> tuple[list[str], list[str], list[str]]:
    """Columns that stay, that go and that come; one of another type does both of the latter."""
    types = {c.name: c.type_name for c in old}
    kept = [f.alias for f in fields if types.get(f.alias) == f.type]
    return (
        kept,
        [name for name in types if name not in kept],
        [f.alias for f in fields if f.alias not in kept],
    )


def _of(alias: str, names: Iterable[str]) -> "sql.Composable":
    from psycopg import sql

    return sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(n)) for n in names)


def _trailing(alias: str | None, names: Iterable[str]) -> "sql.Composable":
    """`, a.one, a.two`; nothing for no names."""
    from psycopg import sql

    prefix = sql.SQL(", {}.").format(sql.SQL(alias)) if alias else sql.SQL(", ")
    return sql.SQL("").join(prefix + sql.Identifier(name) for name in names)


def _chromosome_type(connection: "psycopg.Connection[Any]") -> "sql.Composable":
    from psycopg import sql

    [chrom] = [c for c in table_columns(connection, "genomics.variants") if c.name == "chrom"]
    return sql.SQL(chrom.type_name)
