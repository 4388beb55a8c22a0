"""The ledgers by name, for tests and for the processes that tests start: `python -m ledger_bench <ledger> <key> <what>`."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from resources.jobs import BmdJobs, BmdRequest, ComsaJobs, ComsaRequest, GwasJobs, GwasRequest, JobOrigin
from resources.mongo import MongoResource
from resources.object_store import ObjectStoreResource
from resources.postgres import PostgresResource

LEDGERS = ("comsa", "bmd", "gwas")


def ledger_named(name: str, places: dict[str, str]) -> Any:
    postgres = PostgresResource(url=places["postgres"])
    if name == "comsa":
        return ComsaJobs(postgres=postgres, objects=ObjectStoreResource(url=places["objects"]))
    if name == "bmd":
        return BmdJobs(postgres=postgres)
    return GwasJobs(postgres=postgres, mongo=MongoResource(url=places["mongo"]))


def request_named(name: str) -> Any:
    if name == "comsa":
        return ComsaRequest(
            "pipeline", "InterVA", "neonate", "Mozambique", "Mmatprior", parameters={"n_mcmc": 5}
        )
    if name == "bmd":
        return BmdRequest(1, "BMD_ANALYSIS", parameters={"bmr": 1.349})
    return GwasRequest("ada", "height", "linear", {"maf_threshold": 0.01, "num_threads": 2})


def main(name: str, run_key: str, what: str) -> None:
    """Take up a job, say so, and `wait` for a word; then `complete` it, or `write` to it."""
    ledger = ledger_named(
        name, {p: os.environ[f"BENCH_{p.upper()}"] for p in ("postgres", "mongo", "objects")}
    )
    job = ledger.begin(request_named(name), JobOrigin(run_key, "partition", f"run of {os.getpid()}"))
    job.log("began", "warning")
    print("running")
    word = sys.stdin.readline().strip()
    if what == "wait":
        time.sleep(60)
    job.log(f"heard {word}", "warning")
    with job.completion():
        pass
    print("completed")


if __name__ == "__main__":
    main(*sys.argv[1:])
