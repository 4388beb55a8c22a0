"""The values for Dagster's Helm chart, and what a run becomes on a cluster: built by dagster-k8s itself.

The chart's `values.schema.json` is in no package registry. So the parts that are Kubernetes' own are held against its
Python client, the run launcher's against its configuration schema, and the rest against what the chart's schema names.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from deploy_files import ROOT
from kubernetes.client import ApiClient

FOLDER = ROOT / "deploy" / "kubernetes"
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text())
PODS = {
    "webserver": VALUES["dagsterWebserver"],
    "daemon": VALUES["dagsterDaemon"],
    "code": VALUES["dagster-user-deployments"]["deployments"][0],
}
# As the chart's schema has them at the version that is installed.
TOP_LEVEL = {
    "global", "dagsterWebserver", "dagster-user-deployments", "postgresql", "generatePostgresqlPasswordSecret",
    "generateCeleryConfigSecret", "rabbitmq", "redis", "flower", "ingress", "imagePullSecrets", "computeLogManager",
    "scheduler", "runLauncher", "pythonLogs", "dagsterDaemon", "busybox", "migrate", "telemetry", "serviceAccount",
    "retention", "concurrency", "additionalInstanceConfig",
}  # fmt: skip
# Keys of each part; the chart refuses others, or, of a code server, does not look at them.
IN_POD = {
    "image", "env", "envConfigMaps", "envSecrets", "labels", "annotations", "nodeSelector", "affinity", "tolerations",
    "podSecurityContext", "securityContext", "resources", "livenessProbe", "readinessProbe", "startupProbe", "volumes",
    "volumeMounts", "schedulerName",
}  # fmt: skip
KNOWN = {
    "dagsterWebserver": IN_POD | {
        "replicaCount", "nameOverride", "service", "workspace", "deploymentLabels", "enableReadOnly", "pathPrefix",
        "logLevel", "dbStatementTimeout", "dbPoolRecycle",
    },
    "dagsterDaemon": IN_POD | {
        "enabled", "runCoordinator", "heartbeatTolerance", "deploymentLabels", "runMonitoring", "runRetries", "sensors",
        "schedules",
    },
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "postgresql": {
        "image", "enabled", "postgresqlScheme", "postgresqlHost", "postgresqlUsername", "postgresqlPassword",
        "postgresqlDatabase", "postgresqlParams", "service",
    },
    "computeLogManager": {"type", "config"},
    "runLauncher": {"type", "config"},
    "retention": {"enabled", "sensor", "schedule", "autoMaterialize"},
}  # fmt: skip
IN_CODE_SERVER = IN_POD | {
    "name",
    "port",
    "dagsterApiGrpcArgs",
    "codeServerArgs",
    "includeConfigInLaunchedRuns",
}


def understood(what: Any, kind: str) -> Any:
    """What Kubernetes' client makes of it; a field that it does not know is lost on the way."""
    client = ApiClient()
    read = client.deserialize(SimpleNamespace(data=json.dumps(what)), kind)
    return client.sanitize_for_serialization(read)


def snake(value: Any) -> Any:
    """Keys as Python writes them, as the chart's templates do."""
    if isinstance(value, dict):
        return {re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): snake(inner) for key, inner in value.items()}
    return value


def test_the_values_name_what_the_chart_knows() -> None:
    assert {key for key in VALUES if not key.startswith("x-")} <= TOP_LEVEL
    for part, known in KNOWN.items():
        assert set(VALUES[part]) <= known, part
    for deployment in VALUES["dagster-user-deployments"]["deployments"]:
        assert set(deployment) <= IN_CODE_SERVER
    text = (FOLDER / "values.yaml").read_text()
    assert f"--version {version('dagster')} " in text, "chart and package move together"
    assert VALUES["telemetry"] == {"enabled": False}
    assert VALUES["runLauncher"]["type"] == "K8sRunLauncher"
    assert not any(VALUES[name]["enabled"] for name in ("rabbitmq", "redis", "flower", "ingress"))


def test_no_password_is_among_the_values() -> None:
    for file in FOLDER.iterdir():
        settings = yaml.safe_load(file.read_text())
        assert not re.search(r"[pP]assword: ", yaml.safe_dump(settings)), file.name
        assert "postgresql://" not in file.read_text().replace("postgresql+psycopg2", "")
    assert VALUES["generatePostgresqlPasswordSecret"] is False
    assert all(pod["envSecrets"] == [{"name": "genomics-stores"}] for pod in PODS.values())


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_more_rights_than_it_needs(name: str) -> None:
    pod = PODS[name]
    assert pod["image"]["tag"] not in ("", "latest")
    for field, kind in (("podSecurityContext", "V1PodSecurityContext"), ("securityContext", "V1SecurityContext"),
                        ("resources", "V1ResourceRequirements")):  # fmt: skip
        assert understood(pod[field], kind) == pod[field]
    for field, kind in (
        ("volumes", "list[V1Volume]"),
        ("volumeMounts", "list[V1VolumeMount]"),
        ("env", "list[V1EnvVar]"),
    ):
        assert understood(pod[field], kind) == pod[field]
    assert pod["podSecurityContext"]["runAsNonRoot"] is True
    assert pod["podSecurityContext"]["runAsUser"] == 10001
    assert pod["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"requests", "limits"} == set(pod["resources"])
    assert {mount["name"] for mount in pod["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize(("file", "kind"), [("prepare.yaml", "V1Job"), ("backup.yaml", "V1CronJob")])
def test_the_other_manifests_are_what_kubernetes_understands(file: str, kind: str) -> None:
    manifest = yaml.safe_load((FOLDER / file).read_text())
    assert understood(manifest, kind) == manifest
    spec = manifest["spec"] if kind == "V1Job" else manifest["spec"]["jobTemplate"]["spec"]
    [container] = spec["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    command = " ".join(container["command"])
    assert f"python -m genomics_assets {file.removesuffix('.yaml')}" in command
    image = VALUES["dagsterDaemon"]["image"]
    assert container["image"] == f"{image['repository']}:{image['tag']}"


@pytest.fixture(scope="module")
def launcher_settings() -> dict[str, Any]:
    """The launcher's configuration, as the chart writes it into dagster.yaml, and as the launcher reads it."""
    from dagster._config import process_config, resolve_to_config_type
    from dagster_k8s import K8sRunLauncher

    given = snake(VALUES["runLauncher"]["config"]["k8sRunLauncher"])
    given |= {
        "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "genomics-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "service_account_name": "genomics",
        "job_namespace": "genomics",
    }
    # Of Kubernetes' own objects the launcher takes both ways of writing.
    given["run_k8s_config"] = {
        re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): value
        for key, value in VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"].items()
    }
    result = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), given)
    assert result.success, result.errors
    return dict(result.value or {})


def job_of_a_run(launcher_settings: dict[str, Any], tags: dict[str, str]) -> dict[str, Any]:
    """The job of Kubernetes for a run with these tags, in a code location with the deployment's settings."""
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job, get_user_defined_k8s_config

    code = PODS["code"]
    of_location = K8sContainerContext.create_from_config(
        {
            "k8s": {
                "env_secrets": [secret["name"] for secret in code["envSecrets"]],
                "volumes": code["volumes"],
                "volume_mounts": code["volumeMounts"],
                "env": code["env"],
            }
        }
    )
    of_instance = K8sContainerContext.create_from_config(
        {"k8s": {"run_k8s_config": launcher_settings["run_k8s_config"]}}
    )
    of_tags = K8sContainerContext(run_k8s_config=get_user_defined_k8s_config(tags))
    context = of_instance.merge(of_location).merge(of_tags)
    config = context.get_k8s_job_config(
        "registry.example.internal/genomics-assets:0.1.0", SimpleNamespace(**launcher_settings)
    )
    job = construct_dagster_k8s_job(
        config,
        ["dagster", "api", "execute_run"],
        "dagster-run-1",
        user_defined_k8s_config=context.run_k8s_config,
    )
    manifest: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return manifest


def test_every_run_is_a_job_with_the_size_that_its_job_names(launcher_settings: dict[str, Any]) -> None:
    from genomics_assets.definitions import build_definitions
    from genomics_assets.run_sizes import REQUESTS

    definitions = build_definitions()
    seen = {}
    for job in (
        "run_gwas",
        "analyze_experiment",
        "code_va_batch",
        "load_vcf",
        "load_annotation",
        "annotate_variants",
    ):
        tags = dict(definitions.resolve_job_def(job).run_tags)
        manifest = job_of_a_run(launcher_settings, tags)
        [container] = manifest["spec"]["template"]["spec"]["containers"]
        seen[job] = container["resources"]["requests"]["memory"]
    large, standard = (REQUESTS[size]["requests"]["memory"] for size in ("large", "standard"))
    assert seen == {
        "run_gwas": large, "analyze_experiment": large, "code_va_batch": large,
        "load_vcf": standard, "load_annotation": standard, "annotate_variants": standard,
    }  # fmt: skip


def test_a_run_without_a_size_gets_that_of_the_values(launcher_settings: dict[str, Any]) -> None:
    manifest = job_of_a_run(launcher_settings, {})
    assert understood(manifest, "V1Job") == manifest
    spec = manifest["spec"]["template"]["spec"]
    [container] = spec["containers"]
    default = VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["containerConfig"]
    assert container["resources"] == default["resources"]
    assert container["securityContext"] == PODS["code"]["securityContext"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert container["args"] == ["dagster", "api", "execute_run"]
    assert "command" not in container, "the image has no entry point that would take these for its own"
    assert {"secretRef": {"name": "genomics-stores"}} in container["envFrom"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {
        "/scratch",
        "/tmp",
        "/var/lib/genomics",
    }
    assert manifest["spec"]["ttlSecondsAfterFinished"] == 86400


def test_the_sizes_are_quantities_of_kubernetes() -> None:
    from kubernetes.utils import parse_quantity

    from genomics_assets.run_sizes import REQUESTS

    for size in REQUESTS.values():
        assert parse_quantity(size["requests"]["memory"]) < parse_quantity(size["limits"]["memory"])
        assert parse_quantity(size["requests"]["cpu"]) <= 2
