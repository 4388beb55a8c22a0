"""What is dropped for the variant warehouse, and its partitions: one for each dropped file."""

import dagster as dg

from genomics_assets.drops import DropKind

VCF_DROPS = DropKind(
    name="vcf",
    folder="vcf",
    endings=(".vcf", ".vcf.gz", ".vcf.bgz", ".bcf"),
    sidecar_endings=(".ped", ".yaml"),
)

vcf_partitions = dg.DynamicPartitionsDefinition(name="vcf_files")
