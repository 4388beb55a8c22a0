"""The assets of GWAS: from a dropped folder to tables of associations, plots and documents.

    gwas_datasets -> sample_join, quality_control -> gwas_results

One partition is one dropped dataset, `<user>/<dataset>`. Ids of samples stay in the object store: metadata counts.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from genomics_assets.gwas.partitions import GWAS_DROPS, gwas_partitions
from genomics_assets.pools import CPU_HEAVY, MONGO_WRITE
from resources.compute_pool import ComputePool
from resources.gwas_store import (
    MOST_ACTIVE_JOBS,
    SAMPLE_JOIN,
    SAMPLE_QUALITY,
    VARIANT_QUALITY,
    DatasetPlace,
    GwasStore,
)
from resources.inbox import InboxResource
from resources.preview import picture

OWNERS = ["team:genomics-data"]
# Lost connections and restarting servers pass; a file that cannot be taken raises Failure, which is never retried.
RETRIES = dg.RetryPolicy(max_retries=2, delay=1)
PICTURED_TRAITS = 3
MOST_LEFT_OUT = 0.5
USUAL_INFLATION = (0.9, 1.1)


def gwas_asset(
    name: str,
    *,
    retries: dg.RetryPolicy | None = RETRIES,
    checks: Sequence[tuple[str, str]] = (),
    **settings: Any,
) -> Callable[[Any], dg.AssetsDefinition]:
    """What all assets of GWAS share; `checks` are names and descriptions."""
    key = dg.AssetKey(["gwas", name])
    decorator: Callable[[Any], dg.AssetsDefinition] = dg.asset(
        key=key,
        group_name="gwas",
        partitions_def=gwas_partitions,
        owners=OWNERS,
        retry_policy=retries,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        code_version="1",
        check_specs=[dg.AssetCheckSpec(check, asset=key, description=told) for check, told in checks],
        **settings,
    )
    return decorator


@gwas_asset("gwas_datasets", kinds={"mongodb", "parquet"}, pool=MONGO_WRITE)
def gwas_datasets(
    context: dg.AssetExecutionContext, inbox: InboxResource, gwas: GwasStore
) -> dg.MaterializeResult[None]:
    """A dropped cohort in canonical form: two-bit genotypes, a table of variants, a table of samples.

    The document says pending, processing and processed, or error with what is wrong.
    """
    from genomics_assets.gwas.drop_folder import sort_files

    with gwas.taking(inbox, GWAS_DROPS, context.partition_key) as (place, drop), inbox.local(drop) as dropped:
        files = sort_files(sorted(path for path in dropped.iterdir() if path.is_file()))
        gwas.begin(place, files)
        table, settings = files.table(), files.settings()
        with TemporaryDirectory(prefix="gwas-") as folder:
            cohort = files.bring_into_form(Path(folder))
            gwas.keep_dataset(place, files, cohort, Path(folder))
    return dg.MaterializeResult(
        metadata={
            "variants": cohort.matrix.variants,
            "samples": cohort.matrix.samples,
            "chromosomes": cohort.chromosomes,
            "build": cohort.build or "unknown",
            "phenotypes": table.phenotypes,
            "covariates": table.covariates,
            "analysis": settings.analysis_type or "by the phenotype: linear or logistic",
            "records_skipped": cohort.skipped,
            "records_noted": cohort.noted,
            "files_not_used": list(files.unused),
            "dataset_id": str(place.dataset_id),
        }
    )


@gwas_asset(
    "sample_join",
    kinds={"parquet"},
    deps=[gwas_datasets],
    checks=[("everybody_matches", "Every sample has genotypes and one row of phenotypes; WARN where not.")],
)
def sample_join(context: dg.AssetExecutionContext, gwas: GwasStore) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Who is in the genotypes, who in the phenotypes: matched, unmatched on either side, repeated, almost alike."""
    from genomics_assets.gwas.report import join_table

    place = DatasetPlace.of(context.partition_key)
    with gwas.cohort(place) as cohort:
        uri = gwas.put_table(
            place, SAMPLE_JOIN, cohort.join.table(cohort.dataset.samples["sample_id"].to_pylist())
        )
        counts = cohort.join.counts()
    return dg.MaterializeResult(
        metadata={"join": dg.MetadataValue.md(join_table(counts)), **counts, "table": uri},
        check_results=[
            dg.AssetCheckResult(
                check_name="everybody_matches",
                passed=counts["matched"] == counts["genotyped"] and not counts["without_genotypes"],
                severity=dg.AssetCheckSeverity.WARN,
                metadata=counts,
            )
        ],
    )


@gwas_asset(
    "quality_control",
    kinds={"parquet"},
    deps=[gwas_datasets],
    checks=[
        ("something_is_left", "At least one sample and one variant pass."),
        (
            "most_is_left",
            f"At most {MOST_LEFT_OUT:.0%} of samples and of variants are left out; WARN where not.",
        ),
    ],
)
def quality_control(context: dg.AssetExecutionContext, gwas: GwasStore) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """What is left out before anything is tested: one row for each sample and each variant, with reasons.

    Call rates, allele frequencies, exact Hardy-Weinberg tests (among controls), heterozygosity, duplicates.
    """
    from genomics_assets.gwas.report import quality_table

    place = DatasetPlace.of(context.partition_key)
    with gwas.cohort(place) as cohort:
        report = cohort.quality()
        parameters = cohort.settings.parameters
    uris = [
        gwas.put_table(place, SAMPLE_QUALITY, report.sample_table),
        gwas.put_table(place, VARIANT_QUALITY, report.variant_table),
    ]
    kept = min(float(report.samples.mean()), float(report.variants.mean()))
    return dg.MaterializeResult(
        metadata={
            "left out": dg.MetadataValue.md(quality_table(report, parameters)),
            "samples_left_out": report.sample_reasons(),
            "variants_left_out": report.variant_reasons(),
            "samples": int(report.samples.sum()),
            "variants": int(report.variants.sum()),
            "tables": uris,
        },
        check_results=[
            dg.AssetCheckResult(check_name="something_is_left", passed=kept > 0),
            dg.AssetCheckResult(
                check_name="most_is_left",
                passed=kept >= 1 - MOST_LEFT_OUT,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"samples": float(report.samples.mean()), "variants": float(report.variants.mean())},
            ),
        ],
    )


@gwas_asset(
    "gwas_results",
    kinds={"mongodb", "parquet"},
    pool=CPU_HEAVY,
    # Dagster repeats a step that was cancelled where there is a policy; a cancelled scan must stay cancelled.
    retries=None,
    deps=[sample_join, quality_control],
    checks=[
        (
            "every_variant_has_a_row",
            "As many rows as variants passed quality control, tested or with a reason.",
        ),
        (
            "not_inflated",
            f"Lambda GC lies within {USUAL_INFLATION[0]:g} and {USUAL_INFLATION[1]:g}; WARN where not.",
        ),
    ],
)
def gwas_results(
    context: dg.AssetExecutionContext, gwas: GwasStore, compute: ComputePool
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Associations of every variant with every phenotype: a table, lead loci, plots, and a document for each job.

    Each phenotype is a job of its own; one that cannot be tested fails with its reason, and the others are tested.
    """
    from genomics_assets.gwas.report import leads_table
    from genomics_assets.gwas.scan import prepare_scan

    place = DatasetPlace.of(context.partition_key)
    metadata: dict[str, Any] = {}
    problems: list[str] = []
    scans: list[tuple[int, int, float]] = []
    with (
        gwas.cohort(place) as cohort,
        compute.blocks() as blocks,
        TemporaryDirectory(prefix="gwas-") as folder,
    ):
        quality = gwas.quality(place)
        for first in range(0, len(cohort.phenotypes), MOST_ACTIVE_JOBS):
            phenotypes = cohort.phenotypes[first : first + MOST_ACTIVE_JOBS]
            with gwas.working(context, place, cohort, phenotypes) as jobs:
                scan, unfit = prepare_scan(cohort, quality, phenotypes)
                for name, error in unfit.items():
                    jobs[name].end_by(error)
                    problems.append(str(error))
                if scan is None:
                    continue
                running = [jobs[trait.name] for trait, _ in scan.analysis.traits]

                def progress(done: float, running: list[Any] = running) -> None:
                    for job in running:
                        job.progress(done, "testing")

                for scanned in scan.run(Path(folder) / str(first), progress, blocks):
                    name = scanned.trait.name
                    manhattan, qq = scan.write_extras(scanned, datetime.now(UTC).date().isoformat())
                    kept = gwas.keep_result(jobs[name], place, scanned)
                    scans.append(
                        (scanned.table.num_rows, int(quality.variants.sum()), scanned.summary.inflation)
                    )
                    metadata[f"{name}: summary"] = scanned.summary.as_document()
                    metadata[f"{name}: leads"] = dg.MetadataValue.md(leads_table(scanned))
                    metadata[f"{name}: files"] = gwas.objects.uri(kept)
                    if len(scans) <= PICTURED_TRAITS:
                        metadata[f"{name}: Manhattan"] = picture(manhattan, f"{name}: Manhattan plot")
                        metadata[f"{name}: QQ"] = picture(qq, f"{name}: QQ plot")
    if problems:
        raise dg.Failure("; ".join(problems), metadata=metadata, allow_retries=False)
    return dg.MaterializeResult(
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name="every_variant_has_a_row",
                passed=all(rows == expected for rows, expected, _ in scans),
                metadata={
                    "rows": [rows for rows, _, _ in scans],
                    "expected": [expected for _, expected, _ in scans],
                },
            ),
            dg.AssetCheckResult(
                check_name="not_inflated",
                passed=all(USUAL_INFLATION[0] <= value <= USUAL_INFLATION[1] for _, _, value in scans),
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"lambda_gc": [round(value, 4) for _, _, value in scans]},
            ),
        ],
    )


assets = [gwas_datasets, sample_join, quality_control, gwas_results]
