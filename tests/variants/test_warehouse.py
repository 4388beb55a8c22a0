"""The warehouse as its users see it: tables, views, the audit, the lake, and what a load says of itself."""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from run_results import failure
from vcf_text import CSQ, record, vcf_bytes
from warehouse_harness import Warehouse, metadata

SEED_COLUMNS = {
    "variants": """
        variant_id bigint, chrom chromosome_type, pos_range int8range, pos bigint, end_pos bigint, ref text, alt text,
        qual real, filter text[], variant_type character varying(20), rs_id text, gene character varying(100),
        transcript character varying(255), hgvs_c character varying(255), hgvs_p character varying(255),
        consequence character varying(100), impact character varying(20), is_coding boolean, is_lof boolean,
        af_gnomad real, af_gnomad_popmax real, af_1kg real, cadd_phred real, clinvar_sig character varying(100),
        clinvar_review character varying(50), info jsonb, vep_annotations jsonb, sample_id character varying(255),
        load_batch_id uuid, created_at timestamp with time zone""",
    "variant_load_audit": """
        audit_id bigint, load_batch_id uuid, vcf_file_path text, vcf_file_hash character(64), vcf_file_size bigint,
        load_started_at timestamp with time zone, load_completed_at timestamp with time zone,
        reference_genome character varying(20), vep_version character varying(20),
        snpeff_version character varying(20), clinvar_version date, gnomad_version character varying(20),
        total_variants_in_file bigint, variants_loaded bigint, variants_skipped bigint, samples_count integer,
        status character varying(20), loaded_by character varying(100), error_message text, is_reload boolean,
        previous_load_id uuid""",
    "samples": """
        sample_id integer, external_id character varying(255), family_id character varying(100), sex smallint,
        phenotype smallint, metadata jsonb, created_at timestamp with time zone""",
    "annotation_sources": """
        source_id integer, name character varying(100), source_type character varying(50),
        version character varying(50), vcf_path text, field_config jsonb, loaded_at timestamp with time zone,
        variant_count bigint""",
}


def columns_of(warehouse: Warehouse, table: str) -> dict[str, str]:
    rows = warehouse.query(
        """
        SELECT column_name, coalesce(domain_name, CASE
                 WHEN data_type = 'ARRAY' THEN ltrim(udt_name, '_') || '[]'
                 WHEN character_maximum_length IS NOT NULL THEN data_type || '(' || character_maximum_length || ')'
                 ELSE data_type END)
        FROM information_schema.columns WHERE table_schema = 'genomics' AND table_name = %s
        """,
        table,
    )
    return dict(rows)


@pytest.mark.parametrize("table", SEED_COLUMNS)
def test_the_tables_have_their_columns_and_types(warehouse: Warehouse, table: str) -> None:
    wanted = dict(column.split(maxsplit=1) for column in " ".join(SEED_COLUMNS[table].split()).split(", "))

    found = columns_of(warehouse, table)

    assert {name: found.get(name) for name in wanted} == wanted
    added = set(found) - set(wanted)
    not_null = warehouse.query(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_schema = 'genomics' AND table_name = %s AND is_nullable = 'NO'",
        table,
    )
    assert not added & {name for (name,) in not_null}, "what we add is nullable"


def test_partitions_cover_every_chromosome_and_the_rest(warehouse: Warehouse) -> None:
    bounds = warehouse.query(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class JOIN pg_inherits ON inhrelid = oid "
        "WHERE inhparent = 'genomics.variants'::regclass"
    )
    names = {f"FOR VALUES IN ('chr{name}')" for name in [*range(1, 23), "X", "Y", "M"]}
    assert {bound for (bound,) in bounds} == names | {"DEFAULT"}


def test_a_load_is_audited_and_reconciles(warehouse: Warehouse, name: str) -> None:
    content = vcf_bytes([record(pos=10), record(pos=20, alt="G,T"), record(pos=30, alt=".")])
    path = warehouse.drop(f"{name}.vcf", content)

    result = warehouse.load(name)

    assert result.success
    digest = hashlib.sha256(content).hexdigest()
    assert warehouse.audit(
        name,
        "status, vcf_file_path, vcf_file_hash, vcf_file_size, content_hash, total_variants_in_file, variants_loaded, "
        "variants_skipped, skipped_reasons, samples_count, is_reload, previous_load_id, error_message",
    ) == [
        ("completed", str(path), digest, len(content), digest, 4, 3, 1, {"no_alternate_allele": 1}, 0, False, None, None)
    ]  # fmt: skip
    assert warehouse.rows("pos, ref, alt", name) == [(10, "A", "G"), (20, "A", "G"), (20, "A", "T")]
    told = metadata(result, "variants")
    assert (told["outcome"], told["loaded"], told["skipped"]) == ("loaded", 3, 1)
    assert "no_alternate_allele" in told["skipped and tolerated"]


def test_the_same_bytes_again_add_nothing_and_say_so(warehouse: Warehouse, name: str) -> None:
    content = vcf_bytes([record(pos=11), record(pos=21)])
    warehouse.load_file(f"{name}.vcf", content)

    again = warehouse.load(name)

    assert again.success
    assert metadata(again, "variants")["outcome"] == "already loaded: the same content stands"
    assert metadata(again, "variants")["loaded"] == 0
    assert len(warehouse.rows("pos", name)) == 2
    assert warehouse.audit(name, "status") == [("completed",)]


def test_the_same_records_compressed_anew_are_known(warehouse: Warehouse, name: str) -> None:
    content = vcf_bytes([record(pos=12), record(pos=22)])
    warehouse.load_file(f"{name}.vcf", content)

    packed = warehouse.load_file(f"{name}packed.vcf.gz", gzip.compress(content))

    assert packed.success
    assert (
        metadata(packed, "variants")["outcome"]
        == f"already loaded: the same content stands, dropped as {name!r}"
    )
    assert warehouse.query("SELECT count(*) FROM genomics.variants WHERE pos IN (12, 22)") == [(2,)]
    assert len(warehouse.rows("pos", f"{name}packed")) == 2, "both files stand on the one load"
    assert warehouse.audit(f"{name}packed", "status, variants_loaded") == [("rolled_back", 0)]


def test_other_bytes_replace_the_rows_and_keep_the_chain(warehouse: Warehouse, name: str) -> None:
    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=13)], samples=()))
    [(first,)] = warehouse.audit(name, "load_batch_id")

    again = warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=14), record(pos=15)]))

    assert metadata(again, "variants")["outcome"] == "reloaded: the file changed"
    assert warehouse.rows("pos", name) == [(14,), (15,)]
    assert warehouse.query("SELECT count(*) FROM genomics.variants WHERE load_batch_id = %s", first) == [(0,)]
    [before, after] = warehouse.audit(
        name, "status, is_reload, previous_load_id, superseded_by, load_batch_id"
    )
    assert before[:3] == ("completed", False, None)
    assert after[:3] == ("completed", True, first)
    assert before[3] == after[4]
    lake = list((warehouse.objects / "lake").rglob("*.parquet"))
    assert not [part for part in lake if str(first) in str(part)], "the lake lets go of the old load"
    assert warehouse.query(
        "SELECT count(*) FROM genomics.variant_summary WHERE load_batch_id = %s", first
    ) == [(0,)]


def test_content_that_two_files_share_outlives_a_change_of_one(warehouse: Warehouse, name: str) -> None:
    shared = vcf_bytes([record(pos=16)])
    warehouse.load_file(f"{name}a.vcf", shared)
    warehouse.load_file(f"{name}b.vcf", shared)

    warehouse.load_file(f"{name}a.vcf", vcf_bytes([record(pos=17)]))

    assert warehouse.rows("pos", f"{name}a") == [(17,)]
    assert warehouse.rows("pos", f"{name}b") == [(16,)]

    warehouse.load_file(f"{name}b.vcf", vcf_bytes([record(pos=18)]))

    assert warehouse.rows("pos", f"{name}b") == [(18,)]
    assert warehouse.query("SELECT count(*) FROM genomics.variants WHERE pos = 16") == [(0,)]


def test_a_file_that_turns_bad_leaves_its_rows_standing(warehouse: Warehouse, name: str) -> None:
    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=19)]))

    bad = warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=23), "1\tnot a number\t.\tA\tG\t.\t.\t."]))

    assert f"{name}.vcf, line" in failure(bad)
    assert "Remedy:" in failure(bad)
    assert warehouse.rows("pos", name) == [(19,)]
    assert [status for (status,) in warehouse.audit(name, "status")] == ["completed", "failed"]
    assert warehouse.audit(name, "error_message")[1] == (failure(bad),)


def test_a_dead_workers_load_is_closed_by_the_next_one(warehouse: Warehouse, name: str) -> None:
    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=24)]))
    import psycopg

    with psycopg.connect(warehouse.url) as connection:
        connection.execute(
            "INSERT INTO genomics.variant_load_audit (load_batch_id, vcf_file_path, vcf_file_hash, reference_genome, "
            "status, partition_key) VALUES (gen_random_uuid(), 'x', repeat('0', 64), 'GRCh38', 'started', %s)",
            (name,),
        )

    warehouse.load_file(f"{name}other.vcf", vcf_bytes([record(pos=25)]))

    [_, (status, error)] = warehouse.audit(name, "status, error_message")
    assert status == "rolled_back"
    assert "nothing of it was visible" in error


def test_people_come_from_header_and_pedigree_and_conflicts_are_reported(
    warehouse: Warehouse, name: str
) -> None:
    one, two, father = f"{name}1", f"{name}2", f"{name}f"
    warehouse.drop(f"{name}.ped", f"F1\t{one}\t{father}\t0\t2\t2\nF1\t{father}\t0\t0\t1\t1\n")
    first = warehouse.load_file(f"{name}.vcf", vcf_bytes([record(calls=["0/1", "1/1"])], samples=[one, two]))
    assert first.success, failure(first)

    warehouse.drop(f"{name}next.ped", f"F9\t{one}\t0\t0\t2\t2\nF1\t{two}\t0\t0\t1\t1\n")
    second = warehouse.load_file(
        f"{name}next.vcf", vcf_bytes([record(pos=26, calls=["0/1", "1/1"])], samples=[one, two])
    )

    people = warehouse.query(
        "SELECT external_id, family_id, sex, phenotype, metadata FROM genomics.samples WHERE external_id LIKE %s "
        "ORDER BY external_id",
        f"{name}%",
    )
    assert people == [
        (one, "F1", 2, 2, {"father": father}),
        (two, "F1", 1, 1, {}),
        (father, "F1", 1, 1, {}),
    ]
    assert metadata(first, "samples")["new"] == 3
    told = metadata(second, "samples")
    assert (told["new"], told["filled_from_pedigree"], told["conflicts"]) == (0, 1, "1 family_id")
    conflicts = warehouse.query(
        "SELECT field, known_value, file_value FROM genomics.sample_conflicts WHERE external_id = %s", one
    )
    assert conflicts == [("family_id", "F1", "F9")]
    everything = " ".join(str(event) for run in (first, second) for event in run.all_events)
    assert one not in everything.replace(f"{one}.vcf", ""), "names of people never reach the event log"


def test_a_sites_file_can_belong_to_one_sample(warehouse: Warehouse, name: str) -> None:
    warehouse.drop(f"{name}.yaml", f"sample_id: {name}S\nreference_genome: GRCh37\n")
    result = warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=27)]))
    assert result.success, failure(result)
    assert warehouse.rows("sample_id", name) == [(f"{name}S",)]
    assert warehouse.audit(name, "reference_genome") == [("GRCh37",)]
    assert warehouse.query("SELECT count(*) FROM genomics.samples WHERE external_id = %s", f"{name}S") == [
        (1,)
    ]


def test_a_changed_sidecar_loads_the_same_bytes_anew(warehouse: Warehouse, name: str) -> None:
    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=28)]))
    warehouse.drop(f"{name}.yaml", f"sample_id: {name}S\n")

    again = warehouse.load(name)

    assert metadata(again, "variants")["outcome"] == "reloaded: the file changed"
    assert warehouse.rows("sample_id", name) == [(f"{name}S",)]


def test_one_persons_calls_in_a_region(warehouse: Warehouse, name: str) -> None:
    samples = [f"{name}A", f"{name}B", f"{name}C"]
    calls = [
        record("X", 100, calls=["0/1:30:99", "1:20:50", "./.:.:."], keys="GT:DP:GQ"),
        record("X", 200, alt="G,T", calls=["1|2:70000:99", "0/2", "2/2:5"], keys="GT:DP:GQ"),
        record("X", 900, calls=["1/1", "0/0", "./1"], keys="GT"),
    ]
    warehouse.load_file(f"{name}.vcf", vcf_bytes(calls, samples=samples))

    def calls_of(sample: str) -> list[tuple[object, ...]]:
        return warehouse.query(
            "SELECT pos, alt, alt_copies, ploidy, phased, other_allele, dp, gq FROM genomics.sample_genotypes "
            "WHERE external_id = %s AND chrom = 'chrX' AND pos BETWEEN 50 AND 500 ORDER BY pos, alt",
            sample,
        )

    assert calls_of(samples[0]) == [
        (100, "G", 1, 2, False, False, 30, 99),
        (200, "G", 1, 2, True, True, 65534, 99),
        (200, "T", 1, 2, True, True, 65534, 99),
    ]
    assert calls_of(samples[1]) == [
        (100, "G", 1, 1, False, False, 20, 50),
        (200, "G", 0, 2, False, True, None, None),
        (200, "T", 1, 2, False, False, None, None),
    ]
    assert calls_of(samples[2])[0] == (100, "G", None, 0, False, False, None, None)
    assert warehouse.rows("call_rate, n_het, n_hom_alt, aaf", name)[0] == (
        pytest.approx(2 / 3), 1, 1, pytest.approx(2 / 3)
    )  # fmt: skip


def test_every_transcript_is_there_by_field_name(warehouse: Warehouse, name: str) -> None:
    fields = "Allele|Consequence|IMPACT|SYMBOL|Feature|HGVSc|SIFT"
    entries = (
        "G|intron_variant|MODIFIER|AAA|T1||,G|stop_gained|HIGH|AAA|T2|T2:c.5A>G|,"
        "T|missense_variant|MODERATE|BBB|T3||low(0.1)"
    )
    content = vcf_bytes([record(pos=29, alt="G,T", info=f"CSQ={entries}")], more_header=[CSQ.format(fields)])
    warehouse.load_file(f"{name}.vcf", content)

    assert warehouse.rows("alt, gene, transcript, consequence, impact, is_coding, is_lof", name) == [
        ("G", "AAA", "T2", "stop_gained", "HIGH", True, True),
        ("T", "BBB", "T3", "missense_variant", "MODERATE", True, False),
    ]
    found = warehouse.query(
        "SELECT alt, source, transcript, consequence, hgvs_c, fields ->> 'SIFT' FROM genomics.transcript_consequences "
        "JOIN genomics.current_loads USING (load_batch_id) WHERE partition_key = %s ORDER BY alt, entry",
        name,
    )
    assert found == [
        ("G", "CSQ", "T1", "intron_variant", None, None),
        ("G", "CSQ", "T2", "stop_gained", "T2:c.5A>G", None),
        ("T", "CSQ", "T3", "missense_variant", None, "low(0.1)"),
    ]


def test_a_region_finds_long_deletions_that_begin_far_before_it(warehouse: Warehouse, name: str) -> None:
    warehouse.load_file(
        f"{name}.vcf",
        vcf_bytes(
            [
                record("20", 1_000, alt="<DEL>", info="END=900000"),
                record("20", 499_990, ref="ACGTACGTACGT", alt="A"),
                record("20", 500_000),
                record("20", 500_100),
                record("20", 500_101),
            ]
        ),
    )
    found = warehouse.query(
        "SELECT pos FROM genomics.variants_overlapping('chr20', 500000, 500100) ORDER BY pos"
    )
    # The deletion of 11 bases is trimmed to none: it spans 499,990 to 500,001.
    assert found == [(1_000,), (499_990,), (500_000,), (500_100,)]
    assert warehouse.query("SELECT pos FROM genomics.variants_overlapping('chr20', 900000, 900000)") == [
        (1_000,)
    ]
    assert warehouse.query("SELECT pos FROM genomics.variants_overlapping('chr20', 900001, 900001)") == []


def test_other_contigs_live_under_their_own_name(warehouse: Warehouse, name: str) -> None:
    rows = [record(contig, 5) for contig in ("MT", "chrM", "HLA-A*01:01:01:01", "chr1_KI270706v1_random")]
    result = warehouse.load_file(f"{name}.vcf", vcf_bytes(rows))
    assert result.success
    assert [chrom for (chrom,) in warehouse.rows("chrom", name)] == [
        "chrM", "chrM", "HLA-A*01:01:01:01", "chr1_KI270706v1_random",
    ]  # fmt: skip
    [check] = [found for found in result.get_asset_check_evaluations() if found.check_name == "contigs_known"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN


def test_duckdb_reads_the_lake_in_one_line(warehouse: Warehouse, name: str) -> None:
    rows = [record("2", 300), record("2", 100), record("HLA-A*01:01", 7)]
    warehouse.load_file(f"{name}.vcf", vcf_bytes(rows))
    lake = warehouse.objects / "lake" / "variants"
    [(load_id,)] = warehouse.audit(name, "load_batch_id::text")

    found = duckdb.sql(
        f"SELECT chrom, pos, pos_range.upper, ref, alt FROM read_parquet('{lake}/*/*/*.parquet', hive_partitioning = true) "
        f"WHERE load_batch_id::text = '{load_id}'"
    ).fetchall()

    assert sorted(found) == [
        ("HLA-A*01:01", 7, 8, "A", "G"),
        ("chr2", 100, 101, "A", "G"),
        ("chr2", 300, 301, "A", "G"),
    ]
    part = Path(lake / "chrom=chr2" / f"load_batch_id={load_id}" / "part.parquet")
    assert duckdb.sql(f"SELECT pos FROM '{part}'").fetchall() == [(100,), (300,)], "sorted by position"


def test_an_empty_but_valid_file_is_a_load_of_no_rows(warehouse: Warehouse, name: str) -> None:
    result = warehouse.load_file(f"{name}.vcf", vcf_bytes([]))
    assert result.success, failure(result)
    assert warehouse.rows("pos", name) == []
    assert warehouse.audit(name, "status, total_variants_in_file, variants_loaded") == [("completed", 0, 0)]


def test_each_load_shows_tables_and_pictures(warehouse: Warehouse, name: str) -> None:
    result = warehouse.load_file(
        f"{name}.vcf", vcf_bytes([record(pos=31), record("X", 5, ref="AT", alt="A")])
    )
    summary = metadata(result, "variant_summary")
    assert "data:image/png;base64," in summary["by chromosome and type"]
    assert "data:image/png;base64," in summary["allele frequencies"]
    assert "Ti/Tv" in summary["summary"]
    stored = warehouse.query(
        "SELECT chrom, variant_type, variants, transitions FROM genomics.variant_summary "
        "JOIN genomics.current_loads USING (load_batch_id) WHERE partition_key = %s ORDER BY chrom",
        name,
    )
    assert stored == [("chr1", "snp", 1, 1), ("chrX", "indel", 1, 0)]
    header = metadata(result, "vcf_files")["header"]
    assert "VCFv4.3" in header


def test_a_sweep_closes_dead_loads_and_deletes_what_superseded_ones_left(
    warehouse: Warehouse, name: str
) -> None:
    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=41)]))
    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=42)]))
    import psycopg

    [(first,), _] = warehouse.audit(name, "load_batch_id")
    with psycopg.connect(warehouse.url) as connection:
        connection.execute(
            "INSERT INTO genomics.variant_summary SELECT %s, 'chr1', 'snp', 1, 1, 0, 0, 0, 0", (first,)
        )
        connection.execute(
            "INSERT INTO genomics.variant_load_audit (load_batch_id, vcf_file_path, vcf_file_hash, reference_genome, "
            "status, partition_key) VALUES (gen_random_uuid(), 'x', repeat('0', 64), 'GRCh38', 'started', %s)",
            (name,),
        )

    nightly = warehouse.definitions.resolve_job_def("maintenance").execute_in_process(
        instance=warehouse.instance, raise_on_error=False
    )

    assert nightly.success
    assert warehouse.rows("pos", name) == [(42,)]
    assert warehouse.query(
        "SELECT count(*) FROM genomics.variant_summary WHERE load_batch_id = %s", first
    ) == [(0,)]
    assert [status for (status,) in warehouse.audit(name, "status")] == [
        "completed",
        "completed",
        "rolled_back",
    ]


def test_a_load_that_is_being_replaced_is_never_adopted(warehouse: Warehouse, name: str) -> None:
    import psycopg

    old = vcf_bytes([record(pos=51)])
    warehouse.load_file(f"{name}.vcf", old)
    warehouse.load_file(f"{name}new.vcf", vcf_bytes([record(pos=52)]))
    [(first,)] = warehouse.audit(name, "load_batch_id")
    [(second,)] = warehouse.audit(f"{name}new", "load_batch_id")
    replacing = threading.Event()

    def replace() -> None:
        with psycopg.connect(warehouse.url) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('current loads', 1))")
            connection.execute(
                "UPDATE genomics.current_loads SET load_batch_id = %s WHERE partition_key = %s",
                (second, name),
            )
            connection.execute(
                "UPDATE genomics.variant_load_audit SET superseded_by = %s WHERE load_batch_id = %s",
                (second, first),
            )
            connection.execute("DELETE FROM genomics.variants WHERE load_batch_id = %s", (first,))
            replacing.set()
            time.sleep(1.5)

    other = threading.Thread(target=replace)
    other.start()
    replacing.wait()
    result = warehouse.load_file(f"{name}copy.vcf", old)
    other.join()

    assert result.success
    assert warehouse.rows("pos", f"{name}copy") == [(51,)]


def test_calls_of_a_new_version_never_join_the_rows_of_the_old(warehouse: Warehouse, name: str) -> None:
    from genomics_assets.variants.assets import genotypes, variants, vcf_files

    one, two = f"{name}1", f"{name}2"
    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=61, calls=["0/1", "1/1"])], samples=[one, two]))
    warehouse.drop(f"{name}.vcf", vcf_bytes([record(pos=61, calls=["0/0", "0/0"])], samples=[two, one]))

    result = dg.materialize(
        [vcf_files, variants, genotypes],
        selection=[vcf_files, genotypes],
        partition_key=name,
        instance=warehouse.instance,
        resources=warehouse.resources,
        raise_on_error=False,
    )

    assert "only the rows of an older version" in failure(result)
    found = warehouse.query(
        "SELECT external_id, alt_copies FROM genomics.sample_genotypes WHERE external_id = ANY(%s) ORDER BY 1",
        [one, two],
    )
    assert found == [(one, 1), (two, 2)]


def test_calls_of_a_replaced_load_are_not_visible(warehouse: Warehouse, name: str) -> None:
    from genomics_assets.variants.assets import variants, vcf_files

    warehouse.load_file(f"{name}.vcf", vcf_bytes([record(pos=71, calls=["0/1"])], samples=[name]))
    warehouse.drop(f"{name}.vcf", vcf_bytes([record(pos=72, calls=["0/1"])], samples=[name]))
    result = dg.materialize(
        [vcf_files, variants], partition_key=name, instance=warehouse.instance, resources=warehouse.resources
    )
    assert result.success
    assert warehouse.query("SELECT pos FROM genomics.sample_genotypes WHERE external_id = %s", name) == []
