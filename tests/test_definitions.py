"""The code location explains itself, loads light, and none of the known traps of its libraries is open."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pytest

import resources
import sensors
from genomics_assets.definitions import build_definitions

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "pandas",
    "matplotlib",
    "scipy",
    "cyvcf2",
    "pymongo",
    "s3fs",
    "psycopg",
    "duckdb",
    "pyfaidx",
    "alembic",
)


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    definitions = build_definitions()
    dg.Definitions.validate_loadable(definitions)
    return definitions


def test_every_asset_explains_itself(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.group_name == spec.key.path[0], name
        assert spec.owners, name
        assert spec.kinds, name
        assert len(spec.description or "") > 60, name
        assert spec.code_version, name


def test_the_graph_has_the_names_that_others_rely_on(definitions: dg.Definitions) -> None:
    edges = {
        (dependency.asset_key.to_user_string(), spec.key.to_user_string())
        for spec in definitions.resolve_all_asset_specs()
        for dependency in spec.deps
    }
    assert ("variants/vcf_files", "variants/variants") in edges
    for name in ("samples", "genotypes", "variant_summary", "variants_lake"):
        assert ("variants/variants", f"variants/{name}") in edges


def test_one_file_runs_through_all_its_assets_in_one_run(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("load_vcf")
    assert job.partitions_def is not None
    assert {key.path[-1] for key in job.asset_layer.executable_asset_keys} == {
        "vcf_files", "variants", "samples", "genotypes", "variant_summary", "variants_lake",
    }  # fmt: skip
    assert job.executor_def.name == "in_process"


def test_the_location_loads_without_heavy_libraries() -> None:
    script = (
        "import sys; from genomics_assets.definitions import build_definitions as b; b();"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_the_packages_with_common_names_are_ours() -> None:
    assert Path(resources.__file__ or "").parent == ROOT / "resources"
    assert Path(sensors.__file__ or "").parent == ROOT / "sensors"


def test_dagsters_distributions_move_together_and_pandas_is_not_held_back() -> None:
    assert version("dagster") == version("dagster-webserver")
    assert version("dagster-postgres").split(".")[2] == version("dagster").split(".")[2]
    assert int(version("pandas").split(".")[0]) >= 3


def test_modules_with_decorators_do_not_postpone_annotations() -> None:
    """Dagster reads annotations of assets, Config parameters and resources when it runs."""
    for path in [
        *ROOT.glob("genomics_assets/**/*.py"),
        *ROOT.glob("resources/*.py"),
        *ROOT.glob("sensors/*.py"),
    ]:
        text = path.read_text()
        if "@dg.asset" in text or "dg.Config" in text or "ResourceDependency" in text:
            assert "from __future__ import annotations" not in text, path
