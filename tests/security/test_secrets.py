"""Planted secrets never come out: not in what is printed or logged, nor in errors, metadata, run config or GraphQL."""

from __future__ import annotations

import json
import logging
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
import psycopg
import pytest

from genomics_assets import variants, zygotrix
from resources import default_resources
from resources.drop_ledger import DropLedgerResource
from resources.inbox import InboxResource
from sensors.drain import drain

# Each with a sign that URLs escape, so that a part of it is looked for, which is the same in every form.
SECRETS = {
    "postgres": "Swordfish-PG+7/x",
    "mongo": "Swordfish-MO+7/x",
    "aws secret": "Swordfish-S3+7/x",
    "aws key": "AKIASWORDFISHKEY",
    "password of a person": "$2b$12$SwordfishHashOfAPerson",
    "address of a person": "swordfish@example.org",
}
NEEDLES = ("Swordfish", "AKIASWORDFISH", "swordfish@")

VCF = """##fileformat=VCFv4.2
##contig=<ID=chr1,length=248956422>
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO
chr1	100	.	A	G	50	PASS	.
"""

QUERIES = (
    "{ instance { info runLauncher { name } daemonHealth { allDaemonStatuses { id lastHeartbeatErrors { message } } } } }",
    "{ runsOrError { ... on Runs { results { runId status runConfigYaml tags { key value } "
    "eventConnection(limit: 1000) { events { ... on MessageEvent { message } ... on StepEvent { stepKey } "
    "... on ExecutionStepFailureEvent { error { message stack causes { message stack } } "
    "failureMetadata { description metadataEntries { label description ... on TextMetadataEntry { text } "
    "... on MarkdownMetadataEntry { mdStr } ... on JsonMetadataEntry { jsonString } } } } "
    "... on MaterializationEvent { metadataEntries { label description ... on TextMetadataEntry { text } "
    "... on MarkdownMetadataEntry { mdStr } ... on JsonMetadataEntry { jsonString } } } } } } } } }",
    "{ repositoriesOrError { ... on RepositoryConnection { nodes { name allTopLevelResourceDetails { name description "
    "configFields { name defaultValueAsJson } configuredValues { key value type } } } } } }",
)


@pytest.fixture
def login(postgres_url: str) -> Iterator[str]:
    """A login that loads, whose password is a planted one."""
    from urllib.parse import quote

    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE secretive LOGIN PASSWORD '{SECRETS['postgres']}'")  # type: ignore[arg-type]
        owner.execute("GRANT genomics_loader TO secretive")
        host = urlsplit(postgres_url).netloc.rpartition("@")[2]
        password = quote(SECRETS["postgres"], safe="")
        yield urlunsplit(urlsplit(postgres_url)._replace(netloc=f"secretive:{password}@{host}"))
        owner.execute("DROP OWNED BY secretive")
        owner.execute("DROP ROLE secretive")


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def environment(login: str, nobody: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets wherever a setting takes one. PostgreSQL answers; MongoDB and S3 do not, so that their errors are seen."""
    from urllib.parse import quote

    mongo = quote(SECRETS["mongo"], safe="")
    for name, value in {
        "GENOMICS_POSTGRES_URL": login,
        "GENOMICS_MONGO_URL": f"mongodb://ann:{mongo}@127.0.0.1:{nobody}/zygotrix?serverSelectionTimeoutMS=200",
        "GENOMICS_OBJECT_STORE_URL": "s3://bucket/prefix",
        "GENOMICS_S3_ENDPOINT_URL": f"http://127.0.0.1:{nobody}",
        "GENOMICS_INBOX": str(tmp_path / "inbox"),
        "AWS_ACCESS_KEY_ID": SECRETS["aws key"],
        "AWS_SECRET_ACCESS_KEY": SECRETS["aws secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)


def fill(inbox: Path) -> None:
    (inbox / "vcf").mkdir(parents=True)
    (inbox / "vcf" / "good.vcf").write_text(VCF)
    (inbox / "vcf" / "bad.vcf").write_text(VCF.replace("100", "ten"))
    (inbox / "zygotrix" / "users").mkdir(parents=True)
    at = {"$date": "2024-03-01T08:00:00Z"}
    user = {"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}, "email": SECRETS["address of a person"], "role": "user",
            "password_hash": SECRETS["password of a person"], "created_at": at, "updated_at": at}  # fmt: skip
    # The second one is rejected: what is told of rejects may hold neither.
    (inbox / "zygotrix" / "users" / "u.jsonl").write_text(
        json.dumps(user) + "\n" + json.dumps({**user, "role": 7}) + "\n"
    )


def graphql_answers(instance: dg.DagsterInstance) -> list[str]:
    """What the UI is told."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster_graphql.schema import create_schema

    target = ModuleTarget(
        "genomics_assets.definitions", None, str(Path(__file__).resolve().parents[2]), "genomics_assets"
    )
    schema = create_schema()
    answers = []
    with WorkspaceProcessContext(instance, target) as context:
        for query in QUERIES:
            result = schema.execute(query, context_value=context.create_request_context())
            assert not result.errors, result.errors
            answers.append(json.dumps(result.data))
    return answers


@pytest.mark.usefixtures("environment")
def test_planted_secrets_stay_where_they_are(
    postgres_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "inbox")
    resources: dict[str, Any] = default_resources()
    ledger = DropLedgerResource(postgres=resources["postgres"], settle_seconds=0.05)
    resources |= {
        "drop_ledger": ledger,
        "inbox": InboxResource(drop_ledger=ledger),
    }
    definitions = dg.Definitions.merge(
        variants.definitions(),
        zygotrix.definitions(),
        dg.Definitions(resources=resources, executor=dg.in_process_executor),
    )
    told: list[str] = []
    home = tmp_path / "dagster"
    home.mkdir()
    with (
        warnings.catch_warnings(),
        caplog.at_level(logging.INFO),
        dg.DagsterInstance.local_temp(str(home)) as instance,
    ):
        warnings.simplefilter("ignore")
        status = drain(definitions, instance, out=lambda line: told.append(str(line)))
        answers = graphql_answers(instance)
    resources["postgres"].close()
    with psycopg.connect(postgres_url) as owner:
        audit = str(owner.execute("SELECT * FROM genomics.variant_load_audit").fetchall())
        ledger_rows = str(owner.execute("SELECT * FROM genomics.drop_ledger").fetchall())
    printed = capfd.readouterr()
    kept = {str(file): file.read_bytes().decode("latin-1") for file in home.rglob("*") if file.is_file()}

    # There is something to look through: a load, a refusal, a store that is away, and what the UI shows of them.
    assert status == 1
    assert any("bad.vcf" in line and "Remedy" in line for line in told)
    assert "completed" in audit
    assert "good.vcf" in ledger_rows
    assert any("ExecutionStepFailureEvent" in text or "STEP_FAILURE" in text for text in kept.values())
    assert "127.0.0.1" in answers[1]
    places = {
        "printed": printed.out + printed.err,
        "logged": caplog.text,
        "told": "\n".join(told),
        "audit": audit,
        "ledger": ledger_rows,
        **{f"answer {number}": answer for number, answer in enumerate(answers)},
        **kept,
    }
    leaks = {place: needle for place, text in places.items() for needle in NEEDLES if needle in text}
    assert leaks == {}
