"""The variant warehouse's assets: from a dropped file to tables that can be trusted, and to the lake.

    vcf_files -> variants -> samples, genotypes, variant_summary, variants_lake

One partition is one dropped file. The assets name their inputs, call one function of a pure module, and return a value;
IO managers write it.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from genomics_assets.pools import POSTGRES_WRITE
from genomics_assets.variants.load import VariantLoad
from genomics_assets.variants.partitions import VCF_DROPS, vcf_partitions
from resources.environment import Environment
from resources.inbox import InboxResource
from resources.preview import picture
from resources.variant_warehouse import VariantWarehouse

OWNERS = ["team:genomics-data"]
# Lost connections and restarting servers pass; a file that cannot be taken raises Failure, which is never retried.
RETRIES = dg.RetryPolicy(max_retries=2, delay=1)
ONE_FILE_A_RUN = dg.BackfillPolicy.multi_run(1)


def variant_asset(**settings: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """What all assets of the warehouse share."""
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        key_prefix="variants",
        group_name="variants",
        partitions_def=vcf_partitions,
        owners=OWNERS,
        retry_policy=RETRIES,
        backfill_policy=ONE_FILE_A_RUN,
        code_version="1",
        pool=POSTGRES_WRITE,
        **settings,
    )
    return decorator


@variant_asset(
    io_manager_key="postgres_io",
    kinds={"vcf", "postgres"},
    metadata={"table": "genomics.vcf_files", "partition_expr": "partition_key"},
)
def vcf_files(
    context: dg.AssetExecutionContext, inbox: InboxResource, warehouse: VariantWarehouse
) -> pa.Table:
    """What was dropped: hash, size, container, header, contigs, number of samples, assembly, tools.

    The file is whole when this has materialized: every block of a compressed file is there, and its end marker.
    """
    from genomics_assets.variants.inspection import file_row, inspect_vcf
    from genomics_assets.variants.report import header_table

    with (
        warehouse.taking(inbox, VCF_DROPS, context.partition_key, context.run_id) as drop,
        inbox.local(drop) as path,
    ):
        file = inspect_vcf(path, partition_key=drop.partition_key, file_path=drop.uri)
    context.add_output_metadata(
        {
            "header": dg.MetadataValue.md(header_table(file.header)),
            "sha256": file.file_hash,
            "size": file.file_size,
        }
    )
    return file_row(file, fingerprint=drop.fingerprint)


@variant_asset(
    io_manager_key="variants_io",
    kinds={"vcf", "postgres"},
    metadata={"table": "genomics.variants"},
)
def variants(
    context: dg.AssetExecutionContext, vcf_files: pa.Table, inbox: InboxResource, warehouse: VariantWarehouse
) -> VariantLoad:
    """One row for each ALT allele: split, trimmed, typed, with its most severe consequence and genotype counts.

    Rows become visible all at once, with their audit row. The same content again adds nothing; other content replaces
    the file's rows.
    """
    from genomics_assets.variants.inspection import prepare_load

    with warehouse.taking(inbox, VCF_DROPS, context.partition_key, context.run_id) as drop:
        return prepare_load(drop, vcf_files, opened=inbox.local, unchanged=inbox.unchanged,
                            genome=warehouse.genome(), fasta=Environment.from_environ().reference_fasta)  # fmt: skip


@variant_asset(kinds={"postgres"}, deps=[variants])
def samples(
    context: dg.AssetExecutionContext, vcf_files: pa.Table, inbox: InboxResource, warehouse: VariantWarehouse
) -> dg.MaterializeResult[None]:
    """People in the file's header and pedigree, each once; what contradicts what is known is reported, never stored.

    Names stay in the database: the metadata counts.
    """
    from genomics_assets.variants.inspection import file_hash_of, people_of
    from genomics_assets.variants.report import counts

    with warehouse.taking(inbox, VCF_DROPS, context.partition_key, context.run_id) as drop:
        names, pedigree = people_of(drop, vcf_files, opened=inbox.local)
    load = warehouse.expect_load(context.partition_key, file_hash_of(vcf_files))
    report = warehouse.record_samples(load.load_id, names, pedigree)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": report.in_file,
            "dagster/table_name": "genomics.samples",
            "new": report.added,
            "filled_from_pedigree": report.filled,
            "in_pedigree_only": report.not_in_file,
            "conflicts": counts(report.conflicts),
        }
    )


@variant_asset(
    io_manager_key="load_io", kinds={"postgres"}, deps=[variants], metadata={"table": "genomics.genotypes"}
)
def genotypes(
    context: dg.AssetExecutionContext, vcf_files: pa.Table, inbox: InboxResource, warehouse: VariantWarehouse
) -> pa.RecordBatchReader:
    """Every call, packed per variant: one byte a sample, with depth and genotype quality beside it.

    Read `genomics.sample_genotypes` for one row a sample.
    """
    from genomics_assets.variants.inspection import file_hash_of, genotype_reader

    load = warehouse.expect_load(context.partition_key, file_hash_of(vcf_files))
    with warehouse.taking(inbox, VCF_DROPS, context.partition_key, context.run_id) as drop:
        return genotype_reader(
            drop,
            vcf_files,
            load_id=load.load_id,
            opened=inbox.local,
            unchanged=inbox.unchanged,
            genome=warehouse.genome(),
            fasta=Environment.from_environ().reference_fasta,
        )


@variant_asset(
    io_manager_key="load_io",
    kinds={"postgres"},
    ins={
        "variants": dg.AssetIn(
            metadata={
                "columns": [
                    "load_batch_id", "chrom", "variant_type", "ref", "alt", "qual", "filter", "is_coding", "is_lof",
                    "impact", "n_het", "n_hom_alt", "aaf", "info",
                ]
            }
        )
    },
    metadata={"table": "genomics.variant_summary"},
)  # fmt: skip
def variant_summary(context: dg.AssetExecutionContext, variants: pa.RecordBatchReader) -> pa.Table:
    """A load in numbers and pictures: variants by chromosome and type, Ti/Tv, het/hom, allele frequencies."""
    from genomics_assets.variants.pictures import chromosome_picture, frequency_picture
    from genomics_assets.variants.summary import LoadSummary

    summary = LoadSummary.of(variants)
    context.add_output_metadata(
        {
            "summary": dg.MetadataValue.md(summary.to_markdown()),
            "by chromosome and type": picture(chromosome_picture(summary), "variants by chromosome and type"),
            "allele frequencies": picture(frequency_picture(summary), "allele-frequency spectrum"),
        }
    )
    return summary.to_table()


@variant_asset(
    io_manager_key="lake_io",
    kinds={"parquet"},
    ins={"variants": dg.AssetIn(metadata={"order_by": ["chrom", "pos", "ref", "alt"]})},
)
def variants_lake(variants: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same rows as Parquet, by chromosome, sorted by position: for DuckDB, pandas, Spark or Trino."""
    return variants


class FullIndexChange(dg.Config):
    """What becomes of the index set "full"."""

    drop: bool = Field(default=False, description="Drop the indexes instead of building them.")
    concurrently: bool = Field(
        default=False, description="Build without holding loads up, which takes about twice as long."
    )
    connections: int = Field(
        default=2, ge=1, le=8, description="How many partitions are worked on at a time."
    )


@dg.asset(
    key_prefix="variants", group_name="variants", owners=OWNERS, kinds={"postgres"}, code_version="1",
    deps=[dg.AssetDep(variants, partition_mapping=dg.AllPartitionMapping())],
)  # fmt: skip
def full_indexes(config: FullIndexChange, warehouse: VariantWarehouse) -> dg.MaterializeResult[None]:
    """The dear indexes, for those who need them: trigrams of protein changes, INFO by content, regions by GiST.

    No job or schedule builds them, for they make every later load dearer. What is there already stays; materialize
    with `drop: true` to be rid of them.
    """
    from genomics_assets.variants.report import index_table

    if config.drop:
        return dg.MaterializeResult(metadata={"dropped": warehouse.drop_full_indexes()})
    built = warehouse.build_full_indexes(concurrently=config.concurrently, connections=config.connections)
    rows = [(index.name, index.partitions, index.seconds, index.size) for index in built]
    return dg.MaterializeResult(
        metadata={
            "indexes": dg.MetadataValue.md(index_table(rows)),
            "seconds": round(sum(index.seconds for index in built), 3),
            "bytes": sum(index.size for index in built),
        }
    )


assets = [vcf_files, variants, samples, genotypes, variant_summary, variants_lake, full_indexes]
