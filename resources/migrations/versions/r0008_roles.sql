CREATE FUNCTION genomics.make_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted  text;
    ours    text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['genomics_reader', 'genomics_loader', 'dagster'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server was first
            END;
        END IF;
    END LOOP;
    IF NOT pg_catalog.pg_has_role('genomics_loader', 'genomics_reader', 'MEMBER') THEN
        GRANT genomics_reader TO genomics_loader;
    END IF;
    FOREACH ours IN ARRAY ARRAY['genomics', 'bmd', 'comsa'] LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO genomics_reader', ours);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO genomics_reader', ours);
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO genomics_loader', ours);
        EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO genomics_loader', ours);
        -- What later migrations make, run by the same role.
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO genomics_reader', ours);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT INSERT, UPDATE, DELETE ON TABLES TO genomics_loader', ours);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE, SELECT ON SEQUENCES TO genomics_loader', ours);
        IF current_setting('server_version_num')::int >= 170000 THEN
            EXECUTE format('GRANT MAINTAIN ON ALL TABLES IN SCHEMA %I TO genomics_loader', ours);
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT MAINTAIN ON TABLES TO genomics_loader', ours);
        END IF;
    END LOOP;
    -- Annotation sources bring tables of their own.
    GRANT CREATE ON SCHEMA genomics TO genomics_loader;
    -- Who migrates is who writes these; what was loaded, and by whom, stays on record.
    REVOKE INSERT, UPDATE, DELETE ON genomics.schema_version, genomics.warehouse FROM genomics_loader;
    REVOKE DELETE ON genomics.variant_load_audit, genomics.annotation_versions FROM genomics_loader;
    -- Readers of results need no addresses and no password hashes.
    REVOKE SELECT ON bmd.users FROM genomics_reader;
    GRANT SELECT (id, username, full_name, role, enabled, created_at, updated_at) ON bmd.users TO genomics_reader;
    GRANT SELECT ON bmd.users TO genomics_loader;
    IF to_regnamespace('dagster') IS NULL THEN
        CREATE SCHEMA dagster;
    END IF;
    GRANT USAGE, CREATE ON SCHEMA dagster TO dagster;
    GRANT ALL ON ALL TABLES IN SCHEMA dagster TO dagster;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA dagster TO dagster;
    ALTER DEFAULT PRIVILEGES IN SCHEMA dagster GRANT ALL ON TABLES TO dagster;
    ALTER DEFAULT PRIVILEGES IN SCHEMA dagster GRANT ALL ON SEQUENCES TO dagster;
    BEGIN
        -- Tables of annotation sources, where the login does its work as genomics_loader.
        ALTER DEFAULT PRIVILEGES FOR ROLE genomics_loader IN SCHEMA genomics GRANT SELECT ON TABLES TO genomics_reader;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE WARNING 'tables that genomics_loader makes are not granted to genomics_reader: % is not a member of genomics_loader', current_user;
    END;
END $$;
COMMENT ON FUNCTION genomics.make_roles IS
    'Makes the group roles genomics_reader, genomics_loader and dagster, and grants each what it needs and no more. Run it again after a restore.';
