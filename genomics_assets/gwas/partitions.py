"""What is dropped for GWAS, and its partitions: one for each dataset's folder."""

import dagster as dg

from genomics_assets.drops import DropKind
from genomics_assets.gwas.drop_folder import GENOTYPE_ENDINGS

GWAS_DROPS = DropKind(name="gwas", folder="gwas", endings=GENOTYPE_ENDINGS, unit="folder", depth=2)

gwas_partitions = dg.DynamicPartitionsDefinition(name="gwas_datasets")
