"""What becomes of files that are wrong, or look it: one sentence on the partition and in the audit, or a count.

`docs/bad_input.md` is the users' page of what is asserted here.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest
from run_results import failure
from vcf_text import CSQ, STANDARD_HEADER, record, vcf_bytes
from warehouse_harness import Warehouse, metadata

from benchmarks.vcf_generator import write_bgzf
from genomics_assets.definitions import build_definitions
from genomics_assets.drops import Drop, DropKind
from genomics_assets.variants.container import BGZF_END
from genomics_assets.variants.report import REASONS
from resources.drop_ledger import DropLedgerResource
from resources.inbox import InboxResource, Look
from resources.migrations import migrate
from sensors.drain import drain

FIRST_RECORD = len(STANDARD_HEADER) + 2
LOADED_TABLES = ("variants", "genotypes", "variant_summary")
VCF_AND_VARIANTS = [dg.AssetKey(["variants", "vcf_files"]), dg.AssetKey(["variants", "variants"])]


# -- what a user sees ----------------------------------------------------------------------------------------


def assert_told_once(result: dg.ExecuteInProcessResult) -> str:
    """The run failed without a retry, with one sentence that names a remedy; gives the sentence."""
    told = failure(result)
    assert not result.success
    assert [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"] == []
    assert len(result.filter_events(lambda event: event.is_step_failure)) == 1
    assert told.count("Remedy: ") == 1
    assert told.endswith(".")
    assert "\n" not in told
    return told


def assert_refused(
    warehouse: Warehouse,
    key: str,
    result: dg.ExecuteInProcessResult,
    file: Path,
    words: str,
    line: int | None = None,
) -> None:
    """One sentence on the partition and in the audit, and not a row of the file anywhere."""
    told = assert_told_once(result)
    place = f"{file}, line {line}: " if line else f"{file}: "
    assert told.startswith(place), told
    assert words in told
    content = file.read_bytes()
    assert warehouse.audit(
        key,
        "status, error_message, vcf_file_path, vcf_file_hash, vcf_file_size, variants_loaded, skipped_reasons",
    ) == [("failed", told, str(file), hashlib.sha256(content).hexdigest(), len(content), 0, None)]
    assert_invisible(warehouse, key)


def assert_invisible(warehouse: Warehouse, key: str) -> None:
    """Nothing of what failed under this key can be read, nor is anything held as if it were still going on."""
    assert warehouse.rows("pos", key) == []
    [(ended,)] = warehouse.query(
        "SELECT bool_and(load_completed_at IS NOT NULL AND status <> 'started') FROM genomics.variant_load_audit "
        "WHERE partition_key = %s",
        key,
    )
    assert ended
    for table in LOADED_TABLES:
        assert warehouse.query(
            f"SELECT count(*) FROM genomics.{table} JOIN genomics.variant_load_audit USING (load_batch_id) "
            "WHERE partition_key = %s AND status <> 'completed'",
            key,
        ) == [(0,)]
    failed = {str(load) for (load,) in warehouse.audit(key, "load_batch_id")}
    assert not [part for part in warehouse.objects.rglob("*") if failed & set(part.name.split("="))]


def assert_next_file_loads(warehouse: Warehouse, key: str) -> None:
    warehouse.drop(f"{key}next.vcf", vcf_bytes([own_record(key)]))
    warehouse.instance.add_dynamic_partitions("vcf_files", [f"{key}next"])
    result = warehouse.job.execute_in_process(
        instance=warehouse.instance, partition_key=f"{key}next", asset_selection=VCF_AND_VARIANTS
    )
    assert metadata(result, "variants")["outcome"] == "loaded"
    assert len(warehouse.rows("pos", f"{key}next")) == 1


def load_counted(
    warehouse: Warehouse,
    name: str,
    content: bytes,
    *,
    noted: dict[str, int] | None = None,
    skipped: dict[str, int] | None = None,
    ending: str = "vcf",
) -> dg.ExecuteInProcessResult:
    """The file loads, and audit and materialization count what was tolerated, and nothing else."""
    noted, skipped = noted or {}, skipped or {}
    result = warehouse.load_file(f"{name}.{ending}", content)
    assert result.success, failure(result)
    assert warehouse.audit(name, "status, noted, skipped_reasons, variants_skipped") == [
        ("completed", noted, skipped, sum(skipped.values()))
    ]
    told = metadata(result, "variants")
    for reason, count in {**noted, **skipped}.items():
        assert f"`{reason}` | {count} |" in told["skipped and tolerated"]
    assert told["skipped"] == sum(skipped.values())
    assert check(result, "totals_reconcile").passed
    assert check(result, "lake_reconciles").passed
    return result


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    [found] = [found for found in result.get_asset_check_evaluations() if found.check_name == name]
    return found


def bgzf(folder: Path, content: bytes) -> bytes:
    path = folder / "whole.vcf.gz"
    write_bgzf(path, [content])
    return path.read_bytes()


def own_record(name: str, calls: Sequence[str] = (), more: int = 0) -> str:
    """A record that no other test has, for content that stands already is not loaded again."""
    return record("7", int(name[1:7], 16) + 1 + more, calls=calls)


def many(count: int) -> list[str]:
    return [record(pos=pos, info=f"DP={pos % 97}") for pos in range(1, count + 1)]


def bases(count: int) -> str:
    """Bases that no compression makes short."""
    return "".join(random.Random(4).choices("ACGT", k=count))


# -- broken containers ---------------------------------------------------------------------------------------


def blocks_of(content: bytes) -> list[int]:
    """Where each BGZF block begins."""
    starts, at = [], 0
    while at < len(content):
        starts.append(at)
        at += int.from_bytes(content[at + 16 : at + 18], "little") + 1
    return starts


def cut_in_a_block(content: bytes) -> bytes:
    return content[: blocks_of(content)[2] + 1000]


def cut_at_a_block(content: bytes) -> bytes:
    return content[: blocks_of(content)[2]]


def without_end_marker(content: bytes) -> bytes:
    return content.removesuffix(BGZF_END)


def with_a_flipped_byte(content: bytes) -> bytes:
    place = blocks_of(content)[2] + 5000
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut_in_a_block, "the file ends inside a BGZF block"),
        (cut_at_a_block, "the BGZF end-of-file marker is missing"),
        (without_end_marker, "the BGZF end-of-file marker is missing"),
        (with_a_flipped_byte, "is damaged (its checksum does not hold)"),
    ],
)
def test_half_a_bgzip_file_is_never_taken_for_a_whole_one(
    warehouse: Warehouse, name: str, tmp_path: Path, spoil: Callable[[bytes], bytes], words: str
) -> None:
    whole = bgzf(
        tmp_path, vcf_bytes([record(pos=pos, info=f"TAG={bases(60)}{pos}") for pos in range(1, 3000)])
    )
    assert len(blocks_of(whole)) > 3
    file = warehouse.drop(f"{name}.vcf.gz", spoil(whole))

    result = warehouse.load(name)

    assert_refused(warehouse, name, result, file, words)
    assert "copy the file again from its source" in failure(result)
    [step] = [event.step_key for event in result.all_events if event.is_step_failure]
    only_reading_can_tell = spoil is with_a_flipped_byte
    assert step == ("variants__variants" if only_reading_can_tell else "variants__vcf_files"), (
        "told before any write"
    )
    assert_next_file_loads(warehouse, name)


def test_a_cut_plain_gzip_is_refused_although_it_was_read_as_a_stream(
    warehouse: Warehouse, name: str
) -> None:
    file = warehouse.drop(f"{name}.vcf.gz", gzip.compress(vcf_bytes(many(5000)))[:-4000])
    assert_refused(warehouse, name, warehouse.load(name), file, "the gzip file ends in the middle, after ")
    assert_next_file_loads(warehouse, name)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", None, "the file is empty (zero bytes)"),
        (gzip.compress(b"", mtime=0), None, "the file holds nothing"),
        (BGZF_END, None, "the file holds nothing"),
        (b"<!DOCTYPE html>\n<title>Log in</title>\n", 1, "the first line is not `##fileformat=VCF"),
        ((record() + "\n").encode(), 1, "the first line is not `##fileformat=VCF"),
        ("\n".join(STANDARD_HEADER).encode() + b"\n" + record().encode(), FIRST_RECORD - 1, "no `#CHROM` column line"),
        ("\n".join(STANDARD_HEADER).encode(), FIRST_RECORD - 2, "no `#CHROM` column line"),
        (vcf_bytes([record(calls=["0/1"] * 2)], samples=["A", "A"]), FIRST_RECORD - 1, "the same sample name"),
        (vcf_bytes([record()], more_header=["##note=a\0b"]), FIRST_RECORD - 1, "a NUL byte"),
    ],
    ids=[
        "empty", "empty in gzip", "empty in bgzip", "a web page", "no header", "no column line",
        "header cut before its column line", "two samples of one name", "NUL in the header",
    ],
)  # fmt: skip
def test_a_file_without_a_usable_header_is_refused(
    warehouse: Warehouse, name: str, content: bytes, line: int | None, words: str
) -> None:
    file = warehouse.drop(f"{name}.vcf", content)
    assert_refused(warehouse, name, warehouse.load(name), file, words, line)
    assert_next_file_loads(warehouse, name)


# -- broken records ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1\t500\t.\tA\tG", "5 columns"),
        (record(pos="-5"), "POS '-5' is not a position"),
        (record(pos="1e6"), "POS '1e6' is not a position"),
        (record(pos=10**19), "is not a position"),
        (record(qual="high"), "QUAL 'high' is neither a number nor `.`"),
        (record(ref=""), "REF"),
        (record(ref="*"), "REF '*'"),
        (record(alt=""), "an empty ALT allele"),
        (record(alt="G,,T"), "an empty ALT allele"),
        (record(alt="G T"), "ALT 'G T' is neither bases"),
        (record("c" * 5000), "(5,000 characters) is longer than 80 bytes"),
        (record(name="a\0b"), "a NUL byte"),
    ],
    ids=lambda value: None if "\t" in str(value) else str(value)[:30],
)
def test_a_bad_record_refuses_the_file_with_its_line(
    warehouse: Warehouse, name: str, line: str, words: str
) -> None:
    file = warehouse.drop(f"{name}.vcf", vcf_bytes([record(pos=1), record(pos=2), line, record(pos=3)]))
    assert_refused(warehouse, name, warehouse.load(name), file, words, FIRST_RECORD + 2)
    assert_next_file_loads(warehouse, name)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (record(calls=["0/1"]), "columns"),
        (record(calls=["0/1", "0/2"]), "GT '0/2' names allele 2 where ALT has 1"),
        (record(calls=["0/1", "yes"]), "GT 'yes' is not a genotype"),
    ],
)
def test_a_bad_genotype_refuses_the_file_with_its_line(
    warehouse: Warehouse, name: str, line: str, words: str
) -> None:
    good = record(calls=["0/1", "1/1"])
    file = warehouse.drop(f"{name}.vcf", vcf_bytes([good, line], samples=["Ada", "Ben"]))
    result = warehouse.load(name)
    assert_refused(warehouse, name, result, file, words, FIRST_RECORD + 1)
    assert "Ada" not in failure(result)


def test_a_bad_last_line_takes_back_all_that_was_sent_and_every_index_stays(
    warehouse: Warehouse, name: str
) -> None:
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'genomics' ORDER BY 1"
    before = warehouse.query(indexes)
    everything = warehouse.query("SELECT count(*) FROM genomics.variants")
    file = warehouse.drop(f"{name}.vcf", vcf_bytes([*many(60_000), "1\t5"]))

    assert_refused(warehouse, name, warehouse.load(name), file, "2 columns", FIRST_RECORD + 60_000)

    assert warehouse.query("SELECT count(*) FROM genomics.variants") == everything
    assert warehouse.query(indexes) == before
    assert warehouse.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_a_refused_file_loads_once_it_is_corrected(warehouse: Warehouse, name: str) -> None:
    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos="x")]))

    result = warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=77)]))

    assert metadata(result, "variants")["outcome"] == "loaded"
    assert warehouse.rows("pos", name) == [(77,)]
    assert warehouse.audit(name, "status, is_reload") == [("failed", False), ("completed", False)]


@pytest.mark.parametrize(
    ("ending", "text", "words"),
    [
        ("yaml", "sample_idd: S1\n", "line 1: unknown key 'sample_idd'"),
        ("yaml", "reference_genome: [GRCh38\n", "not YAML"),
        ("ped", "F1\tS1\t0\t0\t1\n", "columns where 6 are needed"),
        (
            "ped",
            "F1\tS1\t0\t0\t1\t1\nF2\tS1\t0\t0\t1\t1\n",
            "line 2: an individual is here for the second time",
        ),
    ],
)
def test_a_bad_sidecar_stops_the_load_before_a_row_is_visible(
    warehouse: Warehouse, name: str, ending: str, text: str, words: str
) -> None:
    warehouse.drop(f"{name}.{ending}", text)

    result = warehouse.load_file(f"{name}.vcf", vcf_bytes([record()]))

    told = assert_told_once(result)
    assert told.startswith(f"{name}.{ending}")
    assert words in told
    assert warehouse.audit(name, "status, error_message") == [("failed", told)]
    assert_invisible(warehouse, name)


# -- tolerated, and counted ----------------------------------------------------------------------------------


def test_a_header_without_records_is_a_load_of_no_rows(
    warehouse: Warehouse, name: str, tmp_path: Path
) -> None:
    load_counted(warehouse, name, bgzf(tmp_path, vcf_bytes([])), ending="vcf.gz")
    assert warehouse.audit(name, "total_variants_in_file, variants_loaded") == [(0, 0)]


def test_plain_gzip_under_a_name_without_gz_is_read(warehouse: Warehouse, name: str) -> None:
    load_counted(warehouse, name, gzip.compress(vcf_bytes([record(pos=51)])))
    assert warehouse.rows("pos", name) == [(51,)]


def test_windows_line_ends_are_counted(warehouse: Warehouse, name: str) -> None:
    content = vcf_bytes([record(pos=52, info="TAG=x"), record(pos=53)]).replace(b"\n", b"\r\n")
    load_counted(warehouse, name, content, noted={"crlf_line_ends": 2})
    assert warehouse.rows("pos, info", name) == [(52, {"TAG": "x"}), (53, {})]


def test_positions_outside_the_contig_are_skipped_and_counted(warehouse: Warehouse, name: str) -> None:
    rows = [
        record(pos=0),
        record(pos=1_000_000),
        record(pos=1_000_002),
        record(pos=0, alt="<DEL>", info="END=9"),
    ]
    load_counted(warehouse, name, vcf_bytes(rows), skipped={"position_outside_contig": 2})
    assert warehouse.rows("pos, alt", name) == [(1_000_000, "G"), (0, "<DEL>")]


def test_an_end_before_its_position_is_ignored_and_counted(warehouse: Warehouse, name: str) -> None:
    load_counted(
        warehouse,
        name,
        vcf_bytes([record(pos=500, alt="<DEL>", info="END=400")]),
        noted={"end_before_pos": 1},
    )
    assert warehouse.rows("end_pos, lower(pos_range), upper(pos_range)", name) == [(500, 500, 501)]


def test_what_the_header_does_not_declare_is_kept_and_counted(warehouse: Warehouse, name: str) -> None:
    rows = [
        record(pos=61, info="NEW=1,2;FLAGGED", filters="Odd;PASS"),
        record("17", 62),
        record("GL000220.1", 63, info="NEW=3"),
    ]
    load_counted(
        warehouse,
        name,
        vcf_bytes(rows),
        noted={
            "undeclared_info": 3,
            "undeclared_filter": 1,
            "undeclared_contig": 2,
            "contig_not_standard": 1,
        },
    )
    assert warehouse.rows("chrom, filter, info", name) == [
        ("chr1", ["Odd", "PASS"], {"NEW": "1,2", "FLAGGED": True}),
        ("chr17", None, {}),
        ("GL000220.1", None, {"NEW": "3"}),
    ]


def test_info_that_is_not_what_it_was_declared_is_kept_and_counted(warehouse: Warehouse, name: str) -> None:
    rows = [record(pos=64, info="DP=many;AC=1,2;DB=yes;MQ=60;MQ=61"), record(pos=65, info="DP=.;AF=nan")]
    load_counted(
        warehouse,
        name,
        vcf_bytes(rows),
        noted={"info_wrong_type": 1, "info_wrong_count": 1, "info_repeated_key": 1},
    )
    assert warehouse.rows("info", name) == [
        ({"DP": "many", "AC": [1, 2], "DB": "yes", "MQ": 60},),
        ({"DP": None, "AF": None},),
    ]


def test_lower_case_alleles_are_stored_in_upper_case_and_counted(warehouse: Warehouse, name: str) -> None:
    load_counted(
        warehouse,
        name,
        vcf_bytes([record(ref="a", alt="g"), record(alt="t")]),
        noted={"lower_case_allele": 2},
    )
    assert warehouse.rows("ref, alt", name) == [("A", "G"), ("A", "T")]


def test_text_that_is_not_utf8_is_read_as_latin_1_and_counted(warehouse: Warehouse, name: str) -> None:
    load_counted(
        warehouse,
        name,
        vcf_bytes([record(info="TAG=Köln")]).decode().encode("latin-1"),
        noted={"not_utf8": 1},
    )
    assert warehouse.rows("info", name) == [({"TAG": "Köln"},)]


def test_alleles_that_are_names_and_annotations_of_no_allele_are_counted(
    warehouse: Warehouse, name: str
) -> None:
    rows = [
        record("3", 68, alt="I"),
        record("3", 69, alt="G,T", info="CSQ=G|intron_variant,C|stop_gained"),
    ]
    load_counted(
        warehouse,
        name,
        vcf_bytes(rows, more_header=[CSQ.format("Allele|Consequence")]),
        noted={"non_base_allele": 1, "annotation_without_allele": 1, "undeclared_contig": 2},
    )
    assert warehouse.rows("alt, variant_type, consequence", name) == [
        ("I", "sv", None),
        ("G", "snp", "intron_variant"),
        ("T", "snp", None),
    ]


def test_every_reason_has_a_meaning_that_the_materialization_shows() -> None:
    from genomics_assets.variants.record import NotedReason, SkippedReason

    def words(kind: Any) -> set[str]:
        return {word for part in get_args(kind) for word in (words(part) or {part})}

    assert words(NotedReason) | words(SkippedReason) == set(REASONS)


def test_duplicate_records_are_kept_and_warned_of(warehouse: Warehouse, name: str) -> None:
    result = load_counted(warehouse, name, vcf_bytes([record(pos=66), record(pos=66), record(pos=67)]))
    assert warehouse.rows("pos", name) == [(66,), (66,), (67,)]
    unique = check(result, "alleles_unique")
    assert (unique.passed, unique.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert unique.metadata["repeated_rows"].value == 1


def test_alleles_of_a_hundred_thousand_bases_are_whole(warehouse: Warehouse, name: str) -> None:
    inserted, deleted = "A" + bases(100_000), "C" + bases(90_000)
    load_counted(
        warehouse,
        name,
        vcf_bytes([record(pos=300, alt=inserted), record(pos=301, ref=deleted, alt="C", calls=())]),
    )
    assert warehouse.rows("ref, alt, end_pos, variant_type", name) == [
        ("A", inserted, 300, "indel"),
        (deleted, "C", 90_301, "indel"),
    ]
    found = warehouse.query(
        "SELECT count(*) FROM genomics.variants_overlapping('chr1', 90300, 90300) WHERE ref = %s", deleted
    )
    assert found == [(1,)]


def test_annotations_with_a_wrong_field_count_are_kept_but_never_picked(
    warehouse: Warehouse, name: str
) -> None:
    entries = "G|stop_gained|HIGH,G|missense_variant|MODERATE|GENE1"
    load_counted(
        warehouse,
        name,
        vcf_bytes(
            [record(info=f"CSQ={entries}")], more_header=[CSQ.format("Allele|Consequence|IMPACT|SYMBOL")]
        ),
        noted={"annotation_wrong_field_count": 1},
    )
    assert warehouse.rows("gene, consequence, vep_annotations", name) == [
        ("GENE1", "missense_variant", {"CSQ": entries.split(",")})
    ]


def test_long_consequences_and_significances_are_cut_to_their_columns_and_whole_elsewhere(
    warehouse: Warehouse, name: str
) -> None:
    terms = "&".join(["splice_region_variant", "intron_variant", "non_coding_transcript_variant"] * 3)
    significance = "Conflicting_classifications_of_pathogenicity|" * 3
    load_counted(
        warehouse,
        name,
        vcf_bytes(
            [record(info=f"CSQ=G|{terms};CLNSIG={significance}")],
            more_header=[
                CSQ.format("Allele|Consequence"),
                '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="">',
            ],
        ),
        noted={"cut_to_column_width": 2},
    )
    [(consequence, short, info, annotations)] = warehouse.rows(
        "consequence, clinvar_sig, info, vep_annotations", name
    )
    assert terms.startswith(f"{consequence}&")
    assert len(consequence) <= 100
    assert (len(short), short[-1]) == (100, "…")
    assert info["CLNSIG"] == [significance]
    assert annotations == {"CSQ": [f"G|{terms}"]}


# -- legal, and often got wrong ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def awkward(warehouse: Warehouse) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of one file of legal records that loaders get wrong, by contig as written and line."""
    fields = "Allele|Consequence|IMPACT|SYMBOL|Feature|HGVSc|HGVSp"
    rows = [
        record(pos=1000, ref="CAA", alt="CA", info="CSQ=-|frameshift_variant|HIGH|DELETED|T1|c.1del|p.1fs"),
        record(pos=1100, ref="GTGTG", alt="GTG,GTGTGTG"),
        record("2", 321681, ref="G", alt="G]17:198982]", info="SVTYPE=BND"),
        record("13", 123456, ref="T", alt="]chr13:123456]T"),
        record(pos=2000, alt="<DEL>", info="SVTYPE=DEL;END=2999"),
        record(pos=2100, filters="PASS", qual="-1"),
        record(pos=2101, qual="."),
        record(pos=2102, info="gnomAD_AF=nan;AF=inf"),
        record(pos=2103, ref="AC", alt="*,A"),
        record(pos=2104, alt="<NON_REF>"),
        record("MT", 73),
        record(
            pos=2200,
            name="rs12",
            info="CSQ=G|missense_variant|MODERATE|BRCA1|T2|T2:c.5A>G|P2:p.K2R;gnomAD_AF=0.1;AF_popmax=0.2;AF_1kg=0.3;"
            "CADD_PHRED=21.5;CLNSIG=Pathogenic;CLNREVSTAT=reviewed;DP=30",
        ),
    ]
    result = warehouse.load_file("awkward.vcf", vcf_bytes(rows, more_header=[CSQ.format(fields)]))
    assert result.success, failure(result)
    columns = [name for (name,) in warehouse.query(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'genomics' AND table_name = 'variants'"
    )]  # fmt: skip
    found = [dict(zip(columns, row, strict=True)) for row in warehouse.rows(", ".join(columns), "awkward")]
    return {(row["chrom"], row["variant_id"] - found[0]["variant_id"]): row for row in found}


def rows_at(
    awkward: dict[tuple[str, int], dict[str, Any]], chrom: str, first: int, last: int
) -> list[dict[str, Any]]:
    return [row for row in awkward.values() if row["chrom"] == chrom and first <= row["pos"] <= last]


def test_no_allele_is_ever_empty(awkward: dict[tuple[str, int], dict[str, Any]]) -> None:
    assert all(row["ref"] and row["alt"] for row in awkward.values())
    assert [(row["pos"], row["ref"], row["alt"]) for row in rows_at(awkward, "chr1", 1000, 1200)] == [
        (1000, "CA", "C"),
        (1100, "GTG", "G"),
        (1100, "G", "GTG"),
    ]


def test_an_indel_keeps_its_vep_annotation(awkward: dict[tuple[str, int], dict[str, Any]]) -> None:
    [row] = rows_at(awkward, "chr1", 1000, 1000)
    assert (row["gene"], row["consequence"], row["is_lof"]) == ("DELETED", "frameshift_variant", True)


def test_breakends_are_stored_as_written(awkward: dict[tuple[str, int], dict[str, Any]]) -> None:
    found = [
        (row["ref"], row["alt"], row["variant_type"])
        for row in awkward.values()
        if row["variant_type"] == "bnd"
    ]
    assert found == [("G", "G]17:198982]", "bnd"), ("T", "]chr13:123456]T", "bnd")]


def test_the_base_at_end_belongs_to_the_range(
    awkward: dict[tuple[str, int], dict[str, Any]], warehouse: Warehouse
) -> None:
    [row] = rows_at(awkward, "chr1", 2000, 2000)
    assert row["end_pos"] == 2999
    for base, hits in ((2999, 1), (3000, 0)):
        found = warehouse.query(
            "SELECT count(*) FROM genomics.variants_overlapping('chr1', %s, %s) WHERE load_batch_id = %s AND alt = '<DEL>'",
            base, base, row["load_batch_id"],
        )  # fmt: skip
        assert found == [(hits,)]


def test_pass_and_missing_filters_differ_and_a_quality_of_minus_one_is_kept(
    awkward: dict[tuple[str, int], dict[str, Any]],
) -> None:
    assert [(row["filter"], row["qual"]) for row in rows_at(awkward, "chr1", 2100, 2101)] == [
        (["PASS"], -1.0),
        (None, None),
    ]


def test_nan_and_infinity_are_never_stored(awkward: dict[tuple[str, int], dict[str, Any]]) -> None:
    [row] = rows_at(awkward, "chr1", 2102, 2102)
    assert row["af_gnomad"] is None
    assert row["info"] == {"gnomAD_AF": "nan", "AF": None}


def test_symbolic_alleles_have_types_of_their_own(awkward: dict[tuple[str, int], dict[str, Any]]) -> None:
    types = [(row["alt"], row["variant_type"]) for row in rows_at(awkward, "chr1", 2103, 2104)]
    assert types == [("*", "star"), ("A", "indel"), ("<NON_REF>", "non_ref")]


def test_mitochondrial_rows_are_on_chr_m(awkward: dict[tuple[str, int], dict[str, Any]]) -> None:
    assert [row["pos"] for row in rows_at(awkward, "chrM", 73, 73)] == [73]


def test_no_column_is_left_empty_where_the_file_tells(awkward: dict[tuple[str, int], dict[str, Any]]) -> None:
    [row] = rows_at(awkward, "chr1", 2200, 2200)
    untold = {
        "qual",
        "filter",
        "sample_id",
        "file_annotations",
        "call_rate",
        "n_het",
        "n_hom_alt",
        "aaf",
        "hwe_p",
    }
    assert {name for name, value in row.items() if value is None} == untold
    assert row["af_gnomad_popmax"] == pytest.approx(0.2)


def test_records_without_an_alternate_allele_are_counted(warehouse: Warehouse, name: str) -> None:
    load_counted(
        warehouse, name, vcf_bytes([record(alt="."), record(pos=5)]), skipped={"no_alternate_allele": 1}
    )
    assert warehouse.audit(name, "total_variants_in_file, variants_loaded") == [(2, 1)]


# -- samples and genotypes -----------------------------------------------------------------------------------


def test_sample_sets_that_change_between_files_never_mix(warehouse: Warehouse, name: str) -> None:
    a, b, c = f"{name}A", f"{name}B", f"{name}C"

    def calls(key: str) -> list[tuple[Any, ...]]:
        return warehouse.query(
            "SELECT external_id, pos, alt_copies FROM genomics.sample_genotypes JOIN genomics.current_loads "
            "USING (load_batch_id) WHERE partition_key = %s ORDER BY external_id, pos",
            key,
        )

    site = [record(pos=700, ref="AT", alt="A", calls=["0/1", "1/1"]), record(pos=710, calls=["0/0", "0/1"])]
    load_counted(warehouse, f"{name}one", vcf_bytes(site, samples=[a, b]))
    load_counted(
        warehouse, f"{name}two", vcf_bytes([record(pos=710, calls=["1/1", "0/1", "0/0"])], samples=[c, b, a])
    )
    first = [(a, 700, 1), (a, 710, 0), (b, 700, 2), (b, 710, 1)]
    assert calls(f"{name}one") == first, "another file with the same people changes nothing"
    assert calls(f"{name}two") == [(a, 710, 0), (b, 710, 1), (c, 710, 2)]

    again = warehouse.load_file(
        f"{name}two.vcf", vcf_bytes([record(pos=710, calls=["0/1", "./."])], samples=[a, c])
    )

    assert again.success, failure(again)
    assert calls(f"{name}one") == first
    assert calls(f"{name}two") == [(a, 710, 1), (c, 710, None)]
    assert warehouse.audit(f"{name}two", "samples_count, is_reload") == [(3, False), (2, True)]


# -- files that change ---------------------------------------------------------------------------------------


def meddled(inbox_url: str, method: str, call: int, act: Callable[[], object]) -> InboxResource:
    """The inbox, in which somebody acts right before a certain call of one of its methods."""
    seen: list[str] = []

    def note(name: str) -> None:
        seen.append(name)
        if name == method and seen.count(name) == call:
            act()

    class MeddledInbox(InboxResource):
        def drop(self, kind: DropKind, partition_key: str) -> Drop:
            note("drop")
            return super().drop(kind, partition_key)

        @contextmanager
        def local(self, drop_or_uri: Drop | str) -> Iterator[Path]:
            note("local")
            with super().local(drop_or_uri) as path:
                yield path

        def unchanged(self, drop: Drop) -> bool:
            note("unchanged")
            return super().unchanged(drop)

        def look(self, kind: DropKind) -> Look:
            note("look")
            return super().look(kind)

    return MeddledInbox(url=inbox_url)


OLD = vcf_bytes([record(pos=801, calls=["0/1"]), record(pos=802, calls=["1/1"])], samples=["S"])
NEW = vcf_bytes([record(pos=901, calls=["0/1", "0/0"])], samples=["S", "T"])


@pytest.mark.parametrize(
    ("method", "call", "new"),
    [
        pytest.param("drop", 2, NEW, id="before its rows are read"),
        pytest.param("local", 3, NEW, id="as its rows are read"),
        pytest.param("local", 3, OLD[:-9], id="cut short as its rows are read"),
        pytest.param("unchanged", 1, NEW, id="after its last row"),
        pytest.param("unchanged", 1, None, id="deleted after its last row"),
    ],
)
def test_a_file_replaced_during_the_load_leaves_nothing_and_loads_when_taken_again(
    warehouse: Warehouse, name: str, method: str, call: int, new: bytes | None
) -> None:
    old = OLD.replace(b"S\n", f"{name}S\n".encode(), 1)
    file = warehouse.drop(f"{name}.vcf", old)
    warehouse.instance.add_dynamic_partitions("vcf_files", [name])

    def replace() -> None:
        file.unlink() if new is None else file.write_bytes(new)

    result = warehouse.job.execute_in_process(
        instance=warehouse.instance,
        partition_key=name,
        resources={"inbox": meddled(str(warehouse.inbox), method, call, replace)},
        raise_on_error=False,
    )

    told = assert_told_once(result)
    assert told.startswith(f"{file}: the file, or a sidecar of it, changed while it was being loaded.")
    assert warehouse.audit(name, "status, error_message, variants_loaded") == [("failed", told, 0)]
    assert_invisible(warehouse, name)

    file.write_bytes(NEW + own_record(name, ["0/1", "0/0"]).encode())
    assert warehouse.load(name).success
    assert len(warehouse.rows("pos", name)) == 2


def test_calls_of_a_replaced_file_never_join_the_rows_of_the_old_one(warehouse: Warehouse, name: str) -> None:
    file = warehouse.drop(f"{name}.vcf", OLD + own_record(name, ["1/1"]).encode())
    warehouse.instance.add_dynamic_partitions("vcf_files", [name])

    result = warehouse.job.execute_in_process(
        instance=warehouse.instance,
        partition_key=name,
        resources={"inbox": meddled(str(warehouse.inbox), "drop", 3, lambda: file.write_bytes(NEW))},
        raise_on_error=False,
    )

    assert not result.success
    assert "changed while it was being loaded" in failure(result)
    assert len(warehouse.rows("pos", name)) == 3, "the old file was whole, and its rows stand"
    loads = warehouse.audit(name, "load_batch_id, status")
    assert loads[0][1] == "completed"
    for table in ("genotypes", "load_samples"):
        assert warehouse.query(
            f"SELECT count(*) FROM genomics.{table} WHERE load_batch_id = %s", loads[0][0]
        ) == [(0,)]


def test_two_loads_of_one_file_at_once_give_its_rows_once(warehouse: Warehouse, name: str) -> None:
    warehouse.drop(f"{name}.vcf", vcf_bytes([*many(3000), own_record(name)]))

    def load(_: int) -> bool:
        instance = dg.DagsterInstance.ephemeral()
        instance.add_dynamic_partitions("vcf_files", [name])
        return warehouse.job.execute_in_process(
            instance=instance, partition_key=name, asset_selection=VCF_AND_VARIANTS, raise_on_error=False
        ).success

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(load, range(2))) == [True, True]

    assert len(warehouse.rows("pos", name)) == 3001
    assert warehouse.audit(name, "status, variants_loaded") == [("completed", 3001)]


def test_migrating_again_keeps_every_row(warehouse: Warehouse, name: str) -> None:
    load_counted(warehouse, name, vcf_bytes([record(pos=950)]))
    count = (
        "SELECT (SELECT count(*) FROM genomics.variants), (SELECT count(*) FROM genomics.variant_load_audit)"
    )
    before = warehouse.query(count)

    assert migrate(warehouse.url) == []

    assert warehouse.query(count) == before


# -- through the inbox ---------------------------------------------------------------------------------------


class Intake:
    """The warehouse's own code location with an inbox of its own, drained as cron would."""

    def __init__(self, warehouse: Warehouse, instance: dg.DagsterInstance, folder: Path) -> None:
        self.instance = instance
        self.folder = folder / "vcf"
        self.folder.mkdir(parents=True)
        self.warehouse = warehouse
        self.ledger = DropLedgerResource(postgres=warehouse.resources["postgres"], settle_seconds=0.05)
        self.lines: list[str] = []

    def drain(self, inbox: InboxResource | None = None) -> int:
        inbox = inbox or InboxResource(url=str(self.folder.parent), drop_ledger=self.ledger)
        resources = {**self.warehouse.resources, "inbox": inbox, "drop_ledger": self.ledger}
        self.lines.clear()

        def told(line: str) -> None:
            # Assets without partitions may be made as well; they are told without a folder of the inbox.
            if " variants/" not in line:
                self.lines.append(line)

        return drain(build_definitions(**resources), self.instance, out=told)


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that keeps schedules too, which the ephemeral one does not."""
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def intake(warehouse: Warehouse, instance: dg.DagsterInstance, tmp_path: Path) -> Intake:
    return Intake(warehouse, instance, tmp_path / "inbox")


def test_a_file_still_being_written_is_not_taken_before_it_holds_still(intake: Intake, name: str) -> None:
    content = vcf_bytes([own_record(name), record(pos=3)])
    file = intake.folder / f"{name}.vcf"
    pieces = iter([content[:300], content[300:600], content[600:-10], content[-10:]])
    looks_with_growth: list[int] = []

    class GrowingInbox(InboxResource):
        def look(self, kind: DropKind) -> Look:
            if piece := next(pieces, None):
                with file.open("ab") as growing:
                    growing.write(piece)
                looks_with_growth.append(len(intake.lines))
            return super().look(kind)

    status = intake.drain(GrowingInbox(url=str(intake.folder.parent), drop_ledger=intake.ledger))

    assert (status, [line.split(":")[0] for line in intake.lines]) == (0, [f"ok      vcf/{name}.vcf"])
    assert looks_with_growth == [0, 0, 0, 0], "nothing was run or told while it grew"
    assert intake.warehouse.audit(name, "status, vcf_file_size") == [("completed", len(content))]


def test_folders_and_links_in_loops_are_named_and_stop_nothing(intake: Intake, name: str) -> None:
    (intake.folder / "folder.vcf").mkdir()
    (intake.folder / "loop.vcf").symlink_to("loop.vcf")
    (intake.folder / "round.vcf").symlink_to(intake.folder)
    os.mkfifo(intake.folder / "pipe.vcf")
    (intake.folder / f"{name}.vcf").write_bytes(vcf_bytes([own_record(name)]))

    assert intake.drain() == 0

    assert sorted(line for line in intake.lines if line.startswith("ignored")) == [
        "ignored vcf/folder.vcf: a folder",
        "ignored vcf/loop.vcf: a link in a loop",
        "ignored vcf/pipe.vcf: neither a file nor a folder",
        "ignored vcf/round.vcf: a link to a folder, which is not followed",
    ]
    assert len(intake.warehouse.rows("pos", name)) == 1


def test_odd_names_load_and_failures_among_them_stop_nothing(intake: Intake, name: str) -> None:
    good = [
        f"{name} with spaces",
        f"{name} naïve 样本",
        f'{name}\'; DROP TABLE "x"; --',
        f"run 1/{name}$(x)%41",
    ]
    for number, key in enumerate(good):
        path = intake.folder / f"{key}.vcf"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(vcf_bytes([own_record(name, more=number)]))
    bad = intake.folder / f"{name} 'bad' ü.vcf"
    bad.write_bytes(vcf_bytes([record(pos="ü")]))

    assert intake.drain() == 1

    assert [line.split()[0] for line in intake.lines].count("ok") == len(good)
    [told] = [line for line in intake.lines if line.startswith("failed")]
    assert told == (
        f"failed  vcf/{bad.name}: {bad}, line {FIRST_RECORD}: POS 'ü' is not a position. Remedy: correct the record, "
        "or write the file again with the tool that made it, and drop it again."
    )
    keys = [key.replace("%", "%25") for key in good]
    assert [len(intake.warehouse.rows("pos", key)) for key in keys] == [1, 1, 1, 1]
    assert intake.warehouse.audit(keys[3], "vcf_file_path") == [
        (f"{intake.folder}/run 1/{name}$(x)%2541.vcf",)
    ]

    assert intake.drain() == 0, "what failed is not tried again until it changes"
    assert {line.split()[0] for line in intake.lines} == {"known"}


@pytest.mark.parametrize("key", ["../outside", "x/../../outside", "/etc/passwd", "./a", "a//b"])
def test_a_key_that_leads_out_of_the_inbox_is_refused(warehouse: Warehouse, key: str) -> None:
    (warehouse.inbox / "vcf").mkdir(parents=True, exist_ok=True)
    (warehouse.inbox / "outside.vcf").write_bytes(vcf_bytes([record(pos=999)]))

    result = warehouse.load(key)

    told = assert_told_once(result)
    assert told == (
        f"vcf/{key}: a partition key must name a place in the inbox. Remedy: use a key that the sensor made."
    )
    assert warehouse.audit(key, "status, error_message, vcf_file_hash, vcf_file_size") == [
        ("failed", told, "0" * 64, None)
    ]
    assert_invisible(warehouse, key)


def test_a_partition_whose_file_is_gone_says_where_it_looked(warehouse: Warehouse, name: str) -> None:
    told = assert_told_once(warehouse.load(name))
    assert f"lies in the inbox {warehouse.inbox}" in told
    assert warehouse.audit(name, "status, error_message") == [("failed", told)]


def test_a_server_that_cannot_take_a_row_closes_the_audit(warehouse: Warehouse, name: str) -> None:
    with warehouse.resources["postgres"].connection() as connection:
        connection.execute("ALTER TABLE genomics.variants ADD CONSTRAINT no_five CHECK (pos <> 555555)")
    try:
        result = warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=555555)]))
    finally:
        with warehouse.resources["postgres"].connection() as connection:
            connection.execute("ALTER TABLE genomics.variants DROP CONSTRAINT no_five")

    assert not result.success
    closed = warehouse.audit(name, "status, error_message")
    assert {status for status, _ in closed} == {"rolled_back"}, "no fault of the file's"
    assert all("no_five" in error for _, error in closed)
    assert_invisible(warehouse, name)
    assert warehouse.load(name).success
