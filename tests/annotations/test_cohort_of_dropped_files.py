"""From dropped files to a cohort: a source, its pass over the variants, and an expression over both."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from annotation_harness import SIG, AnnotatedWarehouse, vcf

VARIANTS = vcf("chr1 100 A G .", "chr1 200 C T .", "chr1 300 GTT GT .", "chr1 400 A C .")
CLINVAR = vcf(
    "1 100 A G CLNSIG=Pathogenic", "1 200 C T CLNSIG=Pathogenic", "1 400 A C CLNSIG=Benign", info=(SIG,)
)
# The deletion is written otherwise than in the dropped file.
GNOMAD = vcf("chr1 100 A G AF=0.2", "chr1 200 C T AF=0.001", "chr1 300 GTTA GTA AF=0.005")


def records(path: Path) -> list[list[str]]:
    text = gzip.decompress(path.read_bytes()).decode()
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


def test_a_cohort_by_what_sources_say(warehouse: AnnotatedWarehouse) -> None:
    warehouse.load_file("family.vcf", VARIANTS)
    warehouse.take("clinvar", CLINVAR, "clinvar_20260104.vcf")
    warehouse.put_fields("gnomad", {"field": "AF", "alias": "gnomad_af", "fills": "af_gnomad"})
    warehouse.take("gnomad", GNOMAD)
    warehouse.annotate()

    def cut(name: str, expression: str) -> list[str]:
        job = warehouse.definitions.resolve_job_def("filter_cohort")
        config = {"name": name, "expression": expression}
        result = job.execute_in_process(
            instance=warehouse.instance,
            run_config={"ops": {"annotations__filtered_cohort": {"config": config}}},
        )
        assert result.success
        found = records(warehouse.objects / "cohorts" / name / "variants.vcf.gz")
        return [f"{record[1]} {record[3]} {record[4]}" for record in found]

    # By a source's alias, and by the column of the variants that it fills.
    assert cut("rare", "gnomad_af < 0.01 && clinvar_sig == 'Pathogenic'") == ["200 C T"]
    assert cut("rare2", "af_gnomad < 0.01 and clinvar.clinvar_sig == 'Pathogenic'") == ["200 C T"]
    assert cut("deletion", "gnomad.gnomad_af == 0.005") == ["300 GT G"]
    assert cut("absent", "gnomad_af is null") == ["400 A C"]
    manifest = json.loads((warehouse.objects / "cohorts" / "rare" / "cohort.json").read_text())
    assert manifest["annotation_sources"]["clinvar"] == "2026-01-04"
