from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genomics_assets.gwas.job_settings import JobParameters, JobSettings, read_job_settings
from genomics_assets.gwas.phenotypes import (
    PhenotypeTable,
    check_covariates,
    covariates_of,
    expect_matches,
    join_samples,
    read_phenotypes,
    trait_of,
)
from genomics_assets.input_error import InputError


def table_of(folder: Path, text: str) -> PhenotypeTable:
    path = folder / "phenotypes.csv"
    path.write_text(text)
    return read_phenotypes(path)


def test_columns_are_phenotypes_and_covariates(tmp_path: Path) -> None:
    table = table_of(tmp_path, "\ufeffid,QT,cov_age,cov_sex,CC\nA,1.5,40,M,1\nB,NA,41,female,2\n\nC,.,,2,\n")
    assert (table.phenotypes, table.covariates) == (["QT", "CC"], ["cov_age", "cov_sex"])
    assert table.sample_ids == ("A", "B", "C")
    np.testing.assert_array_equal(table.values["QT"], [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(table.values["cov_sex"], [1, 2, 2])


@pytest.mark.parametrize("separator", ["\t", ";"])
def test_fields_may_be_parted_otherwise(tmp_path: Path, separator: str) -> None:
    assert table_of(tmp_path, f"id{separator}QT\nA{separator}1\n").values["QT"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "phenotypes.csv: the file is empty"),
        ("id,QT\n", "phenotypes.csv: no samples below the first line"),
        ("QT\n1\n", "phenotypes.csv, line 1: no phenotype column"),
        ("id,cov_age\nA,1\n", "phenotypes.csv, line 1: no phenotype column"),
        ("cov_age,QT\n50,1\n", "phenotypes.csv, line 1: no column of sample ids"),
        ("0.5,QT\n0.7,1\n", "phenotypes.csv, line 1: no column of sample ids"),
        ("id,QT,QT\nA,1,2\n", "phenotypes.csv, line 1: the column 'QT' comes 2 times"),
        ("id,QT,\nA,1,2\n", "phenotypes.csv, line 1: a column without a name"),
        ("id,QT\nA,1\nB,1,2\n", "phenotypes.csv, line 3: 3 fields where the first line has 2"),
        ("id,QT\nA,1\n,2\n", "phenotypes.csv, line 3: no sample id"),
        ("id,QT\nA,1\nB,tall\n", "phenotypes.csv, line 3: column 'QT' holds a value that is no number"),
        ("id,QT\nA,inf\n", "phenotypes.csv, line 2: column 'QT' holds a value that is no number"),
    ],
)
def test_a_table_that_cannot_be_taken_is_named_by_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError) as refused:
        table_of(tmp_path, text)
    assert str(refused.value).startswith(problem)
    assert "tall" not in str(refused.value)


def test_the_join_tells_of_everybody(tmp_path: Path) -> None:
    table = table_of(tmp_path, "id,QT\nS1,1\ns2,2\nS 3,3\nS4,4\nS4,5\nX,6\n")
    join = join_samples(["S1", "S2", "S3", "S4", "S5"], table)
    assert join.rows.tolist() == [0, -1, -1, -1, -1]
    assert join.counts() == {
        "genotyped": 5,
        "matched": 1,
        "without_phenotypes": 3,
        "without_genotypes": 3,
        "repeated_in_phenotypes": 1,
        "differ_in_case_or_white_space": 2,
    }
    assert join.near == (("S2", "s2"), ("S3", "S 3"))


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (["a"], "none of the 2 genotyped samples is in it. Remedy: write the ids of the genotype file"),
        (["s1", "S2 "], "none of .* is in it; 2 differ in upper and lower case or white space alone"),
        (["S1", "S1", "S2", "S2"], "none of .* is in it; 2 ids are on several lines"),
    ],
)
def test_a_join_of_nobody_is_an_error_that_says_why(ids: list[str], problem: str) -> None:
    join = join_samples(["S1", "S2"], PhenotypeTable(tuple(ids), {}))
    with pytest.raises(InputError, match=rf"phenotypes\.csv: {problem}"):
        expect_matches(join, "phenotypes.csv")


@pytest.mark.parametrize(
    ("written", "values", "is_binary"),
    [
        ("1 2 1 2", [0, 1, 0, 1], True),
        ("0 1 1 0", [0, 1, 1, 0], True),
        ("1 2 -9 0", [0, 1, np.nan, np.nan], True),
        ("0 1 -9 1", [0, 1, np.nan, 1], True),
        ("1 2 3 1", [1, 2, 3, 1], False),
        ("0 1 2 0", [np.nan, 0, 1, np.nan], True),
        ("-9 -8 1 2", [-9, -8, 1, 2], False),
    ],
)
def test_a_binary_trait_is_told_by_its_values(written: str, values: list[float], is_binary: bool) -> None:
    table = PhenotypeTable(tuple("ABCD"), {"T": np.array(written.split(), dtype=float)})
    trait = trait_of(table, "T", join_samples(list("ABCD"), table), "p.csv")
    np.testing.assert_array_equal(trait.values, values)
    assert trait.is_binary is is_binary


def test_a_trait_that_says_nothing_is_refused() -> None:
    table = PhenotypeTable(
        ("A", "B", "C"),
        {"none": np.full(3, np.nan), "same": np.array([5, 5, np.nan]), "other": np.array([1, 1, 2.0])},
    )
    join = join_samples(["A", "B"], table)
    for name, problem in (
        ("none", "the phenotype 'none' has no value among the 2 matched samples"),
        ("same", "the phenotype 'same' has one value only among the 2 matched samples"),
        ("other", "the phenotype 'other' has one value only"),
        ("absent", "no column 'absent'. Remedy: the phenotypes are none, same, other"),
    ):
        with pytest.raises(InputError, match=rf"p\.csv: {problem}"):
            trait_of(table, name, join, "p.csv")
    with pytest.raises(InputError, match="no column 'cov_x'"):
        covariates_of(table, ["cov_x"], join, "p.csv")


def test_covariates_that_add_nothing_are_refused() -> None:
    random = np.random.default_rng(1)
    age, score = random.normal(50, 10, 30), random.normal(size=30)
    used = np.ones(30, dtype=bool)
    check_covariates(np.column_stack([age, score]), ["cov_age", "cov_score"], used, "p.csv")
    with pytest.raises(
        InputError, match=r"p\.csv: the covariate 'cov_site' is constant among the 30 analysed samples"
    ):
        check_covariates(np.column_stack([age, np.full(30, 3.0)]), ["cov_age", "cov_site"], used, "p.csv")
    with pytest.raises(InputError, match="'cov_sum' is a linear combination of 'cov_age', 'cov_score'"):
        check_covariates(
            np.column_stack([age, score, 2 * age - score + 7]),
            ["cov_age", "cov_score", "cov_sum"],
            used,
            "p.csv",
        )
    once = np.zeros(30)
    once[0] = 1
    with pytest.raises(InputError, match="'cov_once' is constant among the 29 analysed samples"):
        check_covariates(once[:, None], ["cov_once"], np.arange(30) > 0, "p.csv")


def settings_of(folder: Path, text: str) -> JobSettings:
    path = folder / "job.yaml"
    path.write_text(text)
    return read_job_settings(path)


def test_settings_have_defaults_and_take_what_is_written(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "") == JobSettings()
    settings = settings_of(
        tmp_path,
        "analysis_type: fisher\nphenotype: CC\ncovariates: []\n"
        "parameters: {maf_threshold: 0.05, hwe_threshold: 1e-4, missing: mean}",
    )
    assert settings.parameters == JobParameters(maf_threshold=0.05, hwe_threshold=1e-4, missing="mean")
    assert settings.covariates == []
    assert settings.analysis_of(is_binary=True) == "fisher"
    assert [JobSettings().analysis_of(is_binary=binary) for binary in (False, True)] == ["linear", "logistic"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("phenotypes: QT", "job.yaml, line 1: unknown key 'phenotypes'. Remedy: write 'phenotype'"),
        ("parameters: {maf: 0.1}", "job.yaml, line 1: unknown key 'parameters.maf'"),
        ("analysis_type: lineer", "job.yaml, line 1: analysis_type is 'lineer'. Remedy: write 'linear'"),
        (
            "parameters: {maf_threshold: 0.7}",
            "job.yaml: parameters.maf_threshold is 0.7. Remedy: write 0 to 0.5",
        ),
        ("parameters: {num_threads: 0}", "job.yaml: parameters.num_threads is 0. Remedy: write 1 to 64"),
        ("covariates: [cov_a, cov_a]", "job.yaml: the covariate 'cov_a' is named twice"),
        ("- 1", "job.yaml, line 1: the file is not a mapping"),
    ],
)
def test_settings_that_cannot_be_taken_are_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError) as refused:
        settings_of(tmp_path, text)
    assert str(refused.value).startswith(problem)
