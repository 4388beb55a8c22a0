"""Refreshing sources: from a real HTTP server into a real inbox, with everything that can go wrong on the way."""

from __future__ import annotations

import doctest
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from genomics_assets.annotations import refresh
from genomics_assets.annotations.refresh import (
    Body,
    Known,
    Refused,
    SourceFeed,
    TryAgain,
    interpret,
    published_checksum,
    read_settings,
    remote_file,
    request_headers,
)
from genomics_assets.drops import DropKind
from genomics_assets.input_error import InputError
from resources.annotation_downloads import AnnotationDownloads, Download, DownloadError
from resources.inbox import InboxError, InboxResource
from resources.postgres import PostgresResource

FIRST = b"##fileformat=VCFv4.2\n" + b"first\n" * 1000
SECOND = b"##fileformat=VCFv4.2\n" + b"other\n" * 1000
KIND = DropKind("annotation", "annotations", (".vcf.gz",), unit="folder", depth=1)

Step = Callable[["Handler"], None]


@dataclass
class Publisher:
    """A web server that answers the requests for its file with one step after the other; the last one stays."""

    steps: list[Step] = field(default_factory=list)
    beside: dict[str, bytes] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def then(self, *steps: Step) -> None:
        self.steps[:] = steps
        self.asked.clear()


class Handler(BaseHTTPRequestHandler):
    publisher: Publisher

    def do_GET(self) -> None:
        ending = self.path.partition("?")[0].rpartition(".")[2]
        if ending in ("md5", "sha256"):
            content = self.publisher.beside.get(ending)
            self.answer(404 if content is None else 200, content or b"no such file")
            return
        self.publisher.asked.append(dict(self.headers))
        steps = self.publisher.steps
        (steps.pop(0) if len(steps) > 1 else steps[0])(self)

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        given = {"Content-Length": str(len(content)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def whole(content: bytes, etag: str | None = '"v1"', modified: str | None = None) -> Step:
    """200, or 304 to whoever has this version."""

    def step(handler: Handler) -> None:
        if etag is not None and handler.headers["If-None-Match"] == etag:
            handler.answer(304)
            return
        if modified is not None and handler.headers["If-Modified-Since"] == modified:
            handler.answer(304)
            return
        told = {"ETag": etag, "Last_Modified": modified}
        handler.answer(200, content, **{name: value for name, value in told.items() if value})

    return step


def status(code: int, **headers: str) -> Step:
    return lambda handler: handler.answer(code, b"sorry", **headers)


def cut(content: bytes, after: int, etag: str = '"v1"') -> Step:
    """The first bytes of a file, and then the connection ends."""
    return lambda handler: handler.answer(200, content[:after], Content_Length=str(len(content)), ETag=etag)


def rest(content: bytes, etag: str = '"v1"') -> Step:
    """The part that is asked for, if it is asked of this version."""

    def step(handler: Handler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        assert handler.headers["If-Range"] == etag
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.answer(206, content[start:], Content_Range=place, ETag=etag)

    return step


def silent(handler: Handler) -> None:
    time.sleep(1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[Publisher]:
    publisher = Publisher()
    handler = type("PublishersHandler", (Handler,), {"publisher": publisher})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    publisher.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield publisher
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def publisher(server: Publisher) -> Publisher:
    server.beside.clear()
    server.then(whole(FIRST))
    return server


@dataclass
class Lab:
    """A source of its own for each test."""

    downloads: AnnotationDownloads
    inbox: Path
    url: str
    publisher: Publisher
    source: str

    def refresh(self, *urls: str) -> list[Download]:
        files = tuple(map(remote_file, urls or [f"{self.publisher.url}/pub/a.vcf.gz"]))
        return self.downloads.refresh(SourceFeed(self.source, files, "weekly"))

    def outcome(self) -> str:
        [download] = self.refresh()
        return download.outcome

    @property
    def dropped(self) -> Path:
        return self.inbox / "annotations" / self.source / "a.vcf.gz"

    def files(self) -> list[str]:
        """All names in the source's folder, hidden ones too."""
        folder = self.dropped.parent
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def state(self, columns: str) -> Any:
        with psycopg.connect(self.url) as connection:
            statement = f"SELECT {columns} FROM genomics.annotation_downloads WHERE source = %s"
            rows = connection.execute(statement, (self.source,)).fetchall()  # type: ignore[arg-type]
        return rows[0] if rows else None


@pytest.fixture
def lab(publisher: Publisher, postgres_url: str, tmp_path: Path) -> Iterator[Lab]:
    inbox = tmp_path / "inbox"
    postgres = PostgresResource(url=postgres_url)
    downloads = AnnotationDownloads(
        postgres=postgres, inbox=InboxResource(url=str(inbox)), timeout_seconds=0.3, attempts=3, first_pause_seconds=0.01
    )  # fmt: skip
    yield Lab(downloads, inbox, postgres_url, publisher, f"s_{uuid.uuid4().hex[:10]}")
    postgres.close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(refresh).failed == 0


# -- what arrives --------------------------------------------------------------------------------------------------


def test_a_file_is_dropped_and_known_again(lab: Lab) -> None:
    assert lab.outcome() == "downloaded"
    assert lab.dropped.read_bytes() == FIRST
    assert lab.state("etag, size, sha256") == ('"v1"', len(FIRST), sha256(FIRST))
    checked, downloaded = lab.state("checked_at, downloaded_at")
    before = lab.dropped.stat()

    assert lab.outcome() == "not modified"
    assert lab.publisher.asked[-1]["If-None-Match"] == '"v1"'
    assert lab.dropped.stat() == before
    assert lab.state(f"checked_at > '{checked}', downloaded_at") == (True, downloaded)
    assert lab.files() == ["a.vcf.gz"]


def test_a_server_without_etags_is_asked_by_date(lab: Lab) -> None:
    date = "Sun, 04 Jan 2026 10:00:00 GMT"
    lab.publisher.then(whole(FIRST, None, date))
    assert [lab.outcome(), lab.outcome()] == ["downloaded", "not modified"]


def test_a_new_version_replaces_the_old_one(lab: Lab) -> None:
    lab.refresh()
    lab.publisher.then(whole(SECOND, '"v2"'))
    assert lab.outcome() == "downloaded"
    assert lab.dropped.read_bytes() == SECOND
    assert lab.state("etag, sha256") == ('"v2"', sha256(SECOND))


def test_the_same_bytes_under_another_etag_drop_nothing(lab: Lab) -> None:
    lab.refresh()
    before, downloaded = lab.dropped.stat(), lab.state("downloaded_at")
    lab.publisher.then(whole(FIRST, '"v2"'))
    assert lab.outcome() == "same bytes"
    assert lab.dropped.stat() == before
    assert lab.state("etag") == ('"v2"',)
    assert lab.state("downloaded_at") == downloaded
    assert lab.outcome() == "not modified"


def test_the_sensor_never_sees_half_a_file(lab: Lab) -> None:
    seen: list[list[str]] = []

    def look_and_give(handler: Handler) -> None:
        seen.append([found.path for found in lab.downloads.inbox.look(KIND).found])
        handler.answer(200, FIRST[:100], Content_Length=str(len(FIRST)), ETag='"v1"')
        seen.append([found.path for found in lab.downloads.inbox.look(KIND).found])

    lab.publisher.then(look_and_give, rest(FIRST))
    lab.refresh()
    assert seen == [[], []]
    assert [found.path for found in lab.downloads.inbox.look(KIND).found] == [lab.source]


# -- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_server_that_fails_and_recovers_is_waited_for(lab: Lab) -> None:
    lab.publisher.then(status(500), status(503, Retry_After="0"), whole(FIRST))
    [download] = lab.refresh()
    assert (download.outcome, download.requests) == ("downloaded", 3)
    assert lab.dropped.read_bytes() == FIRST


def test_a_server_that_keeps_failing_is_given_up_and_what_is_there_stays(lab: Lab) -> None:
    lab.refresh()
    lab.publisher.then(status(500))
    with pytest.raises(DownloadError, match=r"the server answers 500, and so 3 times\. Remedy: "):
        lab.refresh()
    assert len(lab.publisher.asked) == 3
    assert lab.dropped.read_bytes() == FIRST
    assert lab.state("etag") == ('"v1"',)
    assert lab.files() == ["a.vcf.gz"]


@pytest.mark.parametrize("code", [403, 404, 410])
def test_what_is_not_there_is_asked_for_once(lab: Lab, code: int) -> None:
    lab.publisher.then(status(code))
    with pytest.raises(DownloadError, match=f"the server answers {code}. Remedy: correct its URL"):
        lab.refresh()
    assert len(lab.publisher.asked) == 1
    assert lab.files() == []


def test_a_silent_server_is_given_up(lab: Lab) -> None:
    lab.publisher.then(silent)
    started = time.monotonic()
    with pytest.raises(DownloadError, match="silent for too long"):
        lab.refresh()
    assert time.monotonic() - started < 10
    assert lab.files() == []


def test_a_server_that_drips_is_given_up(lab: Lab) -> None:
    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(FIRST)))
        handler.end_headers()
        for byte in FIRST[:20]:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.1)

    lab.publisher.then(drip)
    lab.downloads = AnnotationDownloads(
        postgres=lab.downloads.postgres, inbox=lab.downloads.inbox, longest_seconds=0.15, attempts=1
    )
    with pytest.raises(DownloadError, match="took too long"):
        lab.refresh()
    assert lab.files() == []


def test_nobody_listens(lab: Lab) -> None:
    with pytest.raises(DownloadError, match="refused"):
        lab.refresh("http://127.0.0.1:9/a.vcf.gz")


def test_half_a_file_is_resumed(lab: Lab) -> None:
    lab.publisher.then(cut(FIRST, 2000), rest(FIRST))
    [download] = lab.refresh()
    assert lab.publisher.asked[-1]["Range"] == "bytes=2000-"
    assert (download.outcome, download.size, lab.dropped.read_bytes()) == ("downloaded", len(FIRST), FIRST)


def test_half_a_file_of_a_version_that_is_gone_begins_anew(lab: Lab) -> None:
    lab.publisher.then(cut(FIRST, 2000), whole(SECOND, '"v2"'))
    lab.refresh()
    assert lab.dropped.read_bytes() == SECOND
    assert lab.state("etag") == ('"v2"',)


def test_a_range_that_cannot_be_given_begins_anew(lab: Lab) -> None:
    lab.publisher.then(cut(FIRST, 2000), status(416), whole(FIRST))
    lab.refresh()
    assert lab.dropped.read_bytes() == FIRST
    assert "Range" not in lab.publisher.asked[-1]


def test_half_a_file_for_ever_is_an_error(lab: Lab) -> None:
    lab.publisher.then(cut(FIRST, 2000, "W/weak"))
    with pytest.raises(DownloadError, match="2,000 of 6,021 bytes came"):
        lab.refresh()
    assert lab.files() == []
    assert lab.state("etag") is None


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_checksum_beside_the_file_is_compared(lab: Lab, algorithm: str) -> None:
    digest = hashlib.new(algorithm, FIRST).hexdigest()
    lab.publisher.beside[algorithm] = f"{digest}  /pub/a.vcf.gz\n".encode()
    [download] = lab.refresh()
    assert (download.outcome, download.checksum) == ("downloaded", algorithm)
    assert lab.files() == ["a.vcf.gz"]


def test_a_wrong_checksum_drops_nothing(lab: Lab) -> None:
    lab.publisher.beside["md5"] = f"{'0' * 32}  a.vcf.gz\n".encode()
    with pytest.raises(DownloadError, match="not those of the md5 beside it"):
        lab.refresh()
    # The publisher may have been in the middle of replacing both.
    assert len(lab.publisher.asked) == 2
    assert lab.files() == []
    assert lab.state("etag") is None


def test_a_checksum_that_is_mended_while_it_is_compared_is_taken(lab: Lab) -> None:
    lab.publisher.beside["sha256"] = sha256(SECOND).encode()
    lab.publisher.then(whole(FIRST), whole(SECOND, '"v2"'))
    assert lab.outcome() == "downloaded"
    assert lab.dropped.read_bytes() == SECOND


def test_a_page_in_place_of_a_checksum_counts_as_none(lab: Lab) -> None:
    lab.publisher.beside["md5"] = b"<html>welcome</html>"
    [download] = lab.refresh()
    assert (download.outcome, download.checksum) == ("downloaded", None)


def test_secrets_of_a_url_are_neither_kept_nor_told(lab: Lab) -> None:
    with pytest.raises(InputError, match="holds a user or password") as refused:
        remote_file("https://ann:hunter2@host/a.vcf.gz")
    assert "hunter2" not in str(refused.value)
    lab.publisher.then(status(404))
    with pytest.raises(DownloadError) as failed:
        lab.refresh(f"{lab.publisher.url}/pub/a.vcf.gz?token=hunter2")
    assert "hunter2" not in str(failed.value)
    lab.publisher.then(whole(FIRST))
    lab.refresh(f"{lab.publisher.url}/pub/a.vcf.gz?token=hunter2")
    assert lab.state("url") == (f"{lab.publisher.url}/pub/a.vcf.gz",)
    # Tokens change; the file does not.
    [download] = lab.refresh(f"{lab.publisher.url}/pub/a.vcf.gz?token=other")
    assert download.outcome == "not modified"


def test_files_of_one_source_are_dropped_together_or_not_at_all(lab: Lab) -> None:
    lab.publisher.then(whole(FIRST), status(404))
    with pytest.raises(DownloadError):
        lab.refresh(f"{lab.publisher.url}/x.chr1.vcf.gz", f"{lab.publisher.url}/x.chr2.vcf.gz")
    assert lab.files() == []
    lab.publisher.then(whole(FIRST))
    lab.refresh(f"{lab.publisher.url}/x.chr1.vcf.gz", f"{lab.publisher.url}/x.chr2.vcf.gz")
    assert lab.files() == ["x.chr1.vcf.gz", "x.chr2.vcf.gz"]


def test_a_file_on_a_disk_or_share_is_copied_once(lab: Lab, tmp_path: Path) -> None:
    share = tmp_path / "share" / "a.vcf.gz"
    share.parent.mkdir()
    share.write_bytes(FIRST)
    outcomes = [lab.refresh(f"file://{share}")[0].outcome for _ in range(2)]
    share.write_bytes(SECOND + b"longer")
    outcomes.append(lab.refresh(f"file://{share}")[0].outcome)
    assert outcomes == ["downloaded", "not modified", "downloaded"]
    assert lab.dropped.read_bytes() == SECOND + b"longer"
    share.unlink()
    with pytest.raises(DownloadError, match="there is no such file"):
        lab.refresh(f"file://{share}")


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 server with the buckets `public` and `house`."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    monkeypatch.setenv("GENOMICS_S3_ENDPOINT_URL", endpoint)
    client = boto3.client("s3", endpoint_url=endpoint)
    for name in ("public", "house"):
        client.create_bucket(Bucket=name)
    yield client
    server.stop()


def test_from_bucket_to_bucket_a_file_arrives_in_one_put(lab: Lab, buckets: Any) -> None:
    buckets.put_object(Bucket="public", Key="pub/a.vcf.gz", Body=FIRST)
    buckets.put_object(Bucket="public", Key="pub/a.vcf.gz.md5", Body=hashlib.md5(FIRST).hexdigest().encode())
    lab.downloads = AnnotationDownloads(
        postgres=lab.downloads.postgres, inbox=InboxResource(url="s3://house/inbox"), attempts=2, first_pause_seconds=0.01
    )  # fmt: skip
    outcomes = [lab.refresh("s3://public/pub/a.vcf.gz")[0] for _ in range(2)]
    assert [(one.outcome, one.checksum) for one in outcomes] == [
        ("downloaded", "md5"),
        ("not modified", None),
    ]
    [found] = buckets.list_objects_v2(Bucket="house")["Contents"]
    assert found["Key"] == f"inbox/annotations/{lab.source}/a.vcf.gz"
    assert buckets.get_object(Bucket="house", Key=found["Key"])["Body"].read() == FIRST
    with pytest.raises(DownloadError, match="there is no such file"):
        lab.refresh("s3://public/pub/b.vcf.gz")


@pytest.mark.parametrize(
    "path", ["../a.vcf", "/etc/a.vcf", "a/../../b", "annotations/.hidden", "a/b.part", ""]
)
def test_nothing_is_delivered_outside_of_the_inbox(lab: Lab, path: str) -> None:
    with pytest.raises(InboxError), lab.downloads.inbox.deliver(path) as place:
        place.write_bytes(b"x")


# -- settings -------------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_settings_name_sources_and_how_often(tmp_path: Path) -> None:
    text = """
sources:
  clinvar: {url: https://host/clinvar.vcf.gz}
  gnomad: {url: [https://host/g.chr1.vcf.bgz, https://host/g.chr2.vcf.bgz]}
  house: {url: s3://bucket/house.tsv.gz, every: daily}
"""
    feeds = read_settings(write(tmp_path / "refresh.yaml", text))
    assert [(feed.source, feed.every, len(feed.files)) for feed in feeds] == [
        ("clinvar", "weekly", 1), ("gnomad", "monthly", 2), ("house", "daily", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sources: {clinvar: {uri: x}}", "unknown key 'sources.clinvar.uri'"),
        ("sources: {'../x': {url: 'https://host/a.vcf'}}", "cannot name a table"),
        ("sources: {a: {url: 'ftp://host/a.vcf'}}", "no address that can be asked"),
        ("sources: {a: {url: 'https:///a.vcf'}}", "no address that can be asked"),
        ("sources: {a: {url: 'https://host/b c/a.vcf'}}", "percent-encode"),
        ("sources: {a: {url: 'https://host/é/a.vcf'}}", "percent-encode"),
        ("sources: {a: {url: 'https://host/'}}", "does not end in the name"),
        ("sources: {a: {url: 'https://host/.a.vcf'}}", "does not end in the name"),
        ("sources: {a: {url: 'https://host/a.zip'}}", "does not end in the name"),
        ("sources: {a: {url: 'https://host/%2e%2e%2fa.vcf'}}", "does not end in the name"),
        ("sources: {a: {url: ['https://h/a.vcf', 'https://i/a.vcf']}}", "different names"),
        ("sources: {a: {url: 'https://host/a.vcf', every: hourly}}", "the choices are daily, weekly, monthly"),
        ("- a", "not a mapping"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=r"refresh\.yaml") as refused:
        read_settings(write(tmp_path / "refresh.yaml", text))
    assert says in str(refused.value)


def definitions(monkeypatch: pytest.MonkeyPatch, settings: Path | None) -> dg.Definitions:
    from genomics_assets.annotations.refresh_assets import refresh_definitions

    if settings is not None:
        monkeypatch.setenv("GENOMICS_ANNOTATION_REFRESH", str(settings))
    return refresh_definitions()


def test_without_the_switch_there_is_nothing_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    off = definitions(monkeypatch, None)
    assert not off.assets
    assert not off.schedules
    assert not off.sensors


def test_with_the_switch_each_source_has_a_running_schedule_and_a_freshness(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lab: Lab
) -> None:
    text = f"sources: {{clinvar: {{url: '{lab.publisher.url}/a.vcf.gz'}}, gnomad: {{url: 'https://host/g.vcf.gz'}}}}"
    on = definitions(monkeypatch, write(tmp_path / "refresh.yaml", text))
    schedules = {schedule.name: schedule for schedule in on.schedules or []}
    assert {name: s.cron_schedule for name, s in schedules.items()} == {  # type: ignore[union-attr]
        "clinvar_weekly": "23 4 * * 2", "gnomad_monthly": "23 4 3 * *"
    }  # fmt: skip
    assert all(s.default_status is dg.DefaultScheduleStatus.RUNNING for s in schedules.values())  # type: ignore[union-attr]
    specs = {spec.key.path[-1]: spec for asset in on.assets or [] for spec in asset.specs}
    windows = {name: spec.freshness_policy.warn_window.to_timedelta().days for name, spec in specs.items()}  # type: ignore
    assert windows == {"clinvar_download": 8, "gnomad_download": 33}

    [asset] = [a for a in on.assets or [] if a.key.path[-1] == "clinvar_download"]  # type: ignore
    result = dg.materialize([asset], resources={"annotation_downloads": lab.downloads})
    [event] = result.asset_materializations_for_node("annotations__clinvar_download")
    assert event.metadata["files_dropped"].value == 1
    assert event.metadata["bytes_dropped"].value == len(FIRST)
    assert sha256(FIRST) in str(event.metadata["files"].value)
    assert (lab.inbox / "annotations" / "clinvar" / "a.vcf.gz").read_bytes() == FIRST

    lab.publisher.then(status(404))
    failed = dg.materialize([asset], resources={"annotation_downloads": lab.downloads}, raise_on_error=False)
    assert "the server answers 404" in str(failed.all_events)


def test_broken_settings_hold_up_nothing_and_show_in_the_ui(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = definitions(monkeypatch, tmp_path / "absent.yaml")
    [sensor] = broken.sensors or []
    assert not broken.assets
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    with pytest.raises(dg.Failure, match=r"absent\.yaml: cannot be read"):
        sensor(dg.build_sensor_context())


# -- the rules, apart from any server ------------------------------------------------------------------------------


def test_what_answers_mean() -> None:
    assert interpret(200, {"content-length": "10", "ETag": '"a"'}) == Body(0, 10, '"a"', None)
    assert interpret(206, {"Content-Range": "bytes 5-9/10"}, 5) == Body(5, 10, None, None)
    assert interpret(206, {"Content-Range": "bytes 4-9/10"}, 5) == TryAgain(
        "the server sends another part than was asked for", from_start=True
    )
    assert interpret(429, {"Retry-After": "Thu, 01 Jan 2026 00:01:00 GMT"}).after == pytest.approx(0.0)  # type: ignore
    assert isinstance(interpret(418, {}), Refused)


def test_only_a_strong_validator_asks_for_the_rest() -> None:
    assert "Range" not in request_headers(Known(), 10, Body(0, 20, 'W/"weak"', None))
    assert request_headers(Known(), 10, Body(0, 20, 'W/"weak"', "a date"))["If-Range"] == "a date"
    assert "If-None-Match" not in request_headers(Known('"v1"'), 10, Body(0, 20, '"v2"', None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A" * 32, "a" * 32),
        (f"{'a' * 32} *a.vcf.gz", "a" * 32),
        (f"MD5 (a.vcf.gz) = {'b' * 32}", "b" * 32),
        (f"{'a' * 32}  other.vcf.gz\n{'c' * 32}  ./a.vcf.gz", "c" * 32),
        (f"{'a' * 32}  other.vcf.gz", None),
        ("a" * 31, None),
        ("", None),
    ],
)
def test_how_checksums_are_published(text: str, expected: str | None) -> None:
    assert published_checksum(text, "a.vcf.gz", "md5") == expected
