"""The IO manager of annotation sources: a version of a source becomes its table, or the last one stays."""

from typing import Any

import dagster as dg

from genomics_assets.annotations.pictures import coverage_picture
from genomics_assets.annotations.report import reasons_table, rows_table
from genomics_assets.annotations.source_load import Rollback, SourceLoad
from genomics_assets.input_error import InputError
from resources.annotation_tables import anno_table
from resources.annotation_warehouse import AnnotationWarehouse, Loaded
from resources.failures import permanent_failure
from resources.preview import column_schema, picture, preview_table


class AnnotationIOManager(dg.ConfigurableIOManager):
    """Writes a source's version into `anno_<source>`, with its registry, in one transaction."""

    annotation_warehouse: dg.ResourceDependency[AnnotationWarehouse]

    def handle_output(self, context: dg.OutputContext, obj: SourceLoad | Rollback) -> None:
        """Load a version unless it stands already, or bring the one before back.

        Raises:
            dagster.Failure: when that cannot be done as things are; trying again would not help.
        """
        if isinstance(obj, Rollback):
            context.add_output_metadata(self._rolled_back(context, obj.name))
        else:
            context.add_output_metadata(self._loaded(context, obj))

    def _loaded(self, context: dg.OutputContext, load: SourceLoad) -> dict[str, Any]:
        try:
            done = self.annotation_warehouse.load(load, context.run_id)
        except InputError as error:
            told = error.in_file(f"{load.file_path}/{error.file}" if error.file else load.file_path)
            self.annotation_warehouse.refuse(load.name, load.file_path, str(told), context.run_id)
            raise permanent_failure(told, load.name) from error
        return self._nothing_new(load) if done is None else self._metadata(done)

    def _rolled_back(self, context: dg.OutputContext, source: str) -> dict[str, Any]:
        try:
            return self._metadata(self.annotation_warehouse.rollback(source, context.run_id))
        except InputError as error:
            raise permanent_failure(error, source) from error

    def load_input(self, context: dg.InputContext) -> None:
        """The table is read by SQL."""
        raise NotImplementedError(f"read {anno_table(context.partition_key)} by SQL")

    def _nothing_new(self, load: SourceLoad) -> dict[str, Any]:
        stands = self.annotation_warehouse.expect_current(load.name)
        return {
            "outcome": "already loaded: the same content stands",
            "dagster/partition_row_count": stands.rows,
            "dagster/table_name": anno_table(load.name),
            "version": stands.version or "not told",
        }

    def _metadata(self, done: Loaded) -> dict[str, Any]:
        """What a materialization shows of a version that was loaded or restored."""
        version, last = done.version, done.last
        preview = self.annotation_warehouse.preview(version.source)
        found: dict[str, Any] = {
            "outcome": _outcome(done),
            "dagster/partition_row_count": version.rows,
            "dagster/table_name": anno_table(version.source),
            "dagster/column_schema": column_schema(done.columns),
            "version": version.version or "not told",
            "last version": "none" if last is None else last.version or "not told",
            "assembly": version.assembly or "not told",
            "rows added": done.difference.added,
            "rows changed": done.difference.changed,
            "rows removed": done.difference.removed,
            "values of held variants changed": done.held_changes,
            "values": dg.MetadataValue.md(rows_table(version.rows, version.present)),
            "coverage": picture(
                coverage_picture(version.source, version.rows, version.present), "columns by coverage"
            ),
            "preview": dg.MetadataValue.md(
                preview_table(preview, list(preview[0])) if preview else "no rows",
            ),
        }
        if done.tally is not None:
            found["alleles_in_file"] = done.tally.alleles
            found["rejected"] = sum(done.tally.rejected.values())
            found["rejected and tolerated"] = dg.MetadataValue.md(reasons_table(done.tally))
        return found


def _outcome(done: Loaded) -> str:
    if done.tally is None:
        return "rolled back"
    return "loaded" if done.last is None else "replaced the last version"
