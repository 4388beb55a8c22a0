"""What a run asks a cluster for, by the job that it is of. Other launchers than Kubernetes' do not look at it."""

from typing import Any, Literal

RunSize = Literal["standard", "large"]

# Of one run, which does its steps one after the other. Limits are of memory alone: a processor that is idle is anyone's.
REQUESTS: dict[RunSize, dict[str, dict[str, str]]] = {
    "standard": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
    "large": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "16Gi"}},
}


def run_size(size: RunSize) -> dict[str, Any]:
    """The tag that a job gives to its runs.

    >>> run_size("large")["dagster-k8s/config"]["container_config"]["resources"]["requests"]["memory"]
    '4Gi'
    """
    return {"dagster-k8s/config": {"container_config": {"resources": REQUESTS[size]}}}
