"""Genome-wide association: a dropped cohort becomes a quality report, association tables and plots."""
