CREATE SCHEMA bmd;
CREATE TABLE bmd.users (
    id bigserial PRIMARY KEY, username varchar(255) UNIQUE NOT NULL, email varchar(255) UNIQUE NOT NULL,
    password_hash varchar(255) NOT NULL, role varchar(50) NOT NULL
);
CREATE TABLE bmd.jobs (
    id            varchar(36) PRIMARY KEY,
    user_id       bigint NOT NULL REFERENCES bmd.users (id),
    project_id    bigint,
    job_type      varchar(50) NOT NULL,
    status        varchar(50) NOT NULL,
    progress      double precision DEFAULT 0.0,
    message       text,
    parameters    jsonb,
    result_id     bigint,
    error_message text,
    created_at    timestamptz DEFAULT CURRENT_TIMESTAMP,
    started_at    timestamptz,
    completed_at  timestamptz,
    -- additions
    error         jsonb,
    phase         text,
    run_id        text,
    run_key       text,
    partition_key text,
    attempt       integer,
    rerun_of      varchar(36),
    worker        text
);
CREATE TRIGGER guard_job_state BEFORE UPDATE ON bmd.jobs
    FOR EACH ROW EXECUTE FUNCTION genomics.guard_job_state('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED');
