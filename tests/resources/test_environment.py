from pathlib import Path

import pytest

from resources.environment import Environment, SettingError, masked


def test_everything_has_a_default_under_the_home(tmp_path: Path) -> None:
    environment = Environment.from_environ({"GENOMICS_HOME": str(tmp_path)})

    assert environment.home == tmp_path
    assert environment.inbox == str(tmp_path / "inbox")
    assert environment.object_store_url == f"file://{tmp_path}/objects"
    assert environment.postgres_url is None
    assert environment.mongo_url is None
    assert environment.s3_endpoint_url is None
    assert environment.reference_fasta is None
    assert environment.genome == "human"


def test_the_default_home_is_beside_the_command_and_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert Environment.from_environ({}).home == Path.cwd() / ".genomics"


def test_an_empty_variable_counts_as_not_set() -> None:
    environment = Environment.from_environ(
        {"GENOMICS_POSTGRES_URL": "", "GENOMICS_GENOME": "", "GENOMICS_INBOX": ""}
    )

    assert environment.postgres_url is None
    assert environment.genome == "human"
    assert environment.inbox == str(environment.home / "inbox")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("s3://bucket/drops", "s3://bucket/drops"), ("/data/in", "/data/in"), ("file:///data/in", "/data/in")],
)
def test_an_inbox_is_a_bucket_or_an_absolute_folder(value: str, expected: str) -> None:
    assert Environment.from_environ({"GENOMICS_INBOX": value}).inbox == expected


def test_a_relative_inbox_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert Environment.from_environ({"GENOMICS_INBOX": "drops"}).inbox == str(Path.cwd() / "drops")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GENOMICS_POSTGRES_URL", "mysql://ann:tops3cret@db/x"),
        ("GENOMICS_MONGO_URL", "localhost:27017"),
        ("GENOMICS_S3_ENDPOINT_URL", "minio:9000"),
        ("GENOMICS_GENOME", "mouse"),
    ],
)
def test_a_value_of_the_wrong_form_is_named_with_a_remedy_and_without_its_password(
    name: str, value: str
) -> None:
    with pytest.raises(SettingError, match=rf"{name} is .*Remedy: ") as caught:
        Environment.from_environ({name: value})

    assert "tops3cret" not in str(caught.value)


def test_a_printed_environment_holds_no_password() -> None:
    environment = Environment.from_environ(
        {
            "GENOMICS_POSTGRES_URL": "postgresql://ann:tops3cret@db/x",
            "GENOMICS_MONGO_URL": "mongodb://a:tops3cret@m/z",
        }
    )

    assert environment.postgres_url == "postgresql://ann:tops3cret@db/x"
    assert "tops3cret" not in repr(environment)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://ann:s%40t@db:5432/x?a=b", "postgresql://ann:***@db:5432/x?a=b"),
        ("postgresql://db/x?user=ann&password=tops3cret&a=b", "postgresql://db/x?user=ann&password=***&a=b"),
        ("mongodb://:tops3cret@m/z", "mongodb://:***@m/z"),
        ("postgresql://db:5432/x", "postgresql://db:5432/x"),
        ("mongodb://127.0.0.1:27017/x", "mongodb://127.0.0.1:27017/x"),
        ("mongodb://ada:s3cr@t@host/x", "mongodb://ada:***@host/x"),
        ("ada:s3cret@host", "ada:***@host"),
        ("/data/inbox", "/data/inbox"),
    ],
)
def test_masked_hides_the_password_alone(url: str, expected: str) -> None:
    assert masked(url) == expected


def test_an_address_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "postgres_url"
    secret.write_text("postgresql://ann:secret@db/genomics\n")
    environ = {"GENOMICS_POSTGRES_URL_FILE": str(secret)}

    assert Environment.from_environ(environ).postgres_url == "postgresql://ann:secret@db/genomics"
    assert Environment.from_environ(
        {**environ, "GENOMICS_POSTGRES_URL": "postgresql://b/c"}
    ).postgres_url == ("postgresql://b/c")
    with pytest.raises(
        SettingError, match=r"GENOMICS_MONGO_URL_FILE is '.*absent', which cannot be read: No such file"
    ):
        Environment.from_environ({"GENOMICS_MONGO_URL_FILE": str(tmp_path / "absent")})
    secret.write_text("mysql://ann:secret@db/genomics")
    with pytest.raises(SettingError, match=r"does not start with postgresql://") as caught:
        Environment.from_environ(environ)
    assert "secret" not in str(caught.value)
