"""The command line: `python -m genomics_assets up | demo | drain | backup | …`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resources.environment import Environment

_DESCRIPTION = """\
Dropped genomics files become trustworthy, queryable, versioned data.

State (embedded servers, inbox, objects, Dagster home) is kept under GENOMICS_HOME, ./.genomics by default.
"""

_VARIABLES = """\
environment variables:
  GENOMICS_HOME              where all state is kept                        (./.genomics)
  GENOMICS_INBOX             where files are dropped: a folder or s3://…    ($GENOMICS_HOME/inbox)
  GENOMICS_POSTGRES_URL      a PostgreSQL of your own, version 15 or newer  (embedded)
  GENOMICS_MONGO_URL         a MongoDB of your own                          (embedded)
  GENOMICS_OBJECT_STORE_URL  file://… or s3://bucket/prefix                 (file://$GENOMICS_HOME/objects)
  GENOMICS_S3_ENDPOINT_URL   an S3 server that is not Amazon's
  GENOMICS_REFERENCE_FASTA   the genome to left-align and check alleles against
  GENOMICS_ANNOTATION_REFRESH  YAML with the annotation sources to keep fresh
  GENOMICS_VA_REFERENCE      folder of reference files for verbal autopsy       (a made-up one)
  GENOMICS_RUN_QUEUE_URL     redis://…: runs go to workers, on any machine      (this machine)
  GENOMICS_DASK_SCHEDULER    tcp://…: blocks of heavy runs go to a Dask cluster (this process)
  GENOMICS_GENOME            human or other; chosen once for a warehouse    (human)
  GENOMICS_ALERT_…           whom failed runs and stuck jobs are told to: see docs/operations.md

GENOMICS_POSTGRES_URL_FILE, GENOMICS_MONGO_URL_FILE: a file that holds the address, as secrets of containers are.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    from resources.embedded import ServerError
    from resources.environment import Environment as Settings
    from resources.environment import SettingError
    from resources.migrations import MigrationError

    expected: tuple[type[Exception], ...] = (ServerError, SettingError, MigrationError)
    if options.command == "up":
        from genomics_assets.commands.up import UpError

        expected = (*expected, UpError)
    if options.command == "metrics":
        from genomics_assets.commands.metrics import PortTakenError

        expected = (*expected, PortTakenError)
    if options.command == "prepare":
        from resources.buckets import BucketError

        expected = (*expected, BucketError)
    if options.command in ("backup", "restore"):
        from resources.backup import BackupError
        from resources.mongo import MongoError
        from resources.object_store import ObjectStoreError

        expected = (*expected, BackupError, MongoError, ObjectStoreError)
    if options.command == "worker":
        from genomics_assets.commands.worker import WorkerError

        expected = (*expected, WorkerError)
    if getattr(options, "inbox", None):
        os.environ["GENOMICS_INBOX"] = options.inbox
    try:
        return _run(options, Settings.from_environ())
    except expected as error:
        print(f"genomics_assets {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, environment: Environment) -> int:
    if options.command == "up":
        from genomics_assets.commands.up import up

        return up(environment, options.port)
    if options.command == "demo":
        from genomics_assets.commands.headless import demo

        return demo(environment)
    if options.command == "drain":
        from genomics_assets.commands.headless import drain_inbox

        return drain_inbox(environment)
    if options.command == "doctor":
        from genomics_assets.commands.doctor import doctor

        return doctor(environment, deep=options.deep, as_json=options.json)
    if options.command == "metrics":
        from genomics_assets.commands.metrics import metrics

        return metrics(environment, port=None if options.once else options.port, address=options.address)
    if options.command == "prepare":
        from genomics_assets.commands.containers import prepare

        return prepare(environment)
    if options.command == "exec":
        from genomics_assets.commands.containers import execute

        return execute(environment, options.words)
    if options.command == "backup":
        from genomics_assets.commands.backups import back_up

        return back_up(environment, options.place)
    if options.command == "restore":
        from genomics_assets.commands.backups import restore

        return restore(environment, options.place)
    if options.command == "worker":
        from genomics_assets.commands.worker import work

        return work(environment, options.processes)
    if options.command == "env":
        return _print_settings(environment)
    return _stop(environment)


def _print_settings(environment: Environment) -> int:
    from genomics_assets.commands.stack import shell_line, start_stack
    from resources.embedded import pin_servers

    stack = start_stack(environment)
    pin_servers(environment.home)
    for name, value in stack.variables().items():
        print(shell_line(name, value))
    return 0


def _stop(environment: Environment) -> int:
    from resources.embedded import stop_servers

    stop_servers(environment.home)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m genomics_assets",
        description=_DESCRIPTION,
        epilog=_VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    up = commands.add_parser("up", help="run everything until Ctrl-C, and drop the bundled examples once")
    up.add_argument("--port", type=int, default=3000, help="port of the UI on 127.0.0.1 (default: 3000)")
    commands.add_parser("demo", help="load the bundled examples without the UI, and print what came of them")
    drain = commands.add_parser("drain", help="load everything new in the inbox without a daemon, and exit")
    drain.add_argument(
        "--inbox", metavar="URL", help="a folder or s3://bucket/prefix (default: GENOMICS_INBOX)"
    )
    doctor = commands.add_parser("doctor", help="look at every store, and say what is wrong and what to do")
    doctor.add_argument(
        "--deep", action="store_true", help="also read objects whose content a row vouches for"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object a finding")
    metrics = commands.add_parser("metrics", help="tell Prometheus what is there, until Ctrl-C")
    metrics.add_argument("--port", type=int, default=9464, help="port to listen on (default: 9464)")
    metrics.add_argument("--address", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    metrics.add_argument("--once", action="store_true", help="print them once, for a textfile collector")
    worker = commands.add_parser("worker", help="take runs from GENOMICS_RUN_QUEUE_URL until Ctrl-C")
    worker.add_argument(
        "--processes", type=int, metavar="N", help="runs at a time (default: one for each processor)"
    )
    commands.add_parser(
        "env", help="start the servers, keep them running, and print the settings as NAME=value"
    )
    commands.add_parser("down", help="stop the embedded servers")
    backup = commands.add_parser("backup", help="copy database, documents and objects to a new folder")
    backup.add_argument(
        "place", metavar="PLACE", help="a folder or s3://bucket/prefix that holds nothing yet"
    )
    restored = commands.add_parser("restore", help="bring a backup into stores that are empty")
    restored.add_argument("place", metavar="PLACE", help="what `backup` was given")
    commands.add_parser("prepare", help="bring tables and buckets to this version, and exit")
    execute = commands.add_parser(
        "exec", help="become another command, one of Dagster's, in this environment"
    )
    execute.add_argument("words", metavar="…", nargs=argparse.REMAINDER, help="the command and its arguments")
    return parser


if __name__ == "__main__":
    sys.exit(main())
