"""One generated cohort for the session."""

from __future__ import annotations

import pytest
from cohort_harness import Cohort

from benchmarks.cohort_generator import SyntheticCohort
from genomics_assets.gwas.phenotypes import read_phenotypes
from genomics_assets.gwas.plink_files import read_plink


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """600 samples, 4,400 variants in blocks of five, 2 % of calls missing, eight planted effects."""
    stem = tmp_path_factory.mktemp("cohort") / "cohort"
    planted = SyntheticCohort(600, 4400, seed=11, missing=0.02, planted=8, linked=5, effect=0.45).write_plink(
        stem
    )
    dataset = read_plink(*(stem.with_suffix(ending) for ending in (".bed", ".bim", ".fam")))
    return Cohort(stem, dataset, read_phenotypes(stem.parent / "phenotypes.csv"), planted)
