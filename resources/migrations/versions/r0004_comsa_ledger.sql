-- The seed's columns come first and hold exactly; what follows "additions" is ours, additive and nullable.

CREATE SCHEMA comsa;

-- The seed takes this function from the extension uuid-ossp, which not every server has; the server's own does the same.
CREATE FUNCTION comsa.uuid_generate_v4() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT gen_random_uuid()';

CREATE TABLE comsa.jobs (
    id               uuid PRIMARY KEY DEFAULT comsa.uuid_generate_v4(),
    type             varchar(50) NOT NULL,
    status           varchar(20) NOT NULL DEFAULT 'pending',
    algorithm        varchar(50),
    age_group        varchar(50),
    country          varchar(100),
    calib_model_type varchar(50),
    ensemble         boolean DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    completed_at     timestamptz,
    error            jsonb DEFAULT '{}'::jsonb,
    result           jsonb DEFAULT '{}'::jsonb,
    input_file_path  text,
    -- additions
    state            text GENERATED ALWAYS AS (
                         CASE WHEN status = 'failed' AND error ->> 'kind' = 'cancelled' THEN 'cancelled' ELSE status END
                     ) STORED,
    owner            text,
    parameters       jsonb,
    progress         double precision CHECK (progress BETWEEN 0 AND 1),
    phase            text,
    run_id           text,
    run_key          text,
    partition_key    text,
    attempt          integer,
    rerun_of         uuid REFERENCES comsa.jobs (id) ON DELETE SET NULL,
    worker           text,
    retention_until  timestamptz,
    legacy_sha256    char(64),
    CONSTRAINT valid_status CHECK (status IN ('pending', 'running', 'completed', 'failed'))
);
CREATE INDEX idx_jobs_status ON comsa.jobs (status);
CREATE INDEX idx_jobs_created_at ON comsa.jobs (created_at DESC);
CREATE INDEX idx_jobs_algorithm ON comsa.jobs (algorithm);
CREATE INDEX idx_jobs_country ON comsa.jobs (country);
CREATE UNIQUE INDEX idx_jobs_run_key ON comsa.jobs (run_key, attempt);
CREATE INDEX idx_jobs_run_id ON comsa.jobs (run_id);
CREATE INDEX idx_jobs_rerun_of ON comsa.jobs (rerun_of);
COMMENT ON TABLE comsa.jobs IS 'Verbal autopsy jobs: what was asked for, how far it got, what came of it';
COMMENT ON COLUMN comsa.jobs.type IS 'openva_only, vacalibration or pipeline';
COMMENT ON COLUMN comsa.jobs.status IS 'pending, running, completed or failed; a cancelled job is failed, with error kind cancelled';
COMMENT ON COLUMN comsa.jobs.algorithm IS 'InterVA, InSilicoVA or EAVA; several are joined with commas';
COMMENT ON COLUMN comsa.jobs.error IS '{} or {"message": one sentence, "kind": why the job ended}';
COMMENT ON COLUMN comsa.jobs.result IS 'Fractions, counts and the names of the output files';
COMMENT ON COLUMN comsa.jobs.input_file_path IS 'Key of the first input file in the object store';
COMMENT ON COLUMN comsa.jobs.state IS 'The status, with cancelled told apart from failed';
COMMENT ON COLUMN comsa.jobs.owner IS 'Whose job it is';
COMMENT ON COLUMN comsa.jobs.parameters IS 'Everything that was asked for, beyond the columns';
COMMENT ON COLUMN comsa.jobs.progress IS 'Done, from 0 to 1';
COMMENT ON COLUMN comsa.jobs.phase IS 'What is being done, in a few words';
COMMENT ON COLUMN comsa.jobs.run_id IS 'The Dagster run that works on it';
COMMENT ON COLUMN comsa.jobs.run_key IS 'What the run was asked for with; attempts at the same thing share it. NULL: not kept by this ledger';
COMMENT ON COLUMN comsa.jobs.partition_key IS 'Its Dagster partition';
COMMENT ON COLUMN comsa.jobs.attempt IS 'Counts the attempts with one run_key, from 1';
COMMENT ON COLUMN comsa.jobs.rerun_of IS 'The attempt before this one';
COMMENT ON COLUMN comsa.jobs.worker IS 'Host and process that work on it, or did';
COMMENT ON COLUMN comsa.jobs.retention_until IS 'When the job and its files may be deleted; NULL: never by itself';
COMMENT ON COLUMN comsa.jobs.legacy_sha256 IS 'Of the JSON file of the file-based system that the job came from';

CREATE TABLE comsa.job_logs (
    id        serial PRIMARY KEY,
    job_id    uuid NOT NULL REFERENCES comsa.jobs (id) ON DELETE CASCADE,
    timestamp timestamptz NOT NULL DEFAULT now(),
    message   text NOT NULL,
    -- additions
    seq       bigint,
    level     text
);
CREATE INDEX idx_job_logs_job_id ON comsa.job_logs (job_id, timestamp);
CREATE UNIQUE INDEX idx_job_logs_seq ON comsa.job_logs (job_id, seq);
COMMENT ON TABLE comsa.job_logs IS 'What jobs said while they ran';
COMMENT ON COLUMN comsa.job_logs.timestamp IS 'When it was said; strictly increasing within a job that this ledger keeps';
COMMENT ON COLUMN comsa.job_logs.seq IS 'Order within the job, from 1';
COMMENT ON COLUMN comsa.job_logs.level IS 'debug, info, warning or error';

CREATE TABLE comsa.job_files (
    id         serial PRIMARY KEY,
    job_id     uuid NOT NULL REFERENCES comsa.jobs (id) ON DELETE CASCADE,
    file_type  varchar(20) NOT NULL,
    file_name  varchar(255) NOT NULL,
    file_path  text NOT NULL,
    file_size  bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- additions
    sha256     char(64),
    CONSTRAINT valid_file_type CHECK (file_type IN ('input', 'output'))
);
CREATE INDEX idx_job_files_job_id ON comsa.job_files (job_id);
CREATE INDEX idx_job_files_type ON comsa.job_files (job_id, file_type);
CREATE UNIQUE INDEX idx_job_files_name ON comsa.job_files (job_id, file_type, file_name);
COMMENT ON TABLE comsa.job_files IS 'What jobs were given and what they made; the bytes are in the object store';
COMMENT ON COLUMN comsa.job_files.file_path IS 'Key in the object store: comsa/jobs/{job_id}/{file_type}/{file_name}';
COMMENT ON COLUMN comsa.job_files.file_size IS 'Bytes';
COMMENT ON COLUMN comsa.job_files.sha256 IS 'Of the bytes, in hexadecimal';

CREATE FUNCTION genomics.guard_job_state() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    pending text := TG_ARGV[0];
    running text := TG_ARGV[1];
    closed  text[] := ARRAY[TG_ARGV[2], TG_ARGV[3], TG_ARGV[4]];
    -- What may still change when a job is closed; `state` is computed after this trigger.
    of_the_keeper text[] := ARRAY['owner', 'retention_until', 'rerun_of', 'state'];
BEGIN
    IF OLD.status = ANY (closed) THEN
        IF to_jsonb(OLD) - of_the_keeper IS DISTINCT FROM to_jsonb(NEW) - of_the_keeper THEN
            RAISE EXCEPTION 'job % is closed (%): nothing about it changes any more', OLD.id, OLD.status
                USING ERRCODE = 'JL001', HINT = 'Open another job for another attempt.';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    IF NOT (OLD.status = pending AND NEW.status IN (running, TG_ARGV[3], TG_ARGV[4])
            OR OLD.status = running AND NEW.status = ANY (closed)) THEN
        RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'JL002',
                  HINT = format('%s -> %s -> %s | %s | %s.', pending, running, TG_ARGV[2], TG_ARGV[3], TG_ARGV[4]);
    END IF;
    IF NEW.status = running THEN
        NEW.started_at := coalesce(NEW.started_at, clock_timestamp());
    ELSE
        NEW.completed_at := coalesce(NEW.completed_at, clock_timestamp());
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION genomics.guard_job_state IS
    'Trigger of a table of jobs: refuses illegal transitions (JL002) and changes to closed jobs (JL001). Arguments: the words for pending, running, completed, failed and cancelled.';

CREATE TRIGGER guard_job_state BEFORE UPDATE ON comsa.jobs
    FOR EACH ROW EXECUTE FUNCTION genomics.guard_job_state('pending', 'running', 'completed', 'failed', 'failed');

CREATE FUNCTION comsa.refuse_late_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    late uuid;
BEGIN
    -- Waits for whoever is just closing the job; the next statement sees what came of it.
    PERFORM FROM comsa.jobs WHERE id IN (SELECT job_id FROM added) AND run_key IS NOT NULL FOR SHARE;
    SELECT id INTO late FROM comsa.jobs
    WHERE id IN (SELECT job_id FROM added) AND run_key IS NOT NULL AND status IN ('completed', 'failed') LIMIT 1;
    IF late IS NOT NULL THEN
        RAISE EXCEPTION 'job % is closed: % takes nothing more for it', late, TG_TABLE_NAME USING ERRCODE = 'JL001';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION comsa.refuse_late_rows IS
    'Trigger of job_logs and job_files: a worker that was given up cannot add to a closed job (JL001). Jobs without a run_key come from outside, whole.';

CREATE TRIGGER refuse_late_rows AFTER INSERT ON comsa.job_logs
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION comsa.refuse_late_rows();
CREATE TRIGGER refuse_late_rows AFTER INSERT ON comsa.job_files
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION comsa.refuse_late_rows();
