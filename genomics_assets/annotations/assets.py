"""Annotation sources and what becomes of them: `anno_<source>` tables, and the columns of variants that they fill.

    annotation_source, variants -> annotated_variants

One partition of `annotation_source` is one source; a new file in its folder is a new version of it. `annotated_variants`
has no partitions: a pass does all that waits, however many files came.
"""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from genomics_assets.annotations.partitions import ANNOTATION_DROPS, annotation_partitions
from genomics_assets.annotations.refresh_assets import freshness
from genomics_assets.annotations.source_load import Likeness, Rollback, SourceLoad
from genomics_assets.automation import once_for_all_that_waits
from genomics_assets.pools import POSTGRES_WRITE
from genomics_assets.variants.assets import OWNERS, RETRIES, variants
from resources.annotation_warehouse import AnnotationWarehouse, filled_columns_lineage, origins
from resources.environment import Environment
from resources.inbox import InboxResource
from resources.preview import column_schema, picture
from resources.variant_warehouse import VariantWarehouse


class VersionConfig(dg.Config):
    """How much a new version may differ from the last one, and whether to go back."""

    row_tolerance: float = Field(default=0.5, ge=0, description="Part of the last one's rows, more or fewer.")
    least_overlap: float = Field(
        default=0.5, ge=0, le=1, description="Part of the last one's keys that must be there."
    )
    accept_any: bool = Field(default=False, description="Take the version however much it differs.")
    rollback: bool = Field(
        default=False, description="Bring the version before back instead of loading what lies in the inbox."
    )


@dg.asset(
    key_prefix="annotations",
    group_name="annotations",
    partitions_def=annotation_partitions,
    io_manager_key="annotations_io",
    owners=OWNERS,
    kinds={"vcf", "postgres"},
    retry_policy=RETRIES,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    freshness_policy=freshness("monthly"),
    code_version="1",
    pool=POSTGRES_WRITE,
)
def annotation_source(
    context: dg.AssetExecutionContext,
    config: VersionConfig,
    inbox: InboxResource,
    warehouse: VariantWarehouse,
    annotation_warehouse: AnnotationWarehouse,
) -> Iterator[dg.Output[SourceLoad | Rollback]]:
    """A source such as ClinVar or gnomAD as table `anno_<source>`, keyed as the warehouse keys its variants.

    A new version is built beside the last one, checked, and applied in one transaction: readers see one of the two,
    whole. Materialize with `rollback: true` to bring the version before back.
    """
    source = context.partition_key
    if config.rollback:
        yield dg.Output(Rollback(source))
        return
    from genomics_assets.annotations.source_files import files_phrase, read_folder
    from genomics_assets.annotations.source_load import prepare_load

    with (
        annotation_warehouse.taking(inbox, ANNOTATION_DROPS, source, context.run_id) as drop,
        inbox.local(drop) as path,
    ):
        folder = read_folder(path, source)
        load = prepare_load(
            folder,
            file_path=drop.uri,
            genome=warehouse.genome(),
            fasta=Environment.from_environ().reference_fasta,
            likeness=Likeness(config.row_tolerance, config.least_overlap, config.accept_any),
            unchanged=lambda: inbox.unchanged(drop),
        )
        # Written while the local copy lasts.
        yield dg.Output(
            load,
            metadata={
                "files": files_phrase(folder.data),
                "older files left alone": files_phrase(folder.older) or "none",
            },
        )


class PassConfig(dg.Config):
    """What a pass looks at."""

    everything: bool = Field(default=False, description="Every variant anew, not only what waits.")


@dg.asset(
    key_prefix="variants",
    group_name="variants",
    owners=OWNERS,
    kinds={"postgres"},
    retry_policy=RETRIES,
    code_version="1",
    pool=POSTGRES_WRITE,
    automation_condition=once_for_all_that_waits(),
    deps=[
        dg.AssetDep(variants, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(annotation_source, partition_mapping=dg.AllPartitionMapping()),
    ],
)
def annotated_variants(
    config: PassConfig, annotation_warehouse: AnnotationWarehouse
) -> dg.MaterializeResult[None]:
    """The sources' values in the columns of genomics.variants, and a view over all sources: annotated_variants.

    New loads get theirs, and a new version of a source touches the variants whose values it changed; no other row is
    written. What a version changed for variants that were held is in genomics.annotation_changes.
    """
    from genomics_assets.annotations.pictures import change_picture, lineage_picture
    from genomics_assets.annotations.report import changes_sentences, values_table

    done = annotation_warehouse.annotate(everything=config.everything)
    changes = annotation_warehouse.changes(done.versions)
    reclassified = annotation_warehouse.reclassified(done.versions, "clinvar_sig")
    sources = annotation_warehouse.sources()
    filled_by = origins(sources)
    shown = {}
    if reclassified:
        drawn = change_picture(reclassified, "Significance")
        shown["reclassified"] = dg.MetadataValue.md(values_table(reclassified))
        shown["reclassified variants"] = picture(drawn, "variants by change of significance")
    return dg.MaterializeResult(
        metadata={
            "dagster/table_name": "genomics.annotated_variants",
            "dagster/column_schema": column_schema(annotation_warehouse.filled_columns()),
            "dagster/column_lineage": filled_columns_lineage(filled_by),
            "loads annotated": done.loads,
            "variants looked at": done.looked_at,
            "versions shown": len(done.versions),
            "variants updated": done.updated,
            "updated by column": dg.MetadataValue.json(done.by_column),
            "where columns come from": picture(
                lineage_picture(filled_by), "columns of sources and of variants"
            ),
            "sources": dg.MetadataValue.json({s.name: s.version or "not told" for s in sources}),
            "what changed": dg.MetadataValue.md(changes_sentences(changes)),
            **shown,
        }
    )


assets = [annotation_source, annotated_variants]
