"""What the object IO manager promises, on the local disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.object_store import ObjectNotFoundError, ObjectStoreResource
from resources.object_store_io_manager import ObjectStoreIOManager, ObjectValueError

FILES = dg.StaticPartitionsDefinition(["a", "b"])
TABLE = pa.table({"x": [1, 2, 3], "y": ["one", None, "three"]})


class Shelf:
    """A store, and one Dagster instance for a test's materializations."""

    def __init__(self, objects: ObjectStoreResource) -> None:
        self.objects = objects
        self.instance = dg.DagsterInstance.ephemeral()

    def run(self, assets: list[Any], **options: Any) -> dg.ExecuteInProcessResult:
        manager = ObjectStoreIOManager(objects=self.objects)
        return dg.materialize(assets, resources={"io_manager": manager}, instance=self.instance, **options)

    def store(self, value: Any, partition: str | None = None, **metadata: Any) -> dict[str, Any]:
        result = self.run([report(value, FILES if partition else None, **metadata)], partition_key=partition)
        found = result.asset_materializations_for_node("lake__report")[0].metadata
        return {name: entry.value for name, entry in found.items()}

    def load(self, annotation: Any, partition: str | None = None, columns: Any = None) -> Any:
        """What a downstream asset with this annotation gets."""
        seen = []
        partitions = FILES if partition else None

        def reader(report):  # type: ignore[no-untyped-def]
            seen.append(report.read_all() if isinstance(report, pa.RecordBatchReader) else report)

        reader.__annotations__ = {"report": annotation}
        metadata = {} if columns is None else {"columns": columns}
        asset = dg.asset(
            reader,
            ins={"report": dg.AssetIn(["lake", "report"], metadata=metadata)},
            partitions_def=partitions,
        )
        self.run([report(None, partitions), asset], selection=[asset], partition_key=partition)
        return seen[0]


def report(value: Any, partitions: Any = None, **metadata: Any) -> dg.AssetsDefinition:
    @dg.asset(key=["lake", "report"], partitions_def=partitions, metadata=metadata)
    def asset():  # type: ignore[no-untyped-def]
        return value

    return asset


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(ObjectStoreResource(url=f"file://{tmp_path}/objects"))


def batches(count: int = 3) -> Iterator[pa.RecordBatch]:
    for i in range(count):
        yield pa.record_batch({"x": [i]})


@pytest.mark.parametrize(
    "value",
    [TABLE, TABLE.to_batches()[0], TABLE.to_reader(), dg.Output(iter(TABLE.to_batches())), TABLE.to_pandas()],
    ids=["table", "batch", "reader", "iterator", "pandas"],
)
def test_tables_become_parquet(shelf: Shelf, tmp_path: Path, value: Any) -> None:
    metadata = shelf.store(value)
    assert pq.read_table(tmp_path / "objects/lake/report.parquet").to_pydict() == TABLE.to_pydict()
    assert metadata["dagster/row_count"] == 3
    assert metadata["key"] == "lake/report.parquet"
    assert metadata["dagster/uri"] == f"file://{tmp_path}/objects/lake/report.parquet"
    assert metadata["bytes"] == (tmp_path / "objects/lake/report.parquet").stat().st_size
    assert metadata["rows_per_second"] > 0
    assert [column.name for column in metadata["dagster/column_schema"].columns] == ["x", "y"]
    assert "| 3 | three |" in metadata["preview"]


def test_parquet_is_compressed_with_zstd(shelf: Shelf, tmp_path: Path) -> None:
    shelf.store(TABLE)
    column = pq.ParquetFile(tmp_path / "objects/lake/report.parquet").metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


def test_small_batches_share_row_groups(shelf: Shelf, tmp_path: Path) -> None:
    shelf.store(dg.Output(batches(1000)))
    assert pq.ParquetFile(tmp_path / "objects/lake/report.parquet").metadata.num_row_groups == 1


def test_bytes_stay_bytes(shelf: Shelf, tmp_path: Path) -> None:
    metadata = shelf.store(b"\0\1", "a")
    assert (tmp_path / "objects/lake/report/a.bin").read_bytes() == b"\0\1"
    assert (metadata["bytes"], metadata["key"]) == (2, "lake/report/a.bin")
    assert shelf.load(bytes, "a") == b"\0\1"
    assert shelf.load(Any, "a") == b"\0\1"


def test_preview_can_be_switched_off(shelf: Shelf) -> None:
    assert "three" not in str(shelf.store(TABLE, preview=False))


@pytest.mark.parametrize("annotation", [pa.Table, pd.DataFrame, pa.RecordBatchReader, Any])
def test_loading_follows_the_annotation_and_selects_columns(shelf: Shelf, annotation: Any) -> None:
    shelf.store(TABLE, "a")
    loaded = shelf.load(annotation, "a", columns=["y"])
    if annotation in (pd.DataFrame, Any):
        assert isinstance(loaded, pd.DataFrame)
        loaded = pa.Table.from_pandas(loaded, preserve_index=False)
    assert loaded.to_pydict() == {"y": ["one", None, "three"]}


def test_columns_come_in_the_order_asked_for(shelf: Shelf) -> None:
    shelf.store(TABLE)
    assert shelf.load(pa.Table, columns=["y", "x"]).column_names == ["y", "x"]
    assert shelf.load(pa.RecordBatchReader, columns=["y", "x"]).column_names == ["y", "x"]


def test_an_absent_column_is_named(shelf: Shelf) -> None:
    shelf.store(TABLE)
    with pytest.raises(ObjectValueError, match=r"has no column 'z'; it has x, y\. Remedy"):
        shelf.load(pa.Table, columns=["z"])


def test_a_missing_partition_is_named(shelf: Shelf) -> None:
    shelf.store(TABLE, "a")
    with pytest.raises(
        ObjectNotFoundError, match=r"report/b\.parquet\. Remedy: materialize partition 'b' of lake/report"
    ):
        shelf.load(pa.Table, "b")


def test_an_empty_table_is_a_table(shelf: Shelf) -> None:
    assert shelf.store(TABLE.slice(0, 0), "a")["dagster/partition_row_count"] == 0
    assert shelf.load(pa.Table, "a").schema == TABLE.schema


def test_a_stream_that_raises_leaves_the_old_object(shelf: Shelf) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from batches()
        raise OSError("the source ended")

    with pytest.raises(OSError, match="the source ended"):
        shelf.store(dg.Output(broken()))
    assert shelf.objects.list() == []
    shelf.store(TABLE)
    with pytest.raises(OSError, match="the source ended"):
        shelf.store(dg.Output(broken()))
    assert shelf.load(pa.Table).equals(TABLE)


def test_a_stream_of_changing_columns_leaves_no_object(shelf: Shelf) -> None:
    with pytest.raises(ValueError, match=r"[Ss]chema"):
        shelf.store(dg.Output(iter([pa.record_batch({"x": [1]}), pa.record_batch({"z": ["a"]})])))
    assert shelf.objects.list() == []


def test_a_stream_without_batches_needs_a_schema(shelf: Shelf) -> None:
    with pytest.raises(ObjectValueError, match=r"ended before its first batch.*Remedy.*RecordBatchReader"):
        shelf.store(dg.Output(iter([])))


def test_other_values_are_refused(shelf: Shelf) -> None:
    with pytest.raises(ObjectValueError, match=r"lake/report: a set cannot be kept.*Remedy"):
        shelf.store({1, 2})


def test_no_output_is_no_write(shelf: Shelf) -> None:
    shelf.store(None)
    assert shelf.objects.list() == []


def test_a_run_of_several_partitions(shelf: Shelf) -> None:
    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    result = shelf.run([report({"a": TABLE, "b": TABLE.slice(1)}, FILES)], tags=tags)
    assert shelf.objects.list() == ["lake/report/a.parquet", "lake/report/b.parquet"]
    metadata = result.asset_materializations_for_node("lake__report")[0].metadata
    assert metadata["rows"].value == 5
    seen = []

    @dg.asset(ins={"report": dg.AssetIn(["lake", "report"])})
    def reader(report: dict[str, pa.Table]) -> None:
        seen.append({partition: len(table) for partition, table in report.items()})

    shelf.run([report(None, FILES), reader], selection=[reader])
    assert seen == [{"a": 3, "b": 2}]


def test_a_template_names_the_object(shelf: Shelf) -> None:
    shelf.store(TABLE, "a", object_key="reports/of={partition}/part.parquet")
    assert shelf.objects.list() == ["reports/of=a/part.parquet"]


def test_a_template_takes_dimensions(shelf: Shelf) -> None:
    both = dg.MultiPartitionsDefinition({"chrom": dg.StaticPartitionsDefinition(["chr1"]), "file": FILES})
    asset = report(TABLE, both, object_key="lake/chrom={chrom}/{file}.parquet")
    shelf.run([asset], partition_key=dg.MultiPartitionKey({"chrom": "chr1", "file": "b"}))
    assert shelf.objects.list() == ["lake/chrom=chr1/b.parquet"]


def test_a_template_with_an_unknown_name_is_refused(shelf: Shelf) -> None:
    with pytest.raises(ObjectValueError, match=r"known here: \{partition\}. Remedy"):
        shelf.store(TABLE, "a", object_key="lake/{chrom}.parquet")


def test_a_partition_key_cannot_leave_the_store(shelf: Shelf, tmp_path: Path) -> None:
    sneaky = dg.StaticPartitionsDefinition(["../../evil"])
    with pytest.raises(ObjectValueError, match=r"lake/report, partition '../../evil'.*segment is '..'"):
        shelf.run([report(TABLE, sneaky)], partition_key="../../evil")
    assert list(tmp_path.rglob("*.parquet")) == []
