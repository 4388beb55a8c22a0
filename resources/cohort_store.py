"""Filtered cohorts: read from the warehouse and its annotation sources in one snapshot, kept as files in the object store."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from genomics_assets.annotations.cohort import FOLDER, FORMATS, CohortRequest, Format
from genomics_assets.annotations.cohort_files import CohortTally, open_file
from genomics_assets.annotations.filter_expression import Column, Columns, render
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource

if TYPE_CHECKING:
    import psycopg

# Names of people stay out of what Dagster shows.
PERSONAL = ("sample_id",)


@dataclass(frozen=True)
class WrittenFile:
    """One file of a cohort."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class CohortReport:
    """What a cohort came to.

    Attributes:
        expression: as it was understood.
        considered: variants in the regions and of the samples that were asked for.
        undecided: those of them for which the expression is neither true nor false, for want of a value.
        tally: of what was written.
        files: by format.
        statement: the SQL, with placeholders where values go.
        versions: of the annotation sources, by name.
        columns: that an expression may name.
    """

    expression: str
    considered: int
    undecided: int
    tally: CohortTally
    files: Mapping[Format, WrittenFile]
    statement: str
    versions: Mapping[str, str | None]
    columns: tuple[Column, ...]


class CohortStore(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Writes cohorts below `cohorts/` of the object store."""

    postgres: dg.ResourceDependency[PostgresResource]
    objects: dg.ResourceDependency[ObjectStoreResource]

    def write(self, request: CohortRequest, run_id: str) -> CohortReport:
        """Write a cohort's files, replacing those of an earlier cohort of this name.

        Each file appears whole, and none before all are; the manifest, which tells their hashes, comes last. Memory stays
        flat in the size of the cohort. Another writer of the same cohort waits.

        Raises:
            InputError: the expression cannot be used, or a sample is unknown.
        """
        with self.postgres.connection(statement_timeout=0, autocommit=True) as connection:
            # The connection gives the lock back when it goes back to its pool.
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 2))", (request.key(),))
            with ExitStack() as objects:
                paths = {
                    kind: objects.enter_context(self.objects.create(request.key(kind)))
                    for kind in request.formats
                }
                with _snapshot(connection) as sources:
                    report = _write_files(connection, request, sources, paths)
            for kind in set(FORMATS) - set(request.formats):
                self.objects.delete(request.key(kind))
            self.objects.put_bytes(request.key(), _manifest(request, report, run_id))
        return report

    def uri(self, request: CohortRequest) -> str:
        """Where the cohort's files are, for other programs."""
        return self.objects.uri(f"{FOLDER}/{request.name}")


@contextmanager
def _snapshot(connection: "psycopg.Connection[Any]") -> Iterator[list[str]]:
    """One state of the database for several statements; gives the names of the sources, whose tables are held in place.

    The tables are locked before the snapshot is taken: in a snapshot older than a swap, a source's new table would
    look empty.
    """
    from psycopg import sql

    from resources.cohort_query import source_names, source_table

    names = source_names(connection)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for name in names:
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(source_table(name)))
        yield names


def _write_files(
    connection: "psycopg.Connection[Any]",
    request: CohortRequest,
    sources: list[str],
    paths: Mapping[Format, Path],
) -> CohortReport:
    from resources.cohort_query import (
        CohortQuery,
        current_assembly,
        current_contigs,
        read_catalogue,
        sample_ids,
    )
    from resources.copy_reading import query_schema, read_query

    catalogue = read_catalogue(connection, sources)
    columns = tuple(catalogue.held)
    expression = request.parsed(Columns(columns))
    query = CohortQuery(catalogue, request, expression, sample_ids(connection, request.samples))
    counts = query.counts()
    [(considered, undecided)] = connection.execute(counts.text, counts.values).fetchall()
    rows = query.rows(current_contigs(connection))
    output = catalogue.output()
    about = _about(request, render(expression), current_assembly(connection), catalogue.versions)
    tally = CohortTally()
    with ExitStack() as stack:
        files = [
            stack.enter_context(open_file(kind, path, query_schema(output), columns, about))
            for kind, path in paths.items()
        ]
        for batch in read_query(connection, rows.text, rows.values, output):
            tally.add(batch)
            for file in files:
                file.write(batch)
    written = {
        kind: WrittenFile(request.key(kind), path.stat().st_size, _sha256(path))
        for kind, path in paths.items()
    }
    return CohortReport(
        render(expression),
        considered,
        undecided,
        tally,
        written,
        rows.text.as_string(connection),
        catalogue.versions,
        columns,
    )


def _about(
    request: CohortRequest, expression: str, assembly: str | None, versions: Mapping[str, str | None]
) -> list[tuple[str, str]]:
    """What the VCF's header says of the cohort."""
    about = [("source", "genomics_assets"), ("cohort", request.name), ("cohort_expression", expression)]
    about += [("cohort_regions", ",".join(map(str, request.regions)))] if request.regions else []
    about += [("annotation_source", f"{name} {version or ''}".strip()) for name, version in versions.items()]
    return about + ([("reference", assembly)] if assembly else [])


def _manifest(request: CohortRequest, report: CohortReport, run_id: str) -> bytes:
    told = {
        "name": request.name,
        "expression": report.expression,
        "regions": [str(region) for region in request.regions],
        "samples_asked_for": len(request.samples),
        "variants": report.tally.rows,
        "considered": report.considered,
        "undecided": report.undecided,
        "files": {kind: asdict(file) for kind, file in report.files.items()},
        "annotation_sources": dict(report.versions),
        "columns": [
            {"name": column.label, "type": column.kind, "description": column.description}
            for column in report.columns
        ],
        "run_id": run_id,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(told, indent=1, ensure_ascii=False).encode() + b"\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
