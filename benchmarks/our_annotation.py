"""One annotation source loaded, or one annotation pass, by this project, in a process of its own and through Dagster.

    python -m benchmarks.our_annotation load URL FILE FOLDER
    python -m benchmarks.our_annotation pass URL FOLDER
    python -m benchmarks.our_annotation table URL FOLDER

`load` is the asset `annotation_source` with its IO manager, `pass` the asset `annotated_variants`, `table` writes the
variants with the source's fields as tab-separated text. The start of the interpreter and imports are outside of the time,
as they are for the peer.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.our_load import peak_mb

SOURCE = "bench"
FIELDS = [
    {"field": "AC", "alias": "ac"},
    {"field": "AF", "alias": "af"},
    {"field": "AN", "alias": "an"},
    {"field": "DP", "alias": "dp"},
    {"field": "MQ", "alias": "mq"},
    {"field": "gnomAD_AF", "alias": "af_gnomad"},
]

# What a worker imports when it first needs it.
_IMPORTED_LATE = (
    "isal.isal_zlib", "numpy", "pandas", "psycopg", "psycopg_pool", "pyarrow.compute", "pyarrow.csv", "matplotlib.figure",
    "genomics_assets.annotations.source_records", "genomics_assets.variants.genotypes",
    "genomics_assets.variants.hardy_weinberg", "genomics_assets.variants.schema",
)  # fmt: skip


def load(url: str, file: Path, folder: Path) -> dict[str, float]:
    """Load a source; seconds, CPU seconds of this process, its peak memory in MB, rows."""
    from genomics_assets.annotations.assets import annotation_source

    dropped = folder / "inbox" / "annotations" / SOURCE
    dropped.mkdir(parents=True, exist_ok=True)
    for path in dropped.iterdir():
        path.unlink()
    (dropped / file.name).symlink_to(file)
    (dropped / "fields.json").write_text(json.dumps(FIELDS))
    result, told = _measured(url, folder, lambda run: run([annotation_source], partition_key=SOURCE))
    [event] = result.asset_materializations_for_node("annotations__annotation_source")
    rows = event.metadata["dagster/partition_row_count"].value
    return told | {"rows": int(rows)}  # type: ignore[call-overload]


def annotate(url: str, folder: Path) -> dict[str, float]:
    """One pass over everything; as `load`, rows are variants whose columns changed."""
    from genomics_assets.annotations.assets import annotated_variants

    result, told = _measured(url, folder, lambda run: run([annotated_variants]))
    [event] = result.asset_materializations_for_node("variants__annotated_variants")
    return told | {"rows": int(event.metadata["variants updated"].value)}  # type: ignore[call-overload]


def table(url: str, folder: Path) -> dict[str, float]:
    """All variants with the source's fields as a file; as `load`."""
    import psycopg

    columns = ", ".join(f"{SOURCE}__{field['alias']}" for field in FIELDS)
    statement = (
        f"COPY (SELECT chrom, pos, ref, alt, qual, gene, consequence, impact, {columns} FROM genomics.annotated_variants) "
        "TO STDOUT (FORMAT csv, HEADER, DELIMITER E'\\t')"
    )
    with psycopg.connect(url) as connection, (folder / "ours.tsv").open("wb") as out:
        cpu, started = os.times(), time.perf_counter()
        cursor = connection.cursor()
        with cursor.copy(statement) as copy:  # type: ignore[arg-type]
            for piece in copy:
                out.write(piece)
        return _told(cpu, started) | {"rows": cursor.rowcount}


def _measured(
    url: str, folder: Path, work: Callable[[Callable[..., Any]], dg.ExecuteInProcessResult]
) -> tuple[dg.ExecuteInProcessResult, dict[str, float]]:
    from resources import default_resources

    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    resources = default_resources(
        postgres_url=url, inbox_url=str(folder / "inbox"), object_store_url=f"file://{folder / 'objects'}"
    )
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("annotation_sources", [SOURCE])
        quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}

        def run(assets: list[dg.AssetsDefinition], **settings: Any) -> dg.ExecuteInProcessResult:
            return dg.materialize(
                assets, resources=resources, instance=instance, run_config=quiet, **settings
            )

        cpu, started = os.times(), time.perf_counter()
        return work(run), _told(cpu, started)


def _told(cpu: os.times_result, started: float) -> dict[str, float]:
    wall, spent = time.perf_counter() - started, os.times()
    used = spent.user + spent.system - cpu.user - cpu.system
    return {"wall": wall, "client_cpu": used, "peak_mb": peak_mb()}


def main() -> None:
    """Work, and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=("load", "pass", "table"))
    parser.add_argument("url")
    parser.add_argument("paths", type=Path, nargs="+")
    asked = parser.parse_args()
    work: dict[str, Callable[..., dict[str, float]]] = {"load": load, "pass": annotate, "table": table}
    print(json.dumps(work[asked.work](asked.url, *asked.paths)))


if __name__ == "__main__":
    main()
