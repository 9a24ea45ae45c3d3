-- Run apart from the API, the enclave's process checks the credentials of its requests itself. So it reads what a credential
-- stands for: which sessions and keys have ended, what a key permits, what its owner may do. No passwords, no sessions, no
-- second factors beyond whether there is one.

CREATE FUNCTION auth.apply_enclave_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_enclave}', 'SELECT', 'auth.revocations');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT (id, username, status, revision)', 'auth.users');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT', 'auth.memberships');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT', 'auth.roles');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT', 'auth.role_permissions');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT', 'auth.user_roles');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT (user_id, confirmed_at)', 'auth.totp_factors');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT', 'auth.api_keys');
    -- A key's last use is noted by whoever was shown it.
    PERFORM core.grant_if('{neo_enclave}', 'UPDATE (last_used_at)', 'auth.api_keys');
END
$function$;
COMMENT ON FUNCTION auth.apply_enclave_grants IS 'The rights by which the enclave checks credentials; part of auth.apply_grants.';

-- As before, with the enclave among the readers: each call of core.isolate states all policies of its table.
CREATE OR REPLACE FUNCTION auth.apply_session_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT', 'auth.revocations');
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, DELETE', 'auth.revocations');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.revocations');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT (home_tenant_id)', 'auth.users');
    -- A process that serves all tenants refuses what any of them revoked.
    PERFORM core.isolate(
        'auth.revocations', '{neo_api,neo_jobs}', readers => '{neo_api,neo_enclave,neo_jobs,neo_readonly}');
END
$function$;

CREATE OR REPLACE FUNCTION auth.apply_factor_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE, DELETE', 'auth.totp_factors');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE, DELETE', 'auth.backup_codes');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE', 'auth.api_keys');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE, DELETE', 'auth.login_origins');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, DELETE', 'auth.one_time_tokens');
    -- It writes mail and cannot read what others wrote.
    PERFORM core.grant_if('{neo_api}', 'INSERT', 'auth.outbox');
    PERFORM core.grant_if('{neo_api}', 'SELECT (id, created_at, tries)', 'auth.outbox');

    -- Sending, and purging what expired.
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, UPDATE, DELETE', 'auth.outbox');
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, DELETE', 'auth.one_time_tokens');
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, DELETE', 'auth.login_origins');

    -- No hashes and no secrets for neo_readonly.
    PERFORM core.grant_if(
        '{neo_readonly}', 'SELECT (email_verified_at, password_changed_at)', 'auth.users');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT (user_id, created_at, confirmed_at)', 'auth.totp_factors');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT (user_id, created_at, used_at)', 'auth.backup_codes');
    PERFORM core.grant_if(
        '{neo_readonly}',
        'SELECT (tenant_id, id, user_id, name, format, permissions, created_at, expires_at, revoked_at, last_used_at)',
        'auth.api_keys');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.login_origins');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT (user_id, purpose, created_at, expires_at)', 'auth.one_time_tokens');
    PERFORM core.grant_if(
        '{neo_readonly}', 'SELECT (id, created_at, expires_at, next_try_at, tries)', 'auth.outbox');

    -- A request brings a key's hash; the tenant is what it looks up.
    PERFORM core.isolate(
        'auth.api_keys', '{neo_api,neo_enclave}', readers => '{neo_api,neo_enclave,neo_readonly}');
END
$function$;

CREATE OR REPLACE FUNCTION auth.apply_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    part text;
BEGIN
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs,neo_readonly}', 'USAGE', 'SCHEMA auth');

    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE, DELETE', 'auth.users');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, DELETE', 'auth.memberships');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE, DELETE', 'auth.roles');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, DELETE', 'auth.role_permissions');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE, DELETE', 'auth.user_roles');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE', 'auth.authentication_sessions');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE', 'auth.refresh_tokens');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT', 'auth.login_attempts');

    -- Purging what expired.
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, DELETE', 'auth.authentication_sessions');
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, DELETE', 'auth.refresh_tokens');
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, DELETE', 'auth.login_attempts');

    -- The private half, wrapped as it is, is the enclave's alone.
    PERFORM core.grant_if('{neo_enclave}', 'SELECT, INSERT, UPDATE, DELETE', 'auth.signing_keys');
    PERFORM core.grant_if(
        '{neo_api,neo_jobs,neo_readonly}',
        'SELECT (kid, algorithm, public_key, root_key_id, created_at, not_before, retired_at)',
        'auth.signing_keys');

    -- No hashes and no tokens for neo_readonly.
    PERFORM core.grant_if(
        '{neo_readonly}',
        'SELECT (id, username, email, full_name, status, created_at, updated_at, last_login_at, failed_attempts, locked_until)',
        'auth.users');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.memberships');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.roles');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.role_permissions');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.user_roles');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.authentication_sessions');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.login_attempts');

    -- A login knows a user and a refresh knows a token's hash; the tenant is what they look up, together with its roles,
    -- built-in ones of no tenant among them. So neo_api reads these tables whole, and so does the enclave. Whatever is
    -- written has to be of the tenants that the transaction names.
    PERFORM core.isolate('auth.memberships', '{neo_api}', readers => '{neo_api,neo_enclave,neo_readonly}');
    PERFORM core.isolate('auth.roles', '{neo_api}', readers => '{neo_api,neo_enclave,neo_readonly}');
    PERFORM core.isolate('auth.role_permissions', '{neo_api}', readers => '{neo_api,neo_enclave,neo_readonly}');
    PERFORM core.isolate('auth.user_roles', '{neo_api}', readers => '{neo_api,neo_enclave,neo_readonly}');
    PERFORM core.isolate(
        'auth.authentication_sessions', '{neo_api,neo_jobs}', readers => '{neo_api,neo_jobs,neo_readonly}');
    PERFORM core.isolate('auth.refresh_tokens', '{neo_api,neo_jobs}', readers => '{neo_api,neo_jobs}');

    -- What later migrations added states its own rights.
    FOREACH part IN ARRAY ARRAY[
        'apply_session_grants', 'apply_factor_grants', 'apply_wallet_grants', 'apply_enclave_grants'
    ] LOOP
        IF to_regprocedure(format('auth.%I()', part)) IS NOT NULL THEN
            EXECUTE format('SELECT auth.%I()', part);
        END IF;
    END LOOP;
END
$function$;
