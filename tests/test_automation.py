"""One pass for all that waits: when the condition asks, and that a drain makes what it asks for."""

from __future__ import annotations

import dagster as dg
import pytest

from genomics_assets.automation import once_for_all_that_waits
from sensors.condition_drain import ConditionDrain

files = dg.DynamicPartitionsDefinition(name="automation_files")
made: list[str] = []


@dg.asset(partitions_def=files)
def loaded() -> None: ...


@dg.asset(
    deps=[dg.AssetDep(loaded, partition_mapping=dg.AllPartitionMapping())],
    automation_condition=once_for_all_that_waits(),
)
def annotated() -> None:
    made.append("annotated")
    if made.count("annotated") == 3:
        raise ValueError("the third one fails")


LOAD = dg.define_asset_job("load", selection=[loaded], partitions_def=files)
DEFINITIONS = dg.Definitions(assets=[loaded, annotated], jobs=[LOAD], executor=dg.in_process_executor)


@pytest.fixture
def instance() -> dg.DagsterInstance:
    made.clear()
    return dg.DagsterInstance.ephemeral()


def load(instance: dg.DagsterInstance, *keys: str) -> None:
    instance.add_dynamic_partitions("automation_files", list(keys))
    for key in keys:
        instance.report_runless_asset_event(dg.AssetMaterialization("loaded", partition=key))


class Condition:
    """The condition as the daemon evaluates it, tick after tick."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor = dg.evaluate_automation_conditions(DEFINITIONS, instance).cursor

    def asks(self) -> bool:
        result = dg.evaluate_automation_conditions(DEFINITIONS, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return result.total_requested > 0


def test_fifty_files_make_one_pass(instance: dg.DagsterInstance) -> None:
    condition = Condition(instance)
    assert not condition.asks()
    load(instance, *(f"f{number}" for number in range(50)))
    assert [condition.asks() for _ in range(3)] == [True, False, False]
    load(instance, "f7")
    assert condition.asks(), "a file that is loaded again is news"


def test_a_pass_waits_until_nothing_more_is_under_way(instance: dg.DagsterInstance) -> None:
    condition = Condition(instance)
    load(instance, "a")
    instance.add_dynamic_partitions("automation_files", ["b"])
    job = DEFINITIONS.resolve_job_def("load")
    run = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "b"},
        asset_selection=frozenset({loaded.key}),
    )
    assert not condition.asks()
    instance.report_run_failed(run)
    assert condition.asks(), "a file that fails holds no others back"


@pytest.mark.parametrize("still_running", [False, True])
def test_a_file_that_comes_right_after_a_request_gets_a_pass_of_its_own(
    instance: dg.DagsterInstance, still_running: bool
) -> None:
    """It is news at the same look at which the request is known, and the pass may have read before it came."""
    condition = Condition(instance)
    load(instance, "a")
    assert condition.asks()
    annotating = instance.create_run_for_job(
        DEFINITIONS.resolve_implicit_global_asset_job_def(),
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset({annotated.key}),
    )
    load(instance, "b")
    if still_running:
        assert not condition.asks()
    instance.report_run_failed(annotating)
    assert [condition.asks() for _ in range(3)] == [True, False, False]


def test_a_drain_makes_what_is_asked_for_once(instance: dg.DagsterInstance) -> None:
    lines: list[str] = []

    def drained() -> int:
        drain = ConditionDrain(DEFINITIONS, instance, dg.ResourceDefinition.none_resource(), lines.append)
        drain.begin()
        load(instance, *loads)
        return drain.run()

    loads: list[str] = ["a", "b", "c"]
    assert drained() == 0
    assert made == ["annotated"]
    loads = []
    assert drained() == 0
    assert made == ["annotated"], "nothing is new"
    loads = ["d"]
    assert drained() == 0
    assert len(made) == 2
    assert drained() == 1
    assert [line.partition(":")[0] for line in lines] == [
        "ok      annotated",
        "ok      annotated",
        "failed  annotated",
    ]
    assert lines[-1].endswith("the third one fails")
