"""The variant warehouse: variants, load audit, samples, genotypes, annotation registry."""

from pathlib import Path

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None

HUMAN_CHROMOSOMES = [*map(str, range(1, 23)), "X", "Y", "M"]


def upgrade() -> None:
    """Make the tables; human genomes get one partition a chromosome and a default one for the rest."""
    human = context.config.attributes["genome"] == "human"
    chromosome = "genomics.chromosome_type" if human else "text"
    if human:
        op.execute("CREATE DOMAIN genomics.chromosome_type AS text")
    sql = (Path(__file__).parent / "r0001_variant_warehouse.sql").read_text()
    # A bare driver call: the file holds colons and percent signs that SQLAlchemy would take for parameters.
    op.get_bind().exec_driver_sql(sql.replace("$chromosome_type$", chromosome).replace("%", "%%"))
    for partition, bounds in _partitions(human):
        op.execute(f"CREATE TABLE genomics.{partition} PARTITION OF genomics.variants {bounds}")
        # Rows with many transcripts stay in the heap page: compressing them out of line costs a third of a load.
        op.execute(f"ALTER TABLE genomics.{partition} SET (toast_tuple_target = 8160)")
    op.execute(
        sa.text("INSERT INTO genomics.warehouse (genome) VALUES (:genome)").bindparams(
            genome="human" if human else "other"
        )
    )


def _partitions(human: bool) -> list[tuple[str, str]]:
    if not human:
        return [("variants_default", "DEFAULT")]
    chromosomes = [(f"variants_{name.lower()}", f"FOR VALUES IN ('chr{name}')") for name in HUMAN_CHROMOSOMES]
    return [*chromosomes, ("variants_other", "DEFAULT")]
