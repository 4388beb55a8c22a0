"""The PostgreSQL IO manager through real Dagster runs: what is replaced, refused, shown and read back."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
import pandas as pd
import psycopg
import pyarrow as pa
import pytest

from resources.copy_binary import CopyReport
from resources.postgres import PostgresResource
from resources.postgres_io_manager import PostgresIOManager, Records, SliceWrite

TABLES = """
DROP SCHEMA IF EXISTS lab CASCADE;
CREATE SCHEMA lab;
CREATE TABLE lab.reads (
    id bigint GENERATED ALWAYS AS IDENTITY, sample text NOT NULL, depth integer, label varchar(8),
    doubled integer GENERATED ALWAYS AS (depth * 2) STORED, seen timestamptz DEFAULT now());
COMMENT ON COLUMN lab.reads.depth IS 'reads over the base';
CREATE TABLE lab.grid (sample text, chrom text, n bigint);
CREATE TABLE lab.numbered (batch bigint, n bigint);
CREATE TABLE lab.whole (n bigint);
"""
DATASETS = dg.StaticPartitionsDefinition(["a", "b", "c", "it's ü/../x"])
GRID = dg.MultiPartitionsDefinition(
    {"who": DATASETS, "where": dg.StaticPartitionsDefinition(["chr1", "chr2"])}
)


@pytest.fixture
def url(empty_postgres_url: str) -> str:
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(TABLES)
    return empty_postgres_url


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def manager(url: str) -> Iterator[PostgresIOManager]:
    postgres = PostgresResource(url=url)
    yield PostgresIOManager(postgres=postgres)
    postgres.close()


def asset(
    value: Callable[[dg.AssetExecutionContext], Any],
    partitions: dg.PartitionsDefinition[Any] | None = DATASETS,
    name: str = "reads",
    **metadata: Any,
) -> dg.AssetsDefinition:
    if partitions is DATASETS:
        metadata = {"partition_expr": "sample", **metadata}

    @dg.asset(
        name=name,
        key_prefix="lab",
        partitions_def=partitions,
        metadata=metadata,
        io_manager_key="postgres_io",
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def made(context: dg.AssetExecutionContext) -> Any:
        return value(context)

    return made


def run(
    made: dg.AssetsDefinition,
    manager: PostgresIOManager,
    instance: dg.DagsterInstance,
    key: str | None = "a",
    to: str | None = None,
) -> dg.ExecuteInProcessResult:
    """One run; of the partitions from `key` to `to` where that is given. Its own error is raised."""
    tags = (
        {}
        if to is None
        else {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": to}
    )
    return dg.materialize(
        [made],
        resources={"postgres_io": manager},
        instance=instance,
        partition_key=None if to else key,
        tags=tags,  # type: ignore[arg-type]
    )


def rows(
    url: str, query: str = "SELECT sample, depth, label FROM lab.reads ORDER BY sample, depth"
) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


def shown(result: dg.ExecuteInProcessResult) -> Mapping[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def reads(sample: str | None, *depths: int | None, label: str | None = "x") -> pa.Table:
    table = pa.table(
        {"depth": pa.array(depths, pa.int64()), "label": pa.array([label] * len(depths), pa.string())}
    )
    return (
        table
        if sample is None
        else table.append_column("sample", pa.array([sample] * len(depths), pa.string()))
    )


# -- what is written ------------------------------------------------------------------------------------


def forms() -> dict[str, Callable[[], Any]]:
    table = reads("a", 1, None)
    return {
        "table": lambda: table,
        "batch": lambda: table.to_batches()[0],
        "reader": lambda: table.to_reader(),
        "records": lambda: Records(table.schema, iter(table.to_batches())),
        "pandas": lambda: pd.DataFrame({"sample": ["a", "a"], "depth": [1.0, None], "label": ["x", "x"]}),
        "without the partition's column": lambda: reads(None, 1, None),
    }


@pytest.mark.parametrize("form", forms())
def test_a_table_of_any_form_is_stored(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str, form: str
) -> None:
    run(asset(lambda _: forms()[form]()), manager, instance)
    assert rows(url) == [("a", 1, "x"), ("a", None, "x")]


def test_a_rerun_replaces_its_partition_and_no_other(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    depth = {"a": 1, "b": 2}
    made = asset(lambda context: reads(context.partition_key, depth[context.partition_key]))
    run(made, manager, instance, "a")
    run(made, manager, instance, "b")
    depth["a"] = 7
    run(made, manager, instance, "a")
    assert rows(url) == [("a", 7, "x"), ("b", 2, "x")]


def test_a_partition_key_is_data_and_never_sql(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    made = asset(lambda context: reads(context.partition_key, 1))
    for key in ("a", "it's ü/../x", "it's ü/../x"):
        run(made, manager, instance, key)
    assert rows(url) == [("a", 1, "x"), ("it's ü/../x", 1, "x")]


def test_an_empty_result_empties_the_partition(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    run(asset(lambda _: reads("a", 1)), manager, instance)
    assert shown(run(asset(lambda _: reads("a")), manager, instance))["dagster/partition_row_count"] == 0
    assert rows(url) == []
    run(asset(lambda _: reads("a", 1)), manager, instance)
    run(asset(lambda _: Records(reads("a").schema, [])), manager, instance)
    assert rows(url) == []


def test_none_changes_nothing(manager: PostgresIOManager, instance: dg.DagsterInstance, url: str) -> None:
    run(asset(lambda _: reads("a", 1)), manager, instance)
    run(asset(lambda _: None), manager, instance)
    assert rows(url) == [("a", 1, "x")]


def test_an_asset_without_partitions_replaces_all_rows(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    for values in ([1, 2], [3]):
        made = asset(lambda _, values=values: pa.table({"n": values}), None, name="whole")
        metadata = shown(run(made, manager, instance, None))
    assert rows(url, "SELECT n FROM lab.whole") == [(3,)]
    assert metadata["dagster/row_count"] == 1


@pytest.mark.parametrize("form", ["dict", "table", "pandas"])
def test_a_run_of_several_partitions_replaces_them_together(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str, form: str
) -> None:
    run(asset(lambda _: reads("c", 9)), manager, instance, "c")
    run(asset(lambda _: reads("b", 8, 8)), manager, instance, "b")

    def value(context: dg.AssetExecutionContext) -> Any:
        parts = {key: reads(key, at) for at, key in enumerate(context.partition_keys)}
        if form == "dict":
            return parts
        table = pa.concat_tables(parts.values())
        return table if form == "table" else table.to_pandas()

    result = run(asset(value), manager, instance, "a", to="b")
    assert rows(url) == [("a", 0, "x"), ("b", 1, "x"), ("c", 9, "x")]
    assert len(result.get_asset_materialization_events()) == 2


def test_partitions_of_two_dimensions_have_a_column_each(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    made = asset(
        lambda context: pa.table({"n": [len(context.partition_key)]}),
        GRID,
        name="grid",
        partition_expr={"who": "sample", "where": "chrom"},
    )
    for key in ("chr1|a", "chr2|a", "chr1|a"):
        run(made, manager, instance, key)
    assert rows(url, "SELECT sample, chrom, n FROM lab.grid ORDER BY chrom") == [
        ("a", "chr1", 6),
        ("a", "chr2", 6),
    ]


def test_a_partition_column_may_be_a_number(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    numbers = dg.StaticPartitionsDefinition(["1", "2"])
    made = asset(
        lambda context: pa.table({"batch": [int(context.partition_key)], "n": [1]}),
        numbers,
        name="numbered",
        partition_expr="batch",
    )
    for key in ("1", "2", "1"):
        run(made, manager, instance, key)
    assert rows(url, "SELECT batch FROM lab.numbered ORDER BY 1") == [(1,), (2,)]


# -- what is refused ------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "extra column": (
        lambda: reads("a", 2).append_column("nope", pa.array([1])),
        "the table has no column nope",
    ),
    "generated column": (
        lambda: reads("a", 2).append_column("doubled", pa.array([1])),
        "the table has no column doubled that can be written",
    ),
    "missing column": (lambda: reads("a", 2).drop(["label"]), "the asset does not return column label"),
    "wrong type": (
        lambda: reads("a", 2).set_column(0, "depth", pa.array(["2"])),
        "column depth: Arrow type string does not go into PostgreSQL type integer",
    ),
    "not whole": (
        lambda: pd.DataFrame({"sample": ["a"], "depth": [1.5], "label": ["x"]}),
        "column depth holds a number that is not whole",
    ),
    "mixed types": (
        lambda: pd.DataFrame({"sample": ["a"] * 2, "depth": [1, 2], "label": ["x", 1]}),
        "a column of mixed or unknown types",
    ),
    "another partition": (lambda: reads("b", 2), "column sample holds rows of another partition"),
    "value too long": (
        lambda: reads("a", 2, label="x" * 9),
        r"row 0 .*column label: value too long for type character varying\(8\)",
    ),
    "NUL": (lambda: reads("a", 2, label="a\0b"), "column label: the text holds a NUL"),
    "too large": (lambda: reads("a", 2**40), "column depth: .*not in range"),
    "column twice": (
        lambda: reads("a", 2).append_column("label", pa.array(["x"])),
        "column label is there twice",
    ),
    "no table": (lambda: [1, 2], "list is not a table"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_named_and_the_old_rows_stay(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str, kind: str
) -> None:
    value, told = REFUSED[kind]
    run(asset(lambda _: reads("a", 1)), manager, instance)
    with pytest.raises(dg.Failure, match=told) as caught:
        run(asset(lambda _: value()), manager, instance)
    description = caught.value.description or ""
    assert "lab/reads" in description
    if kind not in {"not whole", "mixed types", "no table"}:
        assert "partition 'a', table lab.reads" in description
    assert not caught.value.allow_retries
    assert rows(url) == [("a", 1, "x")]


def test_an_absent_table_and_an_unnamed_partition_column_are_told(
    manager: PostgresIOManager, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(
        dg.Failure, match=r"lab/reads: table lab\.absent does not exist .* made by migrations"
    ):
        run(asset(lambda _: reads("a", 1), table="lab.absent"), manager, instance)
    with pytest.raises(dg.Failure, match="does not say which column holds them"):
        run(asset(lambda _: reads("a", 1), partition_expr=None), manager, instance)


def test_columns_may_be_declared_optional(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    run(asset(lambda _: reads("a", 1).drop(["label"]), optional_columns=["label"]), manager, instance)
    assert rows(url) == [("a", 1, None)]


def test_a_stranger_in_a_run_of_several_partitions_is_refused(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    with pytest.raises(dg.Failure, match="holds 'c', which is no partition of this run"):
        run(asset(lambda _: pa.concat_tables([reads("a", 1), reads("c", 1)])), manager, instance, "a", to="b")
    assert rows(url) == []


# -- faults ---------------------------------------------------------------------------------------------


class SourceError(Exception):
    pass


def many(depth: int, batches: int, then: Callable[[], None]) -> Records:
    def made() -> Iterator[pa.RecordBatch]:
        for _ in range(batches):
            yield reads("a", *[depth] * 20_000).to_batches()[0]
        then()

    return Records(reads("a").schema, made())


def test_a_source_that_raises_half_way_leaves_the_old_rows(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    def fail() -> None:
        raise SourceError("line 12 is odd")

    run(asset(lambda _: reads("a", 1)), manager, instance)
    with pytest.raises(SourceError, match="line 12 is odd"):
        run(asset(lambda _: many(2, 5, fail)), manager, instance)
    assert rows(url) == [("a", 1, "x")]


def test_a_connection_that_is_cut_half_way_leaves_the_old_rows_and_a_retry_succeeds(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    def cut() -> None:
        found = rows(
            url,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'genomics_assets/%/lab__reads' "
            "AND query LIKE 'COPY%'",
        )
        assert found == [(True,)]

    run(asset(lambda _: reads("a", 1)), manager, instance)
    with pytest.raises(psycopg.OperationalError):
        run(asset(lambda _: many(2, 5, cut)), manager, instance)
    assert rows(url) == [("a", 1, "x")]
    run(asset(lambda _: many(2, 5, lambda: None)), manager, instance)
    assert rows(url, "SELECT count(*), min(depth) FROM lab.reads") == [(100_000, 2)]


def test_nothing_is_visible_before_the_commit(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    seen: list[Any] = []
    run(asset(lambda _: reads("a", 1)), manager, instance)
    run(asset(lambda _: many(2, 3, lambda: seen.extend(rows(url)))), manager, instance)
    assert seen == [("a", 1, "x")]


def test_two_writers_of_a_partition_leave_one_set_of_rows(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    both_began = threading.Barrier(2, timeout=60)
    failures: list[BaseException] = []

    def write(depth: int) -> None:
        def value(_: dg.AssetExecutionContext) -> Records:
            both_began.wait()
            return many(depth, 3, lambda: None)

        try:
            with dg.DagsterInstance.ephemeral() as own:
                run(asset(value), manager, own)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    writers = [threading.Thread(target=write, args=(depth,)) for depth in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert rows(url, "SELECT count(*), count(DISTINCT depth) FROM lab.reads") == [(60_000, 1)]


def test_writers_of_two_partitions_do_not_wait_for_one_another(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    def meanwhile() -> None:
        with dg.DagsterInstance.ephemeral() as own:
            run(asset(lambda _: reads("b", 5)), manager, own, "b")

    run(asset(lambda _: many(1, 1, meanwhile)), manager, instance, "a")
    assert rows(url, "SELECT sample, count(*) FROM lab.reads GROUP BY 1 ORDER BY 1") == [
        ("a", 20_000),
        ("b", 1),
    ]


# -- what is shown --------------------------------------------------------------------------------------


def test_the_metadata_says_what_was_written(manager: PostgresIOManager, instance: dg.DagsterInstance) -> None:
    records = Records(reads("a").schema, reads("a", 1, 2, 3, 4, 5, 6).to_batches(), lambda: {"skipped": 3})
    metadata = shown(run(asset(lambda _: records), manager, instance))
    assert metadata["dagster/partition_row_count"] == 6
    assert metadata["dagster/table_name"] == "lab.reads"
    assert metadata["bytes_copied"] > 6 * 20
    assert metadata["skipped"] == 3
    assert metadata["rows_per_second"] > 0
    depth = {column.name: column for column in metadata["dagster/column_schema"].columns}["depth"]
    assert (depth.type, depth.description) == ("integer", "reads over the base")
    assert metadata["preview"].count("\n") == 6
    assert "| depth | label | sample |" in metadata["preview"]


def test_personal_rows_stay_out_of_the_event_log(
    manager: PostgresIOManager, instance: dg.DagsterInstance
) -> None:
    result = run(asset(lambda _: reads("a", 1, label="Ada"), preview=False), manager, instance)
    assert "preview" not in shown(result)
    assert "Ada" not in str(instance.all_logs(result.run_id))


# -- hooks ----------------------------------------------------------------------------------------------


class AuditedIOManager(PostgresIOManager):
    """Writes an audit row in the transaction of the rows."""

    def before_write(self, cursor: Any, context: dg.OutputContext, write: SliceWrite) -> None:
        cursor.execute("CREATE TABLE IF NOT EXISTS lab.audit (key text, rows bigint)")

    def after_write(
        self, cursor: Any, context: dg.OutputContext, write: SliceWrite, report: CopyReport
    ) -> Mapping[str, Any]:
        cursor.execute("INSERT INTO lab.audit VALUES (%s, %s)", (write.partition_key, report.rows))
        if report.rows == 3:
            raise SourceError("three is odd")
        return {"audited": True}


def test_hooks_run_in_the_transaction_of_the_rows(url: str, instance: dg.DagsterInstance) -> None:
    manager = AuditedIOManager(postgres=PostgresResource(url=url))
    assert shown(run(asset(lambda _: reads("a", 1)), manager, instance))["audited"]
    with pytest.raises(SourceError):
        run(asset(lambda _: reads("b", 1, 2, 3)), manager, instance, "b")
    assert rows(url, "SELECT * FROM lab.audit") == [("a", 1)]
    assert rows(url) == [("a", 1, "x")]


# -- reading --------------------------------------------------------------------------------------------


def read(
    kind: Any,
    manager: PostgresIOManager,
    instance: dg.DagsterInstance,
    key: str = "a",
    to: str | None = None,
    columns: list[str] | None = None,
) -> Any:
    """What a downstream asset gets when it annotates its input so."""
    got: list[Any] = []

    def downstream(reads: Any) -> None:
        got.append(reads.read_all() if kind is pa.RecordBatchReader else reads)

    downstream.__annotations__ = {"reads": kind, "return": None}
    metadata = {} if columns is None else {"columns": columns}
    made = dg.asset(
        ins={"reads": dg.AssetIn(["lab", "reads"], metadata=metadata)},
        partitions_def=DATASETS,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )(downstream)
    upstream = asset(lambda _: None)
    tags = (
        {}
        if to is None
        else {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": to}
    )
    dg.materialize(
        [upstream, made],
        selection=[made],
        resources={"postgres_io": manager},
        instance=instance,
        partition_key=None if to else key,
        tags=tags,
    )
    return got[0]


@pytest.fixture
def filled(manager: PostgresIOManager, instance: dg.DagsterInstance) -> PostgresIOManager:
    made = asset(lambda context: reads(context.partition_key, 1, None))
    for key in ("a", "b"):
        run(made, manager, instance, key)
    return manager


WANTED = ["sample", "depth"]


def test_an_input_gets_its_partition_as_it_is_annotated(
    filled: PostgresIOManager, instance: dg.DagsterInstance
) -> None:
    expected = [{"sample": "b", "depth": 1}, {"sample": "b", "depth": None}]
    assert read(pa.Table, filled, instance, "b", columns=WANTED).to_pylist() == expected
    assert read(pa.RecordBatchReader, filled, instance, "b", columns=WANTED).to_pylist() == expected
    frame = read(pd.DataFrame, filled, instance, "b", columns=WANTED)
    assert list(frame.columns) == WANTED
    assert frame["depth"].sum() == 1
    assert read(pa.Table, filled, instance, "b").column_names == [
        "id",
        "sample",
        "depth",
        "label",
        "doubled",
        "seen",
    ]


def test_an_input_over_several_partitions_gets_them_together_or_apart(
    filled: PostgresIOManager, instance: dg.DagsterInstance
) -> None:
    frame = read(pd.DataFrame, filled, instance, "a", to="b", columns=WANTED)
    assert sorted(frame["sample"]) == ["a", "a", "b", "b"]
    apart = read(dict[str, pa.Table], filled, instance, "a", to="b", columns=WANTED)
    assert {key: table.num_rows for key, table in apart.items()} == {"a": 2, "b": 2}


def test_a_partition_that_never_was_written_is_named(
    filled: PostgresIOManager, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(dg.Failure, match="Remedy: materialize partition 'c' of lab/reads"):
        read(pd.DataFrame, filled, instance, "c")
    with pytest.raises(dg.Failure, match="Remedy: materialize partition 'c' of lab/reads"):
        read(pd.DataFrame, filled, instance, "a", to="c")


def test_an_empty_partition_that_was_written_is_read_as_empty(
    filled: PostgresIOManager, instance: dg.DagsterInstance
) -> None:
    run(asset(lambda _: reads("c")), filled, instance, "c")
    assert read(pd.DataFrame, filled, instance, "c").empty


def test_rows_that_came_another_way_are_read(
    manager: PostgresIOManager, instance: dg.DagsterInstance, url: str
) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO lab.reads (sample, depth) VALUES ('a', 4)")
    assert read(pa.Table, manager, instance, "a", columns=["depth"]).to_pylist() == [{"depth": 4}]


def test_a_wrong_column_or_annotation_is_told(
    filled: PostgresIOManager, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(
        dg.Failure, match=r"lab/reads: table lab\.reads has no column nope.*use one of id, sample"
    ):
        read(pd.DataFrame, filled, instance, "a", columns=["nope"])
    with pytest.raises(dg.Failure, match="lab/reads cannot be read as <class 'int'>"):
        read(int, filled, instance, "a")
