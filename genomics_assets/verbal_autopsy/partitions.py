"""What is dropped for verbal autopsy, and its partitions: one for each batch."""

import dagster as dg

from genomics_assets.drops import DropKind

VA_DROPS = DropKind(
    name="verbal_autopsy", folder="verbal_autopsy", endings=(".csv",), sidecar_endings=(".yaml", ".yml")
)

va_partitions = dg.DynamicPartitionsDefinition(name="va_batches")
