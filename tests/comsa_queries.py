"""The common queries of the COMSA dashboard's documentation, as they are written there."""

from __future__ import annotations

RECENT_JOBS = """
SELECT
    id,
    type,
    status,
    algorithm,
    country,
    created_at,
    completed_at - started_at as duration
FROM jobs
ORDER BY created_at DESC
LIMIT 20;
"""
JOB_WITH_LOGS = """
SELECT
    j.*,
    json_agg(
        json_build_object(
            'timestamp', l.timestamp,
            'message', l.message
        ) ORDER BY l.timestamp
    ) as logs
FROM jobs j
LEFT JOIN job_logs l ON j.id = l.job_id
WHERE j.id = 'YOUR-JOB-ID'
GROUP BY j.id;
"""
JOB_WITH_FILES = """
SELECT
    j.id,
    j.status,
    j.algorithm,
    json_agg(
        json_build_object(
            'type', f.file_type,
            'name', f.file_name,
            'path', f.file_path,
            'size', f.file_size
        )
    ) as files
FROM jobs j
LEFT JOIN job_files f ON j.id = f.job_id
WHERE j.id = 'YOUR-JOB-ID'
GROUP BY j.id;
"""
JOBS_BY_STATUS = """
SELECT
    status,
    COUNT(*) as count
FROM jobs
GROUP BY status
ORDER BY count DESC;
"""
JOBS_BY_ALGORITHM = """
SELECT
    algorithm,
    country,
    COUNT(*) as job_count,
    AVG(EXTRACT(EPOCH FROM (completed_at - started_at))) as avg_duration_seconds
FROM jobs
WHERE status = 'completed'
GROUP BY algorithm, country
ORDER BY job_count DESC;
"""
RECENT_FAILURES = """
SELECT
    id,
    algorithm,
    country,
    created_at,
    error->>'message' as error_message
FROM jobs
WHERE status = 'failed'
ORDER BY created_at DESC
LIMIT 10;
"""
SEED_QUERIES = {
    "recent jobs": RECENT_JOBS,
    "job with logs": JOB_WITH_LOGS,
    "job with files": JOB_WITH_FILES,
    "jobs by status": JOBS_BY_STATUS,
    "jobs by algorithm": JOBS_BY_ALGORITHM,
    "recent failures": RECENT_FAILURES,
}
