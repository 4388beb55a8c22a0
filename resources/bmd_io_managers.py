"""IO managers of dose-response analysis: what each stage returns goes to its rows and objects, and comes back."""

import io
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import dagster as dg

from genomics_assets.bmd.experiment import DroppedExperiment, Experiment
from genomics_assets.bmd.stored_results import (
    NewFits,
    NewResult,
    ResultFiles,
    ResultRows,
    StoredResult,
)
from resources.bmd_run_jobs import BmdRunJobs
from resources.bmd_store import BmdStore, StoredFits
from resources.hybrid_storage import BMD, CATEGORY, PREFILTER, ResultStage, Saved
from resources.object_store import ObjectStoreResource

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

STAGES: dict[str, ResultStage] = {f"bmd.{stage.table}": stage for stage in (PREFILTER, BMD, CATEGORY)}


class _BmdIOManager(dg.ConfigurableIOManager):
    """What all of them know: the store, and the table that an asset's metadata names."""

    store: dg.ResourceDependency[BmdStore]
    run_jobs: dg.ResourceDependency[BmdRunJobs]

    def _storing(self, context: dg.OutputContext) -> "AbstractContextManager[psycopg.Connection[Any] | None]":
        """The transaction that completes the run's job, where this is the run's last output; else None."""
        return self.run_jobs.storing(context)

    @property
    def _objects(self) -> ObjectStoreResource:
        return self.store.objects

    def _stage(self, context: dg.OutputContext | dg.InputContext) -> ResultStage:
        return STAGES[_table(context)]

    def load_input(self, context: dg.InputContext) -> Any:
        """Read by other programs only."""
        raise NotImplementedError("read it from the object store")


class ExperimentIOManager(_BmdIOManager):
    """A matrix: its numbers to `matrix.bin`, its names and doses to Postgres."""

    def handle_output(self, context: dg.OutputContext, obj: DroppedExperiment) -> None:
        """Make it the partition's current version, unless the same stands already."""
        started = time.perf_counter()
        with self._storing(context) as transaction:
            saved = self.store.save_experiment(context.partition_key, obj, transaction)
        context.add_output_metadata(
            {
                "outcome": "imported" if saved.is_new else "already there: the same numbers stand",
                "experiment_id": saved.id,
                "dagster/partition_row_count": len(obj.matrix.probes),
                "dagster/table_name": "bmd.dose_response_experiments",
                **_where(self._objects, saved, started),
            }
        )

    def load_input(self, context: dg.InputContext) -> Experiment:
        """The partition's current version, with its numbers."""
        stored = self.store.expect_experiment(context.partition_key)
        return Experiment(stored, self.store.matrix(stored))


class ResultIOManager(_BmdIOManager):
    """Results of a stage by the rule of hybrid storage, with their detail rows, in one transaction."""

    def handle_output(self, context: dg.OutputContext, obj: NewResult) -> None:
        """Make them the partition's current ones, unless the same stand already."""
        started = time.perf_counter()
        stage = self._stage(context)
        with self._storing(context) as transaction:
            saved = self.store.save_result(stage, context.partition_key, obj, transaction)
        context.add_output_metadata(
            {
                "outcome": "stored" if saved.is_new else "already there: the same results stand",
                "result_id": saved.id,
                "name": obj.name,
                "dagster/partition_row_count": len(obj.rows),
                "dagster/table_name": f"bmd.{stage.table}",
                "stored in": "the row, as JSONB" if saved.object_key is None else "an object, compressed",
                **_where(self._objects, saved, started),
            }
        )

    def load_input(self, context: dg.InputContext) -> StoredResult:
        """The partition's current results."""
        return self.store.expect_result(self._stage(context), context.partition_key)


class FitsIOManager(_BmdIOManager):
    """Fits as Parquet, with a row that names them."""

    def handle_output(self, context: dg.OutputContext, obj: NewFits) -> None:
        """Make them the partition's current ones, unless the same stand already."""
        started = time.perf_counter()
        with self._storing(context) as transaction:
            saved = self.store.save_fits(context.partition_key, obj, _parquet(obj.table), transaction)
        context.add_output_metadata(
            {
                "outcome": "stored" if saved.is_new else "already there: the same fits stand",
                "model_fit_id": saved.id,
                "dagster/partition_row_count": obj.table.num_rows,
                "dagster/table_name": "bmd.model_fits",
                **_where(self._objects, saved, started),
            }
        )

    def load_input(self, context: dg.InputContext) -> StoredFits:
        """The partition's current fits."""
        return self.store.expect_fits(context.partition_key)


class ResultRowsIOManager(_BmdIOManager):
    """Rows that hang on the partition's BMD result."""

    def handle_output(self, context: dg.OutputContext, obj: ResultRows) -> None:
        """Replace the result's rows."""
        table = _table(context)
        with self._storing(context) as transaction:
            self.store.replace_rows(table, context.partition_key, obj, transaction)
        context.add_output_metadata(
            {"dagster/partition_row_count": obj.rows.num_rows, "dagster/table_name": table}
        )

    def load_input(self, context: dg.InputContext) -> "pa.Table":
        """The rows of the partition's current BMD result."""
        result = self.store.expect_result(BMD, context.partition_key)
        return self.store.rows_of(_table(context), result.id)


class ResultFilesIOManager(_BmdIOManager):
    """Charts and exports of the partition's BMD result."""

    def handle_output(self, context: dg.OutputContext, obj: ResultFiles) -> None:
        """Put what is new, and remove what it replaces."""
        with self._storing(context) as transaction:
            saved = self.store.save_files(context.partition_key, obj, transaction)
        context.add_output_metadata(
            {
                "dagster/partition_row_count": len(obj.files),
                **{
                    f"{name}: {key.rpartition('.')[2]}": _link(self._objects, key)
                    for name, keys in saved.items()
                    for key in keys
                },
            }
        )


def _table(context: dg.OutputContext | dg.InputContext) -> str:
    output = context if isinstance(context, dg.OutputContext) else context.upstream_output
    assert output is not None  # noqa: S101 - Dagster loads inputs of assets from outputs
    return str((output.definition_metadata or {})["table"])


def _parquet(table: "pa.Table") -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _where(objects: ObjectStoreResource, saved: Saved, started: float) -> dict[str, Any]:
    told: dict[str, Any] = {"bytes": saved.size, "seconds to store": round(time.perf_counter() - started, 3)}
    if saved.object_key is not None:
        told["dagster/uri"] = objects.uri(saved.object_key)
    return told


def _link(objects: ObjectStoreResource, key: str) -> dg.MetadataValue:
    return dg.MetadataValue.path(objects.uri(key).removeprefix("file://"))
