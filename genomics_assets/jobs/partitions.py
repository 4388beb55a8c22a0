"""What is dropped to be taken over from the file-based system, and its one partition: the whole tree."""

import dagster as dg

from genomics_assets.drops import DropKind

LEGACY_DROPS = DropKind(name="comsa_legacy", folder="comsa_legacy", endings=(".json",), unit="tree")

legacy_partitions = dg.DynamicPartitionsDefinition(name="comsa_legacy_trees")
