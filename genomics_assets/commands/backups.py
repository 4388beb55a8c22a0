"""`backup` and `restore`: one command each for database, documents and objects together."""

from __future__ import annotations

from resources.backup import restore as restore_backup
from resources.backup import take_backup
from resources.embedded import ensure_servers
from resources.environment import Environment
from resources.invariants import check_invariants
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource


def back_up(environment: Environment, place: str) -> int:
    """Copy everything to a new folder or prefix; returns the exit status.

    Raises:
        BackupError: when it cannot be taken.
        ServerError: when an embedded server cannot start.
    """
    postgres_url, mongo, objects = _stores(environment)
    manifest = take_backup(postgres_url, mongo, objects, _place(environment, place), print)
    if manifest.runs_meanwhile:
        print(
            f"{manifest.runs_meanwhile} runs were at work meanwhile: what they wrote may be in some parts alone. "
            "For a backup whose parts fit exactly take one while nothing runs."
        )
    print(f"complete   {_place(environment, place).uri('manifest.json')}")
    return 0


def restore(environment: Environment, place: str) -> int:
    """Bring a backup into empty stores and check what came; returns the exit status.

    It is 1 where everything came back as it was saved, but contradicts itself, as `doctor` would say.

    Raises:
        BackupError: when it cannot be restored.
        ServerError: when an embedded server cannot start.
    """
    postgres_url, mongo, objects = _stores(environment)
    manifest = restore_backup(postgres_url, mongo, objects, _place(environment, place), print)
    print(
        f"restored   as of {manifest.started}, taken by {manifest.product}; every count and hash is as it was"
    )
    broken = [
        violation
        for violation in check_invariants(PostgresResource(url=postgres_url), mongo, objects)
        if violation.is_error
    ]
    for violation in broken:
        print(f"broken     {violation}")
    if not broken:
        print("invariants all hold")
    return 1 if broken else 0


def _stores(environment: Environment) -> tuple[str, MongoResource, ObjectStoreResource]:
    postgres_url, mongo_url = ensure_servers(environment)
    objects = ObjectStoreResource(
        url=environment.object_store_url, s3_endpoint_url=environment.s3_endpoint_url
    )
    return postgres_url, MongoResource(url=mongo_url), objects


def _place(environment: Environment, place: str) -> ObjectStoreResource:
    return ObjectStoreResource(url=place, s3_endpoint_url=environment.s3_endpoint_url)
