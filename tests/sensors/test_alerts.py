"""Whom trouble is told to: once, in few messages, without anything that a message should not hold."""

from __future__ import annotations

import json
import socketserver
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dead_workers import abandon

import sensors.alerts as sensor_module
from genomics_assets.alerts import Alert
from genomics_assets.input_error import InputError
from resources.alert_channels import AlertChannels, AlertError, AlertSettings
from resources.environment import SettingError
from resources.jobs import BmdJobs, ComsaJobs, ComsaRequest, GwasJobs, JobOrigin
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource
from sensors.alerts import alerts

SECRET = "T0PS3CRETPATH"


class Webhook:
    """A server on this machine that keeps what it is sent."""

    def __init__(self) -> None:
        received: list[tuple[str, Any]] = []
        self.received = received
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, json.loads(body)))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    webhook = Webhook()
    monkeypatch.setenv("GENOMICS_ALERT_WEBHOOK_URL", f"{webhook.url}/{SECRET}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield webhook
    webhook.server.shutdown()


class Watch:
    """The sensor with its cursor, look by look."""

    def __init__(
        self, instance: dg.DagsterInstance, postgres_url: str, mongo_url: str, objects: Path
    ) -> None:
        self.instance = instance
        self.postgres = PostgresResource(url=postgres_url)
        self.comsa = ComsaJobs(postgres=self.postgres, objects=ObjectStoreResource(url=f"file://{objects}"))
        self.resources = {
            "alert_channels": AlertChannels(),
            "postgres": self.postgres,
            "comsa_jobs": self.comsa,
            "bmd_jobs": BmdJobs(postgres=self.postgres),
            "gwas_jobs": GwasJobs(
                postgres=self.postgres, mongo=MongoResource(url=mongo_url, server_selection_seconds=1)
            ),
        }
        self.cursor: str | None = None

    def look(self) -> Any:
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources=self.resources
        ) as context:
            result = alerts(context)
        if isinstance(result, dg.SensorResult):
            self.cursor = result.cursor
        return result


@pytest.fixture
def watch(postgres_url: str, mongo_url: str, instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[Watch]:
    watch = Watch(instance, postgres_url, mongo_url, tmp_path / "objects")
    yield watch
    watch.postgres.close()


files = dg.DynamicPartitionsDefinition(name="dropped_files")


@dg.asset(partitions_def=files)
def loaded() -> None:
    raise InputError("a name: Jane Doe", remedy="none", file="jane_doe.vcf")


def fail(instance: dg.DagsterInstance, key: str = "jane_doe") -> str:
    instance.add_dynamic_partitions("dropped_files", [key])
    result = dg.materialize(
        [loaded], instance=instance, partition_key=key, raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )  # fmt: skip
    assert not result.success
    return result.run_id


def test_failed_runs_are_told_once_in_one_message(
    watch: Watch, webhook: Webhook, instance: dg.DagsterInstance
) -> None:
    fail(instance)
    watch.look()
    assert webhook.received == [], "what failed before the first look is not news"
    runs = [fail(instance) for _ in range(7)]

    watch.look()
    watch.look()

    [(path, alert)] = webhook.received
    assert path == f"/{SECRET}"
    assert alert["kind"] == "run_failure"
    assert alert["title"].startswith("7 runs failed: ")
    assert alert["lines"][:5] == [f"run {run}" for run in runs[:5]]
    assert "and 2 more" in alert["lines"]
    told = json.dumps(alert).lower()
    assert "jane" not in told, "neither partition nor error text: file names may be people's"
    fail(instance)
    watch.look()
    assert webhook.received[-1][1]["title"].startswith("1 run failed")


def test_a_message_leads_to_the_run(
    watch: Watch, webhook: Webhook, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENOMICS_UI_URL", "https://dagster.example.org/")
    watch.look()
    run = fail(instance)
    watch.look()
    assert webhook.received[0][1]["link"] == f"https://dagster.example.org/runs/{run}"


def test_a_stuck_job_is_told_when_it_lasts_and_not_again(
    watch: Watch, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = watch.comsa.begin(
        ComsaRequest("openva_only"), JobOrigin(uuid.uuid4().hex, "batch", str(uuid.uuid4()))
    )
    watch.look()
    abandon(job, watch.postgres.url)
    watch.look()
    assert webhook.received == [], "the reaper has its time"
    monkeypatch.setattr(sensor_module, "STUCK_SECONDS", 0.0)
    watch.look()
    watch.look()

    [(_, alert)] = webhook.received
    assert alert["kind"] == "stuck_job"
    assert alert["lines"][0] == f"comsa job {job.id}"
    watch.comsa.reap()


def test_a_stale_source_is_told(
    watch: Watch, webhook: Webhook, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "refresh.yaml"
    settings.write_text(
        "sources:\n  clinvar: {url: https://example.org/c.vcf.gz}\n  gnomad: {url: https://example.org/g.vcf.gz}\n"
    )
    monkeypatch.setenv("GENOMICS_ANNOTATION_REFRESH", str(settings))
    with psycopg.connect(postgres_url) as connection:
        for source, days in (("clinvar", 17), ("gnomad", 17)):
            connection.execute(
                "INSERT INTO genomics.annotation_downloads (source, file_name, url, size, sha256, checked_at) "
                "VALUES (%s, 'f', 'u', 1, repeat('0', 64), now() - make_interval(days => %s))",
                (source, days),
            )
        connection.execute(
            "INSERT INTO genomics.annotation_sources (name, field_config, loaded_at) "
            "VALUES ('house', '[]', now() - interval '40 days')"
        )
    watch.look()
    assert [alert["lines"][0] for _, alert in webhook.received] == ["clinvar: 17 days"], (
        "gnomAD is looked at monthly"
    )
    monkeypatch.setenv("GENOMICS_ALERT_STALE_DAYS", "30")
    watch.look()
    assert [alert["lines"][0] for _, alert in webhook.received] == ["clinvar: 17 days", "house: 40 days"]


def test_a_store_that_is_away_is_told(
    watch: Watch, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor_module, "STUCK_SECONDS", 0.0)
    watch.resources["gwas_jobs"] = GwasJobs(
        postgres=watch.postgres,
        mongo=MongoResource(url="mongodb://127.0.0.1:9/x", server_selection_seconds=0.1),
    )
    watch.look()
    [(_, alert)] = webhook.received
    assert alert["title"] == "the store of gwas jobs does not answer"


def test_what_could_not_be_sent_is_sent_at_the_next_look(
    watch: Watch, webhook: Webhook, instance: dg.DagsterInstance
) -> None:
    watch.look()
    fail(instance)
    webhook.status = 500
    with pytest.raises(AlertError) as error:
        watch.look()
    assert str(error.value) == "webhook: the server answered 500"
    webhook.status = 200

    watch.look()

    assert [alert["title"][:12] for _, alert in webhook.received] == ["1 run failed"] * 2


class Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as one message needs."""

    letters: list[str]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                letter = b""
                while (line := self.rfile.readline()) != b".\r\n":
                    letter += line
                self.letters.append(letter.decode())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n")
            if word == b"QUIT":
                return


def test_every_channel_gets_it_in_its_form(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    letters: list[str] = []
    handler = type("Box", (Mailbox,), {"letters": letters})
    alert = Alert("test", "A test", ("nothing to do",), "http://ui")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("GENOMICS_ALERT_SLACK_URL", f"{webhook.url}/slack/{SECRET}")
        monkeypatch.setenv("GENOMICS_ALERT_SMTP_URL", f"smtp://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("GENOMICS_ALERT_EMAIL_TO", "ops@example.org, lab@example.org")
        assert AlertChannels().send(alert) == []
        server.shutdown()

    assert dict(webhook.received) == {
        f"/{SECRET}": alert.as_json(), f"/slack/{SECRET}": {"text": "A test\n- nothing to do\nhttp://ui"},
    }  # fmt: skip
    [letter] = letters
    assert "Subject: [genomics_assets] A test" in letter
    assert "To: ops@example.org, lab@example.org" in letter


def test_a_channel_that_is_away_holds_no_other_back_and_shows_no_address(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENOMICS_ALERT_SLACK_URL", f"http://127.0.0.1:9/{SECRET}")
    problems = AlertChannels().send(Alert("test", "A test"))
    assert problems == ["slack: could not be reached (URLError)"]
    assert len(webhook.received) == 1
    webhook.server.shutdown()
    webhook.server.server_close()
    with pytest.raises(AlertError) as error:
        AlertChannels().send(Alert("test", "A test"))
    assert SECRET not in str(error.value)
    assert SECRET not in repr(AlertSettings.from_environ())


def test_nothing_is_looked_at_where_nobody_is_told(watch: Watch) -> None:
    result = watch.look()
    assert isinstance(result, dg.SkipReason)
    assert "GENOMICS_ALERT_WEBHOOK_URL" in str(result.skip_message)


@pytest.mark.parametrize(
    "variables",
    [
        {"GENOMICS_ALERT_WEBHOOK_URL": f"ftp://x/{SECRET}"},
        {"GENOMICS_ALERT_SMTP_URL": f"smtp://ann:{SECRET}@mail"},
        {"GENOMICS_ALERT_EMAIL_TO": "ops@example.org"},
        {"GENOMICS_ALERT_STALE_DAYS": "soon"},
    ],
)
def test_settings_that_cannot_be_used_are_named(variables: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="Remedy: ") as error:
        AlertSettings.from_environ(variables)
    assert SECRET not in str(error.value)


def test_a_reminder_comes_after_a_day() -> None:
    memory = sensor_module.Memory(0.0)
    now = time.time()
    assert memory.lasting(["a"], "stuck", now, 0) == ["a"]
    memory.note_told(["a"], "stuck", now)
    assert memory.lasting(["a"], "stuck", now + 3600, 0) == []
    assert memory.lasting(["a"], "stuck", now + 25 * 3600, 0) == ["a"]
    assert memory.lasting([], "stuck", now, 0) == []
    assert memory.lasting(["a"], "stuck", now + 60, 0) == ["a"], "it went and came back"
