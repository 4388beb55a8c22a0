"""One load by this project, in a process of its own: the assets `vcf_files` and `variants`, through the real IO managers.

    python -m benchmarks.our_load URL FILE FOLDER [--full]

FOLDER gets the inbox. The start of the interpreter and imports are outside of the time, as they are for the peer;
everything else is inside: hashes, the walk over the blocks, audit, rows, commit, Dagster's steps.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

import dagster as dg

# What a worker imports when it first needs it; pyarrow imports pandas with its first array.
_IMPORTED_LATE = (
    "isal.isal_zlib", "numpy", "pandas", "psycopg", "psycopg_pool", "pyarrow.compute", "genomics_assets.variants.genotypes",
    "genomics_assets.variants.hardy_weinberg", "genomics_assets.variants.inspection",
    "genomics_assets.variants.report", "genomics_assets.variants.schema",
)  # fmt: skip


def load(url: str, file: Path, folder: Path, *, full: bool) -> dict[str, float]:
    """Load one file; seconds, CPU seconds of this process, its peak memory in MB, rows."""
    from genomics_assets.variants.assets import full_indexes, variants, vcf_files
    from resources import default_resources

    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    resources = default_resources(
        postgres_url=url, inbox_url=str(folder / "inbox"), object_store_url=f"file://{folder / 'objects'}"
    )
    partition_key = _drop(file, folder / "inbox" / "vcf")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("vcf_files", [partition_key])

        def materialize(assets: list[dg.AssetsDefinition], **settings: Any) -> dg.ExecuteInProcessResult:
            quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
            return dg.materialize(
                assets, resources=resources, instance=instance, run_config=quiet, **settings
            )

        cpu, started = os.times(), time.perf_counter()
        result = materialize([vcf_files, variants], partition_key=partition_key)
        loaded = time.perf_counter() - started
        if full:
            materialize([full_indexes])
        wall, spent = time.perf_counter() - started, os.times()
    [event] = result.asset_materializations_for_node("variants__variants")
    return {
        "wall": wall,
        "load_wall": loaded,
        "copy_wall": float(event.metadata["seconds"].value),  # type: ignore[arg-type]
        "client_cpu": spent.user + spent.system - cpu.user - cpu.system,
        "peak_mb": peak_mb(),
        "rows": int(event.metadata["loaded"].value),  # type: ignore[call-overload]
    }


def _drop(file: Path, inbox: Path) -> str:
    """Put a file into the inbox, without its bytes, and return its partition key."""
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / file.name).unlink(missing_ok=True)
    (inbox / file.name).symlink_to(file)
    return file.name.partition(".")[0]


def peak_mb() -> float:
    """Peak resident memory. Not getrusage's: that one begins with the memory of the process that forked this one."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Load, and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--full", action="store_true", help="build the full index set afterwards")
    asked = parser.parse_args()
    print(json.dumps(load(asked.url, asked.file, asked.folder, full=asked.full)))


if __name__ == "__main__":
    main()
