"""Where everything is: the settings of this process, read from its environment variables once.

This module knows names and defaults. It starts nothing and connects to nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import quote, unquote, unquote_plus

Genome = Literal["human", "other"]

# Greedy, and without need of a scheme: of a malformed URL rather too little is shown than too much.
_PASSWORD = re.compile(r"((?:[^:/?#@]*://)?[^:/?#@]*):(.*)@")
_PASSWORD_OPTION = re.compile(r"(?i)(?<=[?&]password=)[^&#]*")


class SettingError(ValueError):
    """An environment variable holds what the project cannot use; the message names it and the remedy."""


@dataclass(frozen=True)
class Environment:
    """The settings of one checkout. The addresses that may hold a password stay out of its `repr`.

    Attributes:
        home: state of the embedded servers, inbox, objects and Dagster home; an absolute path.
        inbox: where files are dropped: an absolute folder or an `s3://` URL.
        postgres_url: `postgresql://…` of a server of one's own, or None for the embedded one.
        mongo_url: `mongodb://…` of a server of one's own, or None for the embedded one.
        object_store_url: `file://` and an absolute folder, or `s3://bucket/prefix`.
        s3_endpoint_url: the S3 server, where it is not Amazon's.
        reference_fasta: the genome that alleles are left-aligned and checked against.
        genome: which contigs the warehouse is made for.
        annotation_refresh: YAML with the annotation sources to keep fresh, or None.
        va_reference: folder of the reference files of verbal autopsy, which belong to others.
        dask_scheduler: `tcp://host:8786` of a Dask cluster for the blocks of heavy runs, or None.
        run_queue_url: `redis://…` of the queue that workers take runs from, or None to do runs on this machine.
    """

    home: Path
    inbox: str
    postgres_url: str | None = field(repr=False)
    mongo_url: str | None = field(repr=False)
    object_store_url: str
    s3_endpoint_url: str | None
    reference_fasta: Path | None
    genome: Genome
    annotation_refresh: Path | None = None
    va_reference: Path | None = None
    dask_scheduler: str | None = None
    run_queue_url: str | None = field(default=None, repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Environment:
        """Read the settings; a variable that is empty counts as not set.

        An address that is not set may be in a file that `<variable>_FILE` names, as secrets of containers are.

        Raises:
            SettingError: when a value is not of the form that its variable needs, or its file cannot be read.
        """
        home = _folder(environ.get("GENOMICS_HOME") or ".genomics")
        reference = environ.get("GENOMICS_REFERENCE_FASTA")
        refresh = environ.get("GENOMICS_ANNOTATION_REFRESH")
        va_reference = environ.get("GENOMICS_VA_REFERENCE")
        return cls(
            home=home,
            inbox=_place(environ.get("GENOMICS_INBOX") or str(home / "inbox")),
            postgres_url=_address(environ, "GENOMICS_POSTGRES_URL", ("postgresql", "postgres")),
            mongo_url=_address(environ, "GENOMICS_MONGO_URL", ("mongodb", "mongodb+srv")),
            object_store_url=environ.get("GENOMICS_OBJECT_STORE_URL") or f"file://{home / 'objects'}",
            s3_endpoint_url=_address(environ, "GENOMICS_S3_ENDPOINT_URL", ("http", "https")),
            reference_fasta=_folder(reference) if reference else None,
            genome=_genome(environ.get("GENOMICS_GENOME") or "human"),
            annotation_refresh=_folder(refresh) if refresh else None,
            va_reference=_folder(va_reference) if va_reference else None,
            dask_scheduler=_address(environ, "GENOMICS_DASK_SCHEDULER", ("tcp", "tls")),
            run_queue_url=_address(environ, "GENOMICS_RUN_QUEUE_URL", ("redis", "rediss")),
        )


def storage_place(
    url: str | None, endpoint: str | None, setting: Literal["inbox", "object_store_url"]
) -> tuple[str, str | None]:
    """Where files are kept: what a resource was given, and for what it was not given, the settings.

    Returns:
        A folder's path or an `s3://` URL, and the S3 server where it is not Amazon's.

    Raises:
        SettingError: it is neither.
    """
    if url is None or (endpoint is None and url.startswith("s3://")):
        environment = Environment.from_environ()
        url, endpoint = url or getattr(environment, setting), endpoint or environment.s3_endpoint_url
    if "://" in url and not url.startswith(("file://", "s3://")):
        raise SettingError(
            f"{url.split('://')[0]}://…: only folders, file:// and s3:// are known. "
            f"Remedy: correct GENOMICS_{setting.upper()}."
        )
    return url.removeprefix("file://"), endpoint


def masked(url: str) -> str:
    """The URL with its password replaced, fit for logs, errors and metadata.

    >>> masked("postgresql://ann:secret@db/genomics")
    'postgresql://ann:***@db/genomics'
    >>> masked("s3://bucket/prefix")
    's3://bucket/prefix'
    """
    return _PASSWORD_OPTION.sub("***", _PASSWORD.sub(r"\1:***@", url))


def without_password(text: str, url: str, *more: str) -> str:
    """A text of somebody else's without the password of `url`, as written, as decoded and as encoded.

    Args:
        text: such as a driver's error.
        url: which may be malformed.
        more: other secrets.

    >>> without_password("no user ann with s@t", "postgresql://ann:s%40t@db/x")
    'no user ann with ***'
    """
    text = text.replace(url, masked(url))
    found = _PASSWORD.match(url)
    secrets = {secret for secret in (*more, found[2] if found else "") if secret}
    for secret in sorted(secrets, key=len, reverse=True):
        for written in {secret, unquote(secret), unquote_plus(secret), quote(secret, safe="")}:
            text = text.replace(written, "***")
    return text


def _folder(value: str) -> Path:
    return Path(os.path.abspath(Path(value).expanduser()))  # noqa: PTH100 - resolve() would follow the last link


def _place(value: str) -> str:
    if value.startswith("file://"):
        return str(_folder(value.removeprefix("file://")))
    return value if "://" in value else str(_folder(value))


def _address(environ: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    value = environ.get(name) or _from_file(environ, f"{name}_FILE")
    if not value:
        return None
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise SettingError(
            f"{name} is {masked(value)!r}, which does not start with {schemes[0]}://. "
            f"Remedy: write it as {schemes[0]}://…, or unset it."
        )
    return value


def _from_file(environ: Mapping[str, str], name: str) -> str | None:
    """What the file holds that a variable names: how container engines hand over secrets."""
    path = environ.get(name)
    if not path:
        return None
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingError(
            f"{name} is {path!r}, which cannot be read: {problem}. Remedy: correct the path or the file's permissions."
        ) from None


def _genome(value: str) -> Genome:
    if value not in get_args(Genome):
        raise SettingError(
            f"GENOMICS_GENOME is {value!r}. Remedy: set it to 'human' or 'other', or unset it."
        )
    return cast(Genome, value)
