"""The COMSA job ledger: jobs, their logs and their files, and the guard that keeps every job's state machine."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0002"


def upgrade() -> None:
    """Make schema `comsa`, and `genomics.guard_job_state`, which tables of jobs in other schemas use too."""
    sql = (Path(__file__).parent / "r0004_comsa_ledger.sql").read_text()
    # A bare driver call: the file holds colons and percent signs that SQLAlchemy would take for parameters.
    op.get_bind().exec_driver_sql(sql.replace("%", "%%"))
