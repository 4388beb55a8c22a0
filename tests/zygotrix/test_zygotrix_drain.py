"""The bundled examples, taken by the real sensors: what the demo shows of the document store."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
from zygotrix_application import Application, checks

from resources.mongo import MongoResource
from sensors.drain import drain

INBOX = Path(__file__).resolve().parents[2] / "examples" / "inbox"
EXAMPLES = INBOX / "zygotrix"


@pytest.mark.parametrize("fresh_mongo_url", ["embedded"], indirect=True)
def test_the_bundled_examples_fill_all_eight_collections(
    tmp_path: Path, mongo: MongoResource, postgres_url: str
) -> None:
    application = Application(tmp_path, mongo, postgres_url)
    shutil.copytree(EXAMPLES, application.inbox / "zygotrix")
    shutil.copytree(INBOX / "gwas", application.inbox / "gwas")
    (application.inbox / "zygotrix" / "users" / "notes.txt").write_text("not an export")
    told: list[str] = []
    # A daemon's cursors are looked at, which an ephemeral instance has no room for.
    with dg.instance_for_test() as instance:
        application.instance = instance
        assert drain(application.definitions, instance, out=told.append) == 0
        assert set(checks(application.run("look_after_store")).values()) == {"passed"}
    assert sorted(line.split(":")[0] for line in told if line.startswith("ok")) == sorted(
        ["ok      gwas/user123/heights"]
        + [f"ok      zygotrix/{file.relative_to(EXAMPLES)}" for file in EXAMPLES.rglob("*.jsonl")]
    )
    assert "ignored zygotrix/users/notes.txt: not one of *.jsonl" in told
    assert application.store.counts() == {
        "users": 4, "traits": 87, "conversations": 2, "university_courses": 2, "university_enrollments": 3,
        "gwas_datasets": 1, "gwas_jobs": 2, "gwas_results": 2,
    }  # fmt: skip
    application.store.mongo.close()
