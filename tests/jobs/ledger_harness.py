"""One ledger at a time: work on its jobs, in this process and in others, and see what became of them."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from dead_workers import abandon
from ledger_bench import ledger_named, request_named, work

from genomics_assets.jobs.states import JobState
from resources.jobs import JobLedger, JobOrigin

HERE = Path(__file__).resolve().parent
# Workers are forked from one process that has imported everything and has no threads.
FORKS = multiprocessing.get_context("forkserver")


class Bench:
    """One ledger, what it takes to work on its jobs, and to see what became of them."""

    def __init__(self, name: str, places: dict[str, str], instance: dg.DagsterInstance) -> None:
        self.name = name
        self.places = places
        self.url = places["postgres"]
        self.instance = instance
        self.ledger: JobLedger = ledger_named(name, places)
        self.request = request_named(name)

    def begin(self, run_key: str, run_id: str = "run 1") -> Any:
        return self.ledger.begin(self.request, JobOrigin(run_key, "partition", run_id))

    def run(self, work: Callable[[Any], Any], run_key: str, **options: Any) -> dg.ExecuteInProcessResult:
        """One run of one asset that does `work` with its running job."""

        def body(context: dg.AssetExecutionContext) -> None:
            with context.resources.jobs.running(context, self.request, **options) as job:
                work(job)

        return self.materialize([dg.asset(name="work", required_resource_keys={"jobs"})(body)], run_key)

    def materialize(self, assets: list[Any], run_key: str) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            assets,
            instance=self.instance,
            resources={"jobs": self.ledger, "io_manager": dg.mem_io_manager},
            tags={"dagster/run_key": run_key},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def worker(self, run_key: str, what: str) -> "Worker":
        """Another process that takes up the job of a run key."""
        return Worker(self, run_key, what)

    def abandon(self, job: Any) -> None:
        """Let a job's worker be gone."""
        abandon(job, self.url)

    def jobs(self, run_key: str) -> list[dict[str, Any]]:
        """Attempts of a run key in order, in the words of their store."""
        if self.name == "gwas":
            found = self.ledger.store._jobs.find({"run_key": run_key})
            return sorted(found, key=lambda job: job["attempt"])
        with psycopg.connect(self.url, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(
                f"SELECT * FROM {self.name}.jobs WHERE run_key = %s ORDER BY attempt",  # type: ignore[arg-type]
                (run_key,),
            ).fetchall()

    def job(self, run_key: str) -> dict[str, Any]:
        """The only attempt of a run key."""
        [job] = self.jobs(run_key)
        return job

    def states(self, run_key: str) -> list[JobState]:
        """The states of a run key's attempts, `failed` with its kind where it is not an error of the work."""
        return [self.ledger.store.words.state(job["status"]) for job in self.jobs(run_key)]  # type: ignore[attr-defined]

    def ending(self, job: dict[str, Any]) -> dict[str, str]:
        """Why a job ended without a result: message and kind; empty where it did not."""
        if self.name != "gwas":
            return dict(job["error"] or {})
        return {"message": job["error"], "kind": job["error_kind"]} if job["error"] else {}

    def share_done(self, job: dict[str, Any]) -> float:
        """How far a job is, from 0 to 1; the document store has it in per cent."""
        return float(job["progress"] or 0) / (100 if self.name == "gwas" else 1)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, parameters).fetchall()  # type: ignore[arg-type]

    def execute(self, sql: str, *parameters: object) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(sql, parameters)  # type: ignore[arg-type]

    def log(self, job_id: Any) -> list[str]:
        rows = self.query("SELECT message FROM comsa.job_logs WHERE job_id = %s ORDER BY seq", job_id)
        return [row[0] for row in rows]


class Worker:
    """A process that works on a job (see `ledger_bench.work`); it says `running` when it has begun."""

    def __init__(self, bench: Bench, run_key: str, what: str) -> None:
        self._pipe, theirs = FORKS.Pipe()
        self.process = FORKS.Process(target=work, args=(bench.name, bench.places, run_key, what, theirs))
        self.process.start()
        theirs.close()
        assert self.says() == "running"

    def says(self) -> str:
        """Its next word; nothing where it has ended."""
        try:
            return str(self._pipe.recv())
        except EOFError:
            return ""

    def tell(self, word: str = "on") -> None:
        self._pipe.send(word)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
