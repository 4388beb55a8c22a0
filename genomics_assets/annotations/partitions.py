"""What is dropped for annotation sources, and their partitions: one for each source, whatever its files are called."""

import dagster as dg

from genomics_assets.annotations.source_files import TABLE_ENDINGS, VCF_ENDINGS
from genomics_assets.drops import DropKind

ANNOTATION_DROPS = DropKind(
    name="annotation",
    folder="annotations",
    endings=(*VCF_ENDINGS, *TABLE_ENDINGS),
    unit="folder",
    depth=1,
)

annotation_partitions = dg.DynamicPartitionsDefinition(name="annotation_sources")
