"""Least privilege: what each group role may do, and what it may not, as a login of one's own finds it."""

from __future__ import annotations

import logging
import os
import secrets
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
import psycopg
import pytest

from genomics_assets import variants
from resources import default_resources
from resources.migrations import migrate

VCF = """##fileformat=VCFv4.2
##contig=<ID=chr1,length=248956422>
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO	FORMAT	ann
chr1	100	.	A	G	50	PASS	.	GT	0/1
"""

ROLES = ("genomics_reader", "genomics_loader", "dagster")

Login = Callable[[str], str]


@pytest.fixture
def login(postgres_url: str) -> Iterator[Login]:
    """Makes a login of its own in a group, and gives its URL."""
    made: list[str] = []

    def make(group: str | None) -> str:
        name, password = f"login_{uuid.uuid4().hex[:10]}", secrets.token_hex(8)
        with psycopg.connect(postgres_url, autocommit=True) as owner:
            owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")  # type: ignore[arg-type]
            if group is not None:
                owner.execute(f"GRANT {group} TO {name}")  # type: ignore[arg-type]
                owner.execute(f"ALTER ROLE {name} SET role TO {group}")  # type: ignore[arg-type]
        made.append(name)
        host = urlsplit(postgres_url).netloc.rpartition("@")[2]
        return urlunsplit(urlsplit(postgres_url)._replace(netloc=f"{name}:{password}@{host}"))

    yield make
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        for name in made:
            owner.execute(f"DROP OWNED BY {name}")  # type: ignore[arg-type]
            owner.execute(f"DROP ROLE {name}")  # type: ignore[arg-type]


def may(url: str, statement: str) -> bool:
    """Whether a login may do this; nothing of it stays."""
    with psycopg.connect(url) as connection:
        try:
            connection.execute(statement)  # type: ignore[arg-type]
        except psycopg.errors.InsufficientPrivilege:
            return False
        finally:
            connection.rollback()
    return True


def test_a_reader_reads_and_changes_nothing(login: Login) -> None:
    reader = login("genomics_reader")

    for query in (
        "SELECT * FROM genomics.variants",
        "SELECT * FROM genomics.sample_genotypes",
        "SELECT * FROM genomics.variants_overlapping('chr1', 1, 10)",
        "SELECT * FROM bmd.bmd_results",
        "SELECT * FROM comsa.jobs",
        "SELECT username FROM bmd.users",
    ):
        assert may(reader, query), query
    for change in (
        "INSERT INTO genomics.samples (external_id) VALUES ('x')",
        "UPDATE genomics.variant_load_audit SET status = 'failed'",
        "DELETE FROM comsa.jobs",
        "CREATE TABLE genomics.mine (x int)",
        "SELECT password_hash FROM bmd.users",
        "SELECT email FROM bmd.users",
        "CREATE SCHEMA mine",
    ):
        assert not may(reader, change), change


def test_a_loader_loads_and_cannot_change_schema_or_history(
    login: Login, postgres_url: str, tmp_path: Path
) -> None:
    loader = login("genomics_loader")
    resources = default_resources(
        postgres_url=loader, inbox_url=str(tmp_path / "inbox"), object_store_url=f"file://{tmp_path}/objects"
    )
    (tmp_path / "inbox" / "vcf").mkdir(parents=True)
    (tmp_path / "inbox" / "vcf" / "ann.vcf").write_text(VCF)
    definitions = dg.Definitions.merge(
        variants.definitions(), dg.Definitions(resources=resources, executor=dg.in_process_executor)
    )
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("vcf_files", ["ann"])

    result = definitions.resolve_job_def("load_vcf").execute_in_process(
        instance=instance, partition_key="ann", raise_on_error=False
    )
    resources["postgres"].close()

    assert result.success
    with psycopg.connect(postgres_url) as owner:
        assert owner.execute("SELECT count(*) FROM genomics.sample_genotypes").fetchone() == (1,)
    assert may(loader, "CREATE TABLE genomics.anno_mine (x int)"), "annotation sources bring tables"
    for change in (
        "DELETE FROM genomics.variant_load_audit",
        "UPDATE genomics.schema_version SET version_num = '0001'",
        "DROP TABLE genomics.variants",
        "ALTER TABLE genomics.variants ADD COLUMN x int",
        "CREATE TABLE bmd.mine (x int)",
        "CREATE ROLE mine",
    ):
        assert not may(loader, change), change


def test_readers_see_the_tables_that_loaders_make(login: Login) -> None:
    with psycopg.connect(login("genomics_loader")) as loader:
        loader.execute("CREATE TABLE genomics.anno_of_loader (chrom text)")
    reader = login("genomics_reader")
    try:
        assert may(reader, "SELECT * FROM genomics.anno_of_loader")
    finally:
        with psycopg.connect(login("genomics_loader")) as loader:
            loader.execute("DROP TABLE genomics.anno_of_loader")


def test_dagsters_role_has_its_own_schema_and_nothing_else(login: Login) -> None:
    keeper = login("dagster")

    assert may(keeper, "CREATE TABLE dagster.mine (x int)")
    assert not may(keeper, "SELECT * FROM genomics.variants")
    assert not may(keeper, "CREATE TABLE genomics.mine (x int)")


def test_what_a_later_migration_makes_is_granted_too(login: Login, postgres_url: str) -> None:
    reader = login("genomics_reader")
    with psycopg.connect(postgres_url) as owner:
        owner.execute("CREATE TABLE genomics.from_tomorrow (x int)")
    assert may(reader, "SELECT * FROM genomics.from_tomorrow")
    assert not may(reader, "INSERT INTO genomics.from_tomorrow VALUES (1)")


def test_making_the_roles_again_changes_nothing(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as owner:
        before = owner.execute(
            "SELECT oid, relacl::text FROM pg_class WHERE relacl IS NOT NULL ORDER BY 1"
        ).fetchall()
        owner.execute("SELECT genomics.make_roles()")
        after = owner.execute(
            "SELECT oid, relacl::text FROM pg_class WHERE relacl IS NOT NULL ORDER BY 1"
        ).fetchall()
    assert after == before


@pytest.fixture
def no_roles(postgres_server: str) -> Iterator[None]:
    """As on a server where no database of the project has been; roles belong to the whole server."""
    if os.environ.get("GENOMICS_TEST_POSTGRES_URL"):
        pytest.skip("the roles of a server of one's own are not renamed")
    with psycopg.connect(postgres_server, autocommit=True) as server:
        for role in ROLES:
            server.execute(f"ALTER ROLE {role} RENAME TO kept_{role}")  # type: ignore[arg-type]
        yield
        for role in ROLES:
            server.execute(f"ALTER ROLE kept_{role} RENAME TO {role}")  # type: ignore[arg-type]


@pytest.mark.usefixtures("postgres_url", "no_roles")
def test_a_server_that_lets_nobody_make_roles_is_migrated_with_a_notice(
    postgres_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    name, password = f"owner_{uuid.uuid4().hex[:10]}", secrets.token_hex(8)
    host = urlsplit(postgres_server).netloc.rpartition("@")[2]
    url = urlunsplit(urlsplit(postgres_server)._replace(netloc=f"{name}:{password}@{host}", path=f"/{name}"))
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")  # type: ignore[arg-type]
        server.execute(f"CREATE DATABASE {name} OWNER {name}")  # type: ignore[arg-type]
        try:
            with caplog.at_level(logging.WARNING):
                applied = migrate(url)
            with psycopg.connect(url) as owner:
                tables = owner.execute("SELECT to_regclass('genomics.variants') IS NOT NULL").fetchone()
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
            server.execute(f"DROP ROLE {name}")  # type: ignore[arg-type]

    assert "0008" in applied
    assert tables == (True,)
    assert "let a superuser run SELECT genomics.make_roles()" in caplog.text
