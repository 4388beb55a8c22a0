"""Every command of docker-compose.yml, run as a plain process against servers on loopback: a file dropped in S3 lands.

The servers of the compose file are stood in for by the embedded ones and a real S3 server; everything else is as there.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from containers import Containers, free_port
from stack import ROOT, wait_until

RECORDS = 60_000

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def containers(
    make_database: Callable[[], str],
    mongo_url: str,
    s3_endpoint: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Containers]:
    name = uuid.uuid4().hex[:12]
    keys = boto3.Session().get_credentials().get_frozen_credentials()
    settings = {
        "GENOMICS_S3_ENDPOINT_URL": s3_endpoint,
        "GENOMICS_INBOX": f"s3://inbox-{name}",
        "GENOMICS_OBJECT_STORE_URL": f"s3://genomics-{name}/objects",
    }
    secrets = {
        "postgres_url": make_database(),
        "mongo_url": mongo_url.replace("/zygotrix", f"/c{name}"),
        "s3_credentials": f"[default]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n",
    }
    stack = Containers(tmp_path_factory.mktemp("containers"), settings, secrets)
    try:
        said = stack.finish("prepare")
        assert f"bucket inbox-{name}: made" in said
        assert f"bucket genomics-{name}: made" in said
        stack.start("code")
        stack.wait_until_healthy("code")
        for service in ("webserver", "webserver-read-only", "daemon"):
            stack.start(service)
        for service in ("webserver", "webserver-read-only", "daemon"):
            stack.wait_until_healthy(service)
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def s3(s3_endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=s3_endpoint)


def vcf(records: int) -> bytes:
    header = "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=248956422>\n"
    header += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    return (
        header + "".join(f"chr1\t{1000 + 40 * i}\trs{i}\tA\tG\t50\tPASS\t.\n" for i in range(records))
    ).encode()


def query(containers: Containers, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    url = (containers.folder / "secrets" / "postgres_url").read_text()
    with psycopg.connect(url) as connection:
        return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]


def loaded(containers: Containers, key: str) -> int:
    return int(
        query(
            containers,
            "SELECT coalesce(sum(variants), 0)::int FROM genomics.variant_summary JOIN genomics.current_loads "
            "USING (load_batch_id) WHERE partition_key = %s",
            key,
        )[0][0]
    )


def keys_below(s3: Any, address: str) -> list[str]:
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def test_a_file_dropped_in_the_bucket_lands(containers: Containers, s3: Any) -> None:
    inbox = containers.settings["GENOMICS_INBOX"].removeprefix("s3://")
    s3.put_object(Bucket=inbox, Key="vcf/small.vcf", Body=vcf(100))

    wait_until("the file is loaded", lambda: loaded(containers, "small") == 100, seconds=300, every=1)

    store = containers.settings["GENOMICS_OBJECT_STORE_URL"]
    wait_until("the lake has it", lambda: keys_below(s3, f"{store}/lake/variants"), seconds=120, every=1)
    wait_until(
        "what the run printed is there", lambda: keys_below(s3, f"{store}/dagster/storage"), seconds=120, every=1
    )  # fmt: skip
    # Nothing but Dagster's settings and what is temporary stays in a container.
    for service in ("code", "webserver", "daemon"):
        home = containers.folder / service / "home"
        kept = {file.relative_to(home).as_posix() for file in home.rglob("*") if file.is_file()}
        assert kept <= {"dagster/dagster.yaml", "dagster/.telemetry/id.yaml"}, service
        assert "postgresql://" not in (home / "dagster" / "dagster.yaml").read_text()


@pytest.mark.soak
def test_runs_of_a_code_container_that_is_gone_are_done_again(containers: Containers, s3: Any) -> None:
    inbox = containers.settings["GENOMICS_INBOX"].removeprefix("s3://")
    s3.put_object(Bucket=inbox, Key="vcf/large.vcf", Body=vcf(RECORDS))
    started = "SELECT count(*) FROM genomics.variant_load_audit WHERE partition_key = 'large' AND status = 'started'"
    wait_until("the load is under way", lambda: query(containers, started) == [(1,)], seconds=300, every=0.01)

    containers.kill("code")
    assert loaded(containers, "large") == 0
    containers.start("code")
    containers.wait_until_healthy("code")

    wait_until("the file is loaded", lambda: loaded(containers, "large") == RECORDS, seconds=400, every=1)
    failed = query(
        containers,
        "SELECT count(*) FROM dagster.event_logs WHERE dagster_event_type = 'PIPELINE_FAILURE' "
        "AND event LIKE '%%knows nothing of the run%%'",
    )
    assert failed == [(1,)]
    assert query(
        containers, "SELECT count(*) FROM genomics.variants WHERE load_batch_id IN (SELECT load_batch_id FROM "
        "genomics.variant_load_audit WHERE partition_key = 'large')"
    ) == [(RECORDS,)]  # fmt: skip


PERMISSIONS = {"query": "{permissions {permission value}}"}


def permissions(url: str, **headers: str) -> dict[str, bool]:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps(PERMISSIONS).encode(), {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=60, context=trusting) as answer:
        return {one["permission"]: one["value"] for one in json.load(answer)["data"]["permissions"]}


def test_the_read_only_ui_lets_nobody_start_anything(containers: Containers) -> None:
    may = permissions(f"http://127.0.0.1:{containers.ui_ports['webserver-read-only']}")
    assert may
    assert not any(may.values())
    assert permissions(f"http://127.0.0.1:{containers.ui_ports['webserver']}")["launch_pipeline_execution"]


@pytest.fixture
def proxy(containers: Containers, tmp_path: Path) -> Iterator[str]:
    """A real nginx with the project's configuration; ann edits, bob looks."""
    nginx, openssl = shutil.which("nginx"), shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl is not installed")
    access = tmp_path / "access"
    access.mkdir()
    (access / "editors.conf").write_text("ann editor;\n")
    hashed = {
        name: subprocess.run(
            [openssl, "passwd", "-apr1", f"{name}'s word"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("ann", "bob")
    }
    (access / "users").write_text("".join(f"{name}:{value}\n" for name, value in hashed.items()))
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
         "-keyout", access / "tls.key", "-out", access / "tls.crt"],
        capture_output=True, check=True,
    )  # fmt: skip
    port = free_port()
    text = (ROOT / "deploy" / "proxy" / "nginx.conf").read_text()
    for there, here in {
        # First, since what follows has it too.
        "/tmp/": f"{tmp_path}/",
        "/etc/nginx/access": str(access),
        "listen 8443 ssl": f"listen 127.0.0.1:{port} ssl",
        "webserver-read-only:3000": f"127.0.0.1:{containers.ui_ports['webserver-read-only']}",
        "server webserver:3000": f"server 127.0.0.1:{containers.ui_ports['webserver']}",
        "worker_processes auto": "worker_processes 1",
        "/dev/stdout": f"{tmp_path}/access.log",
    }.items():
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "nginx.conf").write_text(text)
    # Started by root, its workers would be someone who cannot read this test's folder.
    alone = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    process = subprocess.Popen(
        [nginx, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path), "-g", alone],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"https://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        try:
            return bool(urllib.request.urlopen(f"{url}/healthz", timeout=5, context=trusting).status == 204)
        except OSError:
            return False

    wait_until("nginx answers", answers, seconds=30)
    yield url
    process.terminate()
    process.wait(30)


def login(name: str, word: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()}


def test_the_proxy_lets_in_who_has_a_login_and_edits_who_may(proxy: str) -> None:
    for headers in ({}, login("ann", "wrong"), login("eve", "ann's word")):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            permissions(proxy, **headers)
    assert permissions(proxy, **login("ann", "ann's word"))["launch_pipeline_execution"]
    may = permissions(proxy, **login("bob", "bob's word"))
    assert may
    assert not any(may.values())
