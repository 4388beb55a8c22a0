"""The Postgres schemas, made and upgraded by Alembic: versioned, forward-only, safe under two starters.

Revisions live in `versions/`; each runs one SQL file or a few statements. Applied revisions are listed in
`genomics.schema_version`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

Genome = Literal["human", "other"]

# One number for all starters of one database: whoever comes second waits, then finds nothing to do.
_MIGRATION_LOCK = 7_305_511_240


class MigrationError(RuntimeError):
    """The database cannot be brought to this version of the project; the message says why and what to do."""


def migrate(url: str, genome: Genome = "human") -> list[str]:
    """Bring the database at `url` to this version, and return the revisions that were applied.

    Args:
        url: `postgresql://…`; the role must be allowed to create schemas in the database.
        genome: which contigs the warehouse is made for; it is chosen once, by the first call.

    Raises:
        MigrationError: when the warehouse was made for another genome, or by a newer version of the project.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    address = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(address)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            try:
                connection.execute(text("CREATE SCHEMA IF NOT EXISTS genomics"))
                connection.commit()
                return _upgrade(connection, genome)
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
                connection.commit()
    finally:
        engine.dispose()


def head_revision() -> str:
    """The revision to which this version of the project brings a database."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - there are revisions
    return head


def known_revisions() -> set[str]:
    """Every revision that this version of the project can make or upgrade."""
    from alembic.script import ScriptDirectory

    return {revision.revision for revision in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, genome: Genome) -> list[str]:
    from alembic import command
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = _config()
    config.attributes.update(connection=connection, genome=genome)
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}

    context = MigrationContext.configure(
        connection, opts={"version_table": "schema_version", "version_table_schema": "genomics"}
    )
    before = context.get_current_revision()
    connection.commit()
    if before is not None and before not in known:
        raise MigrationError(
            f"the database is at revision {before}, which this version of the project does not know: "
            "it was upgraded by a newer one. Remedy: update the project, or point GENOMICS_POSTGRES_URL elsewhere."
        )
    command.upgrade(config, "head")
    connection.commit()
    _check_genome(connection, genome)
    applied = [r.revision for r in script.walk_revisions("base" if before is None else before, "head")]
    return [revision for revision in reversed(applied) if revision != before]


def _check_genome(connection: Connection, genome: Genome) -> None:
    from sqlalchemy import text

    made_for = connection.execute(text("SELECT genome FROM genomics.warehouse")).scalar_one()
    connection.commit()
    if made_for != genome:
        raise MigrationError(
            f"this warehouse was made for genome {made_for!r}, but GENOMICS_GENOME asks for {genome!r}; it is chosen "
            "once. Remedy: set GENOMICS_GENOME back, or use another database."
        )
