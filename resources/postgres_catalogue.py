"""What PostgreSQL's catalogue says about a table: its columns, their types resolved as encoders need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

# The recursion ends at a type that is no domain. An array's element is resolved one domain deep. A cast to
# `character` would mean character(1), hence bpchar.
_COLUMNS: LiteralString = """
WITH RECURSIVE target AS (
    SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname = %(name)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND CASE WHEN %(schema)s::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END
    LIMIT 1
), based AS (
    SELECT a.attnum, a.atttypid AS type FROM pg_attribute AS a JOIN target ON a.attrelid = target.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT based.attnum, t.typbasetype FROM based JOIN pg_type AS t ON t.oid = based.type
    WHERE t.typtype = 'd'
)
SELECT a.attname, format_type(a.atttypid, a.atttypmod),
       CASE a.atttypid WHEN 1042 THEN 'bpchar' ELSE format_type(a.atttypid, NULL) END, base.oid, base.typname,
       base.typtype::text, element.oid, element_base.typname, element_base.typtype::text, a.attnotnull,
       a.atthasdef, a.attidentity::text <> '', a.attgenerated::text <> '',
       col_description(a.attrelid, a.attnum)
FROM pg_attribute AS a
JOIN target ON a.attrelid = target.oid
JOIN based ON based.attnum = a.attnum
JOIN pg_type AS base ON base.oid = based.type AND base.typtype <> 'd'
LEFT JOIN pg_type AS element ON element.oid = base.typelem AND base.typcategory = 'A'
LEFT JOIN pg_type AS element_base ON element_base.oid = coalesce(nullif(element.typbasetype, 0), element.oid)
ORDER BY a.attnum
"""


class NoSuchTableError(LookupError):
    """A table that a write or a read names is not in the database."""


@dataclass(frozen=True)
class PostgresType:
    """A type that is no domain; `element` is set for arrays."""

    oid: int
    name: str
    is_enum: bool = False
    element: PostgresType | None = None


@dataclass(frozen=True)
class PostgresColumn:
    """A column as the catalogue has it.

    `type_name` is how DDL writes the type, domains by their own name; `cast_name` is that without lengths.
    """

    name: str
    type_name: str
    cast_name: str
    type: PostgresType
    not_null: bool = False
    has_default: bool = False
    is_identity: bool = False
    is_generated: bool = False
    comment: str | None = None

    @property
    def fills_itself(self) -> bool:
        """Whether the server gives a value to a row that does not bring one."""
        return self.has_default or self.is_identity or self.is_generated


def split_name(table: str) -> tuple[str | None, str]:
    """Schema and name, as they are in the catalogue.

    >>> split_name("genomics.variants"), split_name("variants")
    (('genomics', 'variants'), (None, 'variants'))
    """
    schema, dot, name = table.rpartition(".")
    return (schema if dot else None), name


def table_identifier(table: str) -> sql.Identifier:
    """The table's name, quoted for SQL."""
    from psycopg import sql

    return sql.Identifier(*(part for part in split_name(table) if part is not None))


def table_columns(connection: psycopg.Connection[Any], table: str) -> list[PostgresColumn]:
    """The columns of a table or view, in their order.

    Args:
        connection: any connection to the database.
        table: `schema.name`, or a name that the connection's search_path finds.

    Raises:
        NoSuchTableError: there is no such table.
    """
    schema, name = split_name(table)
    rows = connection.execute(_COLUMNS, {"schema": schema, "name": name}).fetchall()
    if not rows:
        raise NoSuchTableError(
            f"table {table} does not exist in database {connection.info.dbname}. "
            "Remedy: tables are made by migrations; apply them, or correct the asset's metadata `table`"
        )
    return [_column(row) for row in rows]


def _column(row: tuple[Any, ...]) -> PostgresColumn:
    name, type_name, cast_name, oid, base, kind, element_oid, element, element_kind = row[:9]
    inner = None if element_oid is None else PostgresType(element_oid, element, element_kind == "e")
    return PostgresColumn(name, type_name, cast_name, PostgresType(oid, base, kind == "e", inner), *row[9:])
