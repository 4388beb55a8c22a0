from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from genomics_assets.variants.summary import FREQUENCY_EDGES, LoadSummary, chromosome_order

LOAD = uuid.UUID("01890000-0000-7000-8000-000000000001")
COLUMNS = pa.schema(
    [
        ("load_batch_id", pa.binary(16)),
        ("chrom", pa.string()),
        ("variant_type", pa.string()),
        ("ref", pa.string()),
        ("alt", pa.string()),
        ("qual", pa.float32()),
        ("filter", pa.list_(pa.string())),
        ("is_coding", pa.bool_()),
        ("is_lof", pa.bool_()),
        ("impact", pa.string()),
        ("n_het", pa.int32()),
        ("n_hom_alt", pa.int32()),
        ("aaf", pa.float32()),
        ("info", pa.string()),
    ]
)


def variant(chrom: str, ref: str, alt: str, kind: str = "snp", **more: Any) -> dict[str, Any]:
    plain = {"load_batch_id": LOAD.bytes, "is_coding": False, "is_lof": False, "info": "{}"}
    return {**plain, "chrom": chrom, "ref": ref, "alt": alt, "variant_type": kind, **more}


def batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{name: row.get(name) for name in COLUMNS.names} for row in rows], COLUMNS
    )


ROWS = [
    variant("chr2", "A", "G", qual=10, filter=["PASS"], is_coding=True, impact="LOW", n_het=3, n_hom_alt=1,
            aaf=0.25),
    variant("chr2", "C", "T", qual=30, filter=["PASS"], n_het=1, n_hom_alt=0, aaf=0.05),
    variant("chr2", "C", "A", filter=["q10", "s50"], is_coding=True, is_lof=True, impact="HIGH",
            n_het=0, n_hom_alt=2, aaf=1.0),
    variant("chr10", "G", "A", filter=["q10"], n_het=0, n_hom_alt=0, aaf=0.0),
    variant("chr10", "A", "N", n_het=2, n_hom_alt=0, aaf=0.1),
    variant("chr10", "AT", "A", "indel", filter=["PASS"], impact="MODIFIER"),
    variant("chr10", "A", "ACGT", "indel", filter=["PASS", "q10"]),
    variant("chrX", "A", "A" * 80, "indel"),
    variant("chrX", "AC", "GT", "mnp"),
    variant("chrX", "A", "<DEL>", "sv"),
]  # fmt: skip


@pytest.fixture
def summary() -> LoadSummary:
    return LoadSummary.of([batch(*ROWS)])


def test_the_table_has_one_row_for_each_chromosome_and_type_in_their_natural_order(
    summary: LoadSummary,
) -> None:
    table = summary.to_table()
    assert {row["load_batch_id"] for row in table.to_pylist()} == {LOAD.bytes}
    by_hand = [
        # chrom, type, variants, transitions, transversions, passed, coding, lof, het, hom_alt, mean_qual
        ("chr2", "snp", 3, 2, 1, 2, 2, 1, 4, 3, 20.0),
        ("chr10", "snp", 2, 1, 0, 0, 0, 0, 2, 0, None),
        ("chr10", "indel", 2, 0, 0, 1, 0, 0, None, None, None),
        ("chrX", "indel", 1, 0, 0, 0, 0, 0, None, None, None),
        ("chrX", "mnp", 1, 0, 0, 0, 0, 0, None, None, None),
        ("chrX", "sv", 1, 0, 0, 0, 0, 0, None, None, None),
    ]
    assert [tuple(row.values())[1:] for row in table.to_pylist()] == by_hand


def test_the_table_fits_the_warehouse(summary: LoadSummary) -> None:
    schema = summary.to_table().schema
    migration = Path("resources/migrations/versions/r0001_variant_warehouse.sql").read_text()
    ddl = migration.split("CREATE TABLE genomics.variant_summary (")[1].split("PRIMARY KEY")[0]
    assert schema.names == [line.split()[0] for line in ddl.strip().splitlines()]
    assert schema.field("variants").type == pa.int64()
    assert schema.field("mean_qual").type == pa.float32()


def test_ratios_come_from_the_counts(summary: LoadSummary) -> None:
    assert summary.ti_tv == 3.0
    assert summary.het_hom == 2.0
    assert summary.total.variants == 10


def test_changes_impacts_and_filters_are_counted(summary: LoadSummary) -> None:
    assert summary.substitutions == {"A>G": 1, "C>T": 1, "C>A": 1, "G>A": 1}
    assert summary.impacts == {"LOW": 1, "HIGH": 1, "MODIFIER": 1, "none": 7}
    assert summary.filters == {"PASS": 4, "q10": 3, "s50": 1, "not applied": 4}


def test_indel_lengths_are_counted_and_the_long_ones_gathered(summary: LoadSummary) -> None:
    assert summary.indel_lengths == {-1: 1, 3: 1, 51: 1}


def test_frequencies_come_from_the_calls_of_the_file(summary: LoadSummary) -> None:
    counted = dict(zip(FREQUENCY_EDGES[:-1], summary.frequencies.tolist(), strict=True))
    assert {edge: n for edge, n in counted.items() if n} == {0: 1, 0.05: 1, 0.1: 1, 0.2: 1, 0.9: 1}


def test_a_frequency_on_an_edge_belongs_to_the_bin_above() -> None:
    rows = [variant("chr1", "A", "G", aaf=edge) for edge in FREQUENCY_EDGES]
    assert LoadSummary.of([batch(*rows)]).frequencies.tolist() == [1] * 12 + [2]


@pytest.mark.parametrize(
    ("info", "edge"),
    [
        ('{"AF":0.3}', 0.3),
        ('{"DP": 3, "AF": 2e-3, "AN": 2}', 0.001),
        ('{"AF": 1}', 0.9),
        ('{"AF":0.7,"X":[1]}', 0.7),
        ('{"AF": [0.1, 0.2]}', None),
        ('{"AF": null}', None),
        ('{"AF": 1.5}', None),
        ('{"AF_popmax": 0.3}', None),
        (json.dumps({"NOTE": 'x,"AF":0.3}'}), None),
        ("{}", None),
        (None, None),
    ],
)
def test_without_calls_frequencies_come_from_info(info: str | None, edge: float | None) -> None:
    counts = LoadSummary.of([batch(variant("chr1", "A", "G", info=info))]).frequencies.tolist()
    found = [e for e, n in zip(FREQUENCY_EDGES[:-1], counts, strict=True) if n]
    assert found == ([] if edge is None else [edge])


def test_info_does_not_stand_in_for_missing_calls_of_a_file_with_samples() -> None:
    rows = [variant("chr1", "A", "G", aaf=0.5), variant("chr1", "A", "G", info='{"AF": 0.1}')]
    assert LoadSummary.of([batch(*rows)]).frequencies.sum() == 1


def test_how_the_stream_is_cut_makes_no_difference(summary: LoadSummary) -> None:
    one_by_one = LoadSummary.of([batch(), *(batch(row) for row in ROWS)])
    sliced = LoadSummary.of([batch(*ROWS).slice(0, 4), batch(*ROWS).slice(4, 3), batch(*ROWS).slice(7)])
    for other in (one_by_one, sliced):
        assert other.to_table().equals(summary.to_table())
        assert other.to_markdown() == summary.to_markdown()
        assert other.frequencies.tolist() == summary.frequencies.tolist()
        assert (other.filters, other.indel_lengths) == (summary.filters, summary.indel_lengths)


def test_nothing_loaded_is_an_empty_table_and_says_so() -> None:
    empty = LoadSummary.of([])
    assert empty.to_table().num_rows == 0
    assert empty.to_table().schema.names[0] == "load_batch_id"
    assert empty.to_markdown() == "No variants."
    assert (empty.ti_tv, empty.het_hom) == (None, None)


def test_rows_of_two_loads_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="read one load"):
        LoadSummary.of([batch(ROWS[0]), batch({**ROWS[0], "load_batch_id": b"x" * 16})])


def test_ids_as_the_warehouse_gives_them_are_understood() -> None:
    plain = batch(ROWS[0])
    typed = plain.set_column(0, "load_batch_id", pa.array([LOAD.bytes], pa.uuid()))
    assert LoadSummary.of([typed]).to_table().equals(LoadSummary.of([plain]).to_table())


def test_the_report_shows_what_a_reader_asks_first(summary: LoadSummary) -> None:
    report = summary.to_markdown()
    assert "| variants | 10 |" in report
    assert "| passed all filters | 3 (30.0%) |" in report
    assert "| Ti/Tv | 3.00 (3 / 1) |" in report
    assert "| het/hom-ALT calls | 2.00 (6 / 3) |" in report
    assert "| insertions, deletions | 2, 1 (1 longer than 50 bases) |" in report
    assert "| chromosome | snp | indel | mnp | sv | all |" in report
    assert "| chr10 | 2 | 2 | 0 | 0 | 4 |" in report
    assert "| **total** | 5 | 3 | 1 | 1 | 10 |" in report
    assert "| **C** | 1 |  | 0 | 1 |" in report
    assert "| not applied | 4 |" in report


def test_many_contigs_are_gathered_and_odd_names_do_not_break_the_report() -> None:
    rows = [variant(f"HLA-A*{n:02}|x_", "A", "G") for n in range(40)] + [variant("chr1", "A", "G")] * 2
    summary = LoadSummary.of([batch(*rows)])
    counts = summary.counts_by_chromosome()
    assert len(counts) == 31
    assert next(iter(counts)) == "chr1"
    assert counts["other"] == {"snp": 11}
    assert sum(n for by_type in counts.values() for n in by_type.values()) == 42
    assert r"| HLA-A\*00\|x\_ | 1 | 1 |" in summary.to_markdown()
    assert summary.to_table().num_rows == 41


def test_chromosomes_sort_as_people_count() -> None:
    names = ["chrM", "chrY", "chrX", "chr22", "chr3", "chr1", "chrUn_10", "chrUn_9", "HLA-A"]
    assert sorted(names, key=chromosome_order) == [
        "chr1", "chr3", "chr22", "chrX", "chrY", "chrM", "chrUn_9", "chrUn_10", "HLA-A",
    ]  # fmt: skip
