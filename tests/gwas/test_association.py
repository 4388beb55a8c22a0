from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import statsmodels.api as sm
from cohort_harness import Cohort, dataset_of, needs_plink2, rows_of, tables

from genomics_assets.gwas.association import Untested, associate, association_schema
from genomics_assets.gwas.genotype_matrix import dosages
from genomics_assets.gwas.job_settings import Missing
from genomics_assets.gwas.phenotypes import Trait
from genomics_assets.gwas.plink2_engine import associate_with_plink2


def design(cohort: Cohort, trait: Trait, variant: int, missing: Missing) -> tuple[np.ndarray, np.ndarray]:
    """y and X of one variant's regression, for an independent implementation."""
    g = dosages(cohort.dataset.matrix.rows(variant, variant + 1), cohort.dataset.matrix.samples)[0]
    used = np.isfinite(trait.values) & np.isfinite(cohort.covariates).all(axis=1)
    if missing == "mean":
        g = np.where(np.isnan(g), np.nanmean(g[used]), g)
    used &= np.isfinite(g)
    return trait.values[used], sm.add_constant(np.column_stack([cohort.covariates[used], g[used]]))


@pytest.mark.parametrize("missing", ["complete", "mean"])
def test_linear_regression_is_that_of_statsmodels(cohort: Cohort, missing: Missing) -> None:
    trait = cohort.trait("QT")
    found = tables(associate(cohort.dataset, cohort.analysis((trait, "linear"), missing=missing)))["QT"]
    assert found.schema.equals(association_schema())
    for variant in range(0, found.num_rows, 101):
        y, x = design(cohort, trait, variant, missing)
        fit, row = sm.OLS(y, x).fit(), found.slice(variant, 1).to_pylist()[0]
        assert row["n_samples"] == len(y)
        np.testing.assert_allclose(
            [row["beta"], row["se"], row["t_stat"], row["neg_log10_p"]],
            [fit.params[-1], fit.bse[-1], fit.tvalues[-1], -np.log10(fit.pvalues[-1])],
            rtol=1e-9,
        )
        assert row["test"] == "linear"
        assert row["reason"] is None


@pytest.mark.parametrize("missing", ["complete", "mean"])
def test_logistic_regression_is_that_of_statsmodels(cohort: Cohort, missing: Missing) -> None:
    trait = cohort.trait("CC")
    found = tables(associate(cohort.dataset, cohort.analysis((trait, "logistic"), missing=missing)))["CC"]
    compared = 0
    for variant in range(0, found.num_rows, 101):
        row = found.slice(variant, 1).to_pylist()[0]
        if row["test"] == "firth":
            continue
        y, x = design(cohort, trait, variant, missing)
        fit = sm.Logit(y, x).fit(disp=0, method="newton", tol=1e-14, maxiter=100)
        np.testing.assert_allclose(
            [row["beta"], row["se"], row["neg_log10_p"]],
            [fit.params[-1], fit.bse[-1], -np.log10(fit.pvalues[-1])],
            rtol=1e-6,
            atol=1e-6,
        )
        compared += 1
    assert compared > 40


def test_several_traits_of_one_pass_are_as_each_by_itself(cohort: Cohort) -> None:
    random = np.random.default_rng(1)
    qt, cc = cohort.trait("QT"), cohort.trait("CC")
    second = Trait("second", np.where(np.isfinite(qt.values), random.normal(size=600), np.nan), False)
    third = Trait("third", random.normal(size=600), False)
    together = tables(
        associate(
            cohort.dataset,
            cohort.analysis(
                (qt, "linear"), (cc, "logistic"), (second, "linear"), (third, "linear"), (cc, "logistic")
            ),
        )
    )
    for trait, kind in ((qt, "linear"), (cc, "logistic"), (second, "linear"), (third, "linear")):
        alone = tables(associate(cohort.dataset, cohort.analysis((trait, kind), threads=1)))[trait.name]
        for column in ("beta", "se", "neg_log10_p"):
            np.testing.assert_allclose(together[trait.name][column], alone[column], rtol=1e-9)
        assert together[trait.name]["n_samples"].equals(alone["n_samples"])


def test_the_result_does_not_depend_on_the_number_of_threads(cohort: Cohort) -> None:
    trait = cohort.trait("QT")
    one, three = (
        tables(associate(cohort.dataset, cohort.analysis((trait, "linear"), threads=threads)))["QT"]
        for threads in (1, 3)
    )
    assert one.equals(three)


def test_progress_rises_to_the_number_of_variants(cohort: Cohort) -> None:
    told: list[tuple[int, int]] = []
    list(
        associate(
            cohort.dataset, cohort.analysis((cohort.trait("QT"), "linear")), lambda *at: told.append(at)
        )
    )
    assert told == sorted(told)
    assert told[-1] == (4400, 4400)


def test_only_the_variants_and_samples_that_passed_are_tested(cohort: Cohort) -> None:
    trait = cohort.trait("QT")
    whole = cohort.analysis((trait, "linear"))
    whole.variants[::3] = False
    whole.samples[:100] = False
    found = tables(associate(cohort.dataset, whole))["QT"]
    assert found.num_rows == 4400 - len(range(0, 4400, 3))
    assert found["rsid"][0].as_py() == "rs2"
    assert pc.max(found["n_samples"]).as_py() <= 500


@needs_plink2
def test_linear_regression_is_that_of_plink2(cohort: Cohort) -> None:
    analysis = cohort.analysis((cohort.trait("QT"), "linear"))
    ours, theirs = (
        tables(associate(cohort.dataset, analysis))["QT"],
        tables(associate_with_plink2(cohort.dataset, analysis))["QT"],
    )
    assert ours["rsid"].equals(theirs["rsid"])
    assert ours["n_samples"].equals(theirs["n_samples"])
    assert ours["reason"].to_pylist() == theirs["reason"].to_pylist()
    # plink2 prints six digits.
    np.testing.assert_allclose(ours["neg_log10_p"], theirs["neg_log10_p"], atol=3e-6, rtol=0)
    np.testing.assert_allclose(ours["beta"], theirs["beta"], rtol=1e-5)
    np.testing.assert_allclose(ours["effect_allele_frequency"], theirs["effect_allele_frequency"], atol=1e-6)


@needs_plink2
def test_logistic_regression_is_that_of_plink2_and_firth_is_used_where_it_uses_it(
    cohort: Cohort, tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    trait = cohort.trait("CC")
    calls = random.binomial(2, 0.3, (40, 600))
    # Rare alleles that one of the classes lacks.
    for row in range(20):
        calls[row] = 0
        calls[row, random.choice(np.flatnonzero(trait.values == row % 2), 1 + row // 4, replace=False)] = 1
    dataset = dataset_of(tmp_path, calls.tolist())
    analysis = cohort.analysis((trait, "logistic"))
    object.__setattr__(analysis, "variants", np.ones(40, dtype=bool))
    ours, theirs = (
        tables(associate(dataset, analysis))["CC"],
        tables(associate_with_plink2(dataset, analysis))["CC"],
    )
    assert ours["test"].to_pylist() == theirs["test"].to_pylist()
    assert ours["test"].to_pylist()[:20] == ["firth"] * 20
    # Old versions of plink2 compute in single precision.
    np.testing.assert_allclose(ours["neg_log10_p"][20:], theirs["neg_log10_p"][20:], atol=2e-3)
    # Firth's standard error differs between versions of plink2: estimates alone are compared.
    np.testing.assert_allclose(ours["beta"], theirs["beta"], rtol=5e-3, atol=5e-3)


def test_firth_estimates_maximise_the_penalised_likelihood(tmp_path: Path) -> None:
    from scipy.optimize import minimize

    random = np.random.default_rng(8)
    y = (random.random(80) < 0.4).astype(float)
    g = np.zeros(80)
    g[np.flatnonzero(y == 1)[:6]] = 1
    covariate = random.normal(size=(80, 1))
    x = np.column_stack([np.ones(80), covariate, g])

    def penalised(b: np.ndarray) -> float:
        eta = x @ b
        mu = 1 / (1 + np.exp(-eta))
        information = (x * (mu * (1 - mu))[:, None]).T @ x
        return float(-(y @ eta - np.logaddexp(0, eta).sum() + 0.5 * np.linalg.slogdet(information)[1]))

    best = minimize(
        penalised, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 9000}
    )
    [row] = rows_of(
        dataset_of(tmp_path, [g.astype(int).tolist()]), y.tolist(), "logistic", covariates=covariate
    )
    assert row["test"] == "firth"
    assert row["beta"] == pytest.approx(best.x[-1], abs=1e-5)


def test_a_variant_that_cannot_be_tested_has_a_row_with_the_reason(tmp_path: Path) -> None:
    samples = 40
    random = np.random.default_rng(4)
    y = random.normal(size=samples).tolist()
    case = (np.arange(samples) % 2).astype(float).tolist()
    covariate = random.integers(0, 2, (samples, 1)).astype(float)
    calls: list[list[int | None]] = [
        [0] * samples,
        [2] * samples,
        [1] * samples,
        [None] * samples,
        [None] * 37 + [0, 1, 2],
        covariate[:, 0].astype(int).tolist(),
        [i % 3 if i % 2 else None for i in range(samples)],
        random.binomial(2, 0.4, samples).tolist(),
    ]
    dataset = dataset_of(tmp_path, calls)
    linear = rows_of(dataset, y, "linear", covariates=covariate)
    assert [row["reason"] for row in linear] == [
        Untested.NO_VARIATION, Untested.NO_VARIATION, Untested.NO_VARIATION, Untested.TOO_FEW, Untested.TOO_FEW,
        Untested.COLLINEAR, None, None,
    ]  # fmt: skip
    logistic = rows_of(dataset, case, "logistic", covariates=covariate)
    assert [row["reason"] for row in logistic[:5]] == [
        Untested.NO_VARIATION, Untested.NO_VARIATION, Untested.NO_VARIATION, Untested.TOO_FEW, Untested.TOO_FEW,
    ]  # fmt: skip
    assert logistic[5]["reason"] == Untested.NO_CONVERGENCE
    assert logistic[6]["reason"] == Untested.ONE_CLASS
    for row in [*linear[:6], *logistic[:7]]:
        assert row["beta"] is row["se"] is row["p_value"] is row["neg_log10_p"] is row["t_stat"] is None
    assert linear[7]["p_value"] is not None


def test_a_covariate_that_varies_among_missing_calls_alone_is_a_reason_not_an_error(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    covariate = np.zeros((30, 1))
    covariate[:3] = 1
    calls = [[None] * 3 + random.binomial(2, 0.5, 27).tolist(), random.binomial(2, 0.5, 30).tolist()]
    rows = rows_of(
        dataset_of(tmp_path, calls), random.normal(size=30).tolist(), "linear", covariates=covariate
    )
    assert [row["reason"] for row in rows] == [Untested.COLLINEAR, None]


def test_p_below_the_smallest_double_keeps_its_logarithm(tmp_path: Path) -> None:
    g = np.random.default_rng(2).binomial(2, 0.5, 2000)
    y = g + np.random.default_rng(3).normal(0, 0.1, 2000)
    [row] = rows_of(dataset_of(tmp_path, [g.tolist()]), y.tolist(), "linear")
    assert row["p_value"] == 0
    assert 1500 < row["neg_log10_p"] < 2500  # type: ignore[operator]


def test_haploid_calls_count_as_the_field_counts_them(tmp_path: Path) -> None:
    """Males 0 or 2 on chrX, everybody 0 or 1 on chrM, and frequencies by the alleles that are there."""
    random = np.random.default_rng(9)
    sex = [1] * 50 + [2] * 50
    male = random.choice([0, 2], 50).tolist()
    female = random.binomial(2, 0.3, 50).tolist()
    mitochondrial = random.choice([0, 2], 100).tolist()
    y = random.normal(size=100)
    dataset = dataset_of(
        tmp_path, [male + female, mitochondrial, male + female], chromosomes=["chrX", "chrM", "chrX"],
        positions=[50_000_000, 100, 20_000], sex=sex, build="GRCh38",
    )  # fmt: skip
    on_x, on_m, pseudo_autosomal = rows_of(dataset, y.tolist(), "linear")
    fit = sm.OLS(y, sm.add_constant(np.array(male + female))).fit()
    assert on_x["beta"] == pytest.approx(fit.params[1])
    assert on_x["effect_allele_frequency"] == pytest.approx((sum(male) / 2 + sum(female)) / 150)
    fit = sm.OLS(y, sm.add_constant(np.array(mitochondrial) / 2)).fit()
    assert (on_m["beta"], on_m["se"]) == (pytest.approx(fit.params[1]), pytest.approx(fit.bse[1]))
    assert on_m["effect_allele_frequency"] == pytest.approx(sum(mitochondrial) / 200)
    assert pseudo_autosomal["effect_allele_frequency"] == pytest.approx(sum(male + female) / 200)
