"""The dose-response store: experiments and results, rows in Postgres and bytes in the object store.

Every write follows one rule: the object first, the row second, both under a shared lock. A writer that dies
between the two leaves an object that no row names, which `survey` finds; it waits for writers at work. A
partition has one current version of each stage; what it replaced stays, marked as superseded.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

import dagster as dg

from genomics_assets.bmd.experiment import DroppedExperiment, StoredExperiment, split_partition_key
from genomics_assets.bmd.expression_matrix import ExpressionMatrix
from genomics_assets.bmd.stored_results import (
    EncodedResults,
    NewResult,
    StoredResult,
    canonical_json,
    compressed,
    decompressed,
    parse_json,
)
from genomics_assets.drops import Drop, DropKind
from genomics_assets.input_error import InputError
from resources.inbox import InboxResource
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource
from resources.variant_warehouse import permanent_failure

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

# Owns the projects that the inbox's folders name; it has no password, so nobody can log in as it.
INBOX_USER = ("inbox", "inbox@localhost", "!", "Projects dropped into the inbox", "SYSTEM")
_OBJECTS_LOCK = "objects of bmd"


@dataclass(frozen=True)
class ResultStage:
    """A stage whose results are kept as canonical JSON, on one of two sides.

    Attributes:
        table: the header table, in schema `bmd`.
        method_column: holds `NewResult.method`.
        details: the detail table, and its column that points to the header.
        object_key: where large results go.
        upstream: columns that point to earlier stages.
    """

    table: LiteralString
    method_column: LiteralString
    details: LiteralString
    details_id: LiteralString
    object_key: str
    upstream: tuple[LiteralString, ...]
    asset: str


PREFILTER = ResultStage(
    "prefilter_results",
    "prefilter_type",
    "prefilter_result_details",
    "prefilter_id",
    "projects/{project}/prefilters/{id}/results.json.gz",
    ("experiment_id", "upstream_prefilter_id"),
    "bmd/prefilter_results",
)
BMD = ResultStage(
    "bmd_results",
    "bmd_method",
    "probe_stat_results",
    "bmd_result_id",
    "projects/{project}/results/{id}/probe_stats.json.gz",
    ("experiment_id", "prefilter_id", "model_fit_id"),
    "bmd/bmd_results",
)
CATEGORY = ResultStage(
    "category_results",
    "category_type",
    "category_result_details",
    "category_result_id",
    "projects/{project}/categories/{id}/results.json.gz",
    ("experiment_id", "bmd_result_id"),
    "bmd/category_results",
)


@dataclass(frozen=True)
class Saved:
    """What a write came to.

    Attributes:
        id: the row.
        is_new: False where the same results stood already.
        size: bytes of the canonical JSON or of the object before compression.
        object_key: where the bytes are; None: in the row.
    """

    id: int
    is_new: bool
    size: int
    object_key: str | None


@dataclass(frozen=True)
class StoredFits:
    """The current fits of a partition.

    Attributes:
        id: their row in `bmd.model_fits`.
        experiment_id: what they were fitted to.
        prefilter_id: the probes that were fitted.
        analysis_info: how they were made.
        fits_hash: SHA-256 of the Parquet object.
        table: one row for each probe and model.
    """

    id: int
    project_id: int
    experiment_id: int
    prefilter_id: int | None
    analysis_info: Mapping[str, Any]
    fits_hash: str
    table: "pa.Table" = field(repr=False)


@dataclass(frozen=True)
class StorageSurvey:
    """What the object store and the rows say of each other.

    Attributes:
        objects: objects below `projects/`.
        garbage: objects that no row names, with their sizes.
        missing: keys that a row names and no object has.
    """

    objects: int
    garbage: dict[str, int]
    missing: list[str]


class BmdStore(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads and writes schema `bmd` and the objects below `projects/`."""

    postgres: dg.ResourceDependency[PostgresResource]
    objects: dg.ResourceDependency[ObjectStoreResource]

    @contextmanager
    def taking(self, inbox: InboxResource, kind: DropKind, partition_key: str) -> Iterator[Drop]:
        """The drop of a partition; nothing is stored when the block raises.

        Raises:
            dagster.Failure: for every `InputError`; it is not retried, for the same bytes would fail again.
        """
        drop: Drop | None = None
        try:
            drop = inbox.drop(kind, partition_key)
            yield drop
            inbox.check_unchanged(drop)
        except InputError as error:
            where = drop.uri if drop else f"{kind.folder}/{partition_key}"
            raise permanent_failure(error if error.file else error.in_file(where), partition_key) from error

    # -- experiments -----------------------------------------------------------------------------------------

    def save_experiment(self, partition_key: str, dropped: DroppedExperiment) -> Saved:
        """Make a dropped experiment the partition's current one; the same numbers again only refresh its options."""
        data = dropped.matrix.to_bytes()
        project_id = self.project_of(partition_key)
        with self._writing(partition_key) as connection:
            current = self._current_experiment(connection, partition_key)
            if current is not None and current.identity == dropped.identity:
                connection.execute(
                    "UPDATE bmd.dose_response_experiments SET options = %s, file_path = %s, file_hash = %s WHERE id = %s",
                    (_json(dropped.options), dropped.file_path, dropped.file_hash, current.id),
                )
                return Saved(current.id, False, len(data), current.matrix_key)
            experiment_id = _next_id(connection, "dose_response_experiments")
            key = f"projects/{project_id}/experiments/{experiment_id}/matrix.bin"
            self.objects.put_bytes(key, data)
            _supersede(connection, "dose_response_experiments", partition_key)
            connection.execute(
                """
                INSERT INTO bmd.dose_response_experiments (
                    id, project_id, name, chip_info_id, log_transformation, expression_matrix_s3_key, num_probes,
                    num_treatments, partition_key, file_path, file_hash, matrix_hash, identity, chip, options)
                VALUES (%s, %s, %s, (SELECT id FROM bmd.chip_info WHERE geo_id = %s), %s, %s, %s, %s, %s, %s, %s, %s, %s,
                        %s, %s)
                """,
                (
                    experiment_id,
                    project_id,
                    dropped.name,
                    dropped.chip,
                    dropped.log_transformation,
                    key,
                    len(dropped.matrix.probes),
                    len(dropped.matrix.samples),
                    partition_key,
                    dropped.file_path,
                    dropped.file_hash,
                    hashlib.sha256(data).hexdigest(),
                    dropped.identity,
                    dropped.chip,
                    _json(dropped.options),
                ),
            )
            self._copy_matrix_names(connection, experiment_id, dropped.matrix)
            return Saved(experiment_id, True, len(data), key)

    def current_experiment(self, partition_key: str) -> StoredExperiment | None:
        """The version of an experiment that a partition stands for; None before its first import."""
        with self.postgres.connection() as connection:
            return self._current_experiment(connection, partition_key)

    def expect_experiment(self, partition_key: str) -> StoredExperiment:
        """The version of an experiment that a partition stands for.

        Raises:
            dagster.Failure: it was never imported.
        """
        experiment = self.current_experiment(partition_key)
        if experiment is None:
            raise dg.Failure(
                f"{partition_key!r} has no matrix. Remedy: materialize that partition of bmd/expression_matrix first.",
                allow_retries=False,
            )
        return experiment

    def matrix(self, experiment: StoredExperiment) -> ExpressionMatrix:
        """The responses of an experiment, with names and doses."""
        with self.postgres.connection() as connection:
            treatments = connection.execute(
                "SELECT name, dose FROM bmd.treatments WHERE experiment_id = %s ORDER BY position",
                (experiment.id,),
            ).fetchall()
            probes = connection.execute(
                "SELECT probe_id FROM bmd.probe_responses WHERE experiment_id = %s ORDER BY row_index",
                (experiment.id,),
            ).fetchall()
        return ExpressionMatrix.from_bytes(
            self.objects.read_bytes(experiment.matrix_key),
            samples=[name for name, _ in treatments],
            doses=[dose for _, dose in treatments],
            probes=[probe for (probe,) in probes],
        )

    def project_of(self, partition_key: str) -> int:
        """The project that a partition belongs to, made where it is new.

        Raises:
            InputError: the partition's key names no project.
        """
        project, _ = split_partition_key(partition_key)
        with self.postgres.connection() as connection:
            return self._project(connection, project)

    # -- results that are kept on one of two sides -------------------------------------------------------------

    def save_result(self, stage: ResultStage, partition_key: str, result: NewResult) -> Saved:
        """Make results the partition's current ones; where the same stand already, nothing is written.

        Raises:
            dagster.Failure: the experiment was replaced meanwhile.
        """
        encoded = EncodedResults.of(result.rows)
        with self._writing(partition_key) as connection:
            experiment = self._same_experiment(
                connection, partition_key, result.upstream.get("experiment_id")
            )
            known = self._known(connection, stage, partition_key, result, encoded)
            if known is not None:
                return known
            result_id = _next_id(connection, stage.table)
            key = None
            if not encoded.in_row:
                key = stage.object_key.format(project=experiment.project_id, id=result_id)
                self.objects.put_bytes(key, compressed(encoded.data))
            _supersede(connection, stage.table, partition_key)
            columns: dict[str, Any] = {
                "id": result_id,
                "project_id": experiment.project_id,
                "partition_key": partition_key,
                "name": result.name,
                stage.method_column: result.method,
                "analysis_info": _json(result.analysis_info),
                "results": encoded.data.decode() if encoded.in_row else None,
                "results_s3_key": key,
                "num_results": encoded.rows,
                "identity": result.identity,
                "results_hash": encoded.digest,
                **{column: result.upstream.get(column) for column in stage.upstream},
            }
            _insert(connection, stage.table, columns)
            _copy(connection, f"bmd.{stage.details}", result.details, {stage.details_id: result_id})
            return Saved(result_id, True, len(encoded.data), key)

    def current_result(self, stage: ResultStage, partition_key: str) -> StoredResult | None:
        """The partition's current results of a stage, if they are of its current experiment."""
        from psycopg import sql

        query = sql.SQL(
            """
            SELECT r.id, r.project_id, r.experiment_id, r.name, r.{method}, r.analysis_info, r.results_hash,
                   r.results::text, r.results_s3_key, {upstream}
            FROM bmd.{table} AS r
            JOIN bmd.dose_response_experiments AS e ON e.id = r.experiment_id AND e.superseded_at IS NULL
            WHERE r.partition_key = %s AND r.superseded_at IS NULL
            """
        ).format(
            table=sql.Identifier(stage.table),
            method=sql.Identifier(stage.method_column),
            upstream=sql.SQL(", ").join(sql.Identifier("r", column) for column in stage.upstream),
        )
        with self.postgres.connection() as connection:
            row = connection.execute(query, (partition_key,)).fetchone()
        if row is None:
            return None
        result_id, project_id, experiment_id, name, method, info, digest, in_row, key, *upstream = row
        return StoredResult(
            id=result_id,
            project_id=project_id,
            experiment_id=experiment_id,
            name=name,
            method=method,
            analysis_info=info,
            results_hash=digest,
            rows=parse_json(in_row if key is None else decompressed(self.objects.read_bytes(key))),
            upstream=dict(zip(stage.upstream, upstream, strict=True)),
        )

    def expect_result(self, stage: ResultStage, partition_key: str) -> StoredResult:
        """The partition's current results of a stage.

        Raises:
            dagster.Failure: there are none, or only of another version of the experiment.
        """
        result = self.current_result(stage, partition_key)
        if result is None:
            raise _not_there(partition_key, stage.asset)
        return result

    # -- fits ----------------------------------------------------------------------------------------------

    def save_fits(
        self,
        partition_key: str,
        *,
        name: str,
        parquet: bytes,
        probes: int,
        fits: int,
        identity: str,
        analysis_info: Mapping[str, Any],
        upstream: Mapping[str, int | None],
    ) -> Saved:
        """Make fits the partition's current ones; the same bytes again are not written twice.

        Raises:
            dagster.Failure: the experiment was replaced meanwhile.
        """
        fits_hash = hashlib.sha256(parquet).hexdigest()
        with self._writing(partition_key) as connection:
            experiment = self._same_experiment(connection, partition_key, upstream.get("experiment_id"))
            row = connection.execute(
                """
                SELECT id, fits_s3_key FROM bmd.model_fits
                WHERE partition_key = %s AND superseded_at IS NULL AND experiment_id = %s AND fits_hash = %s
                  AND identity = %s
                """,
                (partition_key, experiment.id, fits_hash, identity),
            ).fetchone()
            if row is not None:
                return Saved(row[0], False, len(parquet), row[1])
            fits_id = _next_id(connection, "model_fits")
            key = f"projects/{experiment.project_id}/fits/{fits_id}/model_fits.parquet"
            self.objects.put_bytes(key, parquet)
            _supersede(connection, "model_fits", partition_key)
            columns = {
                "id": fits_id,
                "project_id": experiment.project_id,
                "experiment_id": experiment.id,
                "prefilter_id": upstream.get("prefilter_id"),
                "partition_key": partition_key,
                "name": name,
                "analysis_info": _json(analysis_info),
                "fits_s3_key": key,
                "fits_hash": fits_hash,
                "num_probes": probes,
                "num_fits": fits,
                "identity": identity,
            }
            _insert(connection, "model_fits", columns)
            return Saved(fits_id, True, len(parquet), key)

    def current_fits(self, partition_key: str, *, identity: str | None = None) -> StoredFits | None:
        """The partition's current fits, if they are of its current experiment and, where given, of this identity."""
        import io

        import pyarrow.parquet as pq

        with self.postgres.connection() as connection:
            row = connection.execute(
                """
                SELECT f.id, f.project_id, f.experiment_id, f.prefilter_id, f.analysis_info, f.fits_hash, f.fits_s3_key
                FROM bmd.model_fits AS f
                JOIN bmd.dose_response_experiments AS e ON e.id = f.experiment_id AND e.superseded_at IS NULL
                WHERE f.partition_key = %s AND f.superseded_at IS NULL AND (%s::text IS NULL OR f.identity = %s)
                """,
                (partition_key, identity, identity),
            ).fetchone()
        if row is None:
            return None
        fits_id, project_id, experiment_id, prefilter_id, info, digest, key = row
        table = pq.read_table(io.BytesIO(self.objects.read_bytes(key)))
        return StoredFits(fits_id, project_id, experiment_id, prefilter_id, info, digest, table)

    def expect_fits(self, partition_key: str) -> StoredFits:
        """The partition's current fits.

        Raises:
            dagster.Failure: there are none, or only of another version of the experiment.
        """
        fits = self.current_fits(partition_key)
        if fits is None:
            raise _not_there(partition_key, "bmd/model_fits")
        return fits

    # -- tables that hang on a BMD result ---------------------------------------------------------------------

    def replace_rows(self, table: str, bmd_result_id: int, rows: "pa.Table") -> None:
        """Replace the rows of a BMD result in one of its tables."""
        from psycopg import sql

        from resources.postgres_catalogue import table_identifier

        with self.postgres.connection(statement_timeout=0) as connection:
            _lock(connection, f"{table} {bmd_result_id}")
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE bmd_result_id = %s").format(table_identifier(table)),
                (bmd_result_id,),
            )
            _copy(connection, table, rows, {"bmd_result_id": bmd_result_id})

    def rows_of(self, table: str, bmd_result_id: int) -> "pa.Table":
        """The rows of a BMD result in one of its tables."""
        from resources.copy_binary import read_table

        with self.postgres.connection() as connection:
            return read_table(connection, table, None, {"bmd_result_id": str(bmd_result_id)})

    # -- what lies where -----------------------------------------------------------------------------------

    def survey(self, *, delete: bool = False) -> StorageSurvey:
        """Compare the objects below `projects/` with the rows that name them; waits for writers at work.

        Args:
            delete: remove the objects that no row names.
        """
        with self.postgres.connection(statement_timeout=0) as connection:
            _lock(connection, _OBJECTS_LOCK)
            named = {key for (key,) in connection.execute(_NAMED_KEYS).fetchall()}
            found = self.objects.list("projects")
            garbage = {key: self.objects.size(key) for key in found if key not in named}
            if delete:
                for key in garbage:
                    self.objects.delete(key)
        return StorageSurvey(len(found), garbage, sorted(named - set(found)))

    def misplaced_results(self, partition_key: str | None = None) -> list[str]:
        """Rows that break the rule of storage: on the wrong side of the limit, or whose object is not what was written.

        Args:
            partition_key: look at the current results of one partition; None: at all.
        """
        return [
            problem
            for stage in (PREFILTER, BMD, CATEGORY)
            for problem in self._misplaced(stage, partition_key)
        ]

    def _misplaced(self, stage: ResultStage, partition_key: str | None) -> Iterator[str]:
        from psycopg import sql

        query = sql.SQL(
            """
            SELECT id, results::text, results_s3_key, results_hash FROM bmd.{}
            WHERE results_hash IS NOT NULL AND (%s::text IS NULL OR (partition_key = %s AND superseded_at IS NULL))
            ORDER BY id
            """
        ).format(sql.Identifier(stage.table))
        with self.postgres.connection() as connection:
            rows = connection.execute(query, (partition_key, partition_key)).fetchall()
        for result_id, in_row, key, digest in rows:
            if key is not None and not self.objects.exists(key):
                yield f"{stage.table} {result_id}: no object {key}"
                continue
            data = (
                canonical_json(parse_json(in_row))
                if key is None
                else decompressed(self.objects.read_bytes(key))
            )
            encoded = EncodedResults(data, 0)
            if encoded.digest != digest:
                yield f"{stage.table} {result_id}: not the bytes that were written"
            elif encoded.in_row != (key is None):
                yield f"{stage.table} {result_id}: {len(data):,} bytes on the wrong side of the limit"

    # -- details -------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, partition_key: str) -> "Iterator[psycopg.Connection[Any]]":
        """One transaction, alone with the partition; `survey` waits for its end."""
        with self.postgres.connection(statement_timeout=0) as connection:
            connection.execute(
                "SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 5))", (_OBJECTS_LOCK,)
            )
            _lock(connection, f"partition {partition_key}")
            yield connection

    def _current_experiment(
        self, connection: "psycopg.Connection[Any]", partition_key: str
    ) -> StoredExperiment | None:
        row = connection.execute(
            """
            SELECT id, project_id, partition_key, name, identity, file_path, file_hash, log_transformation, chip, options,
                   expression_matrix_s3_key, num_probes, num_treatments
            FROM bmd.dose_response_experiments WHERE partition_key = %s AND superseded_at IS NULL
            """,
            (partition_key,),
        ).fetchone()
        return None if row is None else StoredExperiment(*row)

    def _same_experiment(
        self, connection: "psycopg.Connection[Any]", partition_key: str, experiment_id: int | None
    ) -> StoredExperiment:
        experiment = self._current_experiment(connection, partition_key)
        if experiment is None or experiment.id != experiment_id:
            raise dg.Failure(
                f"{partition_key!r} was replaced by another version while this run worked on it. "
                "Remedy: nothing to do, the new version has a run of its own.",
                allow_retries=False,
            )
        return experiment

    def _project(self, connection: "psycopg.Connection[Any]", name: str) -> int:
        _lock(connection, "projects")
        connection.execute(
            """
            INSERT INTO bmd.users (username, email, password_hash, full_name, role, enabled)
            VALUES (%s, %s, %s, %s, %s, false) ON CONFLICT (username) DO NOTHING
            """,
            INBOX_USER,
        )
        row = connection.execute(
            """
            SELECT p.id FROM bmd.bmd_projects AS p JOIN bmd.users AS u ON u.id = p.user_id
            WHERE u.username = %s AND p.name = %s ORDER BY p.id LIMIT 1
            """,
            (INBOX_USER[0], name),
        ).fetchone()
        if row is None:
            row = connection.execute(
                """
                INSERT INTO bmd.bmd_projects (user_id, name, description)
                SELECT id, %s, %s FROM bmd.users WHERE username = %s RETURNING id
                """,
                (name, f"bmd/{name} in the inbox", INBOX_USER[0]),
            ).fetchone()
        assert row is not None  # noqa: S101 - the insert returns one
        return int(row[0])

    def _copy_matrix_names(
        self, connection: "psycopg.Connection[Any]", experiment_id: int, matrix: ExpressionMatrix
    ) -> None:
        import pyarrow as pa

        treatments = pa.table(
            {
                "position": pa.array(range(len(matrix.samples)), pa.int32()),
                "name": pa.array(matrix.samples, pa.string()),
                "dose": pa.array(matrix.doses, pa.float32()),
            }
        )
        probes = pa.table(
            {
                "probe_id": pa.array(matrix.probes, pa.string()),
                "row_index": pa.array(range(len(matrix.probes)), pa.int32()),
            }
        )
        _copy(connection, "bmd.treatments", treatments, {"experiment_id": experiment_id})
        _copy(connection, "bmd.probe_responses", probes, {"experiment_id": experiment_id})

    def _known(
        self,
        connection: "psycopg.Connection[Any]",
        stage: ResultStage,
        partition_key: str,
        result: NewResult,
        encoded: EncodedResults,
    ) -> Saved | None:
        """The current results where they are the very same, made from the same rows upstream."""
        from psycopg import sql

        row = connection.execute(
            sql.SQL(
                """
                SELECT id, results_s3_key, {} FROM bmd.{}
                WHERE partition_key = %s AND superseded_at IS NULL AND identity = %s AND results_hash = %s
                """
            ).format(sql.SQL(", ").join(map(sql.Identifier, stage.upstream)), sql.Identifier(stage.table)),
            (partition_key, result.identity, encoded.digest),
        ).fetchone()
        if row is None or list(row[2:]) != [result.upstream.get(column) for column in stage.upstream]:
            return None
        return Saved(row[0], False, len(encoded.data), row[1])


_NAMED_KEYS: LiteralString = """
SELECT expression_matrix_s3_key FROM bmd.dose_response_experiments WHERE expression_matrix_s3_key IS NOT NULL
UNION SELECT results_s3_key FROM bmd.prefilter_results WHERE results_s3_key IS NOT NULL
UNION SELECT fits_s3_key FROM bmd.model_fits
UNION SELECT results_s3_key FROM bmd.bmd_results WHERE results_s3_key IS NOT NULL
UNION SELECT results_s3_key FROM bmd.category_results WHERE results_s3_key IS NOT NULL
UNION SELECT csv_s3_key FROM bmd.exports UNION SELECT parquet_s3_key FROM bmd.exports
UNION SELECT chart_s3_key FROM bmd.charts
"""


def _not_there(partition_key: str, asset: str) -> dg.Failure:
    return dg.Failure(
        f"{partition_key!r} has no results of {asset} for the current version of its matrix. "
        f"Remedy: materialize that partition of {asset} first.",
        allow_retries=False,
    )


def _json(value: Any) -> str:
    return json.dumps(parse_json(canonical_json(value)), ensure_ascii=False)


def _lock(connection: "psycopg.Connection[Any]", what: str) -> None:
    """Wait until no other transaction holds the lock on `what`; it goes with the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 5))", (what,))


def _next_id(connection: "psycopg.Connection[Any]", table: LiteralString) -> int:
    """An id of one's own before the row is there, for the object's key."""
    row = connection.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", (f"bmd.{table}",)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT of one expression gives one row
    return int(row[0])


def _supersede(connection: "psycopg.Connection[Any]", table: LiteralString, partition_key: str) -> None:
    from psycopg import sql

    connection.execute(
        sql.SQL(
            "UPDATE bmd.{} SET superseded_at = LOCALTIMESTAMP WHERE partition_key = %s AND superseded_at IS NULL"
        ).format(sql.Identifier(table)),
        (partition_key,),
    )


def _insert(connection: "psycopg.Connection[Any]", table: LiteralString, columns: Mapping[str, Any]) -> None:
    from psycopg import sql

    connection.execute(
        sql.SQL("INSERT INTO bmd.{} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        ),
        list(columns.values()),
    )


def _copy(
    connection: "psycopg.Connection[Any]", table: str, rows: "pa.Table", constants: Mapping[str, int]
) -> None:
    import pyarrow as pa

    from resources.copy_binary import copy_batches

    for name, value in constants.items():
        rows = rows.append_column(name, pa.array([value], pa.int64()).take(_zeros(rows.num_rows)))
    copy_batches(connection, table, rows.to_batches(max_chunksize=20_000), schema=rows.schema, nan="null")


def _zeros(count: int) -> "pa.Array":
    import numpy as np
    import pyarrow as pa

    return pa.array(np.zeros(count, np.int64))
