from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from cohort_harness import Cohort, dataset_of, needs_plink2

from genomics_assets.gwas.job_settings import JobParameters
from genomics_assets.gwas.plink2_engine import find_plink2
from genomics_assets.gwas.principal_components import principal_components
from genomics_assets.gwas.quality_control import control_quality
from genomics_assets.input_error import InputError

LENIENT = JobParameters(
    maf_threshold=0, max_missing=1, hwe_threshold=0, max_sample_missing=1, heterozygosity_deviations=0
)


def test_every_variant_that_is_left_out_has_its_reason(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    common = random.binomial(2, 0.4, (6, 200)).tolist()
    sparse = [None if i < 30 else call for i, call in enumerate(common[1])]
    rare = [1 if i < 2 else 0 for i in range(200)]
    out_of_balance = [1] * 190 + [0] * 10
    dataset = dataset_of(
        tmp_path,
        [common[0], sparse, rare, [2] * 200, out_of_balance, common[2], common[3], common[4]],
        positions=[1, 2, 3, 4, 5, 1, 1, 6],
        alleles=[("A", "G")] * 5 + [("G", "A"), ("A", "C"), ("A", "G")],
    )
    report = control_quality(dataset, JobParameters(max_sample_missing=1, heterozygosity_deviations=0))
    removed = {row["rsid"]: (row["reason"], row["value"]) for row in report.removed_variants.to_pylist()}
    assert removed.pop("rs5")[0] == "hardy_weinberg"
    assert removed == {
        "rs2": ("low_call_rate", 0.85),
        "rs3": ("low_minor_allele_frequency", 0.005),
        "rs4": ("monomorphic", 0.0),
        "rs6": ("duplicate_variant", None),
    }
    assert report.variants.tolist() == [True, False, False, False, False, False, True, True]
    assert report.variant_reasons() == {
        "duplicate_variant": 1, "low_call_rate": 1, "monomorphic": 1, "low_minor_allele_frequency": 1, "hardy_weinberg": 1,
    }  # fmt: skip


def test_every_sample_that_is_left_out_has_its_reason(tmp_path: Path) -> None:
    calls = np.random.default_rng(2).binomial(2, 0.4, (500, 60)).astype(object)
    calls[:200, 3] = None
    calls[:, 4] = 1
    matched = np.arange(60) != 5
    repeated = np.arange(60) == 6
    report = control_quality(
        dataset_of(tmp_path, calls.tolist()), JobParameters(), matched=matched & ~repeated, repeated=repeated
    )
    removed = {row["sample_id"]: row["reason"] for row in report.removed_samples.to_pylist()}
    assert removed == {
        "S3": "low_call_rate",
        "S4": "heterozygosity_outlier",
        "S5": "no_phenotypes",
        "S6": "repeated_in_phenotypes",
    }
    assert report.samples.sum() == 56


def test_cases_do_not_count_for_hardy_weinberg(tmp_path: Path) -> None:
    cases = np.arange(300) < 100
    calls = np.where(cases, 1, np.random.default_rng(3).binomial(2, 0.5, 300))
    dataset = dataset_of(tmp_path, [calls.tolist()])
    assert not control_quality(dataset, JobParameters()).variants[0]
    assert control_quality(dataset, JobParameters(), cases=cases).variants[0]


def test_haploid_calls_are_judged_as_what_they_are(tmp_path: Path) -> None:
    """chrX: frequency by alleles, balance among females. chrY: call rate among males. chrM: no test of balance."""
    random = np.random.default_rng(4)
    sex = [1] * 100 + [2] * 100
    males = random.choice([0, 2], 100, p=[0.8, 0.2]).tolist()
    females = random.binomial(2, 0.2, 100).tolist()
    on_y = random.choice([0, 2], 100).tolist() + [None] * 100
    on_m = random.choice([0, 2], 200).tolist()
    dataset = dataset_of(
        tmp_path, [males + females, on_y, on_m], chromosomes=["chrX", "chrY", "chrM"],
        positions=[50_000_000] * 3, sex=sex,
    )  # fmt: skip
    report = control_quality(dataset, JobParameters())
    assert report.variants.all()
    assert report.maf[0] == pytest.approx((sum(males) / 2 + sum(females)) / 300)
    assert report.call_rate[1] == 1.0
    assert np.isnan(report.hwe_p[1:]).all()


def test_nothing_left_is_an_error_that_says_what_went(tmp_path: Path) -> None:
    report = control_quality(
        dataset_of(tmp_path, [[0] * 50, [1] + [0] * 49]), JobParameters(maf_threshold=0.05)
    )
    with pytest.raises(
        InputError,
        match="no variant of 2 passes quality control \\(1 monomorphic, 1 low_minor_allele_frequency\\)",
    ):
        report.expect_something_left()
    report = control_quality(
        dataset_of(tmp_path, [[0, 1, 2]]), JobParameters(), matched=np.zeros(3, dtype=bool)
    )
    with pytest.raises(InputError, match="no sample of 3 passes quality control \\(3 no_phenotypes\\)"):
        report.expect_something_left()


@needs_plink2
def test_frequencies_missingness_and_balance_are_those_of_plink2(cohort: Cohort, tmp_path: Path) -> None:
    subprocess.run(
        [str(find_plink2()), "--bfile", str(cohort.stem), "--freq", "--missing", "--hardy", "--out", str(tmp_path / "q")],
        check=True, capture_output=True,
    )  # fmt: skip
    report = control_quality(cohort.dataset, LENIENT)

    def column(file: str, name: str) -> np.ndarray:
        lines = (tmp_path / file).read_text().splitlines()
        place = lines[0].split().index(name)
        return np.array([float(line.split()[place]) for line in lines[1:]])

    frequency = column("q.afreq", "ALT_FREQS")
    np.testing.assert_allclose(report.maf, np.minimum(frequency, 1 - frequency), atol=1e-6)
    np.testing.assert_allclose(1 - report.call_rate, column("q.vmiss", "F_MISS"), atol=1e-6)
    np.testing.assert_allclose(1 - report.sample_call_rate, column("q.smiss", "F_MISS"), atol=1e-6)
    np.testing.assert_allclose(np.log10(report.hwe_p), np.log10(column("q.hardy", "P")), atol=3e-6)


def test_principal_components_tell_the_populations_apart(cohort: Cohort) -> None:
    report = control_quality(cohort.dataset, JobParameters())
    report.samples[:10] = False
    components = principal_components(cohort.dataset, report.samples, report.variants, report.maf, 3)
    assert components.shape == (600, 3)
    assert np.isnan(components[:10]).all()
    ancestry = cohort.covariates[10:, 2]
    assert abs(np.corrcoef(components[10:, 0], ancestry)[0, 1]) > 0.8
    np.testing.assert_allclose(components[10:].T @ components[10:], np.eye(3), atol=1e-9)


def test_too_few_variants_do_not_make_components(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, np.random.default_rng(1).binomial(2, 0.4, (20, 50)).tolist())
    report = control_quality(dataset, LENIENT)
    with pytest.raises(
        InputError, match="20 common autosomal variants of 50 samples do not make 2 components"
    ):
        principal_components(dataset, report.samples, report.variants, report.maf, 2)
