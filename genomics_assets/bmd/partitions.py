"""What is dropped for dose-response analysis, and its partitions: experiments, platforms, collections of gene sets."""

import dagster as dg

from genomics_assets.drops import DropKind

EXPERIMENT_DROPS = DropKind(
    name="bmd", folder="bmd", endings=(".txt", ".tsv"), sidecar_endings=(".yaml", ".json")
)
PLATFORM_DROPS = DropKind(
    name="bmd_platform", folder="bmd_platforms", endings=(".txt", ".tsv"), sidecar_endings=(".yaml",)
)
GENE_SET_DROPS = DropKind(
    name="bmd_gene_set", folder="bmd_gene_sets", endings=(".gmt", ".txt", ".tsv"), sidecar_endings=(".yaml",)
)

experiment_partitions = dg.DynamicPartitionsDefinition(name="bmd_experiments")
platform_partitions = dg.DynamicPartitionsDefinition(name="bmd_platforms")
gene_set_partitions = dg.DynamicPartitionsDefinition(name="bmd_gene_sets")
