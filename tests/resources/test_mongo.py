"""The connection to MongoDB, against a real server of its wire protocol."""

import socket

import pytest

from resources.mongo import MongoError, MongoResource


def test_the_url_names_the_database(mongo_url: str) -> None:
    database = MongoResource(url=mongo_url).database()
    assert database.name == mongo_url.rsplit("/", 1)[1]
    assert database.command("ping")["ok"] == 1


def test_a_url_without_a_database_means_zygotrix(mongo_url: str) -> None:
    assert MongoResource(url=mongo_url.rsplit("/", 1)[0]).database().name == "zygotrix"


def test_the_environment_gives_the_url(mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENOMICS_MONGO_URL", mongo_url.rsplit("/", 1)[0] + "/from_environment")
    assert MongoResource().database().name == "from_environment"


def test_one_client_serves_until_it_is_closed(mongo_url: str) -> None:
    mongo = MongoResource(url=mongo_url)
    first = mongo.database().client
    assert mongo.database().client is first
    mongo.close()
    assert mongo.database().command("ping")["ok"] == 1


def test_an_absent_server_is_named_without_its_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    mongo = MongoResource(url=f"mongodb://ada:s3cr%40t@127.0.0.1:{port}/x", server_selection_seconds=0.3)
    with pytest.raises(MongoError) as refused:
        mongo.database()
    assert f"mongodb://ada:***@127.0.0.1:{port}/x" in str(refused.value)
    assert "Remedy" in str(refused.value)
    assert refused.value.__suppress_context__
    assert "s3cr" not in str(refused.value)


def test_the_url_says_how_long_an_absent_server_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    mongo = MongoResource(url=f"mongodb://127.0.0.1:{port}/x?serverSelectionTimeoutMS=250")
    with pytest.raises(MongoError, match=r"no server answered within 0\.25 s"):
        mongo.database()


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://ada:s3cr@t@host/x",
        "mongodb://ada:s3cret@host:port/x",
        "ada:s3cret@host",
        "http://a:s3cret@b",
    ],
)
def test_a_malformed_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(MongoError) as refused:
        MongoResource(url=url, server_selection_seconds=0.3).database()
    assert "s3cr" not in str(refused.value)
