"""The reference files of verbal autopsy: read and registered anew when they change."""

import hashlib
from pathlib import Path

import dagster as dg

from genomics_assets.verbal_autopsy.reference_file import list_reference
from resources.environment import Environment

ASSETS = {
    "probbase": dg.AssetKey(["verbal_autopsy", "probbase"]),
    "misclassification": dg.AssetKey(["verbal_autopsy", "misclassification_matrices"]),
}


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    asset_selection=dg.AssetSelection.assets(*ASSETS.values()),
    description="Registers version and SHA-256 of a reference file in GENOMICS_VA_REFERENCE when it is new or changed.",
)
def va_reference_changes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One run for each kind of file that is there, for each state of it."""
    folder = Environment.from_environ().va_reference
    if folder is None:
        return dg.SkipReason("GENOMICS_VA_REFERENCE is not set")
    found = {kind: list_reference(folder, kind) for kind in ASSETS}
    requests = [
        dg.RunRequest(run_key=f"{kind}:{_state(paths)}", asset_selection=[ASSETS[kind]])
        for kind, paths in found.items()
        if paths
    ]
    if not requests:
        return dg.SkipReason(f"{folder} holds no reference file")
    return dg.SensorResult(run_requests=requests)


def _state(paths: list[Path]) -> str:
    stats = [(path.name, path.stat()) for path in paths]
    text = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
