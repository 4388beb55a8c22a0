"""Hybrid storage: results small enough lie in their row as JSONB, larger ones in an object that the row names.

`genomics_assets.bmd.stored_results` says how results become bytes and where the limit is. Here they are written,
the object before the row, and read back, the same value from either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from genomics_assets.bmd.canonical_json import canonical_json, parse_json
from genomics_assets.bmd.stored_results import (
    EncodedResults,
    NewResult,
    Seen,
    StoredResult,
    decompressed,
)
from resources.bmd_rows import copy_rows, insert_row, next_id, supersede
from resources.object_store import ObjectStoreResource

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class ResultStage:
    """A stage whose results are kept as canonical JSON, on one of two sides.

    Attributes:
        table: the header table, in schema `bmd`.
        method_column: holds `NewResult.method`.
        details: the detail table, and its column that points to the header.
        object_key: where large results go.
        upstream: columns that point to earlier stages.
        asset: which makes them.
        link: the column that points to what a result follows within its stage.
    """

    table: LiteralString
    method_column: LiteralString
    details: LiteralString
    details_id: LiteralString
    object_key: str
    upstream: tuple[LiteralString, ...]
    asset: str
    link: LiteralString | None = None


PREFILTER = ResultStage(
    "prefilter_results",
    "prefilter_type",
    "prefilter_result_details",
    "prefilter_id",
    "projects/{project}/prefilters/{id}/results.json.gz",
    ("experiment_id", "upstream_prefilter_id"),
    "bmd/prefilter_results",
    "upstream_prefilter_id",
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


def write_result(
    connection: psycopg.Connection[Any],
    objects: ObjectStoreResource,
    stage: ResultStage,
    partition_key: str,
    project_id: int,
    result: NewResult,
) -> Saved:
    """Make results the partition's current ones, inside the connection's transaction; the same again change nothing.

    What they replace stays, marked as superseded. What they follow within their stage gets rows before them, which are
    of no partition: the link alone leads there.
    """
    encoded = EncodedResults.of(result.rows)
    known = _known(connection, stage, partition_key, result, encoded)
    if known is not None:
        return known
    followed: dict[str, int | None] = {}
    for earlier in result.before:
        whole = EncodedResults.of(earlier.rows)
        saved = _insert(connection, objects, stage, None, project_id, earlier, whole, followed)
        followed = {str(stage.link): saved.id}
    supersede(connection, stage.table, partition_key)
    return _insert(connection, objects, stage, partition_key, project_id, result, encoded, followed)


def _insert(
    connection: psycopg.Connection[Any],
    objects: ObjectStoreResource,
    stage: ResultStage,
    partition_key: str | None,
    project_id: int,
    result: NewResult,
    encoded: EncodedResults,
    followed: Mapping[str, int | None],
) -> Saved:
    """Results to the side where they belong: the object first, then header and detail rows."""
    result_id = next_id(connection, stage.table)
    key = None
    if encoded.packed is not None:
        key = stage.object_key.format(project=project_id, id=result_id)
        objects.put_bytes(key, encoded.packed)
    columns: dict[str, Any] = {
        "id": result_id,
        "project_id": project_id,
        "partition_key": partition_key,
        "name": result.name,
        stage.method_column: result.method,
        "analysis_info": canonical_json(result.analysis_info).decode(),
        "results": encoded.text,
        "results_s3_key": key,
        "num_results": encoded.rows,
        "identity": result.identity,
        "results_hash": encoded.digest,
        **{column: result.upstream.get(column) for column in stage.upstream},
        **followed,
    }
    insert_row(connection, stage.table, columns)
    copy_rows(connection, f"bmd.{stage.details}", result.details, {stage.details_id: result_id})
    return Saved(result_id, True, encoded.size, key)


def read_result(
    connection: psycopg.Connection[Any],
    objects: ObjectStoreResource,
    stage: ResultStage,
    partition_key: str,
) -> StoredResult | None:
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
        upstream=dict(zip(stage.upstream, upstream, strict=True)),
        read=lambda: in_row if key is None else b"".join(decompressed(objects.read_bytes(key))),
    )


def misplaced_results(
    connection: psycopg.Connection[Any],
    objects: ObjectStoreResource,
    stage: ResultStage,
    partition_key: str | None,
) -> Iterator[str]:
    """Rows of a stage that break the rule: on the wrong side of the limit, or not the bytes that were written.

    Args:
        connection: to the database.
        objects: the object store.
        stage: whose results.
        partition_key: look at the current results of one partition; None: at all.
    """
    from psycopg import sql

    query = sql.SQL(
        """
        SELECT id, results::text, results_s3_key, results_hash FROM bmd.{}
        WHERE results_hash IS NOT NULL AND (%s::text IS NULL OR (partition_key = %s AND superseded_at IS NULL))
        ORDER BY id
        """
    ).format(sql.Identifier(stage.table))
    for result_id, in_row, key, digest in connection.execute(
        query, (partition_key, partition_key)
    ).fetchall():
        if key is not None and not objects.exists(key):
            yield f"{stage.table} {result_id}: no object {key}"
            continue
        seen = Seen()
        pieces = (
            [canonical_json(parse_json(in_row))] if key is None else decompressed(objects.read_bytes(key))
        )
        for _ in seen.pieces(pieces):
            pass
        if seen.digest != digest:
            yield f"{stage.table} {result_id}: not the bytes that were written"
        elif seen.in_row != (key is None):
            yield f"{stage.table} {result_id}: {seen.size:,} bytes on the wrong side of the limit"


def _known(
    connection: psycopg.Connection[Any],
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
    if row is None:
        return None
    above = zip(stage.upstream, row[2:], strict=True)
    # What it follows within its stage is in its identity already.
    if any(found != result.upstream.get(column) for column, found in above if column != stage.link):
        return None
    return Saved(row[0], False, encoded.size, row[1])
