"""Backup and restore of everything that the project keeps: database, documents and objects, in one place.

A backup is a folder or a prefix of a bucket:

    postgres.dump            pg_dump's custom format: the project's schemas and Dagster's
    mongo/<collection>.jsonl.gz   one document a line, canonical extended JSON
    objects/<key>            the objects as they are
    objects.jsonl.gz         key, size and SHA-256 of each object
    manifest.json            what is in it, with counts and SHA-256; written last, so that its absence means: unfinished

How far it is consistent. PostgreSQL is dumped from one snapshot, and the counts of rows are of that snapshot. Documents
are read right after it, collection by collection, and objects last. A run writes an object before the row that names
it, so every object that the snapshot names is there to be copied; what runs wrote meanwhile may be in the later parts
alone. The manifest counts the runs that were at work, and `backup` says so: at 0 the three parts fit to the last byte.

The inbox is not in it: what was dropped stays with whoever dropped it.
"""

from resources.backup.manifest import BackupError, Manifest
from resources.backup.restoring import restore
from resources.backup.taking import take_backup

__all__ = ["BackupError", "Manifest", "restore", "take_backup"]
