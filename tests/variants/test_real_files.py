"""Small files of public test suites, through the real job, with bcftools as the referee of what their alleles are."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from run_results import failure
from warehouse_harness import Warehouse

from genomics_assets.variants.alleles import is_bases, trim

LOADED = [
    "cohort_csq_ann.vcf.gz", "snpeff.vcf", "hemizygous.vcf", "multi_contig.bcf", "alt_forms.vcf", "norm.vcf",
    "consequence.vcf", "annotate.vcf", "spec_4_3_alt.vcf",
]  # fmt: skip
BCFTOOLS = shutil.which("bcftools")
# bcftools reads this one and then refuses to write it: it declares no contig.
BEYOND_BCFTOOLS = "spec_4_3_alt.vcf"


@pytest.fixture(scope="module")
def results(warehouse: Warehouse, shared_data: Path) -> dict[str, object]:
    return {
        name: warehouse.load_file(name, (shared_data / "variants" / name).read_bytes())
        for name in [*LOADED, "empty.vcf"]
    }


@pytest.mark.parametrize("name", LOADED)
def test_a_real_file_loads_and_reconciles(
    warehouse: Warehouse, results: dict[str, object], name: str
) -> None:
    result = results[name]
    assert result.success, failure(result)  # type: ignore[attr-defined,arg-type]
    key = name.split(".")[0]
    [(total, loaded, skipped)] = warehouse.audit(
        key, "total_variants_in_file, variants_loaded, variants_skipped"
    )
    assert total == loaded + skipped
    assert len(warehouse.rows("pos", key)) == loaded > 0
    assert not [row for row in warehouse.rows("ref, alt", key) if not all(row)], "no allele is ever empty"


@pytest.mark.skipif(BCFTOOLS is None, reason="bcftools is not on this machine")
@pytest.mark.parametrize("name", [name for name in LOADED if name != BEYOND_BCFTOOLS])
def test_alleles_are_those_that_bcftools_splits(
    warehouse: Warehouse, results: dict[str, object], shared_data: Path, name: str
) -> None:
    path = shared_data / "variants" / name
    split = subprocess.run([str(BCFTOOLS), "norm", "-m-", str(path)], capture_output=True, check=True).stdout
    text = subprocess.run(
        [str(BCFTOOLS), "query", "-f", "%POS\t%REF\t%ALT\n"], input=split, capture_output=True, check=True
    ).stdout.decode()
    expected = Counter(_trimmed(*line.split("\t")) for line in text.splitlines() if not line.endswith("\t."))

    found = Counter(warehouse.rows("pos, ref, alt", name.split(".")[0]))

    assert found == expected


def test_an_empty_file_fails_and_nothing_is_visible(warehouse: Warehouse, results: dict[str, object]) -> None:
    result = results["empty.vcf"]
    assert not result.success  # type: ignore[attr-defined]
    assert "the file is empty (zero bytes)" in failure(result)  # type: ignore[arg-type]
    assert warehouse.audit("empty", "status") == [("failed",)]


def test_genotypes_of_every_sample_are_there(warehouse: Warehouse, results: dict[str, object]) -> None:
    assert results["cohort_csq_ann.vcf.gz"]
    [(rows, people)] = warehouse.query(
        "SELECT count(*), count(DISTINCT sample_id) FROM genomics.sample_genotypes "
        "JOIN genomics.current_loads USING (load_batch_id) WHERE partition_key = 'cohort_csq_ann'"
    )
    assert people == 189
    assert rows == 189 * len(warehouse.rows("pos", "cohort_csq_ann"))


def test_missing_haploid_and_half_calls_are_missing(
    warehouse: Warehouse, results: dict[str, object], shared_data: Path
) -> None:
    assert results["hemizygous.vcf"]
    lines = (shared_data / "variants" / "hemizygous.vcf").read_text().splitlines()
    calls = [call.partition(":")[0] for line in lines if line[0] != "#" for call in line.split("\t")[9:]]
    assert "." in calls
    assert "0/." in calls
    found = warehouse.query(
        "SELECT ploidy, count(*) FROM genomics.sample_genotypes JOIN genomics.current_loads USING (load_batch_id) "
        "WHERE partition_key = 'hemizygous' GROUP BY 1 ORDER BY 1"
    )
    whole = sum("." not in call for call in calls)
    assert found == [(0, len(calls) - whole), (2, whole)]


def test_snpeffs_genes_are_filled(warehouse: Warehouse, results: dict[str, object]) -> None:
    assert results["snpeff.vcf"]
    assert [gene for (gene,) in warehouse.rows("gene", "snpeff") if gene]


def _trimmed(pos: str, ref: str, alt: str) -> tuple[int, str, str]:
    ref = ref.upper()
    if not is_bases(alt.upper()):
        return int(pos), ref, alt
    return trim(int(pos), ref, alt.upper())
