from __future__ import annotations

import csv
from pathlib import Path

from genomics_assets.gwas.drop_folder import sort_files
from genomics_assets.gwas.scan import Cohort, prepare_scan

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_every_planted_effect_of_the_bundled_cohort_is_found_and_nothing_is_inflated(tmp_path: Path) -> None:
    files = sort_files(sorted((EXAMPLES / "inbox" / "gwas" / "user123" / "heights").iterdir()))
    cohort = Cohort.of(
        files.bring_into_form(tmp_path), files.table(), files.settings(), files.phenotypes.name
    )
    scan, unfit = prepare_scan(cohort, cohort.quality(), cohort.phenotypes)
    assert scan is not None
    assert not unfit
    found = {each.trait.name: each for each in scan.run(tmp_path / "scan", lambda _: None)}
    with (EXAMPLES / "planted.csv").open() as file:
        planted = {row["rsid"] for row in csv.DictReader(file)}
    quantitative = found["QT"]
    assert {row["rsid"] for row in quantitative.summary.lead_rows(quantitative.table)} == planted
    assert all(0.95 < each.summary.inflation < 1.05 for each in found.values())
