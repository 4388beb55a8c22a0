"""Dose-response analysis: projects, experiments, results by stage, platforms, gene sets, jobs; schema `bmd`."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the schema and its tables."""
    sql = (Path(__file__).parent / "r0005_bmd.sql").read_text()
    # A bare driver call: the file holds colons that SQLAlchemy would take for parameters.
    op.get_bind().exec_driver_sql(sql)
