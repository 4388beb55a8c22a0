"""What the Mongo IO manager promises, against a real server of the wire protocol."""

import datetime
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pymongo import MongoClient

from resources.mongo import MongoError, MongoResource
from resources.mongo_io_manager import DocumentError, Documents, MongoIOManager


def nested(levels: int) -> dict[str, Any]:
    """A dict in a dict in a dict."""
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {"d": document}
    return document


FILES = dg.StaticPartitionsDefinition(["a", "b"])


@pytest.fixture
def mongo(fresh_mongo_url: str) -> Iterator[MongoResource]:
    """A database of the test's own."""
    resource = MongoResource(url=fresh_mongo_url)
    yield resource
    resource.close()


class Warehouse:
    """One Dagster instance, and one IO manager, for a test's materializations."""

    def __init__(self, mongo: MongoResource) -> None:
        self.mongo = mongo
        self.instance = dg.DagsterInstance.ephemeral()

    def store(self, value: Any, partition: str | None = None, **metadata: Any) -> dict[str, Any]:
        """Materializes zygotrix/traits with this value, and returns the materialization's metadata."""
        asset = traits(value, FILES if partition else None, **metadata)
        result = self.run([asset], partition_key=partition)
        return {
            name: found.value
            for name, found in result.asset_materializations_for_node("zygotrix__traits")[0].metadata.items()
        }

    def run(self, assets: list[Any], **options: Any) -> dg.ExecuteInProcessResult:
        manager = MongoIOManager(mongo=self.mongo)
        return dg.materialize(assets, resources={"io_manager": manager}, instance=self.instance, **options)

    def stored(self, collection: str = "traits", **query: Any) -> list[dict[str, Any]]:
        found = self.mongo.database()[collection].find(query, {"_id": 0}).sort([("k", 1)])
        return list(found)


def traits(value: Any, partitions: Any = None, **metadata: Any) -> dg.AssetsDefinition:
    @dg.asset(key=["zygotrix", "traits"], partitions_def=partitions, metadata={"key": "k", **metadata})
    def asset():  # type: ignore[no-untyped-def]
        return value

    return asset


@pytest.fixture
def warehouse(mongo: MongoResource) -> Warehouse:
    return Warehouse(mongo)


def test_documents_come_as_they_were(warehouse: Warehouse) -> None:
    document = {
        "k": "ü \"'|",
        "n": None,
        "yes": True,
        "whole": 2**62,
        "real": -0.25,
        "at": datetime.datetime(2024, 2, 29, 12, 0, 0, 5000, tzinfo=datetime.UTC),
        "nested": {"list": [1, 2.5, {"deep": "x"}], "empty": {}},
    }
    warehouse.store([document])
    assert warehouse.stored() == [{**document, "_asset": "zygotrix/traits"}]


def test_metadata_counts_what_happened(warehouse: Warehouse) -> None:
    first = warehouse.store([{"k": 1, "v": "x"}, {"k": 2, "v": 2}])
    assert (first["inserted"], first["replaced"], first["unchanged"], first["removed"]) == (2, 0, 0, 0)
    assert first["dagster/row_count"] == 2
    assert first["collection"] == "traits"
    assert first["bytes"] > 0
    assert first["documents_per_second"] > 0
    assert {c.name: c.type for c in first["dagster/column_schema"].columns} == {"k": "int", "v": "int | str"}
    second = warehouse.store([{"k": 1, "v": "x"}, {"k": 2, "v": 3}, {"k": 3}])
    assert (second["inserted"], second["replaced"], second["unchanged"]) == (1, 1, 1)


def test_preview_can_be_switched_off(warehouse: Warehouse) -> None:
    assert "Ada" in warehouse.store([{"k": 1, "name": "Ada"}])["preview"]
    assert "Ada" not in str(warehouse.store([{"k": 1, "name": "Ada"}], preview=False))


def test_a_re_run_changes_nothing(warehouse: Warehouse) -> None:
    documents = [
        {"k": i, "v": 1.0, "at": datetime.datetime(2024, 1, 1, 0, 0, 0, 123456, datetime.UTC)}
        for i in range(1200)
    ]
    warehouse.store(documents, "a")
    before = {d["_id"]: d for d in warehouse.mongo.database().traits.find()}
    again = warehouse.store(documents, "a")
    assert (again["inserted"], again["replaced"], again["unchanged"], again["removed"]) == (0, 0, 1200, 0)
    assert {d["_id"]: d for d in warehouse.mongo.database().traits.find()} == before


@pytest.mark.parametrize(
    ("old", "new"), [(1, True), (1, 1.0), (0.0, False), ([1, 2], [2, 1]), ({"a": 1}, {"a": 1, "b": None})]
)
def test_a_change_of_type_or_order_is_a_change(warehouse: Warehouse, old: Any, new: Any) -> None:
    warehouse.store([{"k": 1, "v": old}])
    assert warehouse.store([{"k": 1, "v": new}])["replaced"] == 1
    assert repr(warehouse.stored()[0]["v"]) == repr(new)


def test_documents_that_left_the_partition_are_removed(warehouse: Warehouse) -> None:
    warehouse.store([{"k": 1}, {"k": 2}, {"k": 3}], "a")
    warehouse.store([{"k": 9}], "b")
    assert warehouse.store([{"k": 2}], "a")["removed"] == 2
    assert [(d["k"], d["_partition"]) for d in warehouse.stored()] == [(2, "a"), (9, "b")]


def test_an_empty_output_empties_the_partition_only(warehouse: Warehouse) -> None:
    warehouse.store([{"k": 1}], "a")
    warehouse.store([{"k": 2}], "b")
    assert warehouse.store([], "a")["removed"] == 1
    assert [d["k"] for d in warehouse.stored()] == [2]


def test_an_output_that_is_not_whole_removes_nothing(warehouse: Warehouse) -> None:
    warehouse.store([{"k": 1, "v": "old"}, {"k": 2}], "a")
    assert warehouse.store(Documents([{"k": 1, "v": "new"}], whole=False), "a")["removed"] == 0
    assert [(d["k"], d.get("v")) for d in warehouse.stored()] == [(1, "new"), (2, None)]


def test_an_asset_may_decline_to_take_over(warehouse: Warehouse) -> None:
    warehouse.mongo.database().traits.insert_many(
        [{"k": 1, "by": "the web app"}, {"k": 2, "_asset": "zygotrix/traits"}]
    )
    done = warehouse.store([{"k": 1}, {"k": 2, "v": 1}, {"k": 3}], take_over=False)
    assert (done["inserted"], done["replaced"], done["left_to_others"]) == (1, 1, 1)
    assert done["dagster/row_count"] == 3
    assert [(d["k"], d.get("by"), d.get("v")) for d in warehouse.stored()] == [
        (1, "the web app", None), (2, None, 1), (3, None, None),
    ]  # fmt: skip


def test_a_document_100_levels_deep_is_kept(warehouse: Warehouse) -> None:
    deepest = {"k": 1, "d": nested(99)}
    warehouse.store([deepest])
    assert warehouse.stored()[0]["d"] == deepest["d"]


def test_a_refused_write_does_not_repeat_values(warehouse: Warehouse) -> None:
    warehouse.mongo.database().traits.create_index("email", unique=True)
    warehouse.store([{"k": 1, "email": "ada@example.org"}])
    with pytest.raises(MongoError, match="1 writes were refused, the first: ") as refused:
        warehouse.store(Documents([{"k": 2, "email": "ada@example.org"}], whole=False))
    assert "ada@" not in str(refused.value)


def test_documents_of_others_are_left_alone(warehouse: Warehouse) -> None:
    warehouse.mongo.database().traits.insert_many(
        [{"k": 100, "by": "the web app"}, {"k": 101, "_asset": "x/y"}]
    )
    warehouse.store([{"k": 1}])
    warehouse.store([])
    assert [d["k"] for d in warehouse.stored()] == [100, 101]


def test_a_key_that_another_partition_wrote_is_taken_over(warehouse: Warehouse) -> None:
    warehouse.store([{"k": 1, "v": "old"}, {"k": 2}], "a")
    assert warehouse.store([{"k": 1, "v": "new"}], "b")["taken_over"] == 1
    assert [(d["k"], d["_partition"]) for d in warehouse.stored()] == [(1, "b"), (2, "a")]


def test_the_key_is_unique_in_the_collection(warehouse: Warehouse) -> None:
    from pymongo.errors import DuplicateKeyError

    warehouse.store([{"k": 1}])
    with pytest.raises(DuplicateKeyError):
        warehouse.mongo.database().traits.insert_one({"k": 1})


def test_a_compound_key(warehouse: Warehouse) -> None:
    documents = [{"user": f"u{i % 7}", "k": i, "v": 1} for i in range(500)]
    warehouse.store(documents, key=["user", "k"])
    changed = warehouse.store(
        [{**d, "v": 2 if d["k"] == 77 else 1} for d in documents[:-1]], key=["user", "k"]
    )
    assert (changed["replaced"], changed["unchanged"], changed["removed"]) == (1, 498, 1)


def test_the_servers_own_id_as_key(warehouse: Warehouse) -> None:
    warehouse.store([{"_id": "u1", "v": 1}], key="_id")
    assert warehouse.store([{"_id": "u1", "v": 2}], key="_id")["replaced"] == 1
    assert warehouse.mongo.database().traits.find_one({"_id": "u1"})["v"] == 2


def test_a_datetime_in_the_key_survives_the_servers_milliseconds(warehouse: Warehouse) -> None:
    document = {"k": datetime.datetime(2024, 1, 1, 0, 0, 0, 123456, datetime.UTC)}
    warehouse.store([document], "a")
    assert warehouse.store([document], "a")["unchanged"] == 1
    assert len(warehouse.stored()) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"k": "big", "v": "x" * (16 * 1024 * 1024)}, "k='big'.*over MongoDB's limit.*object store"),
        ({"k": "same"}, "k='same' is in the output twice"),
        ({"v": 1}, "document 2 has nothing in `k`"),
        ({"k": 1.5}, "document 2 has a float in `k`"),
        ({"k": 2, "v": float("nan")}, r"k=2 has nan in v"),
        ({"k": 2, "v": [{"w": float("inf")}]}, r"k=2 has inf in v\[0\]\.w"),
        ({"k": 2, "v": b"x"}, "k=2 has a builtins.bytes in v"),
        ({"k": 2, "v": datetime.date(2024, 1, 1)}, "k=2 has a datetime.date in v"),
        ({"k": 2, "v": 2**63}, "k=2 has an integer over 64 bits in v"),
        ({"k": 2, "v": "a\0b"}, "k=2 has a NUL character in v"),
        ({"k": 2, "v": "a\ud800b"}, "k=2 has half of a surrogate pair in v"),
        ({"k": 2, "v": nested(100)}, "k=2 is nested more than 100 levels deep"),
        ({"k": 2, "a.b": 1}, "k=2 has a field named 'a.b'"),
        ({"k": 2, "$set": 1}, r"k=2 has a field named '\$set'"),
        ({"k": 2, "_partition": "x"}, "k=2 has a field `_partition`"),
        ({"k": 2, "_id": "x"}, "k=2 has an `_id`"),
        ("text", "document 2 is a str"),
    ],
)
def test_a_bad_document_is_named_and_nothing_is_written(warehouse: Warehouse, bad: Any, message: str) -> None:
    warehouse.store([{"k": "same", "v": "old"}, {"k": "other"}])
    with pytest.raises(DocumentError, match=message):
        warehouse.store([{"k": "same", "v": "new"}, bad])
    assert [(d["k"], d.get("v")) for d in warehouse.stored()] == [("other", None), ("same", "old")]


def test_a_document_of_just_under_16_mb_is_kept(warehouse: Warehouse) -> None:
    warehouse.store([{"k": 1, "v": "x" * (16 * 1024 * 1024 - 200)}])
    assert len(warehouse.stored()[0]["v"]) == 16 * 1024 * 1024 - 200


def test_a_source_that_raises_half_way_writes_nothing(warehouse: Warehouse) -> None:
    def source() -> Iterator[dict[str, Any]]:
        yield from ({"k": i, "v": "new"} for i in range(3000))
        raise OSError("the file ended")

    warehouse.store([{"k": 1, "v": "old"}])
    with pytest.raises(OSError, match="the file ended"):
        warehouse.store(Documents(source()))
    assert [(d["k"], d["v"]) for d in warehouse.stored()] == [(1, "old")]


class MongoServer:
    """A server that a test may kill; its data outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mongodb://127.0.0.1:{self.port}/zygotrix"
        self.start()

    def start(self) -> None:
        options = [
            "--data-dir",
            self.folder,
            "--log-file",
            self.folder / "log",
            "--pid-file",
            self.folder / "pid",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nx_27017.nx_27017", "-p", str(self.port), *map(str, options)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        """Until it answers, which takes a while on a busy machine."""
        with MongoClient(self.url, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def kill_in_mid_write(self) -> None:
        """Waits for the first documents of a write to be there, and kills the server."""
        collection = MongoResource(url=self.url).database().traits
        deadline = time.monotonic() + 60
        while not collection.count_documents({}) and time.monotonic() < deadline:
            time.sleep(0.01)
        # Requests are served one by one: the count came between two writes, and now the next is under way.
        time.sleep(0.2)
        self.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MongoServer]:
    server = MongoServer(tmp_path)
    yield server
    server.kill()


MANY = [{"k": i, "v": "x" * 100} for i in range(2200)]


def test_a_server_killed_in_mid_write_is_named_and_a_re_run_mends_it(server: MongoServer) -> None:
    server.wait()
    warehouse = Warehouse(MongoResource(url=server.url, server_selection_seconds=2))
    killer = threading.Thread(target=server.kill_in_mid_write)
    killer.start()
    with pytest.raises(MongoError, match=r"zygotrix/traits: .*collection traits failed.*Remedy"):
        warehouse.store(MANY, "a")
    killer.join()
    server.start()
    server.wait()
    again = warehouse.store(MANY, "a")
    assert again["inserted"] + again["unchanged"] == len(MANY)
    assert again["unchanged"] > 0
    assert [d["k"] for d in warehouse.stored()] == list(range(len(MANY)))


def test_a_server_that_comes_back_in_mid_write_is_waited_for(server: MongoServer) -> None:
    warehouse = Warehouse(MongoResource(url=server.url))

    def restart() -> None:
        server.kill_in_mid_write()
        server.start()

    restarter = threading.Thread(target=restart)
    restarter.start()
    warehouse.store(MANY, "a")
    restarter.join()
    assert [d["k"] for d in warehouse.stored()] == list(range(len(MANY)))


def test_two_writers_of_one_partition_leave_one_set(warehouse: Warehouse) -> None:
    documents = [{"k": i} for i in range(1200)]
    with ThreadPoolExecutor(2) as writers:
        # An instance each, as two processes have: the ephemeral one takes no two runs at a time.
        list(writers.map(lambda _: Warehouse(warehouse.mongo).store(documents, "a"), range(2)))
    assert [d["k"] for d in warehouse.stored()] == list(range(1200))
    assert warehouse.store(documents, "a")["unchanged"] == 1200


def test_an_asset_without_a_key_is_told_so(warehouse: Warehouse) -> None:
    with pytest.raises(DocumentError, match=r"zygotrix/traits: its metadata has no usable `key`.*Remedy"):
        warehouse.store([{"k": 1}], key=None)


def test_a_single_dict_is_no_set_of_documents(warehouse: Warehouse) -> None:
    with pytest.raises(DocumentError, match="a dict is no set of documents"):
        warehouse.store({"k": 1})


def test_stored_duplicates_stop_the_index_with_a_remedy(warehouse: Warehouse) -> None:
    warehouse.mongo.database().traits.insert_many([{"k": 1}, {"k": 1}])
    with pytest.raises(MongoError, match=r"cannot get a unique index on k.*Remedy"):
        warehouse.store([{"k": 2}])


def test_no_output_is_no_write(warehouse: Warehouse) -> None:
    warehouse.store([{"k": 1}])
    warehouse.store(None)
    assert [d["k"] for d in warehouse.stored()] == [1]


def test_a_run_of_several_partitions(warehouse: Warehouse) -> None:
    asset = traits({"a": [{"k": 1}], "b": [{"k": 2}, {"k": 3}]}, FILES)
    result = warehouse.run([asset], tags=span("a", "b"))
    metadata = result.asset_materializations_for_node("zygotrix__traits")[0].metadata
    assert metadata["documents"].value == 3
    assert [(d["k"], d["_partition"]) for d in warehouse.stored()] == [(1, "a"), (2, "b"), (3, "b")]


def test_a_run_of_several_partitions_needs_each_of_them(warehouse: Warehouse) -> None:
    with pytest.raises(ValueError, match=r"missing: 'b'; not in this run: 'c'.*Remedy"):
        warehouse.run([traits({"a": [], "c": []}, FILES)], tags=span("a", "b"))


def test_one_key_in_two_partitions_of_a_run_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(DocumentError, match="k=1 is in the output twice"):
        warehouse.run([traits({"a": [{"k": 1}], "b": [{"k": 1}]}, FILES)], tags=span("a", "b"))
    assert warehouse.stored() == []


def test_loading_gives_the_partitions_documents_in_the_keys_order(warehouse: Warehouse) -> None:
    seen = []

    @dg.asset(partitions_def=FILES, ins={"traits": dg.AssetIn(["zygotrix", "traits"])})
    def reader(traits: list[dict[str, Any]]) -> None:
        seen.append(traits)

    warehouse.store([{"k": 7, "v": 0}], "b")
    warehouse.run([traits([{"k": 3}, {"k": 1}, {"k": 2}], FILES), reader], partition_key="a")
    assert seen == [[{"k": 1}, {"k": 2}, {"k": 3}]]


def test_loading_all_partitions_gives_a_dict(warehouse: Warehouse) -> None:
    seen = []

    @dg.asset(ins={"traits": dg.AssetIn(["zygotrix", "traits"])})
    def reader(traits: dict[str, list[dict[str, Any]]]) -> None:
        seen.append(traits)

    warehouse.store([{"k": 1}], "a")
    warehouse.store([], "b")
    warehouse.run([traits([], FILES), reader], selection=[reader])
    assert seen == [{"a": [{"k": 1}], "b": []}]


def test_loading_streams_and_selects_columns(warehouse: Warehouse) -> None:
    seen = []

    @dg.asset(ins={"traits": dg.AssetIn(["zygotrix", "traits"], metadata={"columns": ["k", "w"]})})
    def reader(traits: Documents) -> None:
        assert not isinstance(traits.documents, list)
        seen.extend(traits)

    warehouse.run([traits(Documents({"k": i, "v": "x", "w": -i} for i in range(3))), reader])
    assert seen == [{"k": 0, "w": 0}, {"k": 1, "w": -1}, {"k": 2, "w": -2}]


def test_loading_nested_columns_is_refused(warehouse: Warehouse) -> None:
    @dg.asset(ins={"traits": dg.AssetIn(["zygotrix", "traits"], metadata={"columns": ["v.w"]})})
    def reader(traits: list[dict[str, Any]]) -> None: ...

    with pytest.raises(DocumentError, match="must list top-level fields"):
        warehouse.run([traits([{"k": 1}]), reader])


def test_loading_a_partition_that_never_was_names_it(warehouse: Warehouse) -> None:
    @dg.asset(partitions_def=FILES, ins={"traits": dg.AssetIn(["zygotrix", "traits"])})
    def reader(traits: list[dict[str, Any]]) -> None: ...

    warehouse.store([{"k": 1}], "a")
    with pytest.raises(LookupError, match="materialize partition 'b' of zygotrix/traits first"):
        warehouse.run([traits([], FILES), reader], selection=[reader], partition_key="b")


def span(first: str, last: str) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
