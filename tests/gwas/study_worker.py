"""A run of one dataset in a process of its own, so that it can be killed: `python study_worker.py PLACES DATASET RUN_KEY`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import dagster as dg

from genomics_assets.definitions import build_definitions
from genomics_assets.gwas import association
from resources import default_resources


def main(places: dict[str, str], dataset: str, run_key: str) -> None:
    """Run, and say `testing` when a job has begun to test; testing is slow enough to be killed."""
    plain = association.count_calls

    def slow(*arguments: Any) -> Any:
        print("testing", flush=True)
        time.sleep(600)
        return plain(*arguments)

    from genomics_assets.gwas import linear

    linear.count_calls = slow  # type: ignore[attr-defined]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("gwas_datasets", [dataset])
        build_definitions(**default_resources(**places)).resolve_job_def("run_gwas").execute_in_process(
            instance=instance, partition_key=dataset, tags={"dagster/run_key": run_key}, raise_on_error=False
        )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3])
