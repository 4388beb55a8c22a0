"""COMSA: causes of death from verbal autopsies, and cause-specific mortality fractions calibrated for their errors."""
