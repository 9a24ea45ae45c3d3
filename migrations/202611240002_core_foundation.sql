-- The ground: tenants, leases, idempotency keys, and the functions by which every schema states its rights.
-- core.migrations is older than this file: the migration runner makes it.
--
-- How rights work. A schema states them in `<schema>.apply_grants()`, and core.apply_grants() runs all of these
-- after every migration run. It first takes away what our roles have in the nine schemas, so a right that a
-- newer version no longer states is gone, and so is one that was granted by hand. Roles that are absent are
-- skipped; when roles.sql has made them, the next run completes the rights. Therefore no ALTER DEFAULT
-- PRIVILEGES: it would grant before anyone stated that a new table is for that role.

COMMENT ON TABLE core.migrations IS 'Migrations that were applied to this database, with the SHA-256 of each file.';

-- Tables ----------------------------------------------------------------------------------------------------

CREATE TABLE core.tenants (
    id           uuid        NOT NULL,
    name         text        NOT NULL,
    display_name text        NOT NULL,
    status       text        NOT NULL DEFAULT 'active',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_name_key UNIQUE (name),
    CONSTRAINT tenants_name_check CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT tenants_display_name_check CHECK (char_length(display_name) BETWEEN 1 AND 255),
    CONSTRAINT tenants_status_check CHECK (status IN ('active', 'suspended'))
);
COMMENT ON TABLE core.tenants IS 'The tenants; every tenant-owned row elsewhere leads its key with such an id.';

-- A fixed id: it is a UUIDv7 of the epoch, so it can be written in settings and never meets a made one.
INSERT INTO core.tenants (id, name, display_name)
VALUES ('00000000-0000-7000-8000-000000000001', 'default', 'Default');

CREATE TABLE core.leases (
    name       text        NOT NULL,
    holder     uuid        NOT NULL,
    process    text        NOT NULL,
    expires_at timestamptz NOT NULL,
    term       bigint      NOT NULL,
    CONSTRAINT leases_pkey PRIMARY KEY (name),
    CONSTRAINT leases_term_check CHECK (term > 0)
);
COMMENT ON TABLE core.leases IS 'Who runs each single-runner job, and until when.';
COMMENT ON COLUMN core.leases.term IS 'Rises with every change of holder, so that a holder which was asleep can be told from the present one.';
COMMENT ON COLUMN core.leases.process IS 'Host and process id of the holder, for people.';

CREATE TABLE core.idempotency_keys (
    tenant_id    uuid        NOT NULL,
    principal    text        COLLATE "C" NOT NULL,
    key          text        COLLATE "C" NOT NULL,
    route        text        NOT NULL,
    request_hash bytea       NOT NULL,
    status       integer,
    body         bytea,
    secret       boolean     NOT NULL DEFAULT false,
    resource_id  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, principal, key),
    CONSTRAINT idempotency_keys_key_check CHECK (char_length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_keys_request_hash_check CHECK (octet_length(request_hash) = 32),
    CONSTRAINT idempotency_keys_status_check CHECK (status BETWEEN 100 AND 599),
    CONSTRAINT idempotency_keys_secret_check CHECK (NOT secret OR body IS NULL)
);
COMMENT ON TABLE core.idempotency_keys IS 'First answers to requests that carried an Idempotency-Key, for replay.';
COMMENT ON COLUMN core.idempotency_keys.status IS
    'NULL only inside the transaction that makes the row: the claim, the change and the answer are committed together.';
COMMENT ON COLUMN core.idempotency_keys.secret IS 'The answer carried a secret: it is not kept, a replay is told resource_id instead.';

CREATE INDEX idempotency_keys_expires_at_idx ON core.idempotency_keys (expires_at);

-- Rights ----------------------------------------------------------------------------------------------------

CREATE FUNCTION core.grant_if(roles name[], privileges text, object text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    grantee name;
BEGIN
    FOREACH grantee IN ARRAY roles LOOP
        IF to_regrole(quote_ident(grantee)) IS NOT NULL THEN
            EXECUTE format('GRANT %s ON %s TO %I', privileges, object, grantee);
        END IF;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION core.grant_if IS 'GRANT privileges ON object to those of the roles that exist.';

CREATE FUNCTION core.isolate(
    target   regclass,
    scoped   name[],
    readers  name[] DEFAULT '{}',
    unscoped name[] DEFAULT '{}'
) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- The sub-select makes it an InitPlan, evaluated once per statement. The plain form, without it, parses
    -- the array for every row: measured at 0.12 of the speed with 256 tenants in a batch. nullif, because a
    -- setting that was local to an earlier transaction comes back as '' and not as NULL.
    own CONSTANT text :=
        'tenant_id = ANY ((SELECT nullif(current_setting(''nsl.tenants'', true), '''')::uuid[])::uuid[])';
    -- `own` as the server prints it. A version that prints it otherwise makes the policy anew: slower, not wrong.
    own_printed CONSTANT text :=
        '(tenant_id = ANY (( SELECT (NULLIF(current_setting(''nsl.tenants''::text, true), ''''::text))::uuid[]'
        ' AS "nullif")::uuid[]))';
    change text;
BEGIN
    -- Not FORCE: the owner would count 0 rows in the guide's query, and its pg_dump would fail.
    IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = target) THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    END IF;

    -- Only what differs is touched: both DROP and CREATE POLICY lock the table against everyone.
    FOR change IN
        WITH wanted (policy, grantee, command, using_printed, check_printed, definition) AS (
            SELECT 'tenant_' || r, to_regrole(quote_ident(r))::oid, '*', own_printed, own_printed,
                   format('FOR ALL TO %I USING (%s) WITH CHECK (%2$s)', r, own)
            FROM unnest(scoped) AS r
            UNION ALL
            SELECT 'read_' || r, to_regrole(quote_ident(r))::oid, 'r', 'true', NULL,
                   format('FOR SELECT TO %I USING (true)', r)
            FROM unnest(readers) AS r
            UNION ALL
            SELECT 'all_' || r, to_regrole(quote_ident(r))::oid, '*', 'true', 'true',
                   format('FOR ALL TO %I USING (true) WITH CHECK (true)', r)
            FROM unnest(unscoped) AS r
        ), present AS (
            SELECT polname, polroles, polcmd, polpermissive,
                   pg_get_expr(polqual, polrelid) AS using_printed,
                   pg_get_expr(polwithcheck, polrelid) AS check_printed
            FROM pg_policy
            WHERE polrelid = target
        ), difference AS (
            SELECT p.polname, w.policy, w.definition
            FROM present AS p
            FULL JOIN (SELECT * FROM wanted WHERE grantee IS NOT NULL) AS w
                ON w.policy = p.polname::text
                AND p.polroles = ARRAY[w.grantee]
                AND p.polcmd::text = w.command
                AND p.polpermissive
                AND p.using_printed = w.using_printed
                AND p.check_printed IS NOT DISTINCT FROM w.check_printed
            WHERE p.polname IS NULL OR w.policy IS NULL
        )
        SELECT format('DROP POLICY %I ON %s', polname, target) FROM difference WHERE policy IS NULL
        UNION ALL
        SELECT format('CREATE POLICY %I ON %s %s', policy, target, definition) FROM difference WHERE polname IS NULL
    LOOP
        EXECUTE change;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION core.isolate IS
    'States all policies of a table: scoped roles meet the tenants of the transaction (nsl.tenants), readers see every row, unscoped roles see and write every row. Policies not stated are dropped.';

CREATE FUNCTION core.reset_grants(target name) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    grantees text;
BEGIN
    -- EXECUTE on a new function is everybody's, until it is taken away.
    EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM PUBLIC', target);
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', target);

    SELECT string_agg(quote_ident(rolname), ', ') INTO grantees
    FROM pg_roles
    WHERE rolname IN ('neo_api', 'neo_enclave', 'neo_jobs', 'neo_readonly', 'neo_auditor', 'neo_backup');
    IF grantees IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %s', target, grantees);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %s', target, grantees);
        EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM %s', target, grantees);
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s', target, grantees);
    END IF;
END
$function$;
COMMENT ON FUNCTION core.reset_grants IS 'Takes away what our roles and PUBLIC have in a schema.';

CREATE FUNCTION core.apply_core_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs,neo_readonly,neo_auditor}', 'USAGE', 'SCHEMA core');
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs,neo_readonly}', 'SELECT', 'core.tenants');
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs,neo_readonly}', 'SELECT', 'core.migrations');
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs}', 'SELECT, INSERT, UPDATE, DELETE', 'core.leases');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'core.leases');
    PERFORM core.grant_if(
        '{neo_api,neo_enclave,neo_jobs}', 'SELECT, INSERT, UPDATE, DELETE', 'core.idempotency_keys');
    -- An answer may hold what its reader alone was allowed to see.
    PERFORM core.grant_if(
        '{neo_readonly}',
        'SELECT (tenant_id, principal, key, route, status, secret, resource_id, created_at, expires_at)',
        'core.idempotency_keys');
    PERFORM core.isolate('core.idempotency_keys', '{neo_api,neo_enclave,neo_jobs}', readers => '{neo_readonly}');

    PERFORM core.grant_if(
        '{neo_api,neo_enclave,neo_jobs,neo_readonly,neo_auditor}', 'EXECUTE', 'FUNCTION core.uuid_at(timestamptz)');
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs}', 'EXECUTE', 'FUNCTION core.uuid_v7()');
    PERFORM core.grant_if('{neo_jobs}', 'EXECUTE', 'FUNCTION core.ensure_partitions(regclass, integer)');
END
$function$;
COMMENT ON FUNCTION core.apply_core_grants IS 'The rights on schema core.';

CREATE FUNCTION core.apply_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    part name;
BEGIN
    FOREACH part IN ARRAY ARRAY[
        'core', 'auth', 'sgx', 'keymanagement', 'oracle', 'voting', 'crosschain', 'monitoring', 'eventsourcing'
    ] LOOP
        PERFORM core.reset_grants(part);
        IF part = 'core' THEN
            PERFORM core.apply_core_grants();
        ELSIF to_regprocedure(format('%I.apply_grants()', part)) IS NOT NULL THEN
            EXECUTE format('SELECT %I.apply_grants()', part);
        END IF;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION core.apply_grants IS 'Brings the rights and policies of all nine schemas to what they state; can be run at any time.';

-- Partitions ------------------------------------------------------------------------------------------------

CREATE FUNCTION core.uuid_at(moment timestamptz) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;
COMMENT ON FUNCTION core.uuid_at IS
    'The lowest UUIDv7 of a millisecond (RFC 9562, section 5.7): a range of time as a range of ids, which prunes partitions.';

CREATE FUNCTION core.uuid_v7() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN (lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;
COMMENT ON FUNCTION core.uuid_v7 IS
    'A new UUIDv7 (RFC 9562, section 5.7), for rows that a statement makes by itself; PostgreSQL has one of its own from 18 on.';

CREATE FUNCTION core.ensure_partitions(parent regclass, months integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Months begin in UTC, and adding one must not meet a change of summer time.
    SET timezone = 'UTC'
    -- The default partition is locked for a moment. Behind a long reader we give up rather than make every
    -- writer queue behind us; the job comes again.
    SET lock_timeout = '5s'
AS $function$
DECLARE
    place text := parent::text;
    first timestamptz;
    partition text;
    made integer := 0;
BEGIN
    -- It runs with the owner's rights, so it works on these two tables and no other.
    IF place NOT IN ('eventsourcing.events', 'monitoring.audit_logs') THEN
        RAISE EXCEPTION '% has no monthly partitions', place USING ERRCODE = 'invalid_parameter_value';
    ELSIF months NOT BETWEEN 0 AND 120 THEN
        RAISE EXCEPTION 'ask for 0 to 120 months ahead, not %', months USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- One at a time; readers and writers pass.
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', place);

    FOR ahead IN 0 .. months LOOP
        first := date_trunc('month', now()) + ahead * interval '1 month';
        partition := place || to_char(first, '"_y"YYYY"m"MM');
        IF to_regclass(partition) IS NOT NULL THEN
            CONTINUE;
        END IF;
        BEGIN
            -- CREATE and ATTACH, not CREATE .. PARTITION OF: the latter locks the parent against everyone.
            EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING COMMENTS)', partition, place);
            EXECUTE format(
                'ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                place, partition, core.uuid_at(first), core.uuid_at(first + interval '1 month'));
            made := made + 1;
        EXCEPTION WHEN check_violation THEN
            RAISE NOTICE '% was not made: the default partition already holds rows of that month', partition;
        END;
    END LOOP;
    RETURN made;
END
$function$;
COMMENT ON FUNCTION core.ensure_partitions IS
    'Makes the missing partitions of this month and the given number of months ahead, and returns how many. A month whose rows are already in the default partition stays there.';
-- It has its owner's rights: not even until the first apply_grants may everybody call it.
REVOKE ALL ON FUNCTION core.ensure_partitions(regclass, integer) FROM PUBLIC;
