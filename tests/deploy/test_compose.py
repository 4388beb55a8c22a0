"""docker-compose.yml and the Dockerfile: valid, hardened, and naming only files that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from deploy_files import ROOT, compose

SERVICES = compose()["services"]
ENDS = {name for name, service in SERVICES.items() if service.get("restart") in ("no", "on-failure")}
BYTES = {"m": 2**20, "g": 2**30}


def test_it_is_what_the_compose_specification_asks_for() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    checked = subprocess.run(
        [program, "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_real_stack_is_all_there() -> None:
    assert set(SERVICES) == {
        "postgres", "mongo", "s3", "s3-volume", "prepare", "code", "webserver", "daemon", "webserver-read-only", "proxy",
    }  # fmt: skip
    assert {"s3-volume", "prepare"} == ENDS
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert "minio" not in str(images)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+(\.\d+)?[\w.-]*", service["image"]), "a tag that says a version"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    limits = service["deploy"]["resources"]["limits"]
    memory = re.fullmatch(r"(\d+)([mg])", limits["memory"])
    assert memory is not None
    assert int(memory[1]) * BYTES[memory[2]] <= 8 * 2**30
    assert float(limits["cpus"]) <= 4
    assert limits["pids"] <= 1000
    if name == "s3-volume":
        # Root, to give a volume away, without a network and with one right.
        assert (service["user"], service["network_mode"], service["cap_add"]) == ("0:0", "none", ["CHOWN"])
        return
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "a user who is not root"
    assert "cap_add" not in service
    assert name in ENDS or service["healthcheck"]["test"][0] == "CMD"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_password_comes_from_a_file() -> None:
    document = compose()
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|CREDENTIALS|POSTGRES_URL|MONGO_URL", variable):
                assert variable.endswith("_FILE"), variable
                secret = value.removeprefix("/run/secrets/")
                assert secret in service["secrets"], f"{name}: {variable}"
        assert set(service.get("secrets", [])) <= set(document["secrets"])
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text()


def test_what_is_mounted_and_waited_for_is_there() -> None:
    document = compose()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if not source.startswith("./deploy/secrets/"):
                assert (ROOT / source).exists() if source.startswith(".") else source in document["volumes"]
        for needed, how in service.get("depends_on", {}).items():
            ended = "service_completed_successfully" if needed in ENDS else "service_healthy"
            assert how == {"condition": ended}


def test_make_secrets_makes_every_secret_once(tmp_path: Path) -> None:
    script = [sys.executable, "-I", str(ROOT / "deploy" / "make_secrets.py"), str(tmp_path / "secrets")]
    first = subprocess.run(script, capture_output=True, text=True, check=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(compose()["secrets"])
    assert len(first.stdout.splitlines()) == len(made)
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert made["postgres_password"] in made["postgres_url"]
    assert made["mongo_password"] in made["mongo_url"]
    assert not any(made["postgres_password"] in said for said in (first.stdout, first.stderr))

    again = subprocess.run(script, capture_output=True, text=True, check=True)
    assert again.stdout == ""
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == made


class Dockerfile:
    """Instructions by stage, continued lines joined."""

    def __init__(self) -> None:
        text = re.sub(r"\\\n\s*", "", (ROOT / "deploy" / "Dockerfile").read_text())
        self.lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        starts = [number for number, line in enumerate(self.lines) if line.startswith("FROM ")]
        self.stages = [self.lines[a:b] for a, b in zip(starts, [*starts[1:], len(self.lines)], strict=True)]


def test_the_image_has_no_compiler_and_no_root() -> None:
    dockerfile = Dockerfile()
    build, final = dockerfile.stages
    assert any("gcc" in line for line in build)
    assert not any(re.search(r"apt-get|gcc|pip install", line) for line in final)
    assert final[-2:] == ["USER 10001:10001", 'CMD ["python", "-m", "genomics_assets", "--help"]']
    assert re.match(r"ARG PYTHON=3\.1[123]\.\d+-slim-\w+", dockerfile.lines[0])


def test_the_image_installs_what_the_lock_file_names_and_nothing_else() -> None:
    build, _ = Dockerfile().stages
    installs = [line for line in build if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in installs)
    lock = (ROOT / "deploy" / "requirements.lock").read_text()
    for name, version in re.findall(
        r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    ):
        assert f"\n{name}=={version} " in f"\n{lock}"
    assert "\ndagster-k8s==" in lock


def test_the_image_gets_every_file_that_it_copies() -> None:
    build, _ = Dockerfile().stages
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for line in (line for line in build if line.startswith("COPY ")):
        for source in line.split()[1:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source
