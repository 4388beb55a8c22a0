from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import yaml

from genomics_assets.commands.stack import drop_examples, drop_later_examples, make_dagster_home, shell_line
from resources.dagster_storage import dagster_storage_url
from resources.embedded import ServerError, stop_servers
from resources.embedded.folder import ServerFolder
from resources.environment import Environment
from resources.object_store import ObjectStoreResource

PROJECT = Path(__file__).resolve().parents[1]


class Command:
    """`python -m genomics_assets …` in a process of its own."""

    def __init__(self, home: Path, *arguments: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "genomics_assets", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, "GENOMICS_HOME": str(home), **variables},
            start_new_session=True,
        )

    def end(self, timeout: float = 90) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, output, errors

    def line(self, start: str) -> str:
        """The output up to the first line that starts like this."""
        assert self.process.stdout is not None
        seen = ""
        for line in self.process.stdout:
            seen += line
            if line.startswith(start):
                return seen
        raise AssertionError(f"{seen}\n{self.end()}")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, words: str) -> psutil.Process:
        """The child whose command line holds these words, once it is there."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            assert self.process.poll() is None, self.end()
            found[:] = [child for child in self.family() if words in command_line(child)]
            return bool(found)

        wait_until(is_there, 60)
        return found[0]


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def my_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home, with a space in its name, whose servers are gone after the tests."""
    home = tmp_path_factory.mktemp("commands") / "my home"
    yield home
    stop_servers(home)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def settings_in(output: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(output))


def test_help_names_each_command_and_variable(tmp_path: Path) -> None:
    status, output, _ = Command(tmp_path, "--help").end()

    assert status == 0
    for word in (
        "up",
        "demo",
        "drain",
        "doctor",
        "metrics",
        "env",
        "down",
        "GENOMICS_HOME",
        "GENOMICS_POSTGRES_URL",
    ):
        assert re.search(rf"\b{word}\b", output)


def test_a_wrong_setting_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    status, output, errors = Command(tmp_path, "env", GENOMICS_GENOME="mouse").end()

    assert (status, output) == (1, "")
    assert errors == (
        "genomics_assets env: GENOMICS_GENOME is 'mouse'. Remedy: set it to 'human' or 'other', or unset it.\n"
    )


def test_env_prints_what_a_shell_can_use_until_down(my_home: Path) -> None:
    status, output, errors = Command(my_home, "env").end()
    assert (status, errors) == (0, "")
    read_by_a_shell = subprocess.run(
        ["sh", "-c", f'{output}\nprintf "%s\\n" "$GENOMICS_HOME" "$GENOMICS_POSTGRES_URL" "$GENOMICS_INBOX"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    settings = settings_in(output)
    assert read_by_a_shell == [str(my_home), settings["GENOMICS_POSTGRES_URL"], str(my_home / "inbox")]
    assert settings["DAGSTER_HOME"] == str(my_home / "dagster")
    assert set(settings) >= {
        "GENOMICS_MONGO_URL",
        "GENOMICS_OBJECT_STORE_URL",
        "GENOMICS_DAGSTER_STORAGE_URL",
    }

    with psycopg.connect(settings["GENOMICS_POSTGRES_URL"]) as connection:
        where = connection.execute(
            "SELECT table_schema FROM information_schema.tables WHERE table_name IN ('event_logs', 'variants')"
        )
        assert sorted(where.fetchall()) == [("dagster",), ("genomics",)]

    # Exported, they are those of the next command as well.
    again = Command(my_home, "env", **settings).end()
    assert settings_in(again[1]) == settings

    assert Command(my_home, "down").end() == (0, "", "")
    assert ServerFolder(my_home).supervisor() is None
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(settings["GENOMICS_POSTGRES_URL"], connect_timeout=5)


def test_dagster_keeps_its_runs_in_a_schema_of_its_own(
    my_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    settings = settings_in(Command(my_home, "env").end()[1])
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    @dg.asset
    def answer() -> int:
        return 42

    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([answer], instance=instance).success
        event = instance.get_latest_materialization_event(dg.AssetKey("answer"))
        queue = instance.get_concurrency_config().run_queue_config
    assert event is not None
    # A queued run outlives a code server that is away for half an hour; at 0 it would fail at once.
    assert queue is not None
    assert queue.max_user_code_failure_retries * queue.user_code_failure_retry_delay >= 1800
    with psycopg.connect(settings["GENOMICS_POSTGRES_URL"]) as connection:
        runs = connection.execute("SELECT count(*) FROM dagster.runs").fetchone()
    assert runs == (1,)
    stop_servers(my_home)


def test_up_serves_the_ui_and_ctrl_c_ends_everything(my_home: Path, port: int) -> None:
    up = Command(my_home, "up", "--port", str(port))
    output = up.line("Ctrl-C")
    assert f"http://127.0.0.1:{port}\n" in output
    assert f"{my_home}/inbox" in output

    query = json.dumps({"query": "{instance {daemonHealth {allDaemonStatuses {daemonType required}}}}"})
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", query.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        daemons = json.load(answer)["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    assert {"SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING"} <= {
        daemon["daemonType"] for daemon in daemons if daemon["required"]
    }
    # What lies there is sent to Dagster's makers.
    assert not (my_home / "dagster" / "logs").exists()
    assert (my_home / "logs" / "daemon.log").exists()

    status, _, errors = Command(my_home, "up", "--port", str(port)).end()
    assert status == 1
    assert re.search(
        rf"already runs for .*my home \(process {up.process.pid}, http.*:{port}\)\. Remedy: ", errors
    )
    status, _, errors = Command(my_home.with_name("other"), "up", "--port", str(port)).end()
    assert status == 1
    assert re.search(rf"cannot listen on 127\.0\.0\.1:{port} .* Remedy: .*--port", errors)
    assert not (my_home.with_name("other") / "servers").exists()

    family = up.family()
    up.process.send_signal(signal.SIGINT)
    assert up.end()[0] == 0
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_child_of_up_that_dies_is_reported_and_ends_it(my_home: Path, port: int) -> None:
    up = Command(my_home, "up", "--port", str(port))
    daemon = up.child("dagster._daemon")
    with (my_home / "logs" / "daemon.log").open("a") as log:
        log.write("out of luck\n")

    daemon.kill()

    status, _, errors = up.end()
    assert status == 1
    assert re.search(
        r"the daemon ended with status -9\. Remedy: see the end of .*/logs/daemon\.log:\n(.*\n)*out of luck\n",
        errors,
    )


def test_a_killed_up_leaves_nothing_behind(my_home: Path, port: int) -> None:
    up = Command(my_home, "up", "--port", str(port))
    up.child("dagster_webserver")
    up.child("dagster._daemon")
    family = up.family()

    up.process.kill()
    up.process.communicate()

    assert psutil.wait_procs(family, timeout=30)[1] == []
    wait_until(lambda: ServerFolder(my_home).supervisor() is None, 30)


def test_up_can_be_stopped_while_it_starts(tmp_path: Path, port: int) -> None:
    up = Command(tmp_path / "home", "up", "--port", str(port))
    up.line("starting")

    up.process.terminate()

    assert up.end()[::2] == (0, "")
    stop_servers(tmp_path / "home")


def test_drain_of_an_empty_inbox_has_nothing_to_do(my_home: Path, tmp_path: Path) -> None:
    (tmp_path / "drops").mkdir()

    status, output, errors = Command(my_home, "drain", "--inbox", str(tmp_path / "drops")).end()

    assert (status, output) == (0, ""), errors


def test_examples_are_dropped_once_and_never_over_a_file(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    (examples / "vcf").mkdir(parents=True)
    (examples / "vcf" / "trio.vcf").write_text("example")
    (examples / "vcf" / "own.vcf").write_text("example")
    environment = Environment.from_environ({"GENOMICS_HOME": str(tmp_path / "home")})
    inbox = Path(environment.inbox)
    (inbox / "vcf").mkdir(parents=True)
    (inbox / "vcf" / "own.vcf").write_text("mine")

    assert drop_examples(environment, examples) == 1
    (inbox / "vcf" / "trio.vcf").unlink()
    assert drop_examples(environment, examples) == 0

    assert [file.name for file in (inbox / "vcf").iterdir()] == ["own.vcf"]
    assert (inbox / "vcf" / "own.vcf").read_text() == "mine"


@pytest.mark.parametrize("inbox", ["s3://bucket/drops", "elsewhere"])
def test_an_inbox_of_ones_own_gets_no_examples(tmp_path: Path, inbox: str) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "trio.vcf").touch()
    inbox = inbox if "://" in inbox else str(tmp_path / inbox)
    environment = Environment.from_environ({"GENOMICS_HOME": str(tmp_path / "home"), "GENOMICS_INBOX": inbox})

    assert drop_examples(environment, tmp_path / "examples") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["examples"]


def test_an_empty_bucket_gets_the_examples_of_a_demo_and_their_later_versions(
    s3_endpoint: str, s3_prefix: str, tmp_path: Path
) -> None:
    for folder, name in (("inbox", "a.vcf"), ("later", "b.vcf")):
        (tmp_path / folder / "vcf").mkdir(parents=True)
        (tmp_path / folder / "vcf" / name).write_text(name)
    settings = {"GENOMICS_S3_ENDPOINT_URL": s3_endpoint, "GENOMICS_INBOX": f"{s3_prefix}/inbox"}
    environment = Environment.from_environ({"GENOMICS_HOME": str(tmp_path / "home"), **settings})
    environment.home.mkdir()
    inbox = ObjectStoreResource(url=environment.inbox, s3_endpoint_url=s3_endpoint)

    assert drop_examples(environment, tmp_path / "inbox") == 0, "`up` leaves buckets alone"
    assert drop_later_examples(environment, tmp_path / "later") == 0
    assert drop_examples(environment, tmp_path / "inbox", into_bucket=True) == 1
    assert drop_examples(environment, tmp_path / "inbox", into_bucket=True) == 0
    assert drop_later_examples(environment, tmp_path / "later") == 1
    assert {key: inbox.read_bytes(key) for key in inbox.list()} == {
        "vcf/a.vcf": b"a.vcf",
        "vcf/b.vcf": b"b.vcf",
    }

    elsewhere = Environment.from_environ({"GENOMICS_HOME": str(tmp_path / "other"), **settings})
    elsewhere.home.mkdir()
    assert drop_examples(elsewhere, tmp_path / "inbox", into_bucket=True) == 0, "it holds something"
    assert drop_later_examples(elsewhere, tmp_path / "later") == 0


def test_what_runs_print_goes_to_the_bucket_of_the_objects(tmp_path: Path) -> None:
    settings = {
        "GENOMICS_OBJECT_STORE_URL": "s3://bucket/prefix",
        "GENOMICS_S3_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    make_dagster_home(tmp_path / "s3", Environment.from_environ(settings))
    make_dagster_home(tmp_path / "local", Environment.from_environ({}))

    in_bucket = yaml.safe_load((tmp_path / "s3" / "dagster.yaml").read_text())
    assert in_bucket.pop("compute_logs")["config"] == {
        "bucket": "bucket", "prefix": "prefix/dagster", "upload_interval": 30, "endpoint_url": "http://127.0.0.1:1",
    }  # fmt: skip
    assert in_bucket == yaml.safe_load((tmp_path / "local" / "dagster.yaml").read_text())


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (["dagster", "--version"], {}, r"exec works with servers of your own\. Remedy: set GENOMICS_POSTGRES_URL"),
        (["no-such"], {"GENOMICS_POSTGRES_URL": "postgresql://a/b", "GENOMICS_MONGO_URL": "mongodb://a/b"},
         r"there is no command 'no-such'\. Remedy: name one"),
    ],
)  # fmt: skip
def test_exec_says_what_it_lacks(
    tmp_path: Path, words: list[str], variables: dict[str, str], said: str
) -> None:
    status, output, errors = Command(tmp_path, "exec", *words, **variables).end()

    assert (status, output) == (1, "")
    assert re.search(said, errors)


def test_exec_becomes_the_command_with_dagsters_settings(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("postgresql://ann:word@db/genomics")
    show = "import os; print(os.environ['GENOMICS_DAGSTER_STORAGE_URL'], os.environ['DAGSTER_HOME'])"
    variables = {
        "GENOMICS_POSTGRES_URL_FILE": str(tmp_path / "secret"),
        "GENOMICS_MONGO_URL": "mongodb://a/b",
    }
    status, output, errors = Command(tmp_path, "exec", sys.executable, "-c", show, **variables).end()

    assert (status, errors) == (0, "")
    assert output == (
        f"postgresql+psycopg2://ann:word@db/genomics?options=-csearch_path%3Ddagster {tmp_path}/dagster\n"
    )
    assert (tmp_path / "dagster" / "dagster.yaml").exists()
    assert "ann:word" not in (tmp_path / "dagster" / "dagster.yaml").read_text()


def test_the_storage_address_keeps_the_options_of_the_server() -> None:
    assert dagster_storage_url("postgres://a:b%40c@h/d?options=-c%20jit%3Doff") == (
        "postgresql+psycopg2://a:b%40c@h/d?options=-c%20jit%3Doff%20-csearch_path%3Ddagster"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/a/b", "X=/a/b"),
        ("p://u:w@h:1/d?a=b%3D", "X=p://u:w@h:1/d?a=b%3D"),
        ("a&b", "X='a&b'"),
        ("it's", None),
    ],
)
def test_a_setting_is_quoted_where_a_shell_needs_it(value: str, expected: str | None) -> None:
    line = shell_line("X", value)

    assert line == (expected or line)
    read = subprocess.run(["sh", "-c", f'{line}; printf %s "$X"'], capture_output=True, text=True, check=True)
    assert read.stdout == value


def test_a_server_error_of_the_stack_is_shown_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    status, _, errors = Command(tmp_path / "file" / "home", "env").end()

    assert status == 1
    assert errors.startswith("genomics_assets env: ")
    assert "Remedy: " in errors
    assert "Traceback" not in errors
    assert issubclass(ServerError, RuntimeError)
