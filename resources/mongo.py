"""The MongoDB connection. It hands out a database; what is written there is the caller's matter."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

DEFAULT_DATABASE = "zygotrix"


class MongoError(RuntimeError):
    """The server could not be reached, or refused what was asked of it."""


class MongoResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One client for each process, made at first use.

    Datetimes are read back with their time zone (UTC).
    """

    url: str | None = None
    """`mongodb://host:port/database`. None: `GENOMICS_MONGO_URL`, else the embedded server of this home."""

    server_selection_seconds: float = 20.0
    """How long an operation waits for a server that is absent or restarting, unless the URL says it."""

    _client: Any = PrivateAttr(default=None)
    _client_pid: int = PrivateAttr(default=0)

    def database(self) -> "Database[dict[str, Any]]":
        """The database that the URL names (`zygotrix` where it names none).

        Raises:
            MongoError: no server answers, or the URL or its credentials are wrong. Never shows the password.
        """
        if self._client is None or self._client_pid != os.getpid():
            self._client, self._client_pid = self._connected(self._resolved_url()), os.getpid()
        database: Database[dict[str, Any]] = self._client.get_default_database(DEFAULT_DATABASE)
        return database

    def close(self) -> None:
        """Closes the client; the next use opens another."""
        if self._client is not None and self._client_pid == os.getpid():
            self._client.close()
        self._client = None

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Closes the client with the run."""
        self.close()

    def _resolved_url(self) -> str:
        if self.url:
            return self.url
        from resources.environment import Environment

        environment = Environment.from_environ()
        if environment.mongo_url:
            return environment.mongo_url
        from resources.embedded import ensure_mongo

        return ensure_mongo(environment)

    def _connected(self, url: str) -> "MongoClient[dict[str, Any]]":
        import pymongo
        from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

        from resources.environment import masked, without_password

        shown = masked(url)
        remedy = "check GENOMICS_MONGO_URL"
        patience: dict[str, Any] = {}
        if "serverselectiontimeoutms=" not in url.lower():
            patience["serverSelectionTimeoutMS"] = int(self.server_selection_seconds * 1000)
        client: MongoClient[dict[str, Any]] | None = None
        try:
            client = pymongo.MongoClient(url, appname="genomics_assets", tz_aware=True, **patience)
            client.admin.command("ping")
        except ServerSelectionTimeoutError:
            seconds = client.options.server_selection_timeout if client is not None else 0
            problem = f"no server answered within {seconds:g} s"
            remedy = "start the server (`make up` starts the embedded one) or correct GENOMICS_MONGO_URL"
        except OperationFailure as error:
            problem = f"the server refused the connection ({without_password(str(error), url)})"
            remedy = "check user, password and authSource in GENOMICS_MONGO_URL"
        except (PyMongoError, ValueError, TypeError) as error:
            problem = f"the URL cannot be used ({without_password(str(error), url)})"
            remedy = "write mongodb://user:password@host:port/database, reserved characters percent-encoded"
        else:
            return client
        if client is not None:
            client.close()
        # Not chained: pymongo's own text may repeat the URL.
        raise MongoError(f"MongoDB at {shown}: {problem}. Remedy: {remedy}.") from None


def refusal(details: Mapping[str, Any] | None) -> str:
    """Why a server refused something, without the values that it repeats.

    >>> refusal({"code": 11000, "errmsg": 'E11000 duplicate key error index: email_1 dup key: { email: "a@b.c" }'})
    'E11000 duplicate key error index: email_1 (code 11000)'
    """
    message = str((details or {}).get("errmsg") or "no reason given").partition(" dup key:")[0]
    code = (details or {}).get("code")
    return message if code is None else f"{message} (code {code})"
