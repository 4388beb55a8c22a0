"""`prepare` and `exec`: what a container does before and instead of its own start script."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from genomics_assets.commands.stack import Stack, make_dagster_home, start_stack
from resources.buckets import make_buckets
from resources.environment import Environment, SettingError


def prepare(environment: Environment) -> int:
    """Bring the stores to this version: tables of the project and of Dagster, and buckets; returns the exit status.

    Safe to run again, and by two at once. The servers are those of the environment, else the embedded ones.

    Raises:
        MigrationError: when the database is not one that this version can use.
        BucketError: when a bucket can be neither seen nor made.
    """
    stack = start_stack(environment)
    made = make_buckets(environment)
    print(f"database: {', '.join(stack.migrated) or 'is up to date'}")
    for bucket in made:
        print(f"bucket {bucket}: made")
    return 0


def execute(environment: Environment, command: Sequence[str]) -> int:
    """Become the command, one of Dagster's, with all that it needs to know in its environment; never returns.

    `GENOMICS_POSTGRES_URL` and `GENOMICS_MONGO_URL`, or the files that `…_FILE` names, must be given: a container
    has no embedded servers. Dagster's settings are written to `$GENOMICS_HOME/dagster`.

    Raises:
        SettingError: when an address is missing, or there is no such command.
    """
    if not environment.postgres_url or not environment.mongo_url:
        raise SettingError(
            "exec works with servers of your own. Remedy: set GENOMICS_POSTGRES_URL and GENOMICS_MONGO_URL, or "
            "GENOMICS_POSTGRES_URL_FILE and GENOMICS_MONGO_URL_FILE."
        )
    if not command or shutil.which(command[0]) is None:
        raise SettingError(
            f"exec: there is no command {' '.join(command[:1])!r}. Remedy: name one, such as dagster-daemon run."
        )
    stack = Stack(environment, environment.postgres_url, environment.mongo_url, [])
    make_dagster_home(stack.dagster_home, environment)
    os.execvpe(command[0], list(command), os.environ | stack.dagster_variables())  # noqa: S606
