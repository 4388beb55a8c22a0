"""What a person who drops files sees of the sensor: what it asks for, when, and what it says while it waits."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import drop_location
import psycopg
import pytest
from conftest import Station
from drop_location import GWAS, SETTLE_SECONDS, VCF

from resources.drop_ledger import DropLedgerError
from sensors.clock import forget_looks_to_come
from sensors.drain import drain

ROOT = Path(__file__).resolve().parents[2]


def keys_of(data: Any) -> list[str]:
    return [request.partition_key for request in data.run_requests]


# -- when a file is taken ------------------------------------------------------------------------------------------------


def test_a_file_is_taken_once_it_held_still_over_two_looks(station: Station) -> None:
    station.put("vcf/a.vcf")

    first = station.tick()
    assert keys_of(first) == []
    assert first.skip_message == "1 file still settling, 0 known, next look in 0 s"

    second = station.tick()
    assert keys_of(second) == ["a"]
    assert second.dynamic_partitions_requests[0].partition_keys == ["a"]
    assert second.run_requests[0].tags["drop/file"] == "vcf/a.vcf"
    assert second.run_requests[0].tags["drop/kind"] == "vcf"

    third = station.tick()
    assert keys_of(third) == []
    assert third.skip_message == "1 known, next look in 0 s"


def test_two_looks_in_quick_succession_count_as_one(
    postgres_url: str, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    station = Station(postgres_url, str(tmp_path), instance, settle_seconds=30.0)
    station.put("vcf/a.vcf")
    assert station.requested(ticks=3) == []


def test_a_growing_file_is_not_taken(station: Station) -> None:
    file = station.put("vcf/a.vcf", "x")
    for _ in range(4):
        assert keys_of(station.tick()) == []
        with file.open("a") as growing:
            growing.write("x")
    assert station.requested() == ["a"]


def test_other_bytes_under_the_same_name_are_a_new_version_of_the_partition(station: Station) -> None:
    station.put("vcf/a.vcf", "one")
    station.tick()
    first = station.tick()
    station.put("vcf/a.vcf", "other")
    assert keys_of(station.tick()) == []
    second = station.tick()

    assert keys_of(first) == keys_of(second) == ["a"]
    assert first.run_requests[0].run_key != second.run_requests[0].run_key
    assert not second.dynamic_partitions_requests


def test_a_touched_file_is_asked_for_again_and_left_to_the_asset(station: Station) -> None:
    file = station.put("vcf/a.vcf")
    assert station.requested() == ["a"]
    os.utime(file)
    assert station.requested() == ["a"]


def test_the_same_file_put_back_after_a_delete_does_nothing(station: Station) -> None:
    file = station.put("vcf/a.vcf")
    stamp = file.stat()
    assert station.requested() == ["a"]
    file.unlink()
    assert station.tick().skip_message == "0 known, next look in 0 s"
    station.put("vcf/a.vcf")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert station.requested(ticks=3) == []


def test_an_old_version_that_comes_back_is_a_new_request(station: Station) -> None:
    file = station.put("vcf/a.vcf", "old")
    stamp = file.stat()
    station.tick()
    first = station.tick().run_requests[0]
    station.put("vcf/a.vcf", "newer")
    assert station.requested() == ["a"]
    station.put("vcf/a.vcf", "old")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    station.tick()
    back = station.tick().run_requests[0]
    # Dagster drops a request whose run key it has ever seen.
    assert back.run_key != first.run_key


def test_a_file_that_goes_before_its_turn_is_not_asked_for(station: Station) -> None:
    file = station.put("vcf/a.vcf")
    station.put("vcf/b.vcf")
    station.tick()
    file.unlink()
    assert keys_of(station.tick()) == ["b"]


@pytest.mark.parametrize("change", ["added", "changed", "removed"])
def test_a_sidecar_belongs_to_its_file(station: Station, change: str) -> None:
    station.put("vcf/a.vcf.gz")
    sidecar = Path(station.inbox) / "vcf/a.ped"
    if change != "added":
        station.put("vcf/a.ped", "one")
    assert station.requested() == ["a"]
    if change == "removed":
        sidecar.unlink()
    else:
        station.put("vcf/a.ped", "another")
    assert station.requested() == ["a"]
    assert station.requested() == []


def test_a_new_inbox_is_made_and_asks_for_nothing(station: Station) -> None:
    assert station.requested() == []
    assert (Path(station.inbox) / "vcf").is_dir()


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("with space.vcf", "with space"),
        ("naïve Ω 基因.vcf", "naïve Ω 基因"),
        ('it\'s "quoted".vcf', 'it\'s "quoted"'),
        ("run 1/deep/S1.VCF", "run 1/deep/S1"),
        ("line\nbreak.vcf", "line%0Abreak"),
        ("100%41.vcf", "100%2541"),
        ("a...b.vcf", "a..%2Eb"),
        ("..a.vcf.vcf", None),
        ("a|b,c[d].vcf", "a|b,c[d]"),
    ],
)
def test_names_become_partition_keys_that_lead_back_to_the_file(
    station: Station, name: str, key: str | None
) -> None:
    file = station.put(f"vcf/{name}", "the text")
    assert station.requested() == ([] if key is None else [key])
    if key is None:
        return
    with dg.build_resources(station.resources) as ready:
        drop = ready.inbox.drop(VCF, key)
        with ready.inbox.local(drop) as path:
            assert path == file


def test_a_name_that_is_not_utf8_is_taken(station: Station) -> None:
    folder = Path(station.inbox) / "vcf"
    folder.mkdir(parents=True)
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.vcf"))).write_text("x")
    assert station.requested() == ["caf%E9"]


def test_two_files_with_one_key_get_one_each_and_keep_it(station: Station) -> None:
    station.put("vcf/a.vcf", "plain")
    assert station.requested() == ["a"]
    station.put("vcf/a.vcf.gz", "packed")
    station.put("vcf/a.bcf", "binary")
    assert sorted(station.requested()) == ["a.bcf", "a.vcf.gz"]

    with dg.build_resources(station.resources) as ready:
        for key, text in {"a": "plain", "a.vcf.gz": "packed", "a.bcf": "binary"}.items():
            with ready.inbox.local(ready.inbox.drop(VCF, key)) as path:
                assert path.read_text() == text

    (Path(station.inbox) / "vcf/a.vcf").unlink()
    os.utime(Path(station.inbox) / "vcf/a.vcf.gz")
    assert station.requested() == ["a.vcf.gz"]


def test_two_files_with_one_key_that_come_together_go_by_the_order_of_the_endings(station: Station) -> None:
    station.put("vcf/a.bcf")
    station.put("vcf/a.vcf.gz")
    station.put("vcf/a.vcf")
    assert sorted(station.requested()) == ["a", "a.bcf", "a.vcf.gz"]
    assert "a.vcf" in station.states()


def test_what_is_no_file_is_named_and_does_not_stop_the_others(station: Station) -> None:
    station.put("vcf/folder.vcf/inside.vcf")
    folder = Path(station.inbox) / "vcf"
    (folder / "loop.vcf").symlink_to(folder / "loop.vcf")
    (folder / "round").symlink_to(folder)
    (folder / "dangling.vcf").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe.vcf")

    first = station.tick()
    assert keys_of(station.tick()) == ["folder.vcf/inside"]
    named, message = first.skip_message.split("; not taken: ")[1], first.skip_message
    assert "1 file still settling" in message
    assert named.endswith("and 2 more")
    with dg.build_resources(station.resources) as ready:
        reasons = {oddity.path: oddity.reason for oddity in ready.inbox.look(VCF).oddities}
    assert reasons == {
        "folder.vcf": "a folder",
        "loop.vcf": "a link in a loop",
        "round": "a link to a folder, which is not followed",
        "dangling.vcf": "a link to nothing",
        "pipe.vcf": "neither a file nor a folder",
    }


def test_uploads_under_way_and_hidden_files_are_passed_over(station: Station) -> None:
    for name in (
        ".hidden.vcf",
        "a.vcf.part",
        "b.vcf.tmp",
        "c.vcf.filepart",
        "d.vcf.crdownload",
        "e.vcf~",
        ".x/f.vcf",
    ):
        station.put(f"vcf/{name}")
    assert station.tick().skip_message == "0 known, next look in 0 s"


def test_other_files_are_named(station: Station) -> None:
    station.put("vcf/README.txt")
    station.put("vcf/lonely.ped")
    message = station.tick().skip_message
    assert "README.txt (not one of *.vcf, *.vcf.gz, *.bcf)" in message
    assert "lonely.ped (a sidecar without its file)" in message


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_folder_is_one_drop_and_any_of_its_files_changes_it(station: Station) -> None:
    station.put("gwas/ada/height/cohort.vcf")
    station.put("gwas/ada/height/phenotypes.csv", "x")
    station.put("gwas/ada/stray.vcf")
    assert "stray.vcf (not in a folder 2 deep)" in station.tick("gwas").skip_message
    assert keys_of(station.tick("gwas")) == ["ada/height"]
    station.put("gwas/ada/height/phenotypes.csv", "xy")
    assert station.requested("gwas") == ["ada/height"]
    station.put("gwas/ada/height/extra/covariates.csv")
    assert station.requested("gwas") == ["ada/height"]
    assert station.requested("gwas") == []

    with dg.build_resources(station.resources) as ready:
        drop = ready.inbox.drop(GWAS, "ada/height")
        assert len(drop.sidecars) == 3
        assert ready.inbox.unchanged(drop)


def test_a_folder_without_data_waits_for_it(station: Station) -> None:
    station.put("gwas/ada/height/phenotypes.csv")
    assert "ada/height (holds none of *.vcf, *.bed)" in station.tick("gwas").skip_message
    station.put("gwas/ada/height/cohort.bed")
    assert station.requested("gwas") == ["ada/height"]


# -- exactly once --------------------------------------------------------------------------------------------------------


def test_a_claim_that_the_daemon_did_not_live_to_submit_is_asked_for_again(station: Station) -> None:
    station.put("vcf/a.vcf")
    station.tick()
    lost = station.tick(cursor_is_saved=False)
    again = station.tick()
    assert keys_of(lost) == keys_of(again) == ["a"]
    assert lost.run_requests[0].run_key == again.run_requests[0].run_key
    assert lost.cursor != again.cursor
    assert station.states() == {"a.vcf": "claimed"}
    assert keys_of(station.tick()) == []
    assert station.states() == {"a.vcf": "requested"}


def test_a_cursor_that_was_reset_costs_one_repeated_request_of_the_last_claim(station: Station) -> None:
    station.put("vcf/a.vcf")
    station.tick()
    before = station.tick()
    station.cursors.clear()
    after = station.tick()
    assert [r.run_key for r in before.run_requests] == [r.run_key for r in after.run_requests]


@pytest.mark.parametrize("cursor", ["1731942000.0", "[]", '{"claim": "edited by hand"}', "{", "null"])
def test_a_cursor_that_is_not_ours_is_survived(station: Station, cursor: str) -> None:
    station.put("vcf/a.vcf")
    station.cursors["vcf"] = cursor
    assert station.requested() == ["a"]


def test_requests_come_in_the_order_of_arrival_and_at_most_50_a_tick(station: Station) -> None:
    station.put("vcf/z_first.vcf")
    station.tick()
    for number in range(60):
        station.put(f"vcf/f{number:02}.vcf")
    assert keys_of(station.tick()) == ["z_first"]
    assert keys_of(station.tick()) == [f"f{number:02}" for number in range(50)]
    assert keys_of(station.tick()) == [f"f{number:02}" for number in range(50, 60)]
    assert keys_of(station.tick()) == []


def test_two_sensors_at_once_ask_for_each_file_once(station: Station) -> None:
    for number in range(40):
        station.put(f"vcf/f{number}.vcf")
    station.tick()
    time.sleep(2 * SETTLE_SECONDS)

    def tick_of_its_own(_: int) -> Any:
        return Station(station.url, station.inbox, station.instance).tick(cursor_is_saved=False)

    with ThreadPoolExecutor(4) as pool:
        ticks = list(pool.map(tick_of_its_own, range(4)))
    # Whoever came second in turn repeats what the first one's cursor did not confirm, under the same run keys.
    run_keys = {request.run_key for tick in ticks for request in tick.run_requests}
    assert len(run_keys) == 40
    losers = [tick for tick in ticks if not tick.run_requests]
    assert all("at work on" in tick.skip_message for tick in losers)


def test_a_sensor_of_another_instance_does_not_take_what_is_claimed(station: Station) -> None:
    station.put("vcf/a.vcf")
    station.tick()
    assert keys_of(station.tick(cursor_is_saved=False)) == ["a"]
    with dg.instance_for_test() as other_instance:
        other = Station(station.url, station.inbox, other_instance)
        tick = other.tick()
        assert keys_of(tick) == []
        assert "1 claimed by another sensor" in tick.skip_message
        patient = Station(station.url, station.inbox, other_instance, claim_seconds=0.0)
        assert keys_of(patient.tick()) == ["a"]


def test_a_tick_that_finds_the_ledger_taken_says_so_and_changes_nothing(station: Station) -> None:
    station.put("vcf/a.vcf")
    station.tick()
    station.cursors["vcf"] = '{"claim": "kept"}'
    with (
        dg.build_resources(station.resources) as ready,
        ready.drop_ledger.session(VCF, ready.inbox.root) as session,
    ):
        assert session is not None
        tick = station.tick()
    assert "a drain or another sensor is at work on" in tick.skip_message
    assert tick.cursor == '{"claim": "kept"}'
    assert keys_of(station.tick()) == ["a"]


def test_a_ledger_without_its_table_says_what_to_do(
    postgres_server: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    station = Station(postgres_server, str(tmp_path), instance)
    with pytest.raises(RuntimeError, match=r"drop_ledger does not exist.*genomics_assets env"):
        station.tick()


def test_a_connection_that_dies_in_a_look_loses_nothing(station: Station) -> None:
    station.put("vcf/a.vcf")
    station.tick()
    time.sleep(2 * SETTLE_SECONDS)

    def look_and_lose_the_server() -> None:
        with (
            dg.build_resources(station.resources) as ready,
            ready.drop_ledger.session(VCF, ready.inbox.root) as session,
        ):
            seen = session.observe(ready.inbox.look(VCF).found, at_once=False)
            session.claim(seen, "sensor", 50)
            with psycopg.connect(station.url, autocommit=True) as killer:
                killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            session.commit()

    with pytest.raises(DropLedgerError, match="cannot be used"):
        look_and_lose_the_server()
    assert station.states() == {"a.vcf": "settling"}
    assert keys_of(station.tick()) == ["a"]


# -- the real daemon -----------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """One iteration of Dagster's own sensor daemon, which runs what is asked for in this process."""
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.test_utils import (
        InProcessTestWorkspaceLoadTarget,
        create_test_daemon_workspace_context,
        freeze_time,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._daemon.sensor import execute_sensor_iteration
    from dagster._time import get_current_datetime

    monkeypatch.setenv("DROP_TEST_POSTGRES", station.url)
    monkeypatch.setenv("DROP_TEST_INBOX", station.inbox)
    monkeypatch.syspath_prepend(str(ROOT))
    location = Path(drop_location.__file__)
    with dg.instance_for_test(
        overrides={
            "run_launcher": {
                "module": "dagster._core.launcher.sync_in_memory_run_launcher",
                "class": "SyncInMemoryRunLauncher",
            },
            "run_coordinator": {
                "module": "dagster._core.run_coordinator.default_run_coordinator",
                "class": "DefaultRunCoordinator",
            },
        }
    ) as instance:
        station.instance = instance
        target = InProcessTestWorkspaceLoadTarget(
            InProcessCodeLocationOrigin(
                LoadableTargetOrigin(
                    executable_path=sys.executable, python_file=str(location), attribute="defs"
                ),
                location_name="drops",
            )
        )
        with create_test_daemon_workspace_context(target, instance) as workspace:
            moments = [get_current_datetime()]

            def iterate(later: float = 60) -> None:
                # Each iteration a minute later by Dagster's clock, so that every one of them is due.
                moments.append(moments[-1] + timedelta(seconds=later))
                time.sleep(1.2 * SETTLE_SECONDS)
                with freeze_time(moments[-1]):
                    if later < 0:
                        forget_looks_to_come(instance)
                    errors = list(
                        execute_sensor_iteration(
                            workspace,
                            logging.getLogger("daemon"),
                            threadpool_executor=None,
                            submit_threadpool_executor=None,
                        )
                    )
                assert not [error for error in errors if error]

            yield iterate


def test_the_daemon_runs_each_file_once(station: Station, daemon: Callable[[], None]) -> None:
    for number in range(3):
        station.put(f"vcf/f{number}.vcf")
    station.put("vcf/worse.vcf", "bad")
    for _ in range(4):
        daemon()
    runs = station.instance.get_runs()
    by_file = {run.tags["drop/file"]: run.status.value for run in runs}
    assert len(runs) == 4
    assert by_file.pop("vcf/worse.vcf") == "FAILURE"
    assert set(by_file.values()) == {"SUCCESS"}
    assert set(station.states().values()) == {"requested"}


def test_what_a_dead_daemon_claimed_runs_once(station: Station, daemon: Callable[[], None]) -> None:
    station.put("vcf/a.vcf")
    station.put("vcf/b.vcf")
    daemon()
    # A daemon that dies right after the code server answered: claimed and committed, never asked for.
    assert len(station.tick(cursor_is_saved=False, location="drops").run_requests) == 2
    assert set(station.states().values()) == {"claimed"}
    for _ in range(3):
        daemon()
    assert sorted(run.tags["drop/file"] for run in station.instance.get_runs()) == ["vcf/a.vcf", "vcf/b.vcf"]
    assert set(station.states().values()) == {"requested"}


def test_a_daemon_that_died_before_it_saved_its_cursor_doubles_nothing(
    station: Station, daemon: Callable[[], None]
) -> None:
    station.put("vcf/a.vcf")
    daemon()
    daemon()
    assert len(station.instance.get_runs()) == 1
    for state in station.instance.all_instigator_state():
        station.instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
    for _ in range(3):
        daemon()
    assert len(station.instance.get_runs()) == 1
    assert station.states() == {"a.vcf": "requested"}


@pytest.mark.parametrize("step", [-3600.0, 3600.0, -86400.0])
def test_a_clock_step_loses_and_doubles_nothing(
    station: Station, daemon: Callable[..., None], step: float
) -> None:
    station.put("vcf/before.vcf")
    daemon()
    daemon()
    station.put("vcf/after.vcf")
    daemon(later=step)
    for _ in range(3):
        daemon()
    assert sorted(run.tags["drop/file"] for run in station.instance.get_runs()) == [
        "vcf/after.vcf",
        "vcf/before.vcf",
    ]
    assert set(station.states().values()) == {"requested"}


def test_a_drain_believes_the_cursor_that_the_daemon_saved(
    station: Station, daemon: Callable[[], None]
) -> None:
    station.put("vcf/a.vcf")
    daemon()
    daemon()
    assert station.states() == {"a.vcf": "claimed"}
    lines: list[str] = []
    for_ever = Station(station.url, station.inbox, station.instance, claim_seconds=1e6)
    assert drain(for_ever.definitions, station.instance, out=lines.append) == 0
    assert lines == ["known   vcf/a.vcf"]
    assert len(station.instance.get_runs()) == 1


# -- size --------------------------------------------------------------------------------------------------------------


def test_ten_thousand_files_tick_fast_with_a_small_cursor(station: Station) -> None:
    folder = Path(station.inbox) / "vcf"
    folder.mkdir(parents=True)
    for number in range(10_000):
        (folder / f"sample_{number:05}.vcf").touch()
    station.definitions.get_repository_def()
    first, second, third = station.tick(), station.tick(), station.tick()
    assert first.skip_message.startswith("10,000 files still settling, 0 known")
    assert len(second.run_requests) == len(third.run_requests) == 50
    assert not set(keys_of(second)) & set(keys_of(third))
    assert len(third.cursor) < 300


# -- S3 ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(postgres_url: str, instance: dg.DagsterInstance, s3: str, tmp_path: Path) -> Station:
    """A station whose inbox is in a bucket."""
    import s3fs

    files = s3fs.S3FileSystem(endpoint_url=s3, use_listings_cache=False)
    name = f"drops{abs(hash(tmp_path))}"
    files.mkdir(name)
    station = Station(postgres_url, f"s3://{name}/in", instance, endpoint=s3)

    def put(path: str, text: str = "text") -> Path:
        files.pipe_file(f"{name}/in/{path}", text.encode())
        return Path(path)

    station.put = put  # type: ignore[method-assign]
    return station


def test_an_object_is_taken_at_the_first_look(bucket: Station) -> None:
    bucket.put("vcf/run 1/naïve %41.vcf", "the text")
    bucket.put("vcf/run 1/naïve %41.ped", "the pedigree")
    bucket.put("vcf/a.vcf.part")
    tick = bucket.tick()
    assert keys_of(tick) == ["run 1/naïve %2541"]
    assert keys_of(bucket.tick()) == []

    with dg.build_resources(bucket.resources) as ready:
        drop = ready.inbox.drop(VCF, "run 1/naïve %2541")
        assert drop.uri == f"{bucket.inbox}/vcf/run 1/naïve %2541.vcf"
        with ready.inbox.local(drop) as path:
            assert path.name == "naïve %41.vcf"
            assert path.read_text() == "the text"
        assert not path.exists()
        with ready.inbox.local(drop.sidecars[0]) as path:
            assert path.read_text() == "the pedigree"
        assert ready.inbox.unchanged(drop)
        bucket.put("vcf/run 1/naïve %41.ped", "another pedigree")
        assert not ready.inbox.unchanged(drop)
    assert keys_of(bucket.tick()) == ["run 1/naïve %2541"]


def test_the_same_object_put_again_does_nothing(bucket: Station) -> None:
    bucket.put("vcf/a.vcf")
    assert bucket.requested() == ["a"]
    bucket.put("vcf/a.vcf")
    assert bucket.requested() == []


def test_a_key_that_leads_out_of_the_folder_is_refused(bucket: Station) -> None:
    bucket.put("vcf/../../escape.vcf")
    assert "escape.vcf (its name leads out of the folder)" in bucket.tick().skip_message


def test_a_folder_in_s3_must_hold_still_too(bucket: Station) -> None:
    bucket.put("gwas/ada/height/cohort.vcf")
    assert keys_of(bucket.tick("gwas")) == []
    bucket.put("gwas/ada/height/phenotypes.csv")
    assert keys_of(bucket.tick("gwas")) == []
    assert keys_of(bucket.tick("gwas")) == ["ada/height"]
    with (
        dg.build_resources(bucket.resources) as ready,
        ready.inbox.local(ready.inbox.drop(GWAS, "ada/height")) as path,
    ):
        assert sorted(p.name for p in path.iterdir()) == ["cohort.vcf", "phenotypes.csv"]


def test_a_bucket_that_is_not_there_fails_the_tick_and_says_what_to_check(
    postgres_url: str, instance: dg.DagsterInstance, s3: str
) -> None:
    station = Station(postgres_url, "s3://no-such-bucket/in", instance, endpoint=s3)
    with pytest.raises(
        RuntimeError, match=r"s3://no-such-bucket/in cannot be read.*Remedy: check GENOMICS_INBOX"
    ):
        station.tick()


def test_an_s3_server_that_is_not_there_fails_the_tick_and_says_what_to_check(
    postgres_url: str, instance: dg.DagsterInstance, s3: str
) -> None:
    station = Station(postgres_url, "s3://bucket/in", instance, endpoint="http://127.0.0.1:9")
    with pytest.raises(
        RuntimeError, match=r"cannot be read.*Remedy: check GENOMICS_INBOX, GENOMICS_S3_ENDPOINT_URL"
    ):
        station.tick()
