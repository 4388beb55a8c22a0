"""What the object store promises, on the local disk and against a real S3 server."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from s3_proxy import S3Proxy

from resources.object_store import (
    UNFINISHED,
    ObjectKeyError,
    ObjectNotFoundError,
    ObjectStoreError,
    ObjectStoreResource,
    original_key,
    stored_key,
)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStoreResource:
    """An empty store of each kind."""
    if request.param == "local":
        return ObjectStoreResource(url=f"file://{tmp_path}/objects")
    prefix = request.getfixturevalue("s3_prefix")
    return ObjectStoreResource(
        url=f"{prefix}/objects", s3_endpoint_url=request.getfixturevalue("s3_endpoint")
    )


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStoreResource:
    """An empty store on the local disk."""
    return ObjectStoreResource(url=f"file://{tmp_path}/objects")


def test_bytes_come_back(store: ObjectStoreResource) -> None:
    store.put_bytes("projects/p1/matrix.bin", b"\0\1\2")
    assert store.read_bytes("projects/p1/matrix.bin") == b"\0\1\2"
    assert store.size("projects/p1/matrix.bin") == 3
    assert store.exists("projects/p1/matrix.bin")
    assert not store.exists("projects/p1")
    assert not store.exists("projects/p1/other.bin")


def test_an_empty_object_is_an_object(store: ObjectStoreResource) -> None:
    store.put_bytes("empty", b"")
    assert store.exists("empty")
    assert store.read_bytes("empty") == b""


def test_a_file_is_copied(store: ObjectStoreResource, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    store.put_file("raw/source.bin", source)
    assert store.read_bytes("raw/source.bin") == source.read_bytes()


def test_an_open_object_can_be_sought(store: ObjectStoreResource) -> None:
    store.put_bytes("a", b"0123456789")
    with store.open("a") as opened:
        opened.seek(-3, os.SEEK_END)
        assert opened.read() == b"789"


def test_putting_again_replaces(store: ObjectStoreResource) -> None:
    store.put_bytes("a/b", b"a long first version")
    store.put_bytes("a/b", b"second")
    assert store.read_bytes("a/b") == b"second"
    assert store.list() == ["a/b"]


def test_listing_takes_whole_segments(store: ObjectStoreResource) -> None:
    for key in (
        "lake/variants/chrom=chr2/part.parquet",
        "lake/variants/chrom=chr1/part.parquet",
        "lake/va",
        "x",
    ):
        store.put_bytes(key, b"x")
    assert store.list("lake/variants") == [
        "lake/variants/chrom=chr1/part.parquet",
        "lake/variants/chrom=chr2/part.parquet",
    ]
    assert store.list("lake/va") == ["lake/va"]
    assert store.list("nothing") == []
    assert len(store.list()) == 4


def test_sizes_take_whole_segments(store: ObjectStoreResource) -> None:
    for key, size in (("a/one", 1), ("a/b/two", 2), ("ab/three", 3), ("a/tab\there", 4)):
        store.put_bytes(key, b"x" * size)
    assert store.sizes("a") == {"a/b/two": 2, "a/one": 1, "a/tab\there": 4}
    assert sum(store.sizes().values()) == 10
    assert store.sizes("nothing") == {}


def test_deleting_takes_what_is_below(store: ObjectStoreResource) -> None:
    for key in ("a/1", "a/b/2", "ab/3"):
        store.put_bytes(key, b"x")
    assert store.delete("a") == 2
    assert store.list() == ["ab/3"]
    assert store.delete("a") == 0


def test_deleting_everything_takes_more_than_an_empty_prefix(store: ObjectStoreResource) -> None:
    store.put_bytes("a", b"x")
    with pytest.raises(ObjectKeyError):
        store.delete("")
    assert store.exists("a")


@pytest.mark.parametrize(
    "key",
    [
        "ü/naïve 😀.csv",
        "a b+c&d=e?f#g.csv",
        "100%.csv",
        "chrom=HLA-A%2A01/part",
        "[x]*.csv",
        "quo'te\".csv",
        "tab\tline\n.csv",
    ],
)
def test_odd_names(store: ObjectStoreResource, key: str) -> None:
    store.put_bytes(f"raw/{key}", b"here")
    assert store.list("raw") == [f"raw/{key}"]
    assert store.read_bytes(f"raw/{key}") == b"here"
    assert store.delete(f"raw/{key}") == 1
    assert store.list() == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "a//b",
        "a/",
        "../a",
        "a/../../b",
        "a/./b",
        "..",
        "a" * 256,
        "a/" * 600 + "a",
        f"{UNFINISHED}1",
    ],
)
def test_bad_keys_are_refused(store: ObjectStoreResource, key: str) -> None:
    with pytest.raises(ObjectKeyError, match="Remedy"):
        store.put_bytes(key, b"x")
    assert store.list() == []


def test_control_characters_are_stored_encoded() -> None:
    key = "a\0b\x7f\x85\udcff"
    assert stored_key(key) == "a%00b%7F%C2%85%ED%B3%BF"
    assert original_key(stored_key(key)) == key


def test_a_missing_object_is_named(store: ObjectStoreResource) -> None:
    for ask in (store.read_bytes, store.open, store.size):
        with pytest.raises(ObjectNotFoundError, match="objects/a/b: no such object"):
            ask("a/b")


def test_a_body_that_raises_leaves_no_object(store: ObjectStoreResource) -> None:
    def fill(text: bytes) -> None:
        with store.create("a/b") as path:
            path.write_bytes(text)
            raise OSError("the source ended")

    with pytest.raises(OSError, match="the source ended"):
        fill(b"half")
    assert store.list() == []
    store.put_bytes("a/b", b"old")
    with pytest.raises(OSError, match="the source ended"):
        fill(b"ha")
    assert store.read_bytes("a/b") == b"old"


def test_a_source_file_that_is_missing_leaves_the_old_object(
    store: ObjectStoreResource, tmp_path: Path
) -> None:
    store.put_bytes("a", b"old")
    with pytest.raises(FileNotFoundError):
        store.put_file("a", tmp_path / "absent")
    assert store.read_bytes("a") == b"old"


def test_a_failed_body_leaves_no_file_behind(folder: ObjectStoreResource, tmp_path: Path) -> None:
    def fill() -> None:
        with folder.create("a/b") as path:
            path.write_bytes(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    assert [p for p in (tmp_path / "objects").rglob("*") if p.is_file()] == []


def test_a_killed_writer_leaves_the_old_object_and_is_tidied_later(
    folder: ObjectStoreResource, tmp_path: Path
) -> None:
    folder.put_bytes("a/b", b"old")
    script = (
        "import os, signal, sys; from resources.object_store import ObjectStoreResource\n"
        "with ObjectStoreResource(url=sys.argv[1]).create('a/b') as path:\n"
        "    path.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, folder.url], check=False)
    left = list((tmp_path / "objects" / "a").glob(f"{UNFINISHED}*"))
    assert len(left) == 1
    assert folder.list() == ["a/b"]
    assert folder.read_bytes("a/b") == b"old"
    yesterday = time.time() - 25 * 3600
    os.utime(left[0], (yesterday, yesterday))
    ObjectStoreResource(url=folder.url).put_bytes("a/c", b"new")
    assert not left[0].exists()


def test_an_object_in_the_place_of_a_folder_is_an_error_that_says_so(folder: ObjectStoreResource) -> None:
    folder.put_bytes("a", b"x")
    with pytest.raises(ObjectStoreError, match=r"objects/a/b: (Not a directory|File exists)\. Remedy"):
        folder.put_bytes("a/b", b"x")
    assert folder.read_bytes("a") == b"x"
    folder.put_bytes("c/d", b"x")
    with pytest.raises(ObjectStoreError, match=r"objects/c: Is a directory\. Remedy"):
        folder.put_bytes("c", b"x")
    assert folder.list("c") == ["c/d"]


def test_others_may_read_what_is_stored(folder: ObjectStoreResource, tmp_path: Path) -> None:
    folder.put_bytes("a", b"x")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "objects" / "a").stat().st_mode & 0o777 == 0o666 & ~umask


def test_uris_open_elsewhere(store: ObjectStoreResource) -> None:
    store.put_bytes("a/b", b"x")
    uri = store.uri("a/b")
    if uri.startswith("file://"):
        assert Path(uri.removeprefix("file://")).read_bytes() == b"x"
    else:
        assert uri.startswith("s3://")


def test_the_environment_gives_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENOMICS_OBJECT_STORE_URL", f"file://{tmp_path}/other")
    ObjectStoreResource().put_bytes("a", b"x")
    assert (tmp_path / "other" / "a").read_bytes() == b"x"


def test_the_environment_gives_the_endpoint(
    s3_endpoint: str, s3_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENOMICS_S3_ENDPOINT_URL", s3_endpoint)
    store = ObjectStoreResource(url=s3_prefix)
    store.put_bytes("environment/a", b"x")
    assert store.list("environment") == ["environment/a"]
    store.delete("environment")


def test_a_missing_bucket_is_said(s3_endpoint: str) -> None:
    store = ObjectStoreResource(url="s3://no-such-bucket/x", s3_endpoint_url=s3_endpoint)
    with pytest.raises(ObjectStoreError, match=r"s3://no-such-bucket/x/a: the bucket does not exist.*Remedy"):
        store.put_bytes("a", b"x")


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(ObjectStoreError, match="only folders, file:// and s3:// are known"):
        ObjectStoreResource(url="gs://bucket").exists("a")


def test_a_large_object_goes_up_in_parts(s3_endpoint: str, s3_prefix: str) -> None:
    data = os.urandom(20_000_000)
    parts: list[str] = []
    with S3Proxy(s3_endpoint) as proxy:
        proxy.after = lambda method, path: parts.append(path) if "partNumber" in path else None
        store = ObjectStoreResource(url=s3_prefix, s3_endpoint_url=proxy.url)
        store.put_bytes("large.bin", data)
        assert len(parts) == 3
        assert store.size("large.bin") == len(data)
        assert store.read_bytes("large.bin") == data


def test_a_busy_server_and_answers_that_break_off_cost_patience_alone(
    s3_endpoint: str, s3_prefix: str
) -> None:
    data = {f"some/{number}.bin": os.urandom(200_000) for number in range(5)}
    data["large.bin"] = os.urandom(18_000_000)
    with S3Proxy(s3_endpoint, busy=1 / 3, cut=1 / 5) as proxy:
        store = ObjectStoreResource(url=s3_prefix, s3_endpoint_url=proxy.url)
        for key, value in data.items():
            store.put_bytes(key, value)
        assert store.sizes() == {key: len(value) for key, value in sorted(data.items())}
        assert {key: store.read_bytes(key) for key in data} == data
        assert proxy.failed > 5
        assert proxy.cut_off > 0


def test_an_object_that_the_server_cut_off_is_an_error_and_not_a_success(
    s3_endpoint: str, s3_prefix: str
) -> None:
    import boto3

    bucket, _, prefix = s3_prefix.removeprefix("s3://").partition("/")

    def keep_half(method: str, path: str) -> None:
        if method == "PUT":
            boto3.client("s3", endpoint_url=s3_endpoint).put_object(
                Bucket=bucket, Key=f"{prefix}/a.bin", Body=b"half"
            )

    with S3Proxy(s3_endpoint) as proxy:
        proxy.after = keep_half
        store = ObjectStoreResource(url=s3_prefix, s3_endpoint_url=proxy.url)
        with pytest.raises(ObjectStoreError, match=r"a\.bin: the server keeps 4 of 1,000 bytes\. Remedy"):
            store.put_bytes("a.bin", bytes(1000))
