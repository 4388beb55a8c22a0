"""The three ledgers against real servers, and one asset that works on a job."""

import multiprocessing
import os
import uuid
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from ledger_bench import LEDGERS, ledger_named, request_named, work

from genomics_assets.jobs.states import JobState
from resources.jobs import JobLedger, JobOrigin
from resources.postgres import PostgresResource

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


@pytest.fixture(scope="module")
def places(postgres_url: str, mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a fresh database, a fresh Mongo database and an object store."""
    mongo = f"{mongo_url.rsplit('/', 1)[0]}/jobs_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url) as connection:
        if connection.execute("SELECT to_regclass('bmd.jobs')").fetchone() == (None,):
            connection.execute((HERE / "bmd_jobs.sql").read_text())  # type: ignore[arg-type]
        connection.execute(
            "INSERT INTO bmd.users (id, username, email, password_hash, role) VALUES (1, 'a', 'b', 'c', 'd')"
        )
    return {
        "postgres": postgres_url,
        "mongo": mongo,
        "objects": f"file://{tmp_path_factory.mktemp('objects')}",
    }


@pytest.fixture(scope="module")
def module_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session", autouse=True)
def forks() -> None:
    """The process that workers are forked from; it finds modules by PYTHONPATH alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, [HERE.parents[1], HERE])))
        FORKS.set_forkserver_preload(["ledger_bench"])
        forkserver.ensure_running()


@pytest.fixture(params=LEDGERS)
def bench(request: Any, places: dict[str, str], module_instance: dg.DagsterInstance) -> Bench:
    """Each ledger in turn."""
    return Bench(request.param, places, module_instance)


@pytest.fixture
def comsa(places: dict[str, str], module_instance: dg.DagsterInstance) -> Bench:
    return Bench("comsa", places, module_instance)


@pytest.fixture
def key() -> str:
    """A run key that no other test uses."""
    return f"key {uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="module", autouse=True)
def close_pools(places: dict[str, str]) -> Iterator[None]:
    yield
    PostgresResource(url=places["postgres"]).close()
