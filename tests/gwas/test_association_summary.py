from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from cohort_harness import Cohort, dataset_of, tables
from scipy import stats

from genomics_assets.gwas.association import associate, association_schema
from genomics_assets.gwas.gwas_ssf import Study, write_gwas_ssf
from genomics_assets.gwas.job_settings import JobParameters
from genomics_assets.gwas.pictures import manhattan_picture, qq_picture
from genomics_assets.gwas.quality_control import control_quality
from genomics_assets.gwas.summary import (
    discoveries,
    inflation,
    lead_variants,
    manhattan_data,
    qq_data,
    summarize,
    top_hits,
)


def table_of(rows: list[tuple[str, int, float | None]], **more: object) -> pa.Table:
    """A table of associations with the given places and -log10 p."""
    given = [
        {
            "rsid": f"rs{i}", "chromosome": chromosome, "position": position, "ref_allele": "A", "alt_allele": "G",
            "effect_allele": "G", "beta": 0.1, "se": 0.01, "t_stat": 10.0,
            "p_value": None if strength is None else 10.0**-strength, "neg_log10_p": strength,
            "effect_allele_frequency": 0.2, "maf": 0.2, "n_samples": 100, "test": "linear",
            "reason": "no_variation" if strength is None else None, **more,
        }
        for i, (chromosome, position, strength) in enumerate(rows)
    ]  # fmt: skip
    return pa.Table.from_pylist(given, schema=association_schema())


def test_the_planted_effects_are_found_and_nothing_is_inflated(cohort: Cohort) -> None:
    from scipy.stats import ncx2

    report = control_quality(cohort.dataset, JobParameters())
    trait = cohort.trait("QT")
    analysis = cohort.analysis((trait, "linear"))
    analysis.variants[:] = report.variants
    table = tables(associate(cohort.dataset, analysis))["QT"]
    summary = summarize(table, cohort.dataset, report.samples)
    assert 0.9 < summary.inflation < 1.1
    leads = {
        table["position"][lead.row].as_py() // 10_000
        + 1_000_000 * int(table["chromosome"][lead.row].as_py()[3:])
        for lead in summary.leads
    }
    by_name = dict(
        zip(cohort.dataset.variants["rsid"].to_pylist(), cohort.dataset.variants.to_pylist(), strict=True)
    )
    limit = stats.chi2.isf(0.05 / summary.tested, 1)
    powerful = 0
    for planted in cohort.planted:
        explained = planted.effect**2 * 2 * planted.frequency * (1 - planted.frequency)
        if ncx2.sf(limit, 1, 580 * explained / 1.6) > 0.9:
            site = by_name[planted.rsid]
            assert site["position"] // 10_000 + 1_000_000 * int(site["chromosome"][3:]) in leads
            powerful += 1
    assert powerful >= 4
    assert len(summary.leads) <= 8


def test_discoveries_are_those_of_scipy() -> None:
    random = np.random.default_rng(2)
    for power in (1, 3, 8):
        p = random.random(500) ** power
        assert discoveries(-np.log10(p)) == (stats.false_discovery_control(p) <= 0.05).sum()
    assert discoveries(np.array([])) == 0


def test_inflation_is_the_median_chi_square_over_its_expectation() -> None:
    chi_square = np.random.default_rng(3).chisquare(1, 2001) * 1.3
    p = -np.log10(stats.chi2.sf(chi_square, 1))
    assert inflation(p) == pytest.approx(np.median(chi_square) / stats.chi2.ppf(0.5, 1))
    assert inflation(np.array([1000.0])) == pytest.approx(4597 / 0.454936, rel=1e-3)
    assert math.isnan(inflation(np.array([])))


def test_counts_are_those_of_the_tested_variants() -> None:
    table = table_of(
        [("chr1", i, 0.1) for i in range(97)] + [("chr2", 1, 9.0), ("chr2", 2, 3.4), ("chr2", 3, None)]
    )
    summary = summarize(table)
    assert (summary.tested, summary.untested) == (99, {"no_variation": 1})
    assert (summary.genome_wide, summary.bonferroni, summary.fdr) == (1, 2, 2)
    assert summary.as_document()["total_snps_tested"] == 99
    json.dumps(summary.as_document(), allow_nan=False)


def test_a_lead_takes_what_is_near_it() -> None:
    table = table_of(
        [("chr1", 1_000_000, 8.0), ("chr1", 1_400_000, 12.0), ("chr1", 1_900_001, 9.0), ("chr1", 1_450_000, 7.0),
         ("chr2", 1_400_000, 10.0)]
    )  # fmt: skip
    leads = lead_variants(table, 7.3)
    assert [(table["rsid"][lead.row].as_py(), lead.variants, lead.start, lead.end) for lead in leads] == [
        ("rs1", 2, 1_000_000, 1_400_000),
        ("rs4", 1, 1_400_000, 1_400_000),
        ("rs2", 1, 1_900_001, 1_900_001),
    ]


def test_a_lead_takes_what_is_linked_to_it_further_away(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    one, other = random.binomial(2, 0.4, 500).tolist(), random.binomial(2, 0.4, 500).tolist()
    positions = [1_000_000, 2_000_000, 3_000_000, 9_000_000]
    dataset = dataset_of(tmp_path, [one, one, other, one], positions=positions)
    table = table_of(
        [("chr1", at, strength) for at, strength in zip(positions, (20.0, 15.0, 12.0, 11.0), strict=True)]
    )
    table = table.set_column(0, association_schema().field(0), pa.array(["rs1", "rs2", "rs3", "rs4"]))
    assert len(summarize(table).leads) == 4
    assert [table["rsid"][lead.row].as_py() for lead in summarize(table, dataset).leads] == [
        "rs1",
        "rs3",
        "rs4",
    ]


def test_what_documents_keep_is_thinned_and_finite(cohort: Cohort) -> None:
    table = tables(associate(cohort.dataset, cohort.analysis((cohort.trait("CC"), "logistic"))))["CC"]
    hits, plot, qq = top_hits(table), manhattan_data(table), qq_data(table)
    json.dumps([hits, plot, qq], allow_nan=False)
    strength = table["neg_log10_p"].to_numpy()
    assert len(hits) == min(100, int((strength > 5).sum()))
    assert [hit["neg_log10_p"] for hit in hits] == sorted(strength)[::-1][: len(hits)]
    for hit in hits:
        assert hit["odds_ratio"] == pytest.approx(math.exp(hit["beta"]))
        assert hit["ci_lower"] < hit["odds_ratio"] < hit["ci_upper"]
        assert isinstance(hit["chromosome"], int)
    drawn = sum(len(part["positions"]) for part in plot["chromosomes"])
    assert int((strength > 2).sum()) < drawn < 0.2 * len(strength)
    assert [part["chr"] for part in plot["chromosomes"]] == list(range(1, 23))
    assert qq["observed"] == sorted(qq["observed"], reverse=True)
    assert len(qq["expected"]) == len(qq["observed"]) <= 1000


def read_ssf(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    names = lines[0].split("\t")
    return names, [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]


def test_summary_statistics_are_written_in_the_standard_format(tmp_path: Path) -> None:
    table = table_of(
        [("chrX", 5, 3.0), ("chr2", 7, 1.0), ("chr2", 6, None), ("GL1", 9, 1.0), ("chr1", 8, 4.0)]
    )
    path = tmp_path / "t.tsv.gz"
    metadata = write_gwas_ssf(table, path, Study("height", "GRCh38", 100, 40, "2026-01-01", ("cov_age",)))
    names, rows = read_ssf(path)
    assert names[:8] == [
        "chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error",
        "effect_allele_frequency", "p_value",
    ]  # fmt: skip
    assert [(row["chromosome"], row["base_pair_location"]) for row in rows] == [
        ("1", "8"),
        ("2", "7"),
        ("23", "5"),
    ]
    assert rows[0]["p_value"] == "0.0001"
    assert (rows[0]["effect_allele"], rows[0]["other_allele"], rows[0]["variant_id"]) == ("G", "A", "1_8_A_G")
    told = yaml.safe_load(metadata.read_text())
    assert told["data_file_md5sum"] == hashlib.md5(path.read_bytes()).hexdigest()
    assert (told["genome_assembly"], told["samples"][0]["case_count"], told["is_sorted"]) == (
        "GRCh38",
        40,
        True,
    )


def test_summary_statistics_that_no_double_holds_are_written_as_logarithms(tmp_path: Path) -> None:
    table = table_of([("chr1", 5, 400.0), ("chr1", 6, 2.0)], beta=None)
    metadata = write_gwas_ssf(table, tmp_path / "t.tsv.gz", Study("T", None, 10, None, "2026-01-01"))
    names, rows = read_ssf(tmp_path / "t.tsv.gz")
    assert "neg_log_10_p_value" in names
    assert [row["neg_log_10_p_value"] for row in rows] == ["400", "2"]
    assert rows[0]["beta"] == "#NA"
    assert yaml.safe_load(metadata.read_text())["pvalue_is_neg_log10"] is True


def orange(png: bytes) -> int:
    """How many pixels have the colour of a lead."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return int((np.abs(pixels - [0xD5, 0x5E, 0x00]).sum(axis=2) < 30).sum())


def test_pictures_mark_the_leads_and_are_the_same_each_time() -> None:
    random = np.random.default_rng(1)
    quiet = [("chr1", int(i), float(v)) for i, v in enumerate(-np.log10(random.random(3000)))]
    plain, striking = table_of(quiet), table_of([*quiet, ("chr2", 500, 30.0), ("chr3", 700, 12.0)])
    without = manhattan_picture(plain, summarize(plain), "T")
    with_leads = manhattan_picture(striking, summarize(striking), "$T$")
    assert orange(without) == 0 < orange(with_leads)
    assert with_leads == manhattan_picture(striking, summarize(striking), "$T$")
    assert qq_picture(striking, summarize(striking), "T") != qq_picture(plain, summarize(plain), "T")


def test_a_table_without_a_single_result_has_pictures_too() -> None:
    table = table_of([("chr1", 1, None)])
    summary = summarize(table)
    assert summary.as_document()["genomic_inflation_lambda"] is None
    assert manhattan_picture(table, summary, "T").startswith(b"\x89PNG")
    assert qq_picture(table, summary, "T").startswith(b"\x89PNG")
    assert top_hits(table) == []
