"""Annotation sources, and the cohorts that are cut out of the warehouse by them."""
