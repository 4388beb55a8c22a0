from __future__ import annotations

import csv
from pathlib import Path

from scipy.stats import chi2, ncx2

from genomics_assets.gwas.drop_folder import sort_files
from genomics_assets.gwas.scan import Cohort, prepare_scan

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


SAMPLES, GENOME_WIDE = 700, 5e-8


def variance_of(effect: float, frequency: float) -> float:
    """What a variant adds to the variance of the trait."""
    return 2 * frequency * (1 - frequency) * effect**2


def power_of(effect: float, frequency: float, spread: float) -> float:
    """Chance that a variant is below the genome-wide threshold, the other planted variants being noise to it."""
    explained = variance_of(effect, frequency)
    beyond = chi2.isf(GENOME_WIDE, 1)
    return float(ncx2.sf(beyond, 1, SAMPLES * explained / (spread - explained)))


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
        rows = list(csv.DictReader(file))
    planted = {row["rsid"] for row in rows}
    spread = 1 + sum(variance_of(float(row["effect"]), float(row["frequency"])) for row in rows)
    quantitative = found["QT"]
    assert {row["rsid"] for row in quantitative.summary.lead_rows(quantitative.table)} == planted
    strong = [row for row in rows if power_of(float(row["effect"]), float(row["frequency"]), spread) > 0.9]
    assert len(strong) >= 5
    assert all(0.95 < each.summary.inflation < 1.05 for each in found.values())
