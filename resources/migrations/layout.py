"""What migrations make: tables, columns, indexes and triggers; and how a database differs from it.

`layout.json` holds what the migrations of this version make. `python -m resources.migrations.layout` (`make layout`)
writes it anew after a migration was added, from a scratch database; a test compares the two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

if TYPE_CHECKING:
    import psycopg

LAYOUT_FILE = Path(__file__).with_name("layout.json")
SCHEMAS = ("bmd", "comsa", "genomics")


@dataclass(frozen=True)
class Layout:
    """What a database holds; all names qualified with their schema.

    Attributes:
        tables: type by column, by table or view. A domain counts as what it is over.
        indexes: names, by table; those of partitions are left out.
        triggers: names, by table.
    """

    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    indexes: Mapping[str, list[str]] = field(default_factory=dict)
    triggers: Mapping[str, list[str]] = field(default_factory=dict)


def expected_layout() -> Layout:
    """What the migrations of this version make."""
    return Layout(**json.loads(LAYOUT_FILE.read_text()))


def read_layout(connection: psycopg.Connection[Any]) -> Layout:
    """What a database holds."""
    tables: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(_COLUMNS, (list(SCHEMAS),)).fetchall():
        tables.setdefault(table, {})[column] = kind
    return Layout(tables, _names(connection, _INDEXES), _names(connection, _TRIGGERS))


def missing(found: Layout, expected: Layout) -> list[str]:
    """What the expected layout has and a database lacks or has otherwise, in words.

    Tables, columns and indexes beyond the expected ones are somebody's own, and do no harm.

    >>> missing(Layout({"a.t": {"x": "text"}}), Layout({"a.t": {"x": "integer", "y": "text"}}))
    ['column a.t.x is text, not integer', 'column a.t.y is missing']
    """
    drift = []
    for table, columns in expected.tables.items():
        held = found.tables.get(table)
        if held is None:
            drift.append(f"table {table} is missing")
            continue
        for column, kind in columns.items():
            if column not in held:
                drift.append(f"column {table}.{column} is missing")
            elif held[column] != kind:
                drift.append(f"column {table}.{column} is {held[column]}, not {kind}")
    for what, wanted, there in (
        ("index", expected.indexes, found.indexes),
        ("trigger", expected.triggers, found.triggers),
    ):
        drift += [
            f"{what} {name} of {table} is missing"
            for table, names in wanted.items()
            if table in found.tables
            for name in names
            if name not in there.get(table, [])
        ]
    return drift


def _names(connection: psycopg.Connection[Any], query: LiteralString) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for table, name in connection.execute(query, (list(SCHEMAS),)).fetchall():
        names.setdefault(table, []).append(name)
    return names


_COLUMNS: LiteralString = """
SELECT n.nspname || '.' || c.relname, a.attname,
       format_type(coalesce(nullif(t.typbasetype, 0), a.atttypid), a.atttypmod)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
ORDER BY 1, a.attnum
"""

_INDEXES: LiteralString = """
SELECT n.nspname || '.' || c.relname, i.relname
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS c ON c.oid = x.indrelid
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND NOT c.relispartition
ORDER BY 1, 2
"""

_TRIGGERS: LiteralString = """
SELECT n.nspname || '.' || c.relname, t.tgname
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND NOT t.tgisinternal AND NOT c.relispartition
ORDER BY 1, 2
"""


def write_layout(postgres_url: str) -> None:
    """Write `layout.json` from a scratch database on a server, which is dropped again."""
    import uuid

    import psycopg
    from psycopg import sql

    from resources.migrations import migrate

    name = f"layout_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            from urllib.parse import urlsplit, urlunsplit

            url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
            migrate(url)
            with psycopg.connect(url) as connection:
                LAYOUT_FILE.write_text(json.dumps(vars(read_layout(connection)), indent=1) + "\n")
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


if __name__ == "__main__":
    from resources.embedded import ensure_postgres
    from resources.environment import Environment

    write_layout(ensure_postgres(Environment.from_environ()))
    sys.stdout.write(f"{LAYOUT_FILE}\n")
