"""The ledgers by name, for tests and for the processes that tests start."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

# What the ledgers import when they are used, so that forks have it.
import psycopg_pool  # noqa: F401
import pymongo  # noqa: F401

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


def work(name: str, places: dict[str, str], run_key: str, what: str, pipe: Any) -> None:
    """Take up a job, say so, and wait for a word; then go on with the job and complete it, or sleep."""
    # No traceback of a worker that is meant to fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    job = ledger_named(name, places).begin(
        request_named(name), JobOrigin(run_key, "partition", f"run of {os.getpid()}")
    )
    job.log("began", "warning")
    pipe.send("running")
    word = pipe.recv()
    if what == "wait":
        time.sleep(60)
    job.log(f"heard {word}", "warning")
    with job.completion():
        pass
    pipe.send("completed")
