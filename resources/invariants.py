"""What must hold across all stores, whatever was killed, cut off, restored or dropped at once.

Counts in files, audit, tables, genotypes, lake, documents and objects agree; no part of a batch is visible; no row
lacks its object, no object its row; each job has ended or is alive. `check_invariants` looks, and changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, LiteralString

from genomics_assets.annotations.cohort import FOLDER, MANIFEST
from genomics_assets.jobs.states import JobState
from resources.bmd_store import BmdStore
from resources.jobs import BmdJobs, ComsaJobs, GwasJobs, JobLedger
from resources.jobs.liveness import lock_name, lost_worker
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource
from resources.variant_lake import LAKE_FOLDER, VariantLake, part_key
from resources.zygotrix_store import ZygotrixStore

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

NEVER_STARTED_SECONDS = 900.0
"""A run that was asked for exists within seconds; this long after, its request was lost."""

Domain = Literal[
    "drops", "variants", "annotations", "gwas and zygotrix", "bmd", "verbal autopsy", "jobs", "cohorts"
]


@dataclass(frozen=True)
class Rule:
    """One thing that must hold.

    Attributes:
        domain: whose data.
        broken: what it means when it does not hold.
        remedy: what to do then.
        is_error: whether data contradict each other; else it is left-overs that housekeeping removes.
    """

    domain: Domain
    broken: str
    remedy: str
    is_error: bool = True


_RELOAD = "materialize the file's partition again"
_RESTORE = "restore it from a backup, or materialize the partition again"
_SWEEP = "run the job `maintenance`, which runs every night"
_JANITOR = "materialize bmd/storage_janitor"
_REAP = "keep the daemon running, whose sensor job_liveness closes it, or run `drain`"

RULES: Mapping[str, Rule] = {
    "drop_without_outcome": Rule("drops", "a dropped file that was asked for and left no trace", _RELOAD),
    "drop_waiting": Rule("drops", "a dropped file that nothing took", "run `drain`, or start the daemon"),
    "file_without_outcome": Rule("variants", "a file in vcf_files that was neither loaded nor refused", _RELOAD),
    "pointer_to_no_load": Rule("variants", "a file that stands on a load which is not complete", _RELOAD),
    "load_not_pointed_at": Rule("variants", "a complete load that no file stands on", _RELOAD),
    "total_does_not_add_up": Rule("variants", "an audit whose total is not loaded plus skipped", _RELOAD),
    "variants_differ": Rule("variants", "a load with other rows in genomics.variants than its audit says", _RELOAD),
    "partial_batch_visible": Rule("variants", "rows of a load that never completed", _SWEEP),
    "genotypes_differ": Rule("variants", "a load with calls for other variants than it has", _RELOAD),
    "samples_differ": Rule("variants", "a load whose columns are not all tied to samples", _RELOAD),
    "summary_differs": Rule("variants", "a load whose summary counts other rows than it has", _RELOAD),
    "lake_differs": Rule("variants", "a load with other rows in the lake than in the table", _RELOAD),
    "rows_of_replaced_load": Rule("variants", "rows of a load that another one replaced", _SWEEP, False),
    "lake_part_without_load": Rule("variants", "a lake object of a load that is not current", _SWEEP, False),
    "load_without_worker": Rule("variants", "an open load whose worker is gone", _SWEEP, False),
    "source_without_table": Rule("annotations", "an annotation source without its table", _RESTORE),
    "source_rows_differ": Rule("annotations", "an annotation source with other rows than it registered", _RESTORE),
    "source_version_differs": Rule("annotations", "an annotation source whose version is not current", _RESTORE),
    "dose_response_rows_differ": Rule("bmd", "an experiment or result with other rows than it counts", _RELOAD),
    "dose_response_object_missing": Rule("bmd", "a row that names an object which is not there", _RESTORE),
    "dose_response_result_misplaced": Rule("bmd", "a result that is not the bytes that were written", _RESTORE),
    "dose_response_object_without_row": Rule("bmd", "an object that no row names", _JANITOR, False),
    "document_mismatch": Rule("gwas and zygotrix", "documents or objects that do not fit together", "run `repair_store`"),
    "object_without_document": Rule(
        "gwas and zygotrix", "an object that no document leads to", "run `repair_store` with remove_objects", False
    ),
    "job_file_missing": Rule("verbal autopsy", "a job's file without its object, or of another size", _RESTORE),
    "job_object_without_row": Rule("verbal autopsy", "an object that no row of job_files names", "delete it", False),
    "job_without_result": Rule("jobs", "a completed job whose result is not there", _RELOAD),
    "job_without_worker": Rule("jobs", "a running job whose worker is gone", _REAP, False),
    "job_never_started": Rule("jobs", "a job that no run took up", _REAP, False),
    "cohort_file_missing": Rule("cohorts", "a cohort's manifest that names a missing or changed file", _RELOAD),
}  # fmt: skip


@dataclass(frozen=True)
class Violation:
    """One thing that does not hold.

    Attributes:
        rule: its name in `RULES`.
        subject: which load, job, object or row, and by how much; ids, keys and counts, never contents.
    """

    rule: str
    subject: str

    @property
    def is_error(self) -> bool:
        """Whether data contradict each other; else it is left-overs that housekeeping removes."""
        return RULES[self.rule].is_error

    def __str__(self) -> str:
        rule = RULES[self.rule]
        return f"{self.rule}: {self.subject} ({rule.broken}). Remedy: {rule.remedy}."


def check_invariants(
    postgres: PostgresResource,
    mongo: MongoResource | None,
    objects: ObjectStoreResource | None,
    *,
    settled: bool = False,
    deep: bool = True,
) -> list[Violation]:
    """Everything that does not hold, in the order of the rules; empty when all is well.

    It looks twice where it finds something: work under way moves from one look to the next, defects stay.

    Args:
        postgres: the database.
        mongo: the document store; None: leave out what is kept there.
        objects: the object store; None: leave out what is kept there.
        settled: nothing is under way, so that a dropped file without an outcome is lost, and every load is whole.
        deep: also read objects: lake parts' row counts, and results whose hash the row knows.

    Raises:
        PostgresError, MongoError, ObjectStoreError: a store does not answer.
    """
    look = _Look(postgres, mongo, objects, settled, deep)
    first = look.violations()
    if not first:
        return []
    second = set(look.violations())
    return sorted({v for v in first if v in second}, key=lambda v: (list(RULES).index(v.rule), v.subject))


class _Look:
    """One look at all stores."""

    def __init__(
        self,
        postgres: PostgresResource,
        mongo: MongoResource | None,
        objects: ObjectStoreResource | None,
        settled: bool,
        deep: bool,
    ) -> None:
        self.postgres = postgres
        self.mongo = mongo
        self.objects = objects
        self.settled = settled
        self.deep = deep

    def violations(self) -> list[Violation]:
        parts: list[Callable[[], Iterator[Violation]]] = [
            self._in_the_database,
            self._open_loads,
            self._jobs,
            *([self._lake, self._dose_response, self._verbal_autopsy, self._cohorts] if self.objects else []),
            *([self._documents] if self.mongo and self.objects else []),
            *([self._drops] if self.settled else []),
        ]
        return [violation for part in parts for violation in part()]

    # -- Postgres ----------------------------------------------------------------------------------------------------

    def _in_the_database(self) -> Iterator[Violation]:
        with _snapshot(self.postgres) as connection:
            for rule, query in _QUERIES.items():
                for (subject,) in connection.execute(query, {"settled": self.settled}).fetchall():
                    yield Violation(rule, subject)
            yield from _sources(connection)

    def _open_loads(self) -> Iterator[Violation]:
        with self.postgres.connection() as connection:
            rows = connection.execute(
                "SELECT load_batch_id FROM genomics.variant_load_audit "
                "WHERE status = 'started' AND pg_try_advisory_xact_lock(hashtextextended(load_batch_id::text, 0))"
            ).fetchall()
        for (load_id,) in rows:
            yield Violation("load_without_worker", f"load {load_id}")

    def _drops(self) -> Iterator[Violation]:
        with _snapshot(self.postgres) as connection:
            for kind, key, state in connection.execute(_UNFINISHED_DROPS).fetchall():
                yield Violation("drop_waiting", f"{kind} {key!r} is {state}")
            for kind, key in connection.execute(_LOST_DROPS).fetchall():
                yield Violation("drop_without_outcome", f"{kind} {key!r}")
            for (key,) in connection.execute(_LOST_FILES).fetchall():
                yield Violation("file_without_outcome", f"vcf {key!r}")

    # -- jobs --------------------------------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[Violation]:
        ledgers: list[JobLedger] = [
            ComsaJobs(postgres=self.postgres, objects=self.objects or ObjectStoreResource()),
            BmdJobs(postgres=self.postgres),
        ]
        if self.mongo is not None:
            ledgers.append(GwasJobs(postgres=self.postgres, mongo=self.mongo))
        for ledger in ledgers:
            yield from stuck_jobs(ledger)

    # -- the object store --------------------------------------------------------------------------------------------

    def _lake(self) -> Iterator[Violation]:
        lake = VariantLake(objects=self._objects)
        with _snapshot(self.postgres) as connection:
            rows: dict[UUID, dict[str, int]] = defaultdict(dict)
            for load_id, chrom, count in connection.execute(_ROWS_BY_CHROMOSOME).fetchall():
                rows[load_id][chrom] = count
        parts: dict[str, set[str]] = defaultdict(set)
        for key in self._objects.list(LAKE_FOLDER):
            parts[key.split("/")[-2].removeprefix("load_batch_id=")].add(key)
        for load_id, by_chromosome in rows.items():
            found = parts.pop(str(load_id), set())
            wanted = {part_key(chrom, load_id) for chrom in by_chromosome}
            # A load gets its parts when variants_lake is materialized; before that it has none at all.
            if found != wanted and (found or self.settled):
                yield Violation(
                    "lake_differs", f"load {load_id}: {len(found)} parts, {len(wanted)} chromosomes"
                )
            elif found and self.deep:
                held, total = lake.count_rows(load_id, by_chromosome), sum(by_chromosome.values())
                if held != total:
                    yield Violation(
                        "lake_differs", f"load {load_id}: {held} rows in the lake, {total} in the table"
                    )
        for left in sorted(key for keys in parts.values() for key in keys):
            yield Violation("lake_part_without_load", left)

    def _dose_response(self) -> Iterator[Violation]:
        store = BmdStore(postgres=self.postgres, objects=self._objects)
        survey = store.survey()
        for key in survey.missing:
            yield Violation("dose_response_object_missing", key)
        for key in sorted(survey.garbage):
            yield Violation("dose_response_object_without_row", key)
        if not self.deep or survey.missing:
            return
        for problem in store.misplaced_results():
            yield Violation("dose_response_result_misplaced", problem)

    def _verbal_autopsy(self) -> Iterator[Violation]:
        with _snapshot(self.postgres) as connection:
            named = dict(connection.execute("SELECT file_path, file_size FROM comsa.job_files").fetchall())
        found = self._objects.sizes("comsa/jobs")
        for key, size in sorted(named.items()):
            if key not in found or (size is not None and size != found[key]):
                yield Violation("job_file_missing", f"{key}: {found.get(key, 'no')} bytes, {size} in the row")
        for key in sorted(set(found) - set(named)):
            yield Violation("job_object_without_row", key)

    def _cohorts(self) -> Iterator[Violation]:
        import json

        found = self._objects.sizes(FOLDER)
        for key in sorted(found):
            if not key.endswith(f"/{MANIFEST}"):
                continue
            for file in json.loads(self._objects.read_bytes(key))["files"].values():
                if found.get(file["key"]) != file["size"]:
                    yield Violation("cohort_file_missing", str(file["key"]))

    def _documents(self) -> Iterator[Violation]:
        assert self.mongo is not None  # noqa: S101 - asked for only then
        for finding in ZygotrixStore(mongo=self.mongo, objects=self._objects).findings():
            subject = f"{finding.kind}: {finding.collection} {finding.id}"
            if finding.rule.is_error:
                yield Violation("document_mismatch", subject)
            elif finding.rule.check != "no_orphans":
                # Whose owner is not in `users` belongs to a person who was never exported: nothing contradicts it.
                yield Violation("object_without_document", subject)

    @property
    def _objects(self) -> ObjectStoreResource:
        assert self.objects is not None  # noqa: S101 - asked for only then
        return self.objects


def stuck_jobs(ledger: JobLedger) -> Iterator[Violation]:
    """Jobs of a ledger that are open and that nobody works on."""
    for job in ledger.store.open_jobs():
        name = f"{ledger.store.name} job {job.id}"
        if job.state is JobState.RUNNING:
            with lost_worker(ledger.postgres, lock_name(ledger.store.name, job.id)) as is_lost:
                if is_lost:
                    yield Violation("job_without_worker", name)
        elif job.run_id is None and job.age > NEVER_STARTED_SECONDS:
            yield Violation("job_never_started", name)


def _sources(connection: psycopg.Connection[Any]) -> Iterator[Violation]:
    """Each annotation source has its table, with as many rows as its current version registered."""
    from psycopg import sql

    sources = connection.execute(
        """
        SELECT s.name, s.variant_count, s.version_id,
               to_regclass(format('genomics.%I', 'anno_' || s.name)) IS NOT NULL,
               EXISTS (SELECT FROM genomics.annotation_versions AS v
                       WHERE v.version_id = s.version_id AND v.status = 'current')
        FROM genomics.annotation_sources AS s ORDER BY s.name
        """
    ).fetchall()
    for name, registered, version_id, has_table, is_current in sources:
        if not has_table:
            yield Violation("source_without_table", f"source {name}")
            continue
        if version_id is not None and not is_current:
            yield Violation("source_version_differs", f"source {name}: version {version_id}")
        table = sql.Identifier("genomics", f"anno_{name}")
        [(rows,)] = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchall()
        if rows != registered:
            yield Violation("source_rows_differ", f"source {name}: {rows} rows, {registered} registered")


class _snapshot:  # noqa: N801 - read as a statement: with _snapshot(...)
    """One state of the database for several statements, which change nothing and may take their time."""

    def __init__(self, postgres: PostgresResource) -> None:
        self._open = postgres.connection(statement_timeout=0)

    def __enter__(self) -> psycopg.Connection[Any]:
        connection = self._open.__enter__()
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return connection

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)


_CURRENT = """
    WITH current AS (
        SELECT * FROM genomics.variant_load_audit AS a
        WHERE EXISTS (SELECT FROM genomics.current_loads AS c WHERE c.load_batch_id = a.load_batch_id)),
    -- A record without GT has no calls, and n_het says so.
    held AS (SELECT load_batch_id, count(*) AS n, count(n_het) AS called FROM genomics.variants GROUP BY 1)
"""

_ROWS_BY_CHROMOSOME: LiteralString = """
SELECT load_batch_id, chrom::text, count(*) FROM genomics.variants AS v
WHERE EXISTS (SELECT FROM genomics.current_loads AS c WHERE c.load_batch_id = v.load_batch_id)
GROUP BY 1, 2
"""

# Each gives one column: the subject of a violation.
_QUERIES: Mapping[str, LiteralString] = {
    "pointer_to_no_load": """
        SELECT format('vcf %%L stands on load %%s, which is %%s', c.partition_key, c.load_batch_id, a.status)
        FROM genomics.current_loads AS c JOIN genomics.variant_load_audit AS a USING (load_batch_id)
        WHERE a.status IS DISTINCT FROM 'completed' OR a.superseded_by IS NOT NULL""",
    "load_not_pointed_at": """
        SELECT format('load %%s of %%L', load_batch_id, partition_key) FROM genomics.variant_load_audit AS a
        WHERE status = 'completed' AND superseded_by IS NULL
          AND NOT EXISTS (SELECT FROM genomics.current_loads AS c WHERE c.load_batch_id = a.load_batch_id)""",
    "total_does_not_add_up": """
        SELECT format('load %%s: %%s in the file, %%s loaded, %%s skipped', load_batch_id, total_variants_in_file,
                      variants_loaded, variants_skipped)
        FROM genomics.variant_load_audit
        WHERE status = 'completed' AND total_variants_in_file IS DISTINCT FROM variants_loaded + variants_skipped""",
    "variants_differ": _CURRENT  # noqa: S608 - literals
    + """
        SELECT format('load %%s: %%s rows, %%s in the audit', a.load_batch_id, coalesce(h.n, 0), a.variants_loaded)
        FROM current AS a LEFT JOIN held AS h USING (load_batch_id)
        WHERE coalesce(h.n, 0) IS DISTINCT FROM a.variants_loaded""",
    "partial_batch_visible": """
        SELECT format('load %%s: %%s rows in %%s', rows.load_batch_id, rows.n, rows.name)
        FROM (SELECT 'genomics.variants' AS name, load_batch_id, count(*) AS n FROM genomics.variants GROUP BY 2
              UNION ALL SELECT 'genomics.genotypes', load_batch_id, count(*) FROM genomics.genotypes GROUP BY 2
              UNION ALL SELECT 'genomics.variant_summary', load_batch_id, count(*) FROM genomics.variant_summary
              GROUP BY 2) AS rows
        LEFT JOIN genomics.variant_load_audit AS a USING (load_batch_id)
        WHERE a.status IS DISTINCT FROM 'completed'""",
    "rows_of_replaced_load": """
        SELECT format('load %%s: %%s rows in %%s', rows.load_batch_id, rows.n, rows.name)
        FROM (SELECT 'genomics.variants' AS name, load_batch_id, count(*) AS n FROM genomics.variants GROUP BY 2
              UNION ALL SELECT 'genomics.genotypes', load_batch_id, count(*) FROM genomics.genotypes GROUP BY 2
              UNION ALL SELECT 'genomics.variant_summary', load_batch_id, count(*) FROM genomics.variant_summary
              GROUP BY 2
              UNION ALL SELECT 'genomics.load_samples', load_batch_id, count(*) FROM genomics.load_samples
              GROUP BY 2) AS rows
        JOIN genomics.variant_load_audit AS a USING (load_batch_id)
        WHERE a.superseded_by IS NOT NULL""",
    "genotypes_differ": _CURRENT  # noqa: S608 - literals
    + """
        , calls AS (SELECT load_batch_id, count(*) AS n, min(length(gt)) AS least, max(length(gt)) AS most
                    FROM genomics.genotypes GROUP BY 1)
        SELECT format('load %%s: calls for %%s variants of %%s, %%s to %%s samples of %%s', a.load_batch_id,
                      coalesce(calls.n, 0), coalesce(h.called, 0), calls.least, calls.most, a.samples_count)
        FROM current AS a LEFT JOIN calls USING (load_batch_id) LEFT JOIN held AS h USING (load_batch_id)
        WHERE calls.n <> coalesce(h.called, 0) OR calls.least <> a.samples_count OR calls.most <> a.samples_count
           OR (%(settled)s AND calls.n IS NULL AND h.called > 0)""",
    "samples_differ": _CURRENT  # noqa: S608 - literals
    + """
        , tied AS (SELECT load_batch_id, count(*) AS n FROM genomics.load_samples GROUP BY 1)
        SELECT format('load %%s: %%s of %%s columns', a.load_batch_id, coalesce(tied.n, 0), a.samples_count)
        FROM current AS a LEFT JOIN tied USING (load_batch_id)
        WHERE tied.n <> a.samples_count OR (%(settled)s AND tied.n IS NULL AND a.samples_count > 0)""",
    "summary_differs": _CURRENT  # noqa: S608 - literals
    + """
        , summed AS (SELECT load_batch_id, sum(variants) AS n FROM genomics.variant_summary GROUP BY 1)
        SELECT format('load %%s: %%s in the summary, %%s rows', a.load_batch_id, coalesce(summed.n, 0),
                      coalesce(h.n, 0))
        FROM current AS a LEFT JOIN summed USING (load_batch_id) LEFT JOIN held AS h USING (load_batch_id)
        WHERE summed.n <> coalesce(h.n, 0) OR (%(settled)s AND summed.n IS NULL AND h.n > 0)""",
    "dose_response_rows_differ": """
        SELECT format('%%s %%s: %%s rows, %%s counted', name, id, n, counted) FROM (
            SELECT 'probes of experiment' AS name, id, num_probes AS counted,
                   (SELECT count(*) FROM bmd.probe_responses AS r WHERE r.experiment_id = e.id) AS n
            FROM bmd.dose_response_experiments AS e WHERE identity IS NOT NULL
            UNION ALL SELECT 'treatments of experiment', id, num_treatments,
                   (SELECT count(*) FROM bmd.treatments AS t WHERE t.experiment_id = e.id)
            FROM bmd.dose_response_experiments AS e WHERE identity IS NOT NULL
            UNION ALL SELECT 'prefilter', id, num_results,
                   (SELECT count(*) FROM bmd.prefilter_result_details AS d WHERE d.prefilter_id = p.id)
            FROM bmd.prefilter_results AS p WHERE identity IS NOT NULL
            UNION ALL SELECT 'BMD result', id, num_results,
                   (SELECT count(*) FROM bmd.probe_stat_results AS d WHERE d.bmd_result_id = b.id)
            FROM bmd.bmd_results AS b WHERE identity IS NOT NULL
            UNION ALL SELECT 'category result', id, num_results,
                   (SELECT count(*) FROM bmd.category_result_details AS d WHERE d.category_result_id = c.id)
            FROM bmd.category_results AS c WHERE identity IS NOT NULL) AS counts
        WHERE n <> counted""",
    "job_without_result": """
        SELECT format('bmd job %%s: result %%s', j.id, j.result_id) FROM bmd.jobs AS j
        WHERE j.status = 'SUCCEEDED' AND j.result_id IS NOT NULL
          AND NOT EXISTS (SELECT FROM bmd.bmd_results AS r WHERE r.id = j.result_id)""",
}  # fmt: skip

_UNFINISHED_DROPS: LiteralString = """
SELECT kind, partition_key, state FROM genomics.drop_ledger WHERE state <> 'requested'
"""

# Kinds whose assets write down what they refuse as well as what they take.
_LOST_DROPS: LiteralString = """
SELECT kind, partition_key FROM genomics.drop_ledger AS l WHERE state = 'requested' AND CASE kind
    WHEN 'vcf' THEN NOT EXISTS (SELECT FROM genomics.variant_load_audit AS a WHERE a.partition_key = l.partition_key)
                AND NOT EXISTS (SELECT FROM genomics.current_loads AS c WHERE c.partition_key = l.partition_key)
    WHEN 'annotation' THEN NOT EXISTS (
        SELECT FROM genomics.annotation_versions AS v WHERE v.source = left(l.partition_key, 100))
    WHEN 'bmd' THEN NOT EXISTS (SELECT FROM bmd.jobs AS j WHERE j.partition_key = l.partition_key)
    WHEN 'verbal_autopsy' THEN NOT EXISTS (SELECT FROM comsa.jobs AS j WHERE j.partition_key = l.partition_key)
    ELSE false END
"""

_LOST_FILES: LiteralString = """
SELECT partition_key FROM genomics.vcf_files AS f
WHERE NOT EXISTS (SELECT FROM genomics.current_loads AS c
                  WHERE c.partition_key = f.partition_key AND c.file_hash = f.file_hash)
  AND NOT EXISTS (SELECT FROM genomics.variant_load_audit AS a
                  WHERE a.partition_key = f.partition_key AND a.vcf_file_hash = f.file_hash)
"""
