"""Downloads of annotation sources: which version of each published file was dropped into the inbox."""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLE = """
CREATE TABLE genomics.annotation_downloads (
    source        text NOT NULL,
    file_name     text NOT NULL,
    url           text NOT NULL,
    etag          text,
    last_modified text,
    size          bigint NOT NULL,
    sha256        char(64) NOT NULL,
    checked_at    timestamptz NOT NULL DEFAULT now(),
    downloaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, file_name)
)
"""

COMMENTS = {
    "TABLE genomics.annotation_downloads": "Which version of each published file was last dropped into the inbox",
    "COLUMN genomics.annotation_downloads.url": "Without user, password and query",
    "COLUMN genomics.annotation_downloads.etag": "By which the server knows the version; asked for again with If-None-Match",
    "COLUMN genomics.annotation_downloads.sha256": "Of the bytes that were dropped",
    "COLUMN genomics.annotation_downloads.checked_at": "When the publisher was last asked",
    "COLUMN genomics.annotation_downloads.downloaded_at": "When these bytes were dropped",
}


def upgrade() -> None:
    """Make the table."""
    op.execute(TABLE)
    for target, comment in COMMENTS.items():
        op.execute(f"COMMENT ON {target} IS '{comment}'")
