"""Schema `bmd` has every table of the data model, column by column, and takes its statements unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

Query = Callable[..., list[tuple[Any, ...]]]

MODEL = {
    "users": """
        id bigint NOT NULL, username varchar(255) NOT NULL, email varchar(255) NOT NULL,
        password_hash varchar(255) NOT NULL, full_name varchar(255), role varchar(50) NOT NULL,
        enabled boolean DEFAULT true, created_at timestamp DEFAULT now, updated_at timestamp DEFAULT now""",
    "bmd_projects": """
        id bigint NOT NULL, user_id bigint NOT NULL, name varchar(255) NOT NULL, description text,
        created_at timestamp DEFAULT now, updated_at timestamp DEFAULT now""",
    "dose_response_experiments": """
        id bigint NOT NULL, project_id bigint NOT NULL, name varchar(255) NOT NULL, chip_info_id bigint,
        log_transformation varchar(50), expression_matrix_s3_key varchar(512), num_probes integer,
        num_treatments integer, created_at timestamp DEFAULT now""",
    "bmd_results": """
        id bigint NOT NULL, project_id bigint NOT NULL, experiment_id bigint, prefilter_id bigint,
        name varchar(255) NOT NULL, bmd_method varchar(50) NOT NULL, analysis_info jsonb, results_s3_key varchar(512),
        num_results integer, created_at timestamp DEFAULT now""",
    "jobs": """
        id varchar(36) NOT NULL, user_id bigint NOT NULL, project_id bigint, job_type varchar(50) NOT NULL,
        status varchar(50) NOT NULL, progress double DEFAULT 0.0, message text, parameters jsonb, result_id bigint,
        error_message text, created_at timestamp DEFAULT now, started_at timestamp, completed_at timestamp""",
    "chip_info": """
        id bigint NOT NULL, chip_id varchar(255), chip_name varchar(255) NOT NULL, provider varchar(255),
        species varchar(255), geo_id varchar(255), geo_name varchar(255)""",
    "treatments": """
        id bigint NOT NULL, experiment_id bigint NOT NULL, position integer NOT NULL, name varchar(255) NOT NULL,
        dose real NOT NULL""",
    "probe_responses": """
        id bigint NOT NULL, experiment_id bigint NOT NULL, probe_id varchar(255) NOT NULL, row_index integer NOT NULL,
        responses bytea""",
    "prefilter_results": """
        id bigint NOT NULL, project_id bigint NOT NULL, experiment_id bigint, upstream_prefilter_id bigint,
        name varchar(255) NOT NULL, prefilter_type varchar(50) NOT NULL, analysis_info jsonb, results jsonb,
        results_s3_key varchar(512), num_results integer, created_at timestamp DEFAULT now""",
    "prefilter_result_details": """
        prefilter_id bigint NOT NULL, probe_id varchar(255) NOT NULL, p_value double, adjusted_p_value double,
        f_value double, df1 smallint, df2 smallint, best_fold_change real, fold_changes real[],
        notel_lotel_p_values real[], notel_dose real, lotel_dose real, profile varchar(50), best_model varchar(50),
        bmd double, bmdl double""",
    "probe_stat_results": """
        id bigint NOT NULL, bmd_result_id bigint NOT NULL, probe_id varchar(255) NOT NULL, model varchar(50) NOT NULL,
        is_best boolean NOT NULL DEFAULT false, is_best_poly boolean NOT NULL DEFAULT false, bmd double, bmdl double,
        bmdu double, fit_p_value double, fit_log_likelihood double, aic double, adverse_direction smallint,
        success boolean, k_flag smallint, curve_parameters double[], other_parameters double[], covariances double[],
        residuals double[], r_squared double, z_score double, bmr_counts_to_top double, fold_change_to_top double,
        is_step_function boolean, is_step_below_lowest boolean, bmd_low_dose_ratio double, bmd_high_dose_ratio double,
        w_auc real""",
    "category_results": """
        id bigint NOT NULL, project_id bigint NOT NULL, bmd_result_id bigint, name varchar(255) NOT NULL,
        category_type varchar(50) NOT NULL, analysis_info jsonb, results jsonb, results_s3_key varchar(512),
        num_results integer, created_at timestamp DEFAULT now""",
    "category_result_details": """
        category_result_id bigint NOT NULL, category_id varchar(255) NOT NULL, stats jsonb NOT NULL""",
}  # fmt: skip

INDEXES = {
    "idx_users_username": "users USING btree (username)",
    "idx_users_email": "users USING btree (email)",
    "idx_projects_user": "bmd_projects USING btree (user_id)",
    "idx_projects_created": "bmd_projects USING btree (created_at DESC)",
    "idx_experiments_project": "dose_response_experiments USING btree (project_id)",
    "idx_bmd_results_project": "bmd_results USING btree (project_id)",
    "idx_bmd_results_experiment": "bmd_results USING btree (experiment_id)",
    "idx_bmd_results_prefilter": "bmd_results USING btree (prefilter_id)",
    "idx_bmd_results_method": "bmd_results USING btree (bmd_method)",
    "idx_jobs_user": "jobs USING btree (user_id)",
    "idx_jobs_project": "jobs USING btree (project_id)",
    "idx_jobs_status": "jobs USING btree (status)",
    "idx_jobs_created": "jobs USING btree (created_at DESC)",
}

KEYS = {
    ("users", "UNIQUE (username)"),
    ("users", "UNIQUE (email)"),
    ("bmd_projects", "FOREIGN KEY (user_id) REFERENCES bmd.users(id) ON DELETE CASCADE"),
    ("dose_response_experiments", "FOREIGN KEY (project_id) REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE"),
    ("dose_response_experiments", "FOREIGN KEY (chip_info_id) REFERENCES bmd.chip_info(id)"),
    ("bmd_results", "FOREIGN KEY (project_id) REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE"),
    ("bmd_results", "FOREIGN KEY (experiment_id) REFERENCES bmd.dose_response_experiments(id)"),
    ("bmd_results", "FOREIGN KEY (prefilter_id) REFERENCES bmd.prefilter_results(id)"),
    ("jobs", "FOREIGN KEY (user_id) REFERENCES bmd.users(id)"),
    ("jobs", "FOREIGN KEY (project_id) REFERENCES bmd.bmd_projects(id)"),
    ("chip_info", "UNIQUE (geo_id)"),
    ("treatments", "UNIQUE (experiment_id, \"position\")"),
    ("probe_responses", "UNIQUE (experiment_id, probe_id)"),
    ("probe_stat_results", "UNIQUE (bmd_result_id, probe_id, model)"),
    ("prefilter_result_details", "PRIMARY KEY (prefilter_id, probe_id)"),
    ("category_result_details", "PRIMARY KEY (category_result_id, category_id)"),
    *((table, "PRIMARY KEY (id)") for table in MODEL if not table.endswith("_details")),
}  # fmt: skip


def described(row: tuple[Any, ...]) -> str:
    name, kind, length, element, nullable, default = row
    kind = {
        "character varying": f"varchar({length})",
        "double precision": "double",
        "timestamp without time zone": "timestamp",
        "ARRAY": {"_float4": "real[]", "_float8": "double[]"}.get(element, element),
    }.get(kind, kind)
    if default is None or str(default).startswith("nextval"):
        told = ""
    else:
        told = " DEFAULT " + ("now" if default == "CURRENT_TIMESTAMP" else str(default))
    return f"{name} {kind}{' NOT NULL' if nullable == 'NO' else ''}{told}"


@pytest.mark.parametrize("table", MODEL)
def test_a_table_has_the_models_columns_first_and_additions_that_may_be_null(
    query: Query, table: str
) -> None:
    rows = query(
        """
        SELECT column_name, data_type, character_maximum_length, udt_name, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'bmd' AND table_name = %s ORDER BY ordinal_position
        """,
        table,
    )
    expected = [" ".join(column.split()) for column in MODEL[table].split(",")]
    assert [described(row) for row in rows[: len(expected)]] == expected
    assert all(nullable == "YES" for *_, nullable, _ in rows[len(expected) :])


def test_every_id_counts_by_itself(query: Query) -> None:
    for table in (table for table in MODEL if not table.endswith("_details") and table != "jobs"):
        [(default,)] = query(
            "SELECT column_default FROM information_schema.columns "
            "WHERE table_schema = 'bmd' AND table_name = %s AND column_name = 'id'",
            table,
        )
        assert default == f"nextval('bmd.{table}_id_seq'::regclass)"


def test_indexes_and_keys_are_the_models(query: Query) -> None:
    found = dict(query("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'bmd'"))
    for name, definition in INDEXES.items():
        assert found[name] == f"CREATE INDEX {name} ON bmd.{definition}"
    keys = query(
        """
        SELECT c.relname, pg_get_constraintdef(k.oid) FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
        WHERE k.connamespace = 'bmd'::regnamespace
        """
    )
    assert set(keys) >= KEYS


def test_the_models_statements_run_unchanged_on_the_search_path(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, options="-c search_path=bmd") as connection:
        connection.execute(
            "INSERT INTO users (username, email, password_hash, role) VALUES ('ann', 'a@b', 'x', 'USER')"
        )
        connection.execute(
            "INSERT INTO bmd_projects (user_id, name) SELECT id, 'liver' FROM users WHERE username = 'ann'"
        )
        connection.execute(
            "INSERT INTO dose_response_experiments (project_id, name, log_transformation) "
            "SELECT id, 'e', 'BASE2' FROM bmd_projects"
        )
        connection.execute(
            "INSERT INTO jobs (id, user_id, job_type, status) SELECT gen_random_uuid(), id, 'BMD_ANALYSIS', 'QUEUED' FROM users"
        )
        assert connection.execute("SELECT progress, status FROM jobs").fetchall() == [(0.0, "QUEUED")]
        connection.execute("DELETE FROM jobs")
        connection.execute("DELETE FROM users WHERE username = 'ann'")
        assert connection.execute("SELECT count(*) FROM dose_response_experiments").fetchall() == [(0,)]


@pytest.mark.parametrize("both", [True, False])
def test_results_are_in_exactly_one_place(postgres_url: str, both: bool) -> None:
    stored = "'[]', 'key'" if both else "NULL, NULL"
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO bmd.users (username, email, password_hash, role) VALUES ('b', 'b', 'x', 'USER')"
        )
        connection.execute("INSERT INTO bmd.bmd_projects (user_id, name) SELECT id, 'p' FROM bmd.users")
        with pytest.raises(psycopg.errors.CheckViolation, match="results_in_one_place"):
            connection.execute(
                "INSERT INTO bmd.bmd_results (project_id, name, bmd_method, results, results_s3_key) "  # type: ignore[arg-type]
                f"SELECT id, 'r', 'BMDS', {stored} FROM bmd.bmd_projects"
            )
        connection.rollback()
