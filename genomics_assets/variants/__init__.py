"""The variant warehouse: dropped VCF and BCF files become rows that can be trusted."""
