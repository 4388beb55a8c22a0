"""The dose-response store: experiments and results, rows in Postgres and bytes in the object store.

Every write follows one rule: the object first, the row second, both under a shared lock. A writer that dies
between the two leaves an object that no row names, which `survey` finds; it waits for writers at work. A
partition has one current version of each stage; what it replaced stays, marked as superseded.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

import dagster as dg

from genomics_assets.bmd.canonical_json import canonical_json
from genomics_assets.bmd.experiment import DroppedExperiment, StoredExperiment, split_partition_key
from genomics_assets.bmd.expression_matrix import ExpressionMatrix
from genomics_assets.bmd.stored_results import (
    NewExport,
    NewFits,
    NewResult,
    ResultFiles,
    ResultRows,
    StoredResult,
)
from genomics_assets.drops import Drop, DropKind
from genomics_assets.input_error import InputError
from resources.bmd_rows import copy_rows, insert_row, lock, next_id, supersede
from resources.failures import permanent_failure
from resources.hybrid_storage import (
    BMD,
    CATEGORY,
    PREFILTER,
    ResultStage,
    Saved,
    misplaced_results,
    read_result,
    write_result,
)
from resources.inbox import InboxResource
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

# Owns the projects that the inbox's folders name; it has no password, so nobody can log in as it.
INBOX_USER = ("inbox", "inbox@localhost", "!", "Projects dropped into the inbox", "SYSTEM")
_OBJECTS_LOCK = "objects of bmd"


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


@contextmanager
def refusing(partition_key: str) -> Iterator[None]:
    """Turn an `InputError` of the block into a failure that is not retried."""
    try:
        yield
    except InputError as error:
        raise permanent_failure(error, partition_key) from error


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

    def save_experiment(
        self,
        partition_key: str,
        dropped: DroppedExperiment,
        transaction: "psycopg.Connection[Any] | None" = None,
    ) -> Saved:
        """Make a dropped experiment the partition's current one; the same numbers again only refresh its options."""
        data = dropped.matrix.to_bytes()
        project_id = self.project_of(partition_key)
        with self.writing(partition_key, transaction) as connection:
            current = self._current_experiment(connection, partition_key)
            if current is not None and current.identity == dropped.identity:
                connection.execute(
                    "UPDATE bmd.dose_response_experiments SET options = %s, file_path = %s, file_hash = %s WHERE id = %s",
                    (_json(dropped.options), dropped.file_path, dropped.file_hash, current.id),
                )
                return Saved(current.id, False, len(data), current.matrix_key)
            experiment_id = next_id(connection, "dose_response_experiments")
            key = f"projects/{project_id}/experiments/{experiment_id}/matrix.bin"
            self.objects.put_bytes(key, data)
            supersede(connection, "dose_response_experiments", partition_key)
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

    def owner_of(self, partition_key: str) -> tuple[int, int | None]:
        """User and project of a partition, made where they are new; no project for a key that names none."""
        try:
            project_id = self.project_of(partition_key)
        except InputError:
            project_id = None
        with self.postgres.connection() as connection:
            return self._inbox_user(connection), project_id

    def project_of(self, partition_key: str) -> int:
        """The project that a partition belongs to, made where it is new.

        Raises:
            InputError: the partition's key names no project.
        """
        project, _ = split_partition_key(partition_key)
        with self.postgres.connection() as connection:
            return self._project(connection, project)

    # -- results that are kept on one of two sides -------------------------------------------------------------

    def save_result(
        self,
        stage: ResultStage,
        partition_key: str,
        result: NewResult,
        transaction: "psycopg.Connection[Any] | None" = None,
    ) -> Saved:
        """Make results the partition's current ones; where the same stand already, nothing is written.

        Raises:
            dagster.Failure: the experiment was replaced meanwhile.
        """
        with self.writing(partition_key, transaction) as connection:
            experiment = self._same_experiment(
                connection, partition_key, result.upstream.get("experiment_id")
            )
            return write_result(connection, self.objects, stage, partition_key, experiment.project_id, result)

    def current_result(self, stage: ResultStage, partition_key: str) -> StoredResult | None:
        """The partition's current results of a stage, if they are of its current experiment."""
        with self.postgres.connection() as connection:
            return read_result(connection, self.objects, stage, partition_key)

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
        fits: NewFits,
        parquet: bytes,
        transaction: "psycopg.Connection[Any] | None" = None,
    ) -> Saved:
        """Make fits the partition's current ones; where fits of the same identity stand, they stay.

        Args:
            partition_key: the experiment.
            fits: what was fitted.
            parquet: their table.
            transaction: see `writing`.

        Raises:
            dagster.Failure: the experiment was replaced meanwhile.
        """
        with self.writing(partition_key, transaction) as connection:
            experiment = self._same_experiment(connection, partition_key, fits.upstream.get("experiment_id"))
            prefilter_id = fits.upstream.get("prefilter_id")
            row = connection.execute(
                """
                SELECT id, fits_s3_key FROM bmd.model_fits
                WHERE partition_key = %s AND superseded_at IS NULL AND experiment_id = %s AND identity = %s
                  AND prefilter_id IS NOT DISTINCT FROM %s
                """,
                (partition_key, experiment.id, fits.identity, prefilter_id),
            ).fetchone()
            if row is not None:
                return Saved(row[0], False, len(parquet), row[1])
            fits_id = next_id(connection, "model_fits")
            key = f"projects/{experiment.project_id}/fits/{fits_id}/model_fits.parquet"
            self.objects.put_bytes(key, parquet)
            supersede(connection, "model_fits", partition_key)
            columns = {
                "id": fits_id,
                "project_id": experiment.project_id,
                "experiment_id": experiment.id,
                "prefilter_id": prefilter_id,
                "partition_key": partition_key,
                "name": fits.name,
                "analysis_info": _json(fits.analysis_info),
                "fits_s3_key": key,
                "fits_hash": hashlib.sha256(parquet).hexdigest(),
                "num_probes": fits.probes,
                "num_fits": fits.table.num_rows,
                "identity": fits.identity,
            }
            insert_row(connection, "model_fits", columns)
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

    def replace_rows(
        self,
        table: str,
        partition_key: str,
        result: ResultRows,
        transaction: "psycopg.Connection[Any] | None" = None,
    ) -> None:
        """Replace the rows of the partition's current BMD result in one of its tables.

        Raises:
            dagster.Failure: another result took its place meanwhile.
        """
        from psycopg import sql

        from resources.postgres_catalogue import table_identifier

        with self.writing(partition_key, transaction) as connection:
            self._same_result(connection, partition_key, result.bmd_result_id)
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE bmd_result_id = %s").format(table_identifier(table)),
                (result.bmd_result_id,),
            )
            copy_rows(connection, table, result.rows, {"bmd_result_id": result.bmd_result_id})

    def rows_of(
        self,
        table: str,
        bmd_result_id: int,
        columns: Sequence[str] | None = None,
        order_by: Sequence[str] = (),
    ) -> "pa.Table":
        """The rows of a BMD result in one of its tables."""
        from resources.copy_binary import read_table

        with self.postgres.connection() as connection:
            return read_table(connection, table, columns, {"bmd_result_id": str(bmd_result_id)}, order_by)

    def probe_statistics(self, bmd_result_id: int, columns: Sequence[str]) -> "pa.Table":
        """Columns of the rows for each probe and model of a BMD result, in the order in which they were stored."""
        return self.rows_of("bmd.probe_stat_results", bmd_result_id, columns, order_by=["id"])

    # -- charts and exports ------------------------------------------------------------------------------------

    def save_files(
        self,
        partition_key: str,
        result: ResultFiles,
        transaction: "psycopg.Connection[Any] | None" = None,
    ) -> dict[str, list[str]]:
        """Make charts, or exports, those of the partition's BMD result; the same bytes are not written twice.

        Returns:
            The keys of the objects by name: of a chart its picture, of an export its CSV and its Parquet form.

        Raises:
            dagster.Failure: another result took its place meanwhile.
        """
        table: LiteralString = "charts"
        forms: dict[str, dict[str, tuple[str, bytes]]] = {}
        counts: dict[str, dict[str, int]] = {}
        for file in result.files:
            if isinstance(file, NewExport):
                table = "exports"
                counts[file.name] = {"num_rows": file.rows}
                forms[file.name] = {
                    "csv_s3_key": ("exports/{id}/results.csv", file.csv),
                    "parquet_s3_key": ("exports/{id}/results.parquet", file.parquet),
                }
            else:
                forms[file.name] = {"chart_s3_key": ("charts/{id}.png", file.png)}
        with self.writing(partition_key, transaction) as connection:
            project_id = self._same_result(connection, partition_key, result.bmd_result_id)
            kept, replaced = self._drop_changed(connection, table, result.bmd_result_id, forms)
            for name in [name for name in forms if name not in kept]:
                file_id = next_id(connection, table)
                keys = {
                    column: f"projects/{project_id}/{path.format(id=file_id)}"
                    for column, (path, _) in forms[name].items()
                }
                for column, (_, data) in forms[name].items():
                    self.objects.put_bytes(keys[column], data)
                own = {
                    "id": file_id,
                    "project_id": project_id,
                    "bmd_result_id": result.bmd_result_id,
                    "partition_key": partition_key,
                    "name": name,
                    "content_hash": _digest(forms[name]),
                    **keys,
                    **counts.get(name, {}),
                }
                insert_row(connection, table, own)
                kept[name] = list(keys.values())
        if transaction is None:
            # After the commit; in a transaction of the caller's they are left to the storage janitor.
            for key in replaced:
                self.objects.delete(key)
        return {name: kept[name] for name in forms}

    @staticmethod
    def _drop_changed(
        connection: "psycopg.Connection[Any]",
        table: LiteralString,
        bmd_result_id: int,
        forms: Mapping[str, Mapping[str, tuple[str, bytes]]],
    ) -> tuple[dict[str, list[str]], list[str]]:
        """Delete the rows of files that are other ones now; returns the keys of those that stay and of those that go."""
        from psycopg import sql

        columns = ["chart_s3_key"] if table == "charts" else ["csv_s3_key", "parquet_s3_key"]
        known = connection.execute(
            sql.SQL("SELECT id, name, content_hash, {} FROM bmd.{} WHERE bmd_result_id = %s").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table)
            ),
            (bmd_result_id,),
        ).fetchall()
        kept: dict[str, list[str]] = {}
        replaced: list[str] = []
        for file_id, name, digest, *keys in known:
            if name in forms and digest == _digest(forms[name]):
                kept[name] = keys
                continue
            connection.execute(
                sql.SQL("DELETE FROM bmd.{} WHERE id = %s").format(sql.Identifier(table)), (file_id,)
            )
            replaced += keys
        return kept, replaced

    # -- what lies where -----------------------------------------------------------------------------------

    def survey(self, *, delete: bool = False) -> StorageSurvey:
        """Compare the objects below `projects/` with the rows that name them; waits for writers at work.

        Args:
            delete: remove the objects that no row names.
        """
        with self.postgres.connection(statement_timeout=0) as connection:
            lock(connection, _OBJECTS_LOCK)
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
        with self.postgres.connection() as connection:
            return [
                problem
                for stage in (PREFILTER, BMD, CATEGORY)
                for problem in misplaced_results(connection, self.objects, stage, partition_key)
            ]

    # -- details -------------------------------------------------------------------------------------------

    @contextmanager
    def writing(
        self, partition_key: str, transaction: "psycopg.Connection[Any] | None" = None
    ) -> "Iterator[psycopg.Connection[Any]]":
        """One transaction, alone with the partition; `survey` waits for its end.

        Args:
            partition_key: the experiment.
            transaction: one that the caller has open and commits; None: one of its own.
        """
        if transaction is None:
            with self.postgres.connection(statement_timeout=0) as connection:
                self._hold(connection, partition_key)
                yield connection
            return
        self._hold(transaction, partition_key)
        yield transaction

    @staticmethod
    def _hold(connection: "psycopg.Connection[Any]", partition_key: str) -> None:
        connection.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 5))", (_OBJECTS_LOCK,))
        lock(connection, f"partition {partition_key}")

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
            raise _replaced(partition_key)
        return experiment

    def _same_result(
        self, connection: "psycopg.Connection[Any]", partition_key: str, bmd_result_id: int
    ) -> int:
        """The project of a BMD result that must still be the partition's current one."""
        row = connection.execute(
            "SELECT project_id FROM bmd.bmd_results WHERE id = %s AND partition_key = %s AND superseded_at IS NULL",
            (bmd_result_id, partition_key),
        ).fetchone()
        if row is None:
            raise _replaced(partition_key)
        return int(row[0])

    def _inbox_user(self, connection: "psycopg.Connection[Any]") -> int:
        connection.execute(
            """
            INSERT INTO bmd.users (username, email, password_hash, full_name, role, enabled)
            VALUES (%s, %s, %s, %s, %s, false) ON CONFLICT (username) DO NOTHING
            """,
            INBOX_USER,
        )
        row = connection.execute("SELECT id FROM bmd.users WHERE username = %s", INBOX_USER[:1]).fetchone()
        assert row is not None  # noqa: S101 - it is there, or was just inserted
        return int(row[0])

    def _project(self, connection: "psycopg.Connection[Any]", name: str) -> int:
        lock(connection, "projects")
        user_id = self._inbox_user(connection)
        row = connection.execute(
            "SELECT id FROM bmd.bmd_projects WHERE user_id = %s AND name = %s ORDER BY id LIMIT 1",
            (user_id, name),
        ).fetchone()
        if row is None:
            row = connection.execute(
                "INSERT INTO bmd.bmd_projects (user_id, name, description) VALUES (%s, %s, %s) RETURNING id",
                (user_id, name, f"bmd/{name} in the inbox"),
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
        copy_rows(connection, "bmd.treatments", treatments, {"experiment_id": experiment_id})
        copy_rows(connection, "bmd.probe_responses", probes, {"experiment_id": experiment_id})


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


def _replaced(partition_key: str) -> dg.Failure:
    return dg.Failure(
        f"{partition_key!r} was replaced by another version while this run worked on it. "
        "Remedy: nothing to do, the new version has a run of its own.",
        allow_retries=False,
    )


def _digest(forms: Mapping[str, tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for _, data in forms.values():
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


def _json(value: Any) -> str:
    return canonical_json(value).decode()
