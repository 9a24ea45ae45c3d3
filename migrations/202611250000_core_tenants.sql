-- Tenants are made and suspended through the API. The table is of no tenant, so the right to write it is what the
-- serving process checks; a name and an id never change.

CREATE OR REPLACE FUNCTION core.apply_core_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs,neo_readonly,neo_auditor}', 'USAGE', 'SCHEMA core');
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs,neo_readonly}', 'SELECT', 'core.tenants');
    PERFORM core.grant_if('{neo_api}', 'INSERT, UPDATE (display_name, status, updated_at)', 'core.tenants');
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

-- Every process asks twice a second who is suspended.
CREATE INDEX tenants_suspended_idx ON core.tenants (id) WHERE status = 'suspended';
