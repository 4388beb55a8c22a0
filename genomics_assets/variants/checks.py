"""What can be wrong with a load that loaded: asset checks of the variant warehouse.

ERROR means that numbers contradict each other, WARN that they are unusual for what they claim to be.
"""

from collections.abc import Callable, Iterable

import dagster as dg

from genomics_assets.variants.alleles import ReferenceFasta
from genomics_assets.variants.expectations import (
    compare_with_reference,
    het_hom_expectation,
    ti_tv_expectation,
)
from genomics_assets.variants.partitions import vcf_partitions
from resources.environment import Environment
from resources.variant_lake import VariantLake
from resources.variant_warehouse import VariantWarehouse

VARIANTS = dg.AssetKey(["variants", "variants"])
SUMMARY = dg.AssetKey(["variants", "variant_summary"])
SAMPLES = dg.AssetKey(["variants", "samples"])
LAKE = dg.AssetKey(["variants", "variants_lake"])


@dg.asset_check(asset=VARIANTS, partitions_def=vcf_partitions)
def totals_reconcile(
    context: dg.AssetCheckExecutionContext, warehouse: VariantWarehouse
) -> dg.AssetCheckResult:
    """The file's total equals loaded plus skipped, and the table holds what the audit says was loaded."""
    load = warehouse.expect_load(context.partition_key)
    in_table = warehouse.count_variants(load.load_id)
    return dg.AssetCheckResult(
        passed=load.total == load.loaded + load.skipped and in_table == load.loaded,
        description=f"file {load.total:,} = loaded {load.loaded:,} + skipped {load.skipped:,}; table {in_table:,}",
        metadata={
            "in_file": load.total,
            "loaded": load.loaded,
            "skipped": load.skipped,
            "in_table": in_table,
        },
    )


@dg.asset_check(asset=VARIANTS, partitions_def=vcf_partitions)
def alleles_unique(
    context: dg.AssetCheckExecutionContext, warehouse: VariantWarehouse
) -> dg.AssetCheckResult:
    """No (chrom, pos, ref, alt) twice in one file: legal in VCF, but rarely meant."""
    repeated = warehouse.count_duplicates(warehouse.expect_load(context.partition_key).load_id)
    return dg.AssetCheckResult(
        passed=repeated == 0, severity=dg.AssetCheckSeverity.WARN, metadata={"repeated_rows": repeated}
    )


@dg.asset_check(asset=VARIANTS, partitions_def=vcf_partitions)
def contigs_known(context: dg.AssetCheckExecutionContext, warehouse: VariantWarehouse) -> dg.AssetCheckResult:
    """Every row lies on a canonical chromosome that the header declares; others are kept, in the default partition."""
    load = warehouse.expect_load(context.partition_key)
    undeclared = warehouse.noted(load.load_id).get("undeclared_contig", 0)
    unplaced = {} if warehouse.genome() == "other" else warehouse.unplaced_contigs(load.load_id)
    return dg.AssetCheckResult(
        passed=not unplaced and not undeclared,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "records_on_undeclared_contigs": undeclared,
            "rows_by_other_contig": dg.MetadataValue.json(unplaced),
        },
    )


@dg.asset_check(asset=VARIANTS, partitions_def=vcf_partitions)
def reference_matches(
    context: dg.AssetCheckExecutionContext, warehouse: VariantWarehouse
) -> dg.AssetCheckResult:
    """REF equals the reference FASTA at its place, for up to 10,000 rows, where a FASTA is configured."""
    return agreement_with_reference(
        lambda: warehouse.reference_alleles(
            warehouse.expect_load(context.partition_key).load_id, at_most=10_000
        )
    )


def agreement_with_reference(
    alleles: Callable[[], Iterable[tuple[str, int, str]]],
) -> dg.AssetCheckResult:
    """How (chrom, 1-based pos, ref) agree with the reference FASTA; they are asked for where one is configured."""
    fasta = Environment.from_environ().reference_fasta
    if fasta is None:
        return dg.AssetCheckResult(
            passed=True, description="GENOMICS_REFERENCE_FASTA is not set: nothing to compare with"
        )
    agreement = compare_with_reference(alleles(), ReferenceFasta(fasta))
    return dg.AssetCheckResult(
        passed=not agreement.different,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "compared": agreement.compared,
            "different": agreement.different,
            "not_in_fasta": agreement.absent,
            "first_differences": dg.MetadataValue.json(agreement.examples),
        },
    )


@dg.asset_check(asset=SAMPLES, partitions_def=vcf_partitions)
def samples_known(context: dg.AssetCheckExecutionContext, warehouse: VariantWarehouse) -> dg.AssetCheckResult:
    """Every sample that the file names is in genomics.samples."""
    load = warehouse.expect_load(context.partition_key)
    unknown = warehouse.count_unknown_samples(load.load_id)
    tied, in_file = warehouse.count_load_samples(load.load_id), warehouse.samples_in_file(load.load_id)
    return dg.AssetCheckResult(
        passed=unknown == 0 and tied == in_file,
        metadata={"unknown": unknown, "sample_columns": in_file, "tied_to_a_sample": tied},
    )


@dg.asset_check(asset=SUMMARY, partitions_def=vcf_partitions)
def ti_tv_expected(
    context: dg.AssetCheckExecutionContext, warehouse: VariantWarehouse
) -> dg.AssetCheckResult:
    """Transitions over transversions lie where sequencing of people puts them."""
    transitions, transversions, *_ = warehouse.ratios(warehouse.expect_load(context.partition_key).load_id)
    expectation = ti_tv_expectation(transitions, transversions)
    return dg.AssetCheckResult(
        passed=expectation.met,
        severity=dg.AssetCheckSeverity.WARN,
        description=expectation.sentence,
        metadata={
            "transitions": transitions,
            "transversions": transversions,
            "ti_tv": expectation.ratio or 0.0,
        },
    )


@dg.asset_check(asset=SUMMARY, partitions_def=vcf_partitions)
def het_hom_expected(
    context: dg.AssetCheckExecutionContext, warehouse: VariantWarehouse
) -> dg.AssetCheckResult:
    """Heterozygous over homozygous-ALT calls lie where outbred people have them."""
    *_, het, hom = warehouse.ratios(warehouse.expect_load(context.partition_key).load_id)
    expectation = het_hom_expectation(het, hom)
    return dg.AssetCheckResult(
        passed=expectation.met,
        severity=dg.AssetCheckSeverity.WARN,
        description=expectation.sentence,
        metadata={"het_calls": het, "hom_alt_calls": hom, "het_hom": expectation.ratio or 0.0},
    )


@dg.asset_check(asset=LAKE, partitions_def=vcf_partitions)
def lake_reconciles(
    context: dg.AssetCheckExecutionContext, warehouse: VariantWarehouse, lake: VariantLake
) -> dg.AssetCheckResult:
    """The lake holds exactly as many rows of the load as the table."""
    load = warehouse.expect_load(context.partition_key)
    in_lake = lake.count_rows(load.load_id, warehouse.chromosomes(load.load_id))
    return dg.AssetCheckResult(
        passed=in_lake == load.loaded, metadata={"in_lake": in_lake, "in_table": load.loaded}
    )


checks = [
    totals_reconcile,
    alleles_unique,
    contigs_known,
    reference_matches,
    samples_known,
    ti_tv_expected,
    het_hom_expected,
    lake_reconciles,
]
