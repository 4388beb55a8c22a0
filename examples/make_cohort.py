"""Makes the bundled cohort anew, the same bytes each time: `python -m examples.make_cohort`.

700 made-up samples, 6,600 variants in linked blocks of five, six planted effects on the quantitative trait QT, five
of them strong enough to be found with a power above 0.9. `planted.csv` beside this file says where they are.
"""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.cohort_generator import SyntheticCohort

FOLDER = Path(__file__).parent / "inbox" / "gwas" / "user123" / "heights"
GENERATOR = SyntheticCohort(
    700, 6600, seed=6, missing=0.01, planted=6, linked=5, effect=0.38, spacing=150_000
)
JOB = """\
# Without `analysis_type`, quantitative phenotypes are tested by linear and binary ones by logistic regression.
covariates: [cov_age, cov_sex, cov_pc1, cov_pc2]
parameters: {maf_threshold: 0.01, max_missing: 0.1, hwe_threshold: 1.0e-6, num_threads: 2}
"""


def main() -> None:
    """Write the dataset's folder and the list of planted effects."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    planted = GENERATOR.write_plink(FOLDER / "heights")
    (FOLDER / "job.yaml").write_text(JOB)
    with Path(__file__).with_name("planted.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["rsid", "effect", "frequency"])
        table.writerows([each.rsid, f"{each.effect:.4f}", f"{each.frequency:.4f}"] for each in planted)


if __name__ == "__main__":
    main()
