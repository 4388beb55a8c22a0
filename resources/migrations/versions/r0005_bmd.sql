CREATE SCHEMA IF NOT EXISTS bmd;

-- Tables, columns, keys and indexes of the data model that the dose-response applications share. Columns below a
-- comment "additions" are ours: nullable, or with a default, so that statements written for that model run unchanged.

CREATE TABLE bmd.users (
    id            BIGSERIAL PRIMARY KEY,
    username      VARCHAR(255) UNIQUE NOT NULL,
    email         VARCHAR(255) UNIQUE NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    full_name     VARCHAR(255),
    role          VARCHAR(50) NOT NULL,
    enabled       BOOLEAN DEFAULT true,
    created_at    TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at    TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_users_username ON bmd.users(username);
CREATE INDEX idx_users_email ON bmd.users(email);

CREATE TABLE bmd.bmd_projects (
    id          BIGSERIAL PRIMARY KEY,
    user_id     BIGINT NOT NULL REFERENCES bmd.users(id) ON DELETE CASCADE,
    name        VARCHAR(255) NOT NULL,
    description TEXT,
    created_at  TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at  TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_projects_user ON bmd.bmd_projects(user_id);
CREATE INDEX idx_projects_created ON bmd.bmd_projects(created_at DESC);

CREATE TABLE bmd.chip_info (
    id        BIGSERIAL PRIMARY KEY,
    chip_id   VARCHAR(255),
    chip_name VARCHAR(255) NOT NULL,
    provider  VARCHAR(255),
    species   VARCHAR(255),
    geo_id    VARCHAR(255) UNIQUE,
    geo_name  VARCHAR(255)
);

CREATE TABLE bmd.dose_response_experiments (
    id                       BIGSERIAL PRIMARY KEY,
    project_id               BIGINT NOT NULL REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE,
    name                     VARCHAR(255) NOT NULL,
    chip_info_id             BIGINT REFERENCES bmd.chip_info(id),
    log_transformation       VARCHAR(50),
    expression_matrix_s3_key VARCHAR(512),
    num_probes               INTEGER,
    num_treatments           INTEGER,
    created_at               TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    -- additions
    partition_key            TEXT,
    file_path                TEXT,
    file_hash                CHAR(64),
    matrix_hash              CHAR(64),
    identity                 CHAR(64),
    chip                     VARCHAR(255),
    options                  JSONB,
    superseded_at            TIMESTAMP
);
CREATE INDEX idx_experiments_project ON bmd.dose_response_experiments(project_id);
CREATE UNIQUE INDEX idx_experiments_current ON bmd.dose_response_experiments(partition_key) WHERE superseded_at IS NULL;

CREATE TABLE bmd.treatments (
    id            BIGSERIAL PRIMARY KEY,
    experiment_id BIGINT NOT NULL REFERENCES bmd.dose_response_experiments(id) ON DELETE CASCADE,
    position      INTEGER NOT NULL,
    name          VARCHAR(255) NOT NULL,
    dose          REAL NOT NULL CHECK (dose >= 0),
    UNIQUE (experiment_id, position)
);

CREATE TABLE bmd.probe_responses (
    id            BIGSERIAL PRIMARY KEY,
    experiment_id BIGINT NOT NULL REFERENCES bmd.dose_response_experiments(id) ON DELETE CASCADE,
    probe_id      VARCHAR(255) NOT NULL,
    row_index     INTEGER NOT NULL,
    responses     BYTEA,
    UNIQUE (experiment_id, probe_id)
);

CREATE TABLE bmd.prefilter_results (
    id                    BIGSERIAL PRIMARY KEY,
    project_id            BIGINT NOT NULL REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE,
    experiment_id         BIGINT REFERENCES bmd.dose_response_experiments(id),
    upstream_prefilter_id BIGINT REFERENCES bmd.prefilter_results(id),
    name                  VARCHAR(255) NOT NULL,
    prefilter_type        VARCHAR(50) NOT NULL,
    analysis_info         JSONB,
    results               JSONB,
    results_s3_key        VARCHAR(512),
    num_results           INTEGER,
    created_at            TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    -- additions
    partition_key         TEXT,
    identity              CHAR(64),
    results_hash          CHAR(64),
    superseded_at         TIMESTAMP,
    CONSTRAINT results_in_one_place CHECK (num_nonnulls(results, results_s3_key) = 1)
);
CREATE INDEX idx_prefilter_results_project ON bmd.prefilter_results(project_id);
CREATE INDEX idx_prefilter_results_experiment ON bmd.prefilter_results(experiment_id);
CREATE UNIQUE INDEX idx_prefilter_results_current ON bmd.prefilter_results(partition_key) WHERE superseded_at IS NULL;

CREATE TABLE bmd.prefilter_result_details (
    prefilter_id         BIGINT NOT NULL REFERENCES bmd.prefilter_results(id) ON DELETE CASCADE,
    probe_id             VARCHAR(255) NOT NULL,
    p_value              DOUBLE PRECISION,
    adjusted_p_value     DOUBLE PRECISION,
    f_value              DOUBLE PRECISION,
    df1                  SMALLINT,
    df2                  SMALLINT,
    best_fold_change     REAL,
    fold_changes         REAL[],
    notel_lotel_p_values REAL[],
    notel_dose           REAL,
    lotel_dose           REAL,
    profile              VARCHAR(50),
    best_model           VARCHAR(50),
    bmd                  DOUBLE PRECISION,
    bmdl                 DOUBLE PRECISION,
    -- additions
    kept                 BOOLEAN,
    outcome              VARCHAR(50),
    PRIMARY KEY (prefilter_id, probe_id)
);

CREATE TABLE bmd.model_fits (
    id            BIGSERIAL PRIMARY KEY,
    project_id    BIGINT NOT NULL REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE,
    experiment_id BIGINT NOT NULL REFERENCES bmd.dose_response_experiments(id) ON DELETE CASCADE,
    prefilter_id  BIGINT REFERENCES bmd.prefilter_results(id) ON DELETE CASCADE,
    partition_key TEXT NOT NULL,
    name          VARCHAR(255) NOT NULL,
    analysis_info JSONB NOT NULL,
    fits_s3_key   VARCHAR(512) NOT NULL,
    fits_hash     CHAR(64) NOT NULL,
    num_probes    INTEGER NOT NULL,
    num_fits      INTEGER NOT NULL,
    identity      CHAR(64) NOT NULL,
    created_at    TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    superseded_at TIMESTAMP
);
CREATE INDEX idx_model_fits_project ON bmd.model_fits(project_id);
CREATE INDEX idx_model_fits_experiment ON bmd.model_fits(experiment_id);
CREATE UNIQUE INDEX idx_model_fits_current ON bmd.model_fits(partition_key) WHERE superseded_at IS NULL;

CREATE TABLE bmd.bmd_results (
    id             BIGSERIAL PRIMARY KEY,
    project_id     BIGINT NOT NULL REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE,
    experiment_id  BIGINT REFERENCES bmd.dose_response_experiments(id),
    prefilter_id   BIGINT REFERENCES bmd.prefilter_results(id),
    name           VARCHAR(255) NOT NULL,
    bmd_method     VARCHAR(50) NOT NULL,
    analysis_info  JSONB,
    results_s3_key VARCHAR(512),
    num_results    INTEGER,
    created_at     TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    -- additions
    results        JSONB,
    model_fit_id   BIGINT REFERENCES bmd.model_fits(id),
    partition_key  TEXT,
    identity       CHAR(64),
    results_hash   CHAR(64),
    superseded_at  TIMESTAMP,
    CONSTRAINT results_in_one_place CHECK (num_nonnulls(results, results_s3_key) = 1)
);
CREATE INDEX idx_bmd_results_project ON bmd.bmd_results(project_id);
CREATE INDEX idx_bmd_results_experiment ON bmd.bmd_results(experiment_id);
CREATE INDEX idx_bmd_results_prefilter ON bmd.bmd_results(prefilter_id);
CREATE INDEX idx_bmd_results_method ON bmd.bmd_results(bmd_method);
CREATE UNIQUE INDEX idx_bmd_results_current ON bmd.bmd_results(partition_key) WHERE superseded_at IS NULL;

CREATE TABLE bmd.probe_stat_results (
    id                   BIGSERIAL PRIMARY KEY,
    bmd_result_id        BIGINT NOT NULL REFERENCES bmd.bmd_results(id) ON DELETE CASCADE,
    probe_id             VARCHAR(255) NOT NULL,
    model                VARCHAR(50) NOT NULL,
    is_best              BOOLEAN NOT NULL DEFAULT false,
    is_best_poly         BOOLEAN NOT NULL DEFAULT false,
    bmd                  DOUBLE PRECISION,
    bmdl                 DOUBLE PRECISION,
    bmdu                 DOUBLE PRECISION,
    fit_p_value          DOUBLE PRECISION,
    fit_log_likelihood   DOUBLE PRECISION,
    aic                  DOUBLE PRECISION,
    adverse_direction    SMALLINT,
    success              BOOLEAN,
    k_flag               SMALLINT,
    curve_parameters     DOUBLE PRECISION[],
    other_parameters     DOUBLE PRECISION[],
    covariances          DOUBLE PRECISION[],
    residuals            DOUBLE PRECISION[],
    r_squared            DOUBLE PRECISION,
    z_score              DOUBLE PRECISION,
    bmr_counts_to_top    DOUBLE PRECISION,
    fold_change_to_top   DOUBLE PRECISION,
    is_step_function     BOOLEAN,
    is_step_below_lowest BOOLEAN,
    bmd_low_dose_ratio   DOUBLE PRECISION,
    bmd_high_dose_ratio  DOUBLE PRECISION,
    w_auc                REAL,
    UNIQUE (bmd_result_id, probe_id, model)
);

CREATE TABLE bmd.gene_bmds (
    bmd_result_id     BIGINT NOT NULL REFERENCES bmd.bmd_results(id) ON DELETE CASCADE,
    gene              VARCHAR(255) NOT NULL,
    symbol            VARCHAR(255),
    bmd               DOUBLE PRECISION,
    bmdl              DOUBLE PRECISION,
    bmdu              DOUBLE PRECISION,
    direction         VARCHAR(10),
    fold_change       DOUBLE PRECISION,
    fit_p_value       DOUBLE PRECISION,
    probe_correlation DOUBLE PRECISION,
    probes            TEXT[],
    PRIMARY KEY (bmd_result_id, gene)
);

CREATE TABLE bmd.category_results (
    id             BIGSERIAL PRIMARY KEY,
    project_id     BIGINT NOT NULL REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE,
    bmd_result_id  BIGINT REFERENCES bmd.bmd_results(id),
    name           VARCHAR(255) NOT NULL,
    category_type  VARCHAR(50) NOT NULL,
    analysis_info  JSONB,
    results        JSONB,
    results_s3_key VARCHAR(512),
    num_results    INTEGER,
    created_at     TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    -- additions
    experiment_id  BIGINT REFERENCES bmd.dose_response_experiments(id),
    partition_key  TEXT,
    identity       CHAR(64),
    results_hash   CHAR(64),
    superseded_at  TIMESTAMP,
    CONSTRAINT results_in_one_place CHECK (num_nonnulls(results, results_s3_key) = 1)
);
CREATE INDEX idx_category_results_project ON bmd.category_results(project_id);
CREATE INDEX idx_category_results_bmd_result ON bmd.category_results(bmd_result_id);
CREATE UNIQUE INDEX idx_category_results_current ON bmd.category_results(partition_key) WHERE superseded_at IS NULL;

CREATE TABLE bmd.category_result_details (
    category_result_id BIGINT NOT NULL REFERENCES bmd.category_results(id) ON DELETE CASCADE,
    category_id        VARCHAR(255) NOT NULL,
    stats              JSONB NOT NULL,
    PRIMARY KEY (category_result_id, category_id)
);

CREATE TABLE bmd.points_of_departure (
    bmd_result_id BIGINT NOT NULL REFERENCES bmd.bmd_results(id) ON DELETE CASCADE,
    method        VARCHAR(100) NOT NULL,
    value         DOUBLE PRECISION,
    bmdl          DOUBLE PRECISION,
    lower         DOUBLE PRECISION,
    upper         DOUBLE PRECISION,
    genes         BIGINT,
    basis         TEXT,
    PRIMARY KEY (bmd_result_id, method)
);

CREATE TABLE bmd.exports (
    id            BIGSERIAL PRIMARY KEY,
    project_id    BIGINT NOT NULL REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE,
    bmd_result_id BIGINT NOT NULL REFERENCES bmd.bmd_results(id) ON DELETE CASCADE,
    partition_key TEXT NOT NULL,
    name          VARCHAR(255) NOT NULL,
    csv_s3_key    VARCHAR(512) NOT NULL,
    parquet_s3_key VARCHAR(512) NOT NULL,
    content_hash  CHAR(64) NOT NULL,
    num_rows      INTEGER NOT NULL,
    created_at    TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_exports_project ON bmd.exports(project_id);
CREATE INDEX idx_exports_bmd_result ON bmd.exports(bmd_result_id);

CREATE TABLE bmd.charts (
    id            BIGSERIAL PRIMARY KEY,
    project_id    BIGINT NOT NULL REFERENCES bmd.bmd_projects(id) ON DELETE CASCADE,
    bmd_result_id BIGINT NOT NULL REFERENCES bmd.bmd_results(id) ON DELETE CASCADE,
    partition_key TEXT NOT NULL,
    name          VARCHAR(255) NOT NULL,
    chart_s3_key  VARCHAR(512) NOT NULL,
    content_hash  CHAR(64) NOT NULL,
    created_at    TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_charts_project ON bmd.charts(project_id);
CREATE INDEX idx_charts_bmd_result ON bmd.charts(bmd_result_id);

CREATE TABLE bmd.chip_annotations (
    id            BIGSERIAL PRIMARY KEY,
    chip_info_id  BIGINT NOT NULL REFERENCES bmd.chip_info(id) ON DELETE CASCADE,
    partition_key TEXT NOT NULL,
    version       VARCHAR(100),
    file_path     TEXT NOT NULL,
    file_hash     CHAR(64) NOT NULL,
    num_probes    INTEGER NOT NULL,
    num_genes     INTEGER NOT NULL,
    created_at    TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    superseded_at TIMESTAMP
);
CREATE UNIQUE INDEX idx_chip_annotations_current ON bmd.chip_annotations(partition_key) WHERE superseded_at IS NULL;

CREATE TABLE bmd.chip_probes (
    chip_annotation_id BIGINT NOT NULL REFERENCES bmd.chip_annotations(id) ON DELETE CASCADE,
    probe_id           VARCHAR(255) NOT NULL,
    gene               VARCHAR(255) NOT NULL,
    symbol             VARCHAR(255),
    PRIMARY KEY (chip_annotation_id, probe_id, gene)
);

CREATE TABLE bmd.gene_sets (
    id             BIGSERIAL PRIMARY KEY,
    partition_key  TEXT NOT NULL,
    name           VARCHAR(255) NOT NULL,
    category_type  VARCHAR(50) NOT NULL,
    version        VARCHAR(100),
    file_path      TEXT NOT NULL,
    file_hash      CHAR(64) NOT NULL,
    num_categories INTEGER NOT NULL,
    num_genes      INTEGER NOT NULL,
    created_at     TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    superseded_at  TIMESTAMP
);
CREATE UNIQUE INDEX idx_gene_sets_current ON bmd.gene_sets(partition_key) WHERE superseded_at IS NULL;

CREATE TABLE bmd.gene_set_members (
    gene_set_id   BIGINT NOT NULL REFERENCES bmd.gene_sets(id) ON DELETE CASCADE,
    category_id   VARCHAR(255) NOT NULL,
    category_name VARCHAR(1000) NOT NULL,
    gene          VARCHAR(255) NOT NULL,
    level         INTEGER,
    PRIMARY KEY (gene_set_id, category_id, gene)
);

CREATE TABLE bmd.jobs (
    id            VARCHAR(36) PRIMARY KEY,
    user_id       BIGINT NOT NULL REFERENCES bmd.users(id),
    project_id    BIGINT REFERENCES bmd.bmd_projects(id),
    job_type      VARCHAR(50) NOT NULL,
    status        VARCHAR(50) NOT NULL,
    progress      DOUBLE PRECISION DEFAULT 0.0,
    message       TEXT,
    parameters    JSONB,
    result_id     BIGINT,
    error_message TEXT,
    created_at    TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    started_at    TIMESTAMP,
    completed_at  TIMESTAMP,
    -- additions
    error         JSONB,
    phase         TEXT,
    run_id        TEXT,
    run_key       TEXT,
    partition_key TEXT,
    attempt       INTEGER,
    rerun_of      VARCHAR(36) REFERENCES bmd.jobs(id) ON DELETE SET NULL,
    worker        TEXT
);
CREATE INDEX idx_jobs_user ON bmd.jobs(user_id);
CREATE INDEX idx_jobs_project ON bmd.jobs(project_id);
CREATE INDEX idx_jobs_status ON bmd.jobs(status);
CREATE INDEX idx_jobs_created ON bmd.jobs(created_at DESC);
CREATE UNIQUE INDEX idx_jobs_run_key ON bmd.jobs(run_key, attempt);
CREATE INDEX idx_jobs_run_id ON bmd.jobs(run_id);
CREATE INDEX idx_jobs_rerun_of ON bmd.jobs(rerun_of);
CREATE TRIGGER guard_job_state BEFORE UPDATE ON bmd.jobs
    FOR EACH ROW EXECUTE FUNCTION genomics.guard_job_state('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED');
COMMENT ON TABLE bmd.jobs IS 'Dose-response jobs: what was asked for, how far it got, what came of it';
COMMENT ON COLUMN bmd.jobs.status IS 'QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED';
COMMENT ON COLUMN bmd.jobs.progress IS 'Done, from 0 to 1';
COMMENT ON COLUMN bmd.jobs.message IS 'The last thing that the job said';
COMMENT ON COLUMN bmd.jobs.result_id IS 'The BMD result, in bmd_results';
COMMENT ON COLUMN bmd.jobs.error_message IS 'Why the job ended without a result, in one sentence';
COMMENT ON COLUMN bmd.jobs.error IS '{"message", "kind"}: why the job ended without a result';
COMMENT ON COLUMN bmd.jobs.phase IS 'What is being done, in a few words';
COMMENT ON COLUMN bmd.jobs.run_id IS 'The Dagster run that works on it';
COMMENT ON COLUMN bmd.jobs.run_key IS 'What the run was asked for with; attempts at the same thing share it. NULL: not kept by this ledger';
COMMENT ON COLUMN bmd.jobs.partition_key IS 'Its Dagster partition';
COMMENT ON COLUMN bmd.jobs.attempt IS 'Counts the attempts with one run_key, from 1';
COMMENT ON COLUMN bmd.jobs.rerun_of IS 'The attempt before this one';
COMMENT ON COLUMN bmd.jobs.worker IS 'Host and process that work on it, or did';

COMMENT ON COLUMN bmd.dose_response_experiments.partition_key IS 'The Dagster partition, <project>/<experiment>';
COMMENT ON COLUMN bmd.dose_response_experiments.file_hash IS 'SHA-256 of the matrix file as dropped';
COMMENT ON COLUMN bmd.dose_response_experiments.matrix_hash IS 'SHA-256 of matrix.bin';
COMMENT ON COLUMN bmd.dose_response_experiments.identity IS 'SHA-256 of numbers, names, doses, scale and platform: what makes it another version';
COMMENT ON COLUMN bmd.dose_response_experiments.chip IS 'The platform as the sidecar names it; generic: none';
COMMENT ON COLUMN bmd.dose_response_experiments.options IS 'What the sidecar asks for, defaults filled in';
COMMENT ON COLUMN bmd.dose_response_experiments.superseded_at IS 'When other bytes were dropped under the same name; NULL: the current version';
COMMENT ON COLUMN bmd.treatments.position IS 'Column in matrix.bin, from 0: samples by dose, in the file''s order within a dose';
COMMENT ON COLUMN bmd.probe_responses.row_index IS 'Row in matrix.bin, from 0';
COMMENT ON COLUMN bmd.probe_responses.responses IS 'Big-endian float32 by treatment position; NULL: they are in matrix.bin';
COMMENT ON COLUMN bmd.prefilter_results.results IS 'One object a probe; above 1,048,576 bytes of canonical JSON they are at results_s3_key';
COMMENT ON COLUMN bmd.bmd_results.results IS 'One object a probe and model; above 1,048,576 bytes of canonical JSON they are at results_s3_key';
COMMENT ON COLUMN bmd.category_results.results IS 'One object a category; above 1,048,576 bytes of canonical JSON they are at results_s3_key';
COMMENT ON COLUMN bmd.bmd_results.identity IS 'SHA-256 of inputs, parameters and engine version: the same again is not made twice';
COMMENT ON COLUMN bmd.bmd_results.results_hash IS 'SHA-256 of the canonical JSON';
COMMENT ON COLUMN bmd.bmd_results.superseded_at IS 'When another result took its place as the partition''s current one; NULL: current';
COMMENT ON COLUMN bmd.prefilter_result_details.outcome IS 'Why the probe was kept or left out';
COMMENT ON TABLE bmd.model_fits IS 'Every model fitted to every probe that passed the prefilter, as Parquet at fits_s3_key; best models are chosen from it without fitting again';
COMMENT ON TABLE bmd.gene_bmds IS 'One row a gene: the mean over its probes'' best models';
COMMENT ON TABLE bmd.points_of_departure IS 'One row a method, with its bootstrap interval';
COMMENT ON TABLE bmd.chip_annotations IS 'One version of a platform: which probe stands for which genes';
COMMENT ON TABLE bmd.gene_sets IS 'One version of a collection of gene sets';
