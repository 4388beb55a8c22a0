"""The dear indexes: built when asked for, kept true by later loads, gone when asked for."""

from __future__ import annotations

from typing import Any

import dagster as dg
from warehouse_harness import Warehouse, metadata

from resources.migrations.versions.r0007_cheaper_loads import SERVED_ALREADY
from resources.variant_indexes import FULL_INDEXES

HEADER = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=1000000>\n"
    '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)


def change(warehouse: Warehouse, **config: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [asset for asset in warehouse.definitions.assets or [] if isinstance(asset, dg.AssetsDefinition)],
        selection=["variants/full_indexes"],
        resources=warehouse.resources,
        instance=warehouse.instance,
        run_config={"ops": {"variants__full_indexes": {"config": config}}},
    )


def indexes(warehouse: Warehouse) -> int:
    [(count,)] = warehouse.query(
        "SELECT count(*) FROM pg_indexes WHERE schemaname = 'genomics' AND indexname LIKE '%%\\_full'"
    )
    return int(count)


def definition(warehouse: Warehouse, index: str) -> str:
    [(told,)] = warehouse.query("SELECT indexdef FROM pg_indexes WHERE indexname = %s", index)
    return str(told)


def test_the_set_is_built_used_by_queries_and_dropped(warehouse: Warehouse, name: str) -> None:
    rows = "".join(f"chr1\t{pos}\t.\tA\tG\t.\tPASS\tDP={pos}\n" for pos in range(1000, 3000))
    assert warehouse.load_file(f"{name}.vcf", HEADER + rows).success
    assert indexes(warehouse) == 0

    told = metadata(change(warehouse), "full_indexes")
    partitions = warehouse.query("SELECT count(*) FROM pg_partition_tree('genomics.variants') WHERE isleaf")[
        0
    ][0]
    assert indexes(warehouse) == len(FULL_INDEXES) * partitions
    assert told["bytes"] > 0
    assert all(f"| {index} | {partitions} |" in told["indexes"] for index in FULL_INDEXES)

    assert "(pos_range)" in definition(warehouse, "variants_1_region_gist_full")
    assert "(chrom, pos_range)" in definition(warehouse, "variants_other_region_gist_full")

    plan = warehouse.query(
        "EXPLAIN SELECT * FROM genomics.variants WHERE chrom = 'chr1' AND info @> '{\"DP\": 1500}'"
    )
    assert any("variants_1_info_gin_full" in line for (line,) in plan)
    more = warehouse.load_file(f"{name}b.vcf", HEADER + "chr1\t5000\t.\tA\tG\t.\tPASS\tDP=77777\n")
    assert more.success
    found = warehouse.query("SELECT pos FROM genomics.variants WHERE info @> '{\"DP\": 77777}'")
    assert found == [(5000,)]

    assert metadata(change(warehouse, drop=True), "full_indexes")["dropped"] == len(FULL_INDEXES) * partitions
    assert indexes(warehouse) == 0


def test_an_index_that_a_crash_left_unfinished_is_built_again(warehouse: Warehouse) -> None:
    change(warehouse)
    with warehouse.resources["postgres"].connection() as connection:
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'genomics.variants_1_transcript_full'::regclass"
        )
    change(warehouse, concurrently=True)
    assert warehouse.query(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'genomics.variants_1_transcript_full'::regclass"
    ) == [(True,)]
    change(warehouse, drop=True)


def test_an_upgrade_drops_what_the_standard_set_serves_already(warehouse: Warehouse) -> None:
    with warehouse.resources["postgres"].connection() as connection:
        connection.execute("CREATE INDEX variants_1_rare_full ON genomics.variants_1 (gene, af_gnomad)")
        connection.execute("CREATE INDEX variants_1_transcript_full ON genomics.variants_1 (transcript)")
        connection.execute(SERVED_ALREADY)
    assert indexes(warehouse) == 1
    assert change(warehouse, drop=True).success


def test_the_job_of_a_dropped_file_leaves_them_alone(warehouse: Warehouse) -> None:
    assert "variants__full_indexes" not in warehouse.job.graph.node_dict
