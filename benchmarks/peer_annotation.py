"""An annotation source loaded, or variants annotated, by vcf-pg-loader, run by the interpreter of its own environment.

    PEER/bin/python peer_annotation.py load URL FILE FIELDS
    PEER/bin/python peer_annotation.py annotate URL OUT

FIELDS is JSON. Both do what the commands `load-annotation` and `annotate` do, with their default options. Imports and the
start of the interpreter are outside of the time.
"""

import asyncio
import csv
import json
import os
import sys
import time
from pathlib import Path

import asyncpg
from peer_load import peak_mb
from vcf_pg_loader.annotation_config import load_field_config
from vcf_pg_loader.annotation_loader import AnnotationLoader
from vcf_pg_loader.annotator import VariantAnnotator
from vcf_pg_loader.schema import SchemaManager

SOURCE = "bench"


async def load_source(url: str, file: str, fields: str) -> int:
    """What `vcf-pg-loader load-annotation` does."""
    connection = await asyncpg.connect(url)
    try:
        await SchemaManager(human_genome=True).create_schema(connection)
        result = await AnnotationLoader(human_genome=True).load_annotation_source(
            vcf_path=Path(file),
            source_name=SOURCE,
            field_config=load_field_config(Path(fields)),
            conn=connection,
        )
        return result["variants_loaded"]
    finally:
        await connection.close()


async def annotate(url: str, out: str) -> int:
    """What `vcf-pg-loader annotate BATCH --source bench --output OUT` does, for the one batch that there is."""
    connection = await asyncpg.connect(url)
    try:
        batch = await connection.fetchval("SELECT load_batch_id::text FROM variant_load_audit")
        rows = await VariantAnnotator(connection).annotate_variants(sources=[SOURCE], load_batch_id=batch)
    finally:
        await connection.close()
    with Path(out).open("w") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0].keys(), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def main() -> None:
    """Work, and print one line of JSON: seconds, CPU seconds of this process, its peak memory in MB, rows."""
    work = {"load": load_source, "annotate": annotate}[sys.argv[1]]
    cpu, started = os.times(), time.perf_counter()
    rows = asyncio.run(work(*sys.argv[2:]))
    wall, spent = time.perf_counter() - started, os.times()
    used = spent.user + spent.system - cpu.user - cpu.system
    print(json.dumps({"wall": wall, "client_cpu": used, "peak_mb": peak_mb(), "rows": rows}))


if __name__ == "__main__":
    main()
