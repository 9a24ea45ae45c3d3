-- The nine schemas, one per service and `core`, and two of the extensions that the migration guide names.
--
-- Nothing of ours calls an extension: gen_random_uuid() and sha256() are in the server itself. uuid-ossp and
-- pgcrypto are there for queries that operators bring along. Both are trusted, so a role with CREATE on the
-- database may make them, also in a `public` that it cannot write to. Third is pg_stat_statements: it needs a
-- superuser and is made in docker/postgres/roles.sql.

CREATE SCHEMA IF NOT EXISTS core;
CREATE SCHEMA IF NOT EXISTS auth;
CREATE SCHEMA IF NOT EXISTS sgx;
CREATE SCHEMA IF NOT EXISTS keymanagement;
CREATE SCHEMA IF NOT EXISTS oracle;
CREATE SCHEMA IF NOT EXISTS voting;
CREATE SCHEMA IF NOT EXISTS crosschain;
CREATE SCHEMA IF NOT EXISTS monitoring;
CREATE SCHEMA IF NOT EXISTS eventsourcing;

COMMENT ON SCHEMA core IS 'What every service stands on: tenants, migrations, leases, idempotency keys, rights.';
COMMENT ON SCHEMA auth IS 'Users, roles, sessions and the keys that sign tokens.';
COMMENT ON SCHEMA sgx IS 'Sealed items and the keys that wrap their keys. For neo_enclave alone.';
COMMENT ON SCHEMA keymanagement IS 'Keys that clients use without seeing them. For neo_enclave alone.';
COMMENT ON SCHEMA oracle IS 'Data sources, feeds, rounds and reports.';
COMMENT ON SCHEMA voting IS 'Proposals, ballots and tallies.';
COMMENT ON SCHEMA crosschain IS 'Transfers and messages between chains.';
COMMENT ON SCHEMA monitoring IS 'The audit log, its Merkle tree, security events and views on the server''s statistics.';
COMMENT ON SCHEMA eventsourcing IS 'The event log and its order.';

DO $extensions$
DECLARE
    wanted name;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['uuid-ossp', 'pgcrypto'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = wanted) THEN
            CONTINUE;
        ELSIF NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = wanted) THEN
            RAISE NOTICE 'extension % is not installed on this server; the product works without it', wanted;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I WITH SCHEMA public', wanted);
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE 'extension % was not created (%); the product works without it', wanted, SQLERRM;
        END;
    END LOOP;
END
$extensions$;
