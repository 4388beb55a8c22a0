"""What migrations make is written down, and what a database lacks of it is told."""

from __future__ import annotations

import psycopg
import pytest

from resources.migrations.layout import Layout, expected_layout, missing, read_layout


def test_the_written_layout_is_what_the_migrations_make(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        made = read_layout(connection)

    assert made == expected_layout(), "run `make layout`, and commit resources/migrations/layout.json"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER TABLE genomics.variants DROP COLUMN qual", "column genomics.variants.qual is missing"),
        ("ALTER TABLE bmd.bmd_results ALTER num_results TYPE bigint",
         "column bmd.bmd_results.num_results is bigint, not integer"),
        ("DROP TABLE comsa.job_logs", "table comsa.job_logs is missing"),
        ("DROP INDEX genomics.variants_gene_idx", "index variants_gene_idx of genomics.variants is missing"),
        ("DROP TRIGGER guard_job_state ON comsa.jobs", "trigger guard_job_state of comsa.jobs is missing"),
    ],
)  # fmt: skip
def test_what_was_changed_by_hand_is_named(postgres_url: str, change: str, told: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(change)  # type: ignore[arg-type]
        found = read_layout(connection)
        connection.rollback()

    assert missing(found, expected_layout()) == [told]


def test_tables_of_ones_own_are_no_drift() -> None:
    assert (
        missing(
            Layout({"genomics.t": {"x": "text"}, "genomics.mine": {}}), Layout({"genomics.t": {"x": "text"}})
        )
        == []
    )
