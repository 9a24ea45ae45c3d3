-- Sessions that end before their time, families of refresh tokens, and whose a user is.

-- A revocation is told to every process: each reads this table whole, twice a second. It holds what some access token
-- may still name, so it stays as small as the revocations of a quarter of an hour.
CREATE TABLE auth.revocations (
    tenant_id  uuid        NOT NULL,
    subject_id uuid        NOT NULL,
    kind       text        NOT NULL,
    revoked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT revocations_pkey PRIMARY KEY (tenant_id, subject_id),
    CONSTRAINT revocations_kind_check CHECK (kind IN ('session', 'api_key'))
);
COMMENT ON TABLE auth.revocations IS 'What was ended while a credential of it may still be about: every process refuses it until expires_at.';
COMMENT ON COLUMN auth.revocations.expires_at IS 'When the last access token of it has expired; then the row is of no use.';
CREATE INDEX revocations_expires_at_idx ON auth.revocations (expires_at);

-- At most one successor of a refresh token, whatever the code does. It serves what the plain index served.
CREATE UNIQUE INDEX refresh_tokens_family_key ON auth.refresh_tokens (tenant_id, session_id, generation);
DROP INDEX auth.refresh_tokens_tenant_id_session_id_idx;

-- One login can be a member of several tenants. Its name, address and status are the business of the tenant that made
-- it: else an administrator of one tenant could take over an account that administers another.
ALTER TABLE auth.users ADD COLUMN home_tenant_id uuid;
COMMENT ON COLUMN auth.users.home_tenant_id IS
    'The tenant whose administrators manage the account; NULL when it left that tenant: then nobody but its owner does.';
UPDATE auth.users AS u SET home_tenant_id = (
    SELECT m.tenant_id FROM auth.memberships AS m WHERE m.user_id = u.id ORDER BY m.created_at, m.tenant_id LIMIT 1);

CREATE FUNCTION auth.apply_session_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT', 'auth.revocations');
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, DELETE', 'auth.revocations');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.revocations');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT (home_tenant_id)', 'auth.users');
    -- A process that serves all tenants refuses what any of them revoked.
    PERFORM core.isolate('auth.revocations', '{neo_api,neo_jobs}', readers => '{neo_api,neo_jobs,neo_readonly}');
END
$function$;
COMMENT ON FUNCTION auth.apply_session_grants IS 'The rights on revocations, and on what sessions added to users.';

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

    -- A login knows a user and a refresh knows a token's hash; the tenant is what they look up, together with
    -- its roles, built-in ones of no tenant among them. So neo_api reads these tables whole. Whatever it writes
    -- has to be of the tenants that the transaction names.
    PERFORM core.isolate('auth.memberships', '{neo_api}', readers => '{neo_api,neo_readonly}');
    PERFORM core.isolate('auth.roles', '{neo_api}', readers => '{neo_api,neo_readonly}');
    PERFORM core.isolate('auth.role_permissions', '{neo_api}', readers => '{neo_api,neo_readonly}');
    PERFORM core.isolate('auth.user_roles', '{neo_api}', readers => '{neo_api,neo_readonly}');
    PERFORM core.isolate(
        'auth.authentication_sessions', '{neo_api,neo_jobs}', readers => '{neo_api,neo_jobs,neo_readonly}');
    PERFORM core.isolate('auth.refresh_tokens', '{neo_api,neo_jobs}', readers => '{neo_api,neo_jobs}');

    -- What later migrations added states its own rights.
    FOREACH part IN ARRAY ARRAY['apply_session_grants', 'apply_factor_grants', 'apply_wallet_grants'] LOOP
        IF to_regprocedure(format('auth.%I()', part)) IS NOT NULL THEN
            EXECUTE format('SELECT auth.%I()', part);
        END IF;
    END LOOP;
END
$function$;
