"""The asset that cuts a cohort out of the warehouse: a filter expression becomes Parquet, CSV and VCF."""

from typing import Any, cast

import dagster as dg
from pydantic import Field

from genomics_assets.annotations.assets import annotated_variants, annotation_source
from genomics_assets.annotations.cohort import FORMATS, CohortRequest, Format, parse_regions
from genomics_assets.input_error import InputError
from genomics_assets.variants.assets import OWNERS, RETRIES
from resources.cohort_store import PERSONAL, CohortReport, CohortStore
from resources.preview import picture, preview_table
from resources.variant_warehouse import VariantWarehouse

PREVIEW_COLUMNS = 20


class CohortConfig(dg.Config):
    """Which variants, and under which name."""

    name: str = Field(
        description="Names the folder `cohorts/<name>/`; the same name again replaces the cohort."
    )
    expression: str = Field(
        default="true",
        description="What holds for the variants, such as gnomad.af_gnomad < 0.01 && clinvar_sig == 'Pathogenic'; "
        "docs/cohorts.md has the grammar.",
    )
    regions: list[str] = Field(default=[], description="chr7:117559590-117559600, or chr7; none: everywhere.")
    samples: list[str] = Field(
        default=[], description="Names of samples of which any carries the variant; none: anybody."
    )
    formats: list[str] = Field(default=list(FORMATS), description="The files to write: parquet, csv and vcf.")


@dg.asset(
    key_prefix="annotations",
    group_name="annotations",
    owners=OWNERS,
    kinds={"parquet", "csv", "vcf"},
    code_version="1",
    retry_policy=RETRIES,
    deps=[
        annotated_variants,
        dg.AssetDep(annotation_source, partition_mapping=dg.AllPartitionMapping()),
    ],
)
def filtered_cohort(
    context: dg.AssetExecutionContext,
    config: CohortConfig,
    cohorts: CohortStore,
    warehouse: VariantWarehouse,
) -> dg.MaterializeResult[None]:
    """The variants of all current files for which an expression over their annotations is true, as files to share.

    Parquet, CSV and a sites VCF of the same rows lie in `cohorts/<name>/`, with `cohort.json`, which tells what they are. No
    schedule asks for it: launch the job `filter_cohort` with a name and an expression.
    """
    try:
        request = CohortRequest(
            config.name,
            config.expression,
            parse_regions(config.regions, warehouse.genome()),
            tuple(config.samples),
            cast(tuple[Format, ...], tuple(config.formats)),
        )
        report = cohorts.write(request, context.run_id)
    except InputError as error:
        raise dg.Failure(
            str(error),
            metadata={"problem": error.problem, "remedy": error.remedy},
            allow_retries=False,
        ) from error
    return dg.MaterializeResult(
        metadata={"cohort": request.name, "dagster/uri": cohorts.uri(request), **cohort_metadata(report)}
    )


def cohort_metadata(report: CohortReport) -> dict[str, Any]:
    """What the UI shows of a cohort; nothing of it names a person."""
    from genomics_assets.variants.pictures import chromosome_picture

    files = [{"format": kind, **vars(file)} for kind, file in report.files.items()]
    shown = [column.label for column in report.columns]
    filled = [name for name in shown if any(row.get(name) is not None for row in report.tally.first)]
    preview = [name for name in filled if name not in PERSONAL][:PREVIEW_COLUMNS]
    return {
        "dagster/row_count": report.tally.rows,
        "considered": report.considered,
        "undecided": report.undecided,
        "expression": dg.MetadataValue.md(f"```\n{report.expression}\n```"),
        "sql": dg.MetadataValue.md(f"```sql\n{report.statement}\n```"),
        "files": dg.MetadataValue.md(preview_table(files, ["format", "key", "size", "sha256"], cell=120)),
        "bytes": sum(file.size for file in report.files.values()),
        "annotation sources": dg.MetadataValue.json(dict(report.versions)),
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(c.label, c.kind, description=c.description) for c in report.columns]
        ),
        **({"preview": dg.MetadataValue.md(preview_table(report.tally.first, preview))} if preview else {}),
        "by chromosome and type": picture(chromosome_picture(report.tally.summary), "variants of the cohort"),
    }


filter_cohort = dg.define_asset_job(
    "filter_cohort",
    selection=dg.AssetSelection.assets(filtered_cohort),
    description="Writes the variants for which an expression is true to Parquet, CSV and VCF.",
)

cohort_assets = [filtered_cohort]
