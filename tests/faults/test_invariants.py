"""Whatever is broken across stores is named: which rule, which load, object or job."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from bson import ObjectId
from dead_workers import abandon
from stores import Stores, vcf

from genomics_assets.bmd.experiment import DroppedExperiment
from genomics_assets.bmd.expression_matrix import parse_expression_matrix
from resources.invariants import RULES
from resources.jobs import JobOrigin
from resources.jobs.bmd import BmdRequest
from resources.jobs.comsa import ComsaRequest

MATRIX = "id\ta\tb\tc\td\te\tf\nDose\t0\t0\t1\t1\t2\t2\nP1\t1\t2\t3\t4\t5\t6\nP2\t2\t2\t2\t2\t2\t2\n"
EXPERIMENT = "liver/one"
USER, DATASET, JOB = ObjectId(), ObjectId(), ObjectId()


@pytest.fixture(scope="module", autouse=True)
def filled(stores: Stores) -> None:
    """Two dropped files with calls, an experiment, an association study, a verbal-autopsy job with a file."""
    stores.drop("vcf/family.vcf", vcf(40, samples=("a", "b")))
    stores.drop("vcf/sites.vcf", vcf(10, seed=1))
    # One record has no GT, and therefore no calls.
    half = vcf(10, seed=2, samples=("a",)).replace(b"DP=2\tGT\t0/1\n", b"DP=2\tDP\t7\n", 1)
    stores.drop("vcf/half_called.vcf", half)
    assert stores.drain()[0] == 0
    stores.resources["bmd_store"].save_experiment(
        EXPERIMENT,
        DroppedExperiment("liver", "one", parse_expression_matrix(MATRIX), "/inbox/one.txt", "0" * 64,
                          log_transformation="BASE2", chip="generic", options={}),
    )  # fmt: skip
    stores.resources["comsa_jobs"].open_with_input(
        ComsaRequest("openva_only"), JobOrigin("run key", "batch", str(uuid.uuid4())), "batch.csv", b"id\n1\n"
    )
    study(stores)


def study(stores: Stores) -> None:
    now = datetime.now(UTC)
    raw, table = (
        f"gwas-datasets/{USER}/{DATASET}/raw/a.vcf",
        f"gwas-results/{USER}/{JOB}/associations.parquet",
    )
    for key in (raw, table):
        stores.resources["objects"].put_bytes(key, b"bytes")
    database = stores.resources["mongo"].database()
    result = ObjectId()
    database.users.insert_one({"_id": USER, "role": "user"})
    database.gwas_datasets.insert_one(
        {"_id": DATASET, "user_id": USER, "status": "processed", "storage_path": raw}
    )
    database.gwas_jobs.insert_one(
        {"_id": JOB, "user_id": USER, "dataset_id": DATASET, "status": "completed", "result_id": result,
         "created_at": now}
    )  # fmt: skip
    database.gwas_results.insert_one(
        {"_id": result, "job_id": JOB, "user_id": USER, "dataset_id": DATASET, "associations_path": table}
    )


def found(stores: Stores, *, settled: bool = True) -> dict[str, list[str]]:
    """Subjects by rule."""
    by_rule: dict[str, list[str]] = {}
    for violation in stores.violations(settled=settled):
        assert RULES[violation.rule].remedy in str(violation)
        by_rule.setdefault(violation.rule, []).append(violation.subject)
    return by_rule


def load_id(stores: Stores, key: str = "family") -> str:
    return str(
        stores.query("SELECT load_batch_id FROM genomics.current_loads WHERE partition_key = %s", key)[0][0]
    )


@contextmanager
def without(stores: Stores, table: str, condition: str) -> Iterator[None]:
    """Rows are gone while the block lasts."""
    stores.execute(f"CREATE TABLE public.kept AS SELECT * FROM {table} WHERE {condition}")
    stores.execute(f"DELETE FROM {table} WHERE {condition}")
    try:
        yield
    finally:
        stores.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM public.kept")
        stores.execute("DROP TABLE public.kept")


@contextmanager
def changed(stores: Stores, table: str, column: str, value: object, condition: str) -> Iterator[None]:
    """A column has another value while the block lasts."""
    [(before,)] = stores.query(f"SELECT {column} FROM {table} WHERE {condition}")
    stores.execute(f"UPDATE {table} SET {column} = %s WHERE {condition}", value)
    try:
        yield
    finally:
        stores.execute(f"UPDATE {table} SET {column} = %s WHERE {condition}", before)


@contextmanager
def without_object(stores: Stores, key: str) -> Iterator[None]:
    objects = stores.resources["objects"]
    data = objects.read_bytes(key)
    objects.delete(key)
    try:
        yield
    finally:
        objects.put_bytes(key, data)


@contextmanager
def with_object(stores: Stores, key: str) -> Iterator[None]:
    stores.resources["objects"].put_bytes(key, b"left over")
    try:
        yield
    finally:
        stores.resources["objects"].delete(key)


def test_nothing_is_found_where_all_is_well(stores: Stores) -> None:
    assert stores.violations() == []
    assert stores.query("SELECT count(*) FROM genomics.genotypes") == [(49,)], "there is something to agree"


@pytest.mark.parametrize(
    ("table", "rules"),
    [
        ("genomics.variants", {"variants_differ", "genotypes_differ", "summary_differs", "lake_differs"}),
        ("genomics.genotypes", {"genotypes_differ"}),
        ("genomics.variant_summary", {"summary_differs"}),
        ("genomics.load_samples", {"samples_differ"}),
    ],
)
def test_a_deleted_row_is_named_with_its_load(stores: Stores, table: str, rules: set[str]) -> None:
    column = {"genomics.load_samples": "ordinal = 1", "genomics.variant_summary": "chrom = 'chr1'"}
    one = column.get(table, "chrom = 'chr1' AND pos = 1000")
    with without(stores, table, f"load_batch_id = '{load_id(stores)}' AND {one}"):
        named = found(stores)

    assert set(named) == rules
    assert all(load_id(stores) in subject for subjects in named.values() for subject in subjects)


def test_rows_that_no_complete_load_brought_are_a_partial_batch(stores: Stores) -> None:
    stranger = str(uuid.uuid4())
    stores.execute(
        "INSERT INTO genomics.variants (chrom, pos_range, pos, ref, alt, load_batch_id) "
        "VALUES ('chr1', '[5,6)', 5, 'A', 'G', %s)", stranger
    )  # fmt: skip
    named = found(stores)
    stores.execute("DELETE FROM genomics.variants WHERE load_batch_id = %s", stranger)

    assert named == {"partial_batch_visible": [f"load {stranger}: 1 rows in genomics.variants"]}


def test_an_audit_that_counts_otherwise_is_named(stores: Stores) -> None:
    where = f"load_batch_id = '{load_id(stores, 'sites')}'"
    with changed(stores, "genomics.variant_load_audit", "variants_loaded", 11, where):
        assert set(found(stores)) == {"variants_differ", "total_does_not_add_up"}
    with changed(stores, "genomics.variant_load_audit", "status", "failed", where):
        assert {"pointer_to_no_load", "partial_batch_visible"} <= set(found(stores))


def test_a_load_whose_worker_is_gone_is_named(stores: Stores) -> None:
    dead = str(uuid.uuid4())
    stores.execute(
        "INSERT INTO genomics.variant_load_audit (load_batch_id, vcf_file_path, vcf_file_hash, reference_genome, status) "
        "VALUES (%s, 'x', repeat('0', 64), 'GRCh38', 'started')", dead
    )  # fmt: skip
    assert found(stores) == {"load_without_worker": [f"load {dead}"]}

    stores.sweep()

    assert found(stores) == {}


def test_a_lake_part_is_missed_and_a_strange_one_found(stores: Stores) -> None:
    parts = [k for k in stores.resources["objects"].list("lake") if load_id(stores) in k]
    with without_object(stores, parts[0]):
        assert set(found(stores)) == {"lake_differs"}
    strange = f"lake/variants/chrom=chr1/load_batch_id={uuid.uuid4()}/part.parquet"
    with with_object(stores, strange):
        assert found(stores) == {"lake_part_without_load": [strange]}


def test_a_lake_part_with_fewer_rows_is_named(stores: Stores) -> None:
    import pyarrow.parquet as pq

    objects = stores.resources["objects"]
    [part, *_] = [k for k in objects.list("lake") if load_id(stores) in k]
    whole = objects.read_bytes(part)
    with objects.create(part) as path:
        pq.write_table(pq.read_table(io.BytesIO(whole)).slice(1), path)
    named = found(stores)
    objects.put_bytes(part, whole)

    assert named == {"lake_differs": [f"load {load_id(stores)}: 39 rows in the lake, 40 in the table"]}


def test_a_file_that_left_no_trace_is_lost_only_when_all_is_quiet(stores: Stores) -> None:
    stores.execute(
        "INSERT INTO genomics.drop_ledger (kind, uri, inbox, path, partition_key, size, fingerprint, state, run_key, claim) "
        "VALUES ('vcf', 'u', 'i', 'lost.vcf', 'lost', 1, 'f', 'requested', 'k', gen_random_uuid()), "
        "('vcf', 'v', 'i', 'waits.vcf', 'waits', 1, 'f', 'ready', NULL, NULL)"
    )
    at_work, quiet = found(stores, settled=False), found(stores)
    stores.execute("DELETE FROM genomics.drop_ledger WHERE inbox = 'i'")

    assert at_work == {}
    assert quiet == {"drop_waiting": ["vcf 'waits' is ready"], "drop_without_outcome": ["vcf 'lost'"]}


def test_dose_response_rows_and_objects_must_agree(stores: Stores) -> None:
    [(key,)] = stores.query("SELECT expression_matrix_s3_key FROM bmd.dose_response_experiments")
    with without_object(stores, key):
        assert found(stores) == {"dose_response_object_missing": [key]}
    with with_object(stores, "projects/1/results/77/probe_stats.json.gz"):
        assert set(found(stores)) == {"dose_response_object_without_row"}
    with without(stores, "bmd.probe_responses", "probe_id = 'P2'"):
        [subject] = found(stores)["dose_response_rows_differ"]
    assert subject.startswith("probes of experiment")
    assert subject.endswith("1 rows, 2 counted")


def test_files_of_jobs_must_be_there_in_their_size(stores: Stores) -> None:
    [(key,)] = stores.query("SELECT file_path FROM comsa.job_files")
    with without_object(stores, key):
        assert found(stores) == {"job_file_missing": [f"{key}: no bytes, 5 in the row"]}
    with changed(stores, "comsa.job_files", "file_size", 6, "true"):
        assert found(stores) == {"job_file_missing": [f"{key}: 5 bytes, 6 in the row"]}
    with with_object(stores, f"comsa/jobs/{uuid.uuid4()}/input/x.csv"):
        assert set(found(stores)) == {"job_object_without_row"}


def test_documents_and_their_objects_must_agree(stores: Stores) -> None:
    table = f"gwas-results/{USER}/{JOB}/associations.parquet"
    with without_object(stores, table):
        [subject] = found(stores)["document_mismatch"]
        assert subject.startswith("associations_missing")
    strange = f"gwas-datasets/{USER}/{ObjectId()}"
    with with_object(stores, f"{strange}/raw/a.vcf"):
        assert found(stores) == {
            "object_without_document": [f"objects_without_dataset: gwas_datasets {strange}"]
        }


def test_a_running_job_without_worker_is_stuck_and_a_living_one_is_not(stores: Stores) -> None:
    jobs, store = stores.resources["bmd_jobs"], stores.resources["bmd_store"]
    user, project = store.owner_of(EXPERIMENT)
    job = jobs.begin(BmdRequest(user, "BMD_ANALYSIS", project), JobOrigin("k", EXPERIMENT, str(uuid.uuid4())))
    assert found(stores) == {}

    abandon(job, stores.url)

    assert found(stores) == {"job_without_worker": [f"bmd job {job.id}"]}
    assert [closed.id for closed in jobs.reap()] == [job.id]
    assert found(stores) == {}


def test_a_job_that_no_run_took_up_is_named(stores: Stores) -> None:
    job_id = stores.resources["comsa_jobs"].open(ComsaRequest("openva_only"), JobOrigin("never", "batch"))
    assert found(stores) == {}
    stores.execute("UPDATE comsa.jobs SET created_at = now() - interval '1 hour' WHERE id = %s", job_id)

    assert found(stores) == {"job_never_started": [f"comsa job {job_id}"]}
    stores.execute("DELETE FROM comsa.jobs WHERE id = %s", job_id)


def test_an_annotation_source_has_its_table_with_all_its_rows(stores: Stores) -> None:
    stores.execute(
        "INSERT INTO genomics.annotation_sources (name, field_config, variant_count) VALUES ('mine', '[]', 2)"
    )
    assert found(stores) == {"source_without_table": ["source mine"]}
    stores.execute("CREATE TABLE genomics.anno_mine (chrom text)")
    assert found(stores) == {"source_rows_differ": ["source mine: 0 rows, 2 registered"]}
    stores.execute("DROP TABLE genomics.anno_mine")
    stores.execute("DELETE FROM genomics.annotation_sources")


def test_a_cohort_must_have_the_files_that_its_manifest_names(stores: Stores) -> None:
    manifest = {"files": {"csv": {"key": "cohorts/rare/variants.csv", "size": 3}}}
    objects = stores.resources["objects"]
    objects.put_bytes("cohorts/rare/cohort.json", json.dumps(manifest).encode())
    assert found(stores) == {"cohort_file_missing": ["cohorts/rare/variants.csv"]}
    objects.put_bytes("cohorts/rare/variants.csv", b"abc")
    assert found(stores) == {}
