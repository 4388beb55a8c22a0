"""Drain: what it prints, what it returns, and that it and the sensor leave each other's work alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import drop_location
import pytest
from conftest import Station
from dagster import DagsterRunStatus
from dagster._core.storage.tags import RUN_KEY_TAG
from drop_location import VCF, datasets, files

from sensors.drain import INTERRUPTED, drain

ROOT = Path(__file__).resolve().parents[2]


def drained(station: Station, **options: str) -> tuple[int, list[str]]:
    """Exit status and lines, without the seconds that a run took."""
    lines: list[str] = []
    status = drain(station.definitions, station.instance, out=lines.append, **options)
    return status, [line.partition(": ")[0] if line.startswith("ok") else line for line in lines]


def test_every_kind_is_loaded_with_one_line_a_file(station: Station) -> None:
    station.put("vcf/a.vcf")
    station.put("vcf/run 1/b.vcf.gz")
    station.put("vcf/notes.txt")
    station.put("gwas/ada/height/cohort.vcf")
    status, lines = drained(station)
    assert status == 0
    assert lines == [
        "ignored vcf/notes.txt: not one of *.vcf, *.vcf.gz, *.bcf",
        "ok      vcf/a.vcf",
        "ok      vcf/run 1/b.vcf.gz",
        "ok      gwas/ada/height",
    ]
    assert station.instance.get_dynamic_partitions(str(files.name)) == ["a", "run 1/b"]
    assert station.instance.get_dynamic_partitions(str(datasets.name)) == ["ada/height"]
    materialized = station.instance.get_materialized_partitions(dg.AssetKey("texts"))
    assert materialized == {"a", "run 1/b"}


def test_a_second_drain_finds_everything_known(station: Station) -> None:
    station.put("vcf/a.vcf")
    drained(station)
    assert drained(station) == (0, ["known   vcf/a.vcf"])
    assert len(station.instance.get_runs()) == 1


def test_a_failed_file_is_told_with_its_reason_and_stops_nothing(station: Station) -> None:
    station.put("vcf/a.vcf", "bad")
    station.put("vcf/b.vcf")
    status, lines = drained(station)
    assert status == 1
    assert lines == [
        f"failed  vcf/a.vcf: {station.inbox}/vcf/a.vcf, line 1: it says bad. Remedy: say something else.",
        "ok      vcf/b.vcf",
    ]


def test_a_failed_file_is_not_tried_again_until_it_changes(station: Station) -> None:
    file = station.put("vcf/a.vcf", "bad")
    drained(station)
    assert drained(station) == (0, ["known   vcf/a.vcf"])
    file.write_text("better")
    assert drained(station) == (0, ["ok      vcf/a.vcf"])


def test_more_files_than_one_tick_takes_are_all_loaded(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensors.file_drops.REQUESTS_A_TICK", 2)
    for number in range(5):
        station.put(f"vcf/f{number}.vcf")
    assert drained(station) == (0, [f"ok      vcf/f{number}.vcf" for number in range(5)])


def test_another_inbox_is_drained_by_name(station: Station, tmp_path: Path) -> None:
    station.put("vcf/a.vcf")
    other = tmp_path / "other"
    (other / "vcf").mkdir(parents=True)
    (other / "vcf" / "b.vcf").write_text("text")
    assert drained(station, inbox=str(other)) == (0, ["ok      vcf/b.vcf"])
    assert drained(station) == (0, ["ok      vcf/a.vcf"])


def test_an_inbox_that_cannot_be_read_is_a_failure(station: Station) -> None:
    Path(station.inbox).parent.joinpath("file").write_text("not a folder")
    status, lines = drained(station, inbox=f"{station.inbox}/../file")
    assert status == 1
    assert len(lines) == 2
    assert "cannot be listed" in lines[0]
    assert "Remedy: check" in lines[0]


def test_the_sensor_does_not_ask_for_what_a_drain_loaded(station: Station) -> None:
    station.put("vcf/a.vcf")
    drained(station)
    assert station.requested(ticks=3) == []


def test_a_drain_does_not_load_what_the_sensor_asked_for(station: Station) -> None:
    station.put("vcf/a.vcf")
    assert station.requested(ticks=3) == ["a"]
    assert drained(station) == (0, ["known   vcf/a.vcf"])
    assert station.instance.get_runs() == []


def test_a_drain_leaves_a_claim_alone_until_the_sensor_can_have_submitted_it(
    station: Station,
) -> None:
    """Claimed, but neither confirmed nor run: the sensor died, which shows only by its silence."""
    station = Station(station.url, station.inbox, station.instance, claim_seconds=1.5)
    station.put("vcf/a.vcf")
    station.tick()
    lost = station.tick(cursor_is_saved=False).run_requests[0]
    began = time.monotonic()
    assert drained(station) == (0, ["ok      vcf/a.vcf"])
    assert time.monotonic() - began > 1.0
    assert [run.tags[RUN_KEY_TAG] for run in station.instance.get_runs()] == [lost.run_key]


def test_a_drain_takes_a_run_that_exists_for_a_submitted_claim(station: Station) -> None:
    station = Station(station.url, station.inbox, station.instance, claim_seconds=0.0)
    station.put("vcf/a.vcf")
    station.tick()
    lost = station.tick(cursor_is_saved=False).run_requests[0]
    job = station.definitions.resolve_job_def("load_text")
    station.instance.create_run_for_job(
        job, status=DagsterRunStatus.STARTED, tags={RUN_KEY_TAG: lost.run_key}
    )
    assert drained(station) == (0, ["known   vcf/a.vcf"])
    assert len(station.instance.get_runs()) == 1


def test_a_drain_beside_another_one_leaves_the_work_to_it(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensors.drain.LOCK_PATIENCE_SECONDS", 0.3)
    station.put("vcf/a.vcf")
    with (
        dg.build_resources(station.resources) as ready,
        ready.drop_ledger.session(VCF, ready.inbox.root) as session,
    ):
        assert session is not None
        status, lines = drained(station)
    assert status == 0
    assert lines == [f"skipped vcf: another drain or a sensor is at work on {station.inbox}"]


def test_a_file_that_never_holds_still_is_left_to_the_next_drain(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensors.drain.PATIENCE_LOOKS", 3)
    growing = station.put("vcf/a.vcf")
    writer = subprocess.Popen(
        [sys.executable, "-c", f"while True: open({str(growing)!r}, 'a').write('x')"], start_new_session=True
    )
    try:
        status, lines = drained(station)
    finally:
        writer.kill()
        writer.wait()
    assert (status, lines) == (0, ["waiting vcf/a.vcf: it is still being written; the next drain takes it"])


class Slow:
    """A drain in a process of its own, in the middle of a run that takes its time."""

    def __init__(self, station: Station, tmp_path: Path) -> None:
        started = tmp_path / "started"
        station.put("vcf/a.vcf", "wait")
        station.put("vcf/b.vcf")
        station.put("vcf/c.vcf")
        program = (
            "import sys, dagster as dg, drop_location\n"
            "from sensors.drain import drain\n"
            "with dg.DagsterInstance.from_config(sys.argv[1]) as instance:\n"
            "    sys.exit(drain(drop_location.definitions(*sys.argv[2:4]), instance))\n"
        )
        environment = {
            **os.environ,
            "DROP_TEST_STARTED": str(started),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(drop_location.__file__).parent)]),
        }
        arguments = [str(station.instance.root_directory), station.url, station.inbox]
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", program, *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not started.exists():
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)

    def end(self, how: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(how)
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


def test_an_interrupted_drain_says_so_and_leaves_its_files_to_the_next(
    station: Station, tmp_path: Path
) -> None:
    status, output = Slow(station, tmp_path).end(signal.SIGINT)
    assert status == INTERRUPTED
    assert "interrupted; what was not loaded is taken by the next drain" in output
    assert station.states() == {"a.vcf": "ready", "b.vcf": "ready", "c.vcf": "ready"}
    station.put("vcf/a.vcf", "quick")
    assert drained(station)[1] == ["ok      vcf/b.vcf", "ok      vcf/c.vcf", "ok      vcf/a.vcf"]


def test_a_killed_drain_leaves_its_files_to_the_next_which_closes_the_dead_run(
    station: Station, tmp_path: Path
) -> None:
    Slow(station, tmp_path).end(signal.SIGKILL)
    assert station.states() == {"a.vcf": "claimed", "b.vcf": "claimed", "c.vcf": "claimed"}
    (dead,) = station.instance.get_runs()
    assert dead.status == DagsterRunStatus.STARTED

    # The server may take a moment to notice that the dead drain's session is gone.
    tick = station.tick()
    assert [request.partition_key for request in tick.run_requests] == ["a", "b", "c"]
    assert tick.run_requests[0].run_key == f"{dead.tags[RUN_KEY_TAG]}:2"
    closed = station.instance.get_run_by_id(dead.run_id)
    assert closed is not None
    assert closed.status == DagsterRunStatus.FAILURE
