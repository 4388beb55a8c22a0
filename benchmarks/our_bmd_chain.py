"""One dose-response experiment from drop to best models by this project, in a process of its own and through Dagster.

    python -m benchmarks.our_bmd_chain URL MATRIX FOLDER [--whole]

The job `analyze_experiment` with the real IO managers, as far as the best models are stored, or as a whole: genes, gene
sets, points of departure, exports and charts. Every probe is fitted with eight models. The start of the
interpreter and imports are outside of the time; compiled kernels come from the cache on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import dagster as dg

from benchmarks.our_load import peak_mb

KEY = "bench/whole"
BEST_MODELS = {
    dg.AssetKey(["bmd", name])
    for name in ("expression_matrix", "prefilter_results", "model_fits", "bmd_results")
}
SETTINGS = """\
log_transformation: BASE2
prefilter: null
models: [hill, power, linear, poly2, poly3, poly4, exp3, exp5]
bmr: {type: sd, factor: 1.349}
"""


def analyze(url: str, matrix: Path, folder: Path, *, whole: bool) -> dict[str, float]:
    """Seconds, CPU seconds of this process, its peak memory in MB, probes in the table."""
    import psycopg
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run

    from genomics_assets.definitions import build_definitions
    from resources import default_resources

    dropped = folder / "inbox" / "bmd" / f"{KEY}.txt"
    dropped.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(matrix, dropped)
    dropped.with_suffix(".yaml").write_text(SETTINGS)
    resources = default_resources(
        postgres_url=url, inbox_url=str(folder / "inbox"), object_store_url=f"file://{folder / 'objects'}"
    )
    job = build_definitions(**resources).resolve_job_def("analyze_experiment")
    if not whole:
        job = job.get_subset(asset_selection=BEST_MODELS)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("bmd_experiments", [KEY])
        run = instance.create_run_for_job(
            job,
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            tags={"dagster/partition": KEY},
        )
        cpu, started = os.times(), time.perf_counter()
        # As a worker does it: `execute_in_process` would keep every output in memory.
        execute_run(InMemoryJob(job), run, instance)
        wall, spent = time.perf_counter() - started, os.times()
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(DISTINCT probe_id) FROM bmd.probe_stat_results").fetchone()
    assert row is not None
    return {
        "wall": wall,
        "client_cpu": spent.user + spent.system - cpu.user - cpu.system,
        "peak_mb": peak_mb(),
        "rows": row[0],
    }


def main() -> None:
    """Analyze, and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("matrix", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--whole", action="store_true", help="not only as far as the best models")
    asked = parser.parse_args()
    print(json.dumps(analyze(asked.url, asked.matrix, asked.folder, whole=asked.whole)))


if __name__ == "__main__":
    main()
