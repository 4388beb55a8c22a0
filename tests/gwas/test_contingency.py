from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cohort_harness import dataset_of, rows_of
from scipy.stats import chi2_contingency, fisher_exact

from genomics_assets.gwas.association import Untested

CASES = (np.arange(200) % 2).astype(float)


def calls(variants: int = 30) -> list[list[int | None]]:
    random = np.random.default_rng(12)
    rows = [random.binomial(2, 0.05 + 0.4 * CASES * random.random() + 0.1) for _ in range(variants)]
    return [[None if random.random() < 0.05 else int(call) for call in row] for row in rows]


def genotype_table(row: list[int | None]) -> np.ndarray:
    """Cases and controls by 0, 1 and 2 copies."""
    table = np.zeros((2, 3), dtype=int)
    for call, case in zip(row, CASES, strict=True):
        if call is not None:
            table[0 if case else 1, call] += 1
    return table


def allele_table(row: list[int | None]) -> np.ndarray:
    table = genotype_table(row)
    return np.stack([2 * table[:, 2] + table[:, 1], 2 * table[:, 0] + table[:, 1]], axis=1)


def test_allelic_chi_square_is_that_of_scipy(tmp_path: Path) -> None:
    given = calls()
    for row, found in zip(
        given, rows_of(dataset_of(tmp_path, given), CASES.tolist(), "chi_square"), strict=True
    ):
        table = allele_table(row)
        expected = chi2_contingency(table, correction=False)
        assert found["t_stat"] == pytest.approx(expected.statistic)
        assert found["p_value"] == pytest.approx(expected.pvalue)
        assert found["beta"] == pytest.approx(np.log(table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])))
        assert found["n_samples"] == genotype_table(row).sum()


def test_genotypic_chi_square_is_that_of_scipy(tmp_path: Path) -> None:
    given = calls()
    for row, found in zip(
        given, rows_of(dataset_of(tmp_path, given), CASES.tolist(), "genotypic"), strict=True
    ):
        table = genotype_table(row)
        expected = chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False)
        assert found["t_stat"] == pytest.approx(expected.statistic)
        if (table.sum(axis=0) > 0).all():
            assert found["p_value"] == pytest.approx(expected.pvalue)


def test_trend_is_the_score_test_of_dosage(tmp_path: Path) -> None:
    """Cochran and Armitage's statistic is N times the squared correlation of dosage and case."""
    given = calls()
    for row, found in zip(given, rows_of(dataset_of(tmp_path, given), CASES.tolist(), "trend"), strict=True):
        known = np.array([call is not None for call in row])
        dosage = np.array([call or 0 for call in row])[known]
        assert found["t_stat"] == pytest.approx(known.sum() * np.corrcoef(dosage, CASES[known])[0, 1] ** 2)


def test_fisher_is_that_of_scipy(tmp_path: Path) -> None:
    given = calls()
    for row, found in zip(given, rows_of(dataset_of(tmp_path, given), CASES.tolist(), "fisher"), strict=True):
        expected = fisher_exact(allele_table(row)).pvalue
        assert found["p_value"] == pytest.approx(expected, rel=1e-9)
        assert found["neg_log10_p"] == pytest.approx(-np.log10(expected))


def test_fisher_keeps_the_logarithm_of_a_p_that_no_double_holds(tmp_path: Path) -> None:
    case = (np.arange(4000) < 2000).astype(float)
    [row] = rows_of(dataset_of(tmp_path, [[2] * 2000 + [0] * 2000]), case.tolist(), "fisher")
    # One table of C(8000, 4000) on either side.
    from math import lgamma, log

    expected = (lgamma(8001) - 2 * lgamma(4001)) / log(10)
    assert row["neg_log10_p"] == pytest.approx(expected, abs=0.302)
    assert row["p_value"] == 0


def test_an_empty_cell_leaves_the_odds_ratio_open_and_the_test_done(tmp_path: Path) -> None:
    given = [[1 if case and i < 20 else 0 for i, case in enumerate(CASES)]]
    for kind in ("chi_square", "fisher", "trend"):
        [row] = rows_of(dataset_of(tmp_path / kind, given), CASES.tolist(), kind)  # type: ignore[arg-type]
        assert row["beta"] is None
        assert row["p_value"] is not None


def test_haploid_calls_hold_one_allele(tmp_path: Path) -> None:
    male = [2 if i % 3 == 0 else 0 for i in range(200)]
    dataset = dataset_of(
        tmp_path, [male, male], chromosomes=["chrX", "chrM"], positions=[50_000_000, 5], sex=[1] * 200
    )
    counts = np.array(
        [
            [sum(1 for i in range(200) if i % 2 == odd and (i % 3 == 0) == hit) for hit in (True, False)]
            for odd in (1, 0)
        ]
    )
    for row in rows_of(dataset, CASES.tolist(), "chi_square"):
        assert row["t_stat"] == pytest.approx(chi2_contingency(counts, correction=False).statistic)
    assert {row["reason"] for row in rows_of(dataset, CASES.tolist(), "genotypic")} == {Untested.HAPLOID}


def test_what_cannot_be_tested_has_a_reason(tmp_path: Path) -> None:
    given = [[0] * 200, [None] * 200, [None if case else 1 for case in CASES]]
    reasons = [row["reason"] for row in rows_of(dataset_of(tmp_path, given), CASES.tolist(), "chi_square")]
    assert reasons == [Untested.NO_VARIATION, Untested.TOO_FEW, Untested.ONE_CLASS]
