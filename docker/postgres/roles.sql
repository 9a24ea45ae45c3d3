-- Roles and every other thing that only a superuser can set: role attributes, memberships, the owner of the
-- database, pg_stat_statements. Tables, grants and policies do not belong here; they are in migrations/.
--
--   psql -U postgres -d neo_service_layer -v ON_ERROR_STOP=1 -f docker/postgres/roles.sql
--
-- Can be run again at any time. It sets no password: `nsl db roles` and the deployment files do.
-- After it, `nsl db migrate` grants the new roles their rights. Plain SQL without psql commands, because the
-- program sends this file as well.

DO $roles$
DECLARE
    account text;
    server integer := current_setting('server_version_num')::integer;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'roles.sql needs a superuser, and % is none', current_user
            USING HINT = 'Run it as postgres: sudo -u postgres psql -d ' || quote_ident(current_database())
                || ' -f docker/postgres/roles.sql';
    END IF;

    -- Roles belong to the cluster and an advisory lock to one database. This lock is seen from all of them, so
    -- two databases that are set up at once do not fail with "tuple concurrently updated".
    LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

    FOREACH account IN ARRAY ARRAY[
        'neo_user', 'neo_api', 'neo_enclave', 'neo_jobs', 'neo_readonly', 'neo_auditor', 'neo_backup'
    ] LOOP
        IF to_regrole(account) IS NULL THEN
            EXECUTE format('CREATE ROLE %I', account);
        END IF;
    END LOOP;

    -- neo_user owns every object. It is no superuser, so that its password does not open the server.
    IF to_regrole('neo_user')::oid = 10 OR current_user = 'neo_user' THEN
        RAISE WARNING 'neo_user is a superuser: row-level security and role separation do not bind it'
            USING HINT = 'Let another role be the superuser (POSTGRES_USER=postgres) and run roles.sql again.';
    ELSE
        ALTER ROLE neo_user LOGIN NOSUPERUSER NOBYPASSRLS;
    END IF;

    -- The logins of the serving processes. They own nothing.
    FOREACH account IN ARRAY ARRAY['neo_api', 'neo_enclave', 'neo_jobs'] LOOP
        EXECUTE format(
            'ALTER ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION', account);
        -- Never the reverse: a login that is a member of the owner could switch off every policy.
        IF EXISTS (SELECT FROM pg_catalog.pg_auth_members
                   WHERE roleid = to_regrole('neo_user') AND member = to_regrole(account)) THEN
            EXECUTE format('REVOKE neo_user FROM %I', account);
        END IF;
        -- Where only neo_user's connection string is given, the pools SET ROLE. The rights themselves are
        -- not to be inherited; PostgreSQL 15 cannot say so, and there the owner has them anyway.
        IF server >= 160000 THEN
            EXECUTE format('GRANT %I TO neo_user WITH INHERIT FALSE, SET TRUE', account);
        ELSE
            EXECUTE format('GRANT %I TO neo_user', account);
        END IF;
    END LOOP;

    -- Groups that an operator hands on to people and tools (GRANT neo_readonly TO ...).
    ALTER ROLE neo_readonly NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
    ALTER ROLE neo_auditor NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
    -- Attributes are not inherited: a member dumps with `pg_dump --role=neo_backup`.
    ALTER ROLE neo_backup NOLOGIN NOSUPERUSER BYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
    GRANT pg_read_all_data TO neo_backup;

    -- The text of other roles' statements (pg_stat_activity, pg_stat_statements): for those who look for slow
    -- and blocking ones. Not for neo_api and neo_enclave, whose capture should not show what others run.
    GRANT pg_read_all_stats TO neo_user, neo_jobs, neo_auditor;
END
$roles$;

DO $database$
DECLARE
    shared boolean := current_database() = 'postgres'
        OR (SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = current_database());
BEGIN
    IF shared THEN
        -- Others use this database too: nothing is taken from anyone.
        EXECUTE format('GRANT CREATE, CONNECT, TEMPORARY ON DATABASE %I TO neo_user', current_database());
    ELSE
        EXECUTE format('ALTER DATABASE %I OWNER TO neo_user', current_database());
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
        -- Open to all in a database that was upgraded from PostgreSQL 14 or older.
        IF to_regnamespace('public') IS NOT NULL THEN
            REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        END IF;
    END IF;
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO neo_api, neo_enclave, neo_jobs, neo_readonly, neo_auditor, neo_backup',
        current_database());
END
$database$;

DO $extension$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'pg_stat_statements') THEN
        CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
    ELSE
        RAISE NOTICE 'pg_stat_statements is not installed on this server: slow queries will not be listed';
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'pg_stat_statements was not created (%): slow queries will not be listed', SQLERRM;
END
$extension$;

-- Objects that an earlier run of init.sql made before the roles were there get their grants now.
DO $grants$
BEGIN
    IF to_regprocedure('core.apply_grants()') IS NOT NULL THEN
        SET LOCAL ROLE neo_user;
        PERFORM core.apply_grants();
        RESET ROLE;
    END IF;
END
$grants$;
