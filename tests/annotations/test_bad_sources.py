"""Sources that cannot be taken: one sentence with the remedy, and the version before stays."""

from __future__ import annotations

import gzip

import pytest
from annotation_harness import SIG, AnnotatedWarehouse, vcf
from run_results import failure

AF_FIELD = {"field": "AF", "alias": "af"}
GOOD = vcf("1 100 A C AF=0.25", "1 101 A C AF=0.5")
ROWS = [("chr1", 100, "A", "C", 0.25), ("chr1", 101, "A", "C", 0.5)]


def refused(warehouse: AnnotatedWarehouse, source: str, **config: object) -> str:
    """The sentence of a version that was refused, as partition and registry show it."""
    result = warehouse.load_source(source, **config)
    assert not result.success
    said = failure(result)
    kept = warehouse.query(
        "SELECT status, error_message FROM genomics.annotation_versions WHERE source = %s "
        "ORDER BY version_id DESC LIMIT 1",
        source,
    )
    assert kept == [("failed", said)]
    assert "Remedy: " in said
    return said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.vcf.gz", gzip.compress(GOOD.encode(), mtime=0)[:-20], "ends in the middle"),
        ("a.vcf", vcf(), "not one usable record"),
        ("a.vcf", vcf("1 100 A . AF=0.1"), "not one usable record (1 no_alternate_allele)"),
        ("a.vcf", vcf("1 100 A C ."), "no record has a value for af"),
        ("a.vcf", vcf("1 100 A C AF=high"), "no record has a value for af"),
        ("a.vcf", vcf("1 x A C AF=0.1"), "a.vcf, line 5: POS 'x' is not a position"),
        ("a.vcf", vcf("1 100 A C CLNSIG=1", info=(SIG,)), "names the INFO key 'AF'"),
        ("a.vcf", "<html>not found</html>", "##fileformat"),
        ("a.tsv", "chrom\tpos\tref\n1\t100\tA\n", "no column 'alt'"),
        (
            "a.tsv",
            "chrom\tpos\tref\talt\tAF\n1\t100\tA\tC\t0.1\n1\t101\tA\n",
            "line 3: a row has another number",
        ),
        ("a.tsv", "chrom\tpos\tref\talt\tAF\n1\tx\tA\tC\t0.1\n", "line 2: POS 'x'"),
        ("a.tsv", "chrom\tpos\tref\talt\n1\t100\tA\tC\n", "names the column 'AF'"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "content",
)
def test_what_cannot_be_taken_leaves_the_version_before(
    warehouse: AnnotatedWarehouse, source: str, name: str, content: str | bytes, said: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    warehouse.take(source, GOOD, name="good.vcf")
    warehouse.put(source, name, content)
    assert said in refused(warehouse, source)
    assert warehouse.anno(source) == ROWS
    built = warehouse.query("SELECT relname FROM pg_class WHERE starts_with(relname, 'annotation_build')")
    assert built == []


def test_a_configuration_that_is_wrong_names_its_file(warehouse: AnnotatedWarehouse, source: str) -> None:
    warehouse.put(source, "a.vcf", GOOD)
    assert "no fields.json in the folder" in refused(warehouse, source)
    warehouse.put(source, "fields.json", '[\n{"field": "AF",]')
    assert "/fields.json, line 2: fields.json is not JSON" in refused(warehouse, source)
    warehouse.put_fields(source, AF_FIELD)
    warehouse.put(source, "source.yaml", "verson: 3")
    assert "unknown key 'verson'. Remedy: write 'version'" in refused(warehouse, source)
    warehouse.put(source, "source.yaml", "version: '3'\ntype: Mine")
    warehouse.take(source, GOOD, name="a.vcf")
    assert warehouse.query(
        "SELECT version, source_type FROM genomics.annotation_sources WHERE name = %s", source
    ) == [("3", "Mine")]


@pytest.mark.parametrize("name", ["x; drop table", "a" * 64, "ClinVar", "größe"])
def test_a_name_from_outside_never_becomes_sql(warehouse: AnnotatedWarehouse, name: str) -> None:
    warehouse.put_fields(name, AF_FIELD)
    warehouse.put(name, "a.vcf", GOOD)
    assert "rename its folder" in refused(warehouse, name)


def test_a_key_that_leads_out_of_the_inbox_is_refused(warehouse: AnnotatedWarehouse) -> None:
    assert "must name a place in the inbox" in refused(warehouse, "../x")


def test_a_version_too_unlike_the_last_is_taken_only_when_it_is_meant(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    many = [f"1 {pos} A C AF=0.5" for pos in range(1, 401)]
    warehouse.take(source, vcf(*many))
    warehouse.put(source, "source.vcf", vcf(*many[:150]))
    assert "150 rows where the last version has 400" in refused(warehouse, source)
    moved = [f"1 {pos} A C AF=0.5" for pos in range(1001, 1401)]
    warehouse.put(source, "source.vcf", vcf(*moved))
    assert "400 of the last version's 400 variants are gone" in refused(warehouse, source)
    assert len(warehouse.anno(source)) == 400
    assert warehouse.load_source(source, accept_any=True).success
    assert warehouse.query(f"SELECT min(pos), count(*) FROM genomics.anno_{source}") == [(1001, 400)]


def test_another_assembly_is_refused(warehouse: AnnotatedWarehouse, source: str, name: str) -> None:
    grch38, grch37 = "chr1,length=248956422", "1,length=249250621"
    warehouse.put_fields(source, AF_FIELD)
    warehouse.take(source, vcf("chr1 100 A C AF=0.5", contigs=(grch38,)))
    warehouse.put(source, "source.vcf", vcf("1 100 A C AF=0.5", contigs=(grch37,)))
    assert "it is of GRCh37, the last version of GRCh38" in refused(warehouse, source)

    warehouse.load_file(f"{name}.vcf", vcf("chr1 100 A C .", contigs=(grch38,)))
    other = f"{source}b"
    warehouse.put_fields(other, AF_FIELD)
    warehouse.put(other, "source.vcf", vcf("1 100 A C AF=0.5", contigs=(grch37,)))
    assert "it is of GRCh37, the variants in the warehouse are of GRCh38" in refused(warehouse, other)


def test_contigs_in_any_style_have_the_warehouses_names(warehouse: AnnotatedWarehouse, source: str) -> None:
    contigs = ("1,length=1000000", "chr2", "NC_000003.12", "NC_000023.11", "NC_012920.1", "MT", "GL000192.1")
    warehouse.put_fields(source, AF_FIELD)
    styles = ("1", "CHR2", "NC_000003.12", "NC_000023.11", "NC_012920.1", "GL000192.1")
    warehouse.take(source, vcf(*(f"{name} 7 A C AF=0.5" for name in styles), contigs=contigs))
    assert {chrom for chrom, *_ in warehouse.anno(source)} == {
        "chr1", "chr2", "chr3", "chrX", "chrM", "GL000192.1",
    }  # fmt: skip


def test_checks_tell_what_is_unusual(warehouse: AnnotatedWarehouse, source: str, name: str) -> None:
    warehouse.load_file(f"{name}.vcf", vcf("1 555 A C ."))
    warehouse.put_fields(source, {"field": "AF", "alias": "my_af", "missing_value": -1})
    warehouse.take(source, vcf("1 9100 A C AF=0.25", "1 9101 A C ."), name="r_20260201.vcf")
    warehouse.put(source, "r_20260101.vcf", vcf("1 9100 A C AF=25", "1 9101 A C ."))
    result = warehouse.load_source(source)
    verdicts = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert verdicts == {
        "keys_unique": True,
        "source_matches_reference": True,
        "frequencies_in_unit": False,
        "fields_covered": True,
        "version_newer": False,
        "held_variants_known": False,
    }
    assert warehouse.check(result, "frequencies_in_unit").metadata["outside_by_column"].value == {"my_af": 1}
