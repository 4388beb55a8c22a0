"""Least privilege: group roles that read, that load, and that keep Dagster's own tables."""

import logging
from pathlib import Path

from alembic import op
from sqlalchemy.exc import ProgrammingError

revision = "0008"
down_revision = "0007"

_INSUFFICIENT_PRIVILEGE = "42501"
_log = logging.getLogger("genomics_assets.migrations")


def upgrade() -> None:
    """Make the function, and the roles where this role may; a server of somebody else's may not let it."""
    sql = (Path(__file__).parent / "r0008_roles.sql").read_text()
    # A bare driver call: the file holds colons and percent signs that SQLAlchemy would take for parameters.
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))
    try:
        with op.get_bind().begin_nested():
            op.get_bind().exec_driver_sql("SELECT genomics.make_roles()")
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _INSUFFICIENT_PRIVILEGE:
            raise
        _log.warning(
            "The roles genomics_reader, genomics_loader and dagster were not made, since this role may not make roles; "
            "everything else works without them. Remedy: let a superuser run SELECT genomics.make_roles() in this database."
        )
