"""What can be wrong with a source that loaded: asset checks of annotation sources.

ERROR means that a promise is broken, WARN that the source is unusual.
"""

import dagster as dg

from genomics_assets.annotations.partitions import annotation_partitions
from genomics_assets.variants.checks import agreement_with_reference
from resources.annotation_warehouse import AnnotationWarehouse

SOURCE = dg.AssetKey(["annotations", "annotation_source"])
LEAST_COVERAGE = 0.001


@dg.asset_check(asset=SOURCE, partitions_def=annotation_partitions)
def keys_unique(
    context: dg.AssetCheckExecutionContext, annotation_warehouse: AnnotationWarehouse
) -> dg.AssetCheckResult:
    """The table has its primary key, and as many rows as the registry says."""
    source = context.partition_key
    version = annotation_warehouse.expect_current(source)
    rows = annotation_warehouse.count_rows(source)
    return dg.AssetCheckResult(
        passed=annotation_warehouse.has_primary_key(source) and rows == version.rows,
        description=f"{source}: {rows:,} rows, {version.rows:,} registered",
        metadata={"rows": rows, "registered": version.rows},
    )


@dg.asset_check(asset=SOURCE, partitions_def=annotation_partitions)
def source_matches_reference(
    context: dg.AssetCheckExecutionContext, annotation_warehouse: AnnotationWarehouse
) -> dg.AssetCheckResult:
    """REF equals the reference FASTA at its place, for up to 10,000 rows, where a FASTA is configured."""
    return agreement_with_reference(
        lambda: annotation_warehouse.reference_alleles(context.partition_key, at_most=10_000)
    )


@dg.asset_check(asset=SOURCE, partitions_def=annotation_partitions)
def frequencies_in_unit(
    context: dg.AssetCheckExecutionContext, annotation_warehouse: AnnotationWarehouse
) -> dg.AssetCheckResult:
    """Every allele frequency lies between 0 and 1."""
    source = context.partition_key
    fields = [
        field
        for field in annotation_warehouse.expect_current(source).fields
        if field.type in ("real", "double precision")
        and ((field.fills or "").startswith("af_") or f"_{field.alias}_".find("_af_") >= 0)
    ]
    outside = {
        field.alias: annotation_warehouse.count_outside_unit(source, field.alias, field.missing)
        for field in fields
    }
    return dg.AssetCheckResult(
        passed=not any(outside.values()),
        description=f"{source}: {len(fields)} frequency column{'' if len(fields) == 1 else 's'}",
        metadata={"outside_by_column": dg.MetadataValue.json(outside)},
    )


@dg.asset_check(asset=SOURCE, partitions_def=annotation_partitions)
def fields_covered(
    context: dg.AssetCheckExecutionContext, annotation_warehouse: AnnotationWarehouse
) -> dg.AssetCheckResult:
    """Each column has a value in one row of a thousand at least."""
    version = annotation_warehouse.expect_current(context.partition_key)
    covered = {
        name: round(count / version.rows, 6) if version.rows else 0.0
        for name, count in version.present.items()
    }
    thin = [name for name, part in covered.items() if part < LEAST_COVERAGE]
    return dg.AssetCheckResult(
        passed=not thin,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{context.partition_key}: "
        + (f"hardly a value in {', '.join(thin)}" if thin else "every column has values"),
        metadata={"coverage": dg.MetadataValue.json(covered)},
    )


@dg.asset_check(asset=SOURCE, partitions_def=annotation_partitions)
def version_newer(
    context: dg.AssetCheckExecutionContext, annotation_warehouse: AnnotationWarehouse
) -> dg.AssetCheckResult:
    """The version is newer than the one before; a rollback is meant, and passes."""
    from genomics_assets.annotations.source_files import is_newer

    version = annotation_warehouse.expect_current(context.partition_key)
    last = None if version.previous_id is None else annotation_warehouse.version(version.previous_id)
    told, before = version.version, None if last is None else last.version
    newer = is_newer(told, before)
    return dg.AssetCheckResult(
        passed=version.restores is not None or newer,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{context.partition_key}: {told or 'no version told'} after {before or 'none'}",
        metadata={"version": told or "", "last": before or ""},
    )


@dg.asset_check(asset=SOURCE, partitions_def=annotation_partitions)
def held_variants_known(
    context: dg.AssetCheckExecutionContext, annotation_warehouse: AnnotationWarehouse
) -> dg.AssetCheckResult:
    """The source knows some of the variants that the warehouse holds: none at all hints at another assembly."""
    held, known = annotation_warehouse.held(context.partition_key)
    return dg.AssetCheckResult(
        passed=held == 0 or known > 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{context.partition_key}: {known:,} of {held:,} variants",
        metadata={"held": held, "known": known},
    )


checks = [
    keys_unique,
    source_matches_reference,
    frequencies_in_unit,
    fields_covered,
    version_newer,
    held_variants_known,
]
