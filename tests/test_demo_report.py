"""The demo's report: rows of each file by asset, and a verdict that follows the checks."""

from __future__ import annotations

import dagster as dg
import pytest

from genomics_assets.demo_report import print_report

files = dg.StaticPartitionsDefinition(["one", "two"])


@dg.asset(key_prefix="d", partitions_def=files)
def dropped() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": 1})


@dg.asset(key_prefix="d", partitions_def=files, deps=[dropped])
def rows() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": 1234})


@dg.asset(key_prefix="d", partitions_def=files)
def alone() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"dagster/partition_row_count": 77})


@dg.asset(key_prefix="d", deps=[dg.AssetDep(rows, partition_mapping=dg.AllPartitionMapping())])
def beside() -> None: ...


def check_of(passed: bool, severity: dg.AssetCheckSeverity) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=rows, name="sound")
    def sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed, severity=severity, description="as it is")

    return sound


@pytest.mark.parametrize(
    ("passed", "severity", "verdict", "is_sound"),
    [
        (True, dg.AssetCheckSeverity.ERROR, "passed", True),
        (False, dg.AssetCheckSeverity.WARN, "warn", True),
        (False, dg.AssetCheckSeverity.ERROR, "error", False),
    ],
)
def test_the_report_says_what_was_loaded_and_what_checks_found(
    passed: bool, severity: dg.AssetCheckSeverity, verdict: str, is_sound: bool
) -> None:
    check = check_of(passed, severity)
    definitions = dg.Definitions(assets=[dropped, rows, alone, beside], asset_checks=[check])
    instance = dg.DagsterInstance.ephemeral()
    dg.materialize([dropped, rows, check], instance=instance, partition_key="one")
    dg.materialize([dropped], instance=instance, partition_key="two")
    dg.materialize([alone], instance=instance, partition_key="one")
    lines: list[str] = []

    assert print_report(instance, definitions, lines.append) is is_sound

    report = "\n".join(lines)
    assert "d/dropped: 2 partitions" in report
    assert [line.split() for line in lines if line.startswith("  one") or line.startswith("  two")] == [
        ["one", "77"],
        ["one", "1,234"],
        ["two", "failed"],
    ]
    assert "beside" not in report
    assert f"  {verdict:8}d/rows: sound  as it is" in report
