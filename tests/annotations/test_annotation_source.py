"""A source from its drop to its table: keys, types, versions, rollback."""

from __future__ import annotations

from annotation_harness import AF, SIG, SOURCE, AnnotatedWarehouse, materialized, vcf

AF_FIELD = {"field": "AF", "alias": "af"}
SIG_FIELD = {"field": "CLNSIG", "alias": "Sig"}


def test_a_source_becomes_a_table_with_typed_columns(warehouse: AnnotatedWarehouse, source: str) -> None:
    warehouse.put_fields(source, AF_FIELD, SIG_FIELD, {"field": "FILTER", "alias": "filter"})
    done = warehouse.take(
        source,
        vcf("1 100 A C,G AF=0.25,0.5;CLNSIG=Benign,_low", "chr1 200 CACA CA AF=0.125", info=(AF, SIG)),
        name="source_20260104.vcf",
    )
    assert warehouse.anno(source) == [
        ("chr1", 100, "A", "C", 0.25, "Benign,_low", "PASS"),
        ("chr1", 100, "A", "G", 0.5, "Benign,_low", "PASS"),
        ("chr1", 200, "CAC", "C", 0.125, None, "PASS"),
    ]
    assert (done["outcome"], done["dagster/partition_row_count"], done["version"]) == (
        "loaded",
        3,
        "2026-01-04",
    )
    columns = warehouse.query(
        """
        SELECT column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'genomics' AND table_name = %s ORDER BY ordinal_position
        """,
        f"anno_{source}",
    )
    assert dict(columns) == {
        "chrom": "text", "pos": "bigint", "ref": "text", "alt": "text", "af": "real", "sig": "text", "filter": "text",
    }  # fmt: skip
    key = warehouse.query(
        """
        SELECT k.column_name FROM information_schema.table_constraints AS c
        JOIN information_schema.key_column_usage AS k USING (constraint_schema, constraint_name)
        WHERE c.table_schema = 'genomics' AND c.table_name = %s AND c.constraint_type = 'PRIMARY KEY'
        ORDER BY k.ordinal_position
        """,
        f"anno_{source}",
    )
    assert [name for (name,) in key] == ["chrom", "pos", "ref", "alt"]
    assert warehouse.query(
        "SELECT source_type, version, variant_count, field_config -> 0 FROM genomics.annotation_sources WHERE name = %s",
        source,
    ) == [
        (source, "2026-01-04", 3, {"field": "AF", "alias": "af", "type": "real", "description": "Frequency"})
    ]


def test_the_first_of_duplicates_counts(warehouse: AnnotatedWarehouse, source: str) -> None:
    warehouse.put_fields(source, AF_FIELD)
    # The second record is the first one's allele, written longer.
    done = warehouse.take(source, vcf("1 100 CA C AF=0.25", "1 99 GCA GC AF=0.5", "1 100 CA C AF=0.75"))
    assert warehouse.anno(source) == [("chr1", 99, "GCA", "GC", 0.5)] or warehouse.anno(source) == [
        ("chr1", 100, "CA", "C", 0.25)
    ]
    assert "`duplicate_key` | 2" in done["rejected and tolerated"]
    assert (done["alleles_in_file"], done["dagster/partition_row_count"], done["rejected"]) == (3, 1, 2)


def test_the_first_of_duplicates_counts_however_far_apart_they_are(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    between = (f"1 {pos} A C AF=0.5" for pos in range(101, 60_101))
    done = warehouse.take(source, vcf("1 100 CA C AF=0.25", *between, "1 100 CA C AF=0.75"))
    assert warehouse.anno(source)[0] == ("chr1", 100, "CA", "C", 0.25)
    assert "`duplicate_key` | 1" in done["rejected and tolerated"]
    assert (done["dagster/partition_row_count"], done["rejected"]) == (60_001, 1)
    assert warehouse.query(
        "SELECT count(*) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'",
        f"genomics.anno_{source}",
    ) == [(1,)]


def test_what_cannot_be_looked_up_is_rejected_by_reason(warehouse: AnnotatedWarehouse, source: str) -> None:
    warehouse.put_fields(source, AF_FIELD)
    done = warehouse.take(
        source,
        vcf(
            "1 100 A C AF=0.25",
            "1 101 A <DEL> AF=0.25",
            "1 102 A * AF=0.25",
            "1 103 A . AF=0.25",
            "chr1 1000002 A C AF=0.25",
            f"1 104 A {'ACGT' * 700} AF=0.25",
            f"1 105 A {'ACGT' * 600} AF=0.25",
        ),
    )
    [(rejected,)] = warehouse.query(
        "SELECT rejected FROM genomics.annotation_versions WHERE source = %s AND status = 'current'", source
    )
    assert rejected == {
        "no_exact_allele": 2,
        "no_alternate_allele": 1,
        "position_outside_contig": 1,
        "allele_longer_than_key": 1,
    }
    assert done["alleles_in_file"] == done["dagster/partition_row_count"] + done["rejected"] == 7


def test_number_r_is_the_alleles_own_and_a_flag_is_a_boolean(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    info = (
        '##INFO=<ID=AD,Number=R,Type=Integer,Description="d">',
        '##INFO=<ID=GL,Number=G,Type=Float,Description="d">',
        '##INFO=<ID=COMMON,Number=0,Type=Flag,Description="d">',
        '##INFO=<ID=N,Number=1,Type=Integer,Description="d">',
    )
    warehouse.put_fields(
        source,
        {"field": "AD", "alias": "ad"},
        {"field": "GL", "alias": "gl"},
        {"field": "COMMON", "alias": "common"},
        {"field": "N", "alias": "n", "type": "bigint", "missing_value": -1},
    )
    warehouse.take(
        source,
        vcf("1 100 A C,G AD=9,5,3;GL=.1,.2,.3,.4,.5,.6;COMMON;N=9999999999", "1 101 A C AD=7,.", info=info),
    )
    assert warehouse.anno(source, "pos, alt, ad, gl, common, n") == [
        (100, "C", 5, "0.1,0.2,0.3", True, 9999999999),
        (100, "G", 3, "0.1,0.4,0.6", True, 9999999999),
        (101, "C", None, None, False, -1),
    ]


def test_a_value_of_another_type_is_null_and_counted(warehouse: AnnotatedWarehouse, source: str) -> None:
    warehouse.put_fields(
        source, {"field": "AF", "alias": "af"}, {"field": "CLNSIG", "alias": "n", "type": "integer"}
    )
    done = warehouse.take(
        source,
        vcf("1 100 A C AF=high;CLNSIG=7", "1 101 A C AF=0.5;CLNSIG=x", "1 102 A C AF=nan", info=(AF, SIG)),
    )
    assert warehouse.anno(source, "pos, af, n") == [(100, None, 7), (101, 0.5, None), (102, None, None)]
    assert "`value_of_another_type` | 2" in done["rejected and tolerated"]


def test_the_same_content_again_does_nothing(warehouse: AnnotatedWarehouse, source: str) -> None:
    warehouse.put_fields(source, AF_FIELD)
    warehouse.take(source, vcf("1 100 A C AF=0.25"))
    again = warehouse.take(source, vcf("1 100 A C AF=0.25"))
    assert again["outcome"] == "already loaded: the same content stands"
    assert warehouse.query("SELECT count(*) FROM genomics.annotation_versions WHERE source = %s", source) == [
        (1,)
    ]


def test_a_new_file_beside_the_old_one_is_a_new_version_of_the_same_source(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    warehouse.take(
        source, vcf("1 100 A C AF=0.25", "1 101 A C AF=0.5", "1 102 A C AF=0.5"), name="r_20260101.vcf"
    )
    done = warehouse.take(
        source, vcf("1 100 A C AF=0.25", "1 101 A C AF=0.75", "1 103 A C AF=1"), name="r_20260201.vcf"
    )
    assert warehouse.anno(source, "pos, af") == [(100, 0.25), (101, 0.75), (103, 1.0)]
    assert (done["rows added"], done["rows changed"], done["rows removed"]) == (1, 1, 1)
    assert (done["version"], done["last version"]) == ("2026-02-01", "2026-01-01")
    assert (done["files"], done["older files left alone"]) == ("r_20260201.vcf", "r_20260101.vcf")
    assert warehouse.query("SELECT count(*) FROM genomics.annotation_sources WHERE name = %s", source) == [
        (1,)
    ]


def test_files_of_one_release_by_chromosome_are_one_version(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    both = ("chr1,length=1000000", "chr2,length=1000000")
    warehouse.put(source, "rel.v1.0.chr2.vcf", vcf("2 100 A C AF=0.5", contigs=both))
    done = warehouse.take(source, vcf("1 100 A C AF=0.25", contigs=both), name="rel.v1.0.chr1.vcf")
    assert warehouse.anno(source, "chrom, af") == [("chr1", 0.25), ("chr2", 0.5)]
    assert done["version"] == "1.0"


def test_columns_may_come_go_and_change_their_type(warehouse: AnnotatedWarehouse, source: str) -> None:
    one, two = "1 100 A C AF=0.25;CLNSIG=7", "1 101 A C AF=0.5;CLNSIG=8"
    warehouse.put_fields(source, AF_FIELD, {"field": "CLNSIG", "alias": "sig"})
    warehouse.take(source, vcf(one, two, info=(AF, SIG)))
    warehouse.put_fields(
        source, {"field": "CLNSIG", "alias": "sig", "type": "integer"}, {"field": "FILTER", "alias": "passed"}
    )
    warehouse.take(source, vcf(one, two, info=(AF, SIG)))
    assert warehouse.anno(source, "pos, sig, passed") == [(100, 7, "PASS"), (101, 8, "PASS")]
    assert {name for (name,) in warehouse.query(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        f"genomics.anno_{source}",
    )} == {"chrom", "pos", "ref", "alt", "sig", "passed"}  # fmt: skip

    back = materialized(warehouse.load_source(source, rollback=True), SOURCE)

    assert back["outcome"] == "rolled back"
    assert warehouse.anno(source, "pos, af, sig") == [(100, 0.25, "7"), (101, 0.5, "8")]
    assert warehouse.query(f"SELECT {source}__af FROM genomics.annotated_variants LIMIT 1") == []


def test_rollback_brings_the_version_before_back_and_the_file_the_newer_one(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    versions = [
        vcf("1 100 A C AF=0.25", "1 101 A C AF=0.5"),
        vcf("1 100 A C AF=0.5", "1 102 A C AF=0.5"),
        vcf("1 100 A C AF=1"),
    ]
    warehouse.put_fields(source, AF_FIELD)
    seen = []
    for number, version in enumerate(versions):
        warehouse.take(source, version, name=f"r.v1.{number}.vcf")
        seen.append(warehouse.anno(source))

    for expected in (seen[1], seen[0]):
        assert warehouse.load_source(source, rollback=True).success
        assert warehouse.anno(source) == expected
    refused = warehouse.load_source(source, rollback=True)
    assert not refused.success
    assert warehouse.query(
        "SELECT version, variant_count FROM genomics.annotation_sources WHERE name = %s", source
    ) == [("1.0", 2)]

    assert warehouse.load_source(source).success
    assert warehouse.anno(source) == seen[2]
    assert warehouse.query(
        "SELECT status, version FROM genomics.annotation_versions WHERE source = %s ORDER BY version_id",
        source,
    ) == [
        ("replaced", "1.0"),
        ("replaced", "1.1"),
        ("rolled_back", "1.2"),
        ("rolled_back", "1.1"),
        ("replaced", "1.0"),
        ("current", "1.2"),
    ]


def test_retention_drops_what_rollbacks_need_once_it_is_shown(
    warehouse: AnnotatedWarehouse, source: str
) -> None:
    warehouse.put_fields(source, AF_FIELD)
    warehouse.take(source, vcf("1 100 A C AF=0.25"))
    warehouse.take(source, vcf("1 100 A C AF=0.5"))
    resource = warehouse.resources["annotation_warehouse"]
    assert resource.sweep(keep_days=0) == 0, "variants do not show the version yet"
    warehouse.annotate()
    assert resource.sweep(keep_days=1) == 0
    assert resource.sweep(keep_days=0) > 0
    refused = warehouse.load_source(source, rollback=True)
    assert not refused.success
    assert warehouse.anno(source, "af") == [(0.5,)]
