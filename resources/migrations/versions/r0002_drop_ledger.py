"""The drop ledger: every file that was ever seen in an inbox, and how far it got."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = """
CREATE TABLE genomics.drop_ledger (
    kind          text NOT NULL,
    uri           text NOT NULL,
    inbox         text NOT NULL,
    path          text NOT NULL,
    partition_key text NOT NULL,
    size          bigint NOT NULL,
    fingerprint   text NOT NULL,
    looks         integer NOT NULL DEFAULT 1,
    state         text NOT NULL CHECK (state IN ('settling', 'ready', 'claimed', 'requested')),
    first_seen    timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    arrival       bigint GENERATED ALWAYS AS IDENTITY,
    attempt       integer NOT NULL DEFAULT 1,
    run_key       text,
    claim         uuid,
    claimed_by    text,
    claimed_at    timestamptz,
    requested_at  timestamptz,
    PRIMARY KEY (kind, uri),
    UNIQUE (kind, inbox, partition_key),
    CHECK (state NOT IN ('claimed', 'requested') OR (run_key IS NOT NULL AND claim IS NOT NULL))
)
"""

COMMENTS = {
    None: "Every file that was ever seen in an inbox, and how far it got; rows stay when the file goes",
    "kind": "What it was dropped as, for example vcf",
    "uri": "Where it is; control characters and % are percent-encoded",
    "inbox": "The inbox it was dropped into",
    "path": "Its path below the kind's folder, encoded like uri",
    "partition_key": "Its Dagster partition",
    "size": "Bytes, when last looked at",
    "fingerprint": "Size and modification time (S3: ETag), sidecars included",
    "looks": "Looks since the fingerprint last changed, counted until it held still",
    "state": "settling: may still be written; ready: waits for its turn; claimed: handed to a sensor or a drain that "
    "has not confirmed it yet; requested: a run was asked for",
    "changed_at": "When this fingerprint was first seen",
    "arrival": "Order in which files are taken",
    "attempt": "Counts the runs this file needed: one a version, and one more for each that was cut off",
    "run_key": "kind:partition_key:fingerprint[:attempt], by which Dagster knows a request again",
    "claim": "The claim that took it; confirmed once the sensor's cursor names it",
    "claimed_by": "The sensor or drain that claimed it",
}


def upgrade() -> None:
    """Make the table."""
    op.execute(TABLE)
    for column, comment in COMMENTS.items():
        target = "TABLE genomics.drop_ledger" if column is None else f"COLUMN genomics.drop_ledger.{column}"
        quoted = comment.replace("'", "''").replace(":", "\\:")
        op.execute(f"COMMENT ON {target} IS '{quoted}'")
