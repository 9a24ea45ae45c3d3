-- Users, their roles in each tenant, sessions, refresh tokens and the keys that sign access tokens.
--
-- The legacy model kept session and refresh tokens in clear, seeded three users with one known password hash,
-- and tied roles to a user for the whole installation. Here tokens are kept as hashes, no user is seeded, and a
-- role is held in a tenant.

CREATE TABLE auth.users (
    id              uuid        NOT NULL,
    username        text        NOT NULL,
    email           text,
    full_name       text,
    password_hash   text,
    status          text        NOT NULL DEFAULT 'active',
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    last_login_at   timestamptz,
    failed_attempts integer     NOT NULL DEFAULT 0,
    locked_until    timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_username_check
        CHECK (char_length(username) BETWEEN 3 AND 100 AND username !~ '[\u0001-\u001F\u007F-\u009F]'),
    CONSTRAINT users_email_check
        CHECK (char_length(email) BETWEEN 3 AND 255 AND email !~ '[\u0001-\u001F\u007F-\u009F]'),
    CONSTRAINT users_full_name_check CHECK (char_length(full_name) <= 255),
    CONSTRAINT users_status_check CHECK (status IN ('active', 'locked', 'disabled')),
    CONSTRAINT users_failed_attempts_check CHECK (failed_attempts >= 0)
);
COMMENT ON TABLE auth.users IS
    'The people and services that log in. Not owned by a tenant: one login can be a member of several, and it is looked up before a tenant is known.';
COMMENT ON COLUMN auth.users.password_hash IS 'Argon2id in PHC form; NULL for a user without a password, such as a wallet.';
CREATE UNIQUE INDEX users_username_key ON auth.users (lower(username));
CREATE UNIQUE INDEX users_email_key ON auth.users (lower(email));

CREATE TABLE auth.memberships (
    tenant_id  uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT memberships_pkey PRIMARY KEY (tenant_id, user_id),
    CONSTRAINT memberships_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
COMMENT ON TABLE auth.memberships IS 'Which users belong to which tenants.';
CREATE INDEX memberships_user_id_idx ON auth.memberships (user_id);

CREATE TABLE auth.roles (
    id          uuid        NOT NULL,
    tenant_id   uuid,
    name        text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    builtin     boolean     NOT NULL GENERATED ALWAYS AS (tenant_id IS NULL) STORED,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT roles_pkey PRIMARY KEY (id),
    CONSTRAINT roles_tenant_id_id_key UNIQUE (tenant_id, id),
    CONSTRAINT roles_name_check
        CHECK (char_length(name) BETWEEN 1 AND 100 AND name !~ '[\u0001-\u001F\u007F-\u009F]'),
    CONSTRAINT roles_description_check CHECK (char_length(description) <= 500)
);
COMMENT ON TABLE auth.roles IS 'Named sets of permissions: built-in ones for every tenant, others of one tenant.';
COMMENT ON COLUMN auth.roles.tenant_id IS
    'NULL for a built-in role. NULL is in no list of tenants, so the policies let no serving process write those.';
CREATE UNIQUE INDEX roles_name_key ON auth.roles (tenant_id, lower(name)) NULLS NOT DISTINCT;

CREATE TABLE auth.role_permissions (
    role_id    uuid NOT NULL,
    tenant_id  uuid,
    permission text NOT NULL,
    CONSTRAINT role_permissions_pkey PRIMARY KEY (role_id, permission),
    CONSTRAINT role_permissions_role_id_fkey FOREIGN KEY (role_id) REFERENCES auth.roles (id) ON DELETE CASCADE,
    CONSTRAINT role_permissions_tenant_id_role_id_fkey
        FOREIGN KEY (tenant_id, role_id) REFERENCES auth.roles (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT role_permissions_permission_check
        CHECK (permission = '*' OR permission ~ '^[a-z]+:([a-z]+(-[a-z]+)*|\*)$')
);
COMMENT ON TABLE auth.role_permissions IS 'The permissions of each role, as `<service>:<verb>`; `*` is every one.';
COMMENT ON COLUMN auth.role_permissions.tenant_id IS 'The role''s tenant again, for the policies; NULL for a built-in role.';

CREATE TABLE auth.user_roles (
    tenant_id   uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    role_id     uuid        NOT NULL,
    assigned_at timestamptz NOT NULL DEFAULT now(),
    assigned_by uuid,
    expires_at  timestamptz,
    CONSTRAINT user_roles_pkey PRIMARY KEY (tenant_id, user_id, role_id),
    CONSTRAINT user_roles_tenant_id_user_id_fkey
        FOREIGN KEY (tenant_id, user_id) REFERENCES auth.memberships (tenant_id, user_id) ON DELETE CASCADE,
    CONSTRAINT user_roles_role_id_fkey FOREIGN KEY (role_id) REFERENCES auth.roles (id) ON DELETE CASCADE
);
COMMENT ON TABLE auth.user_roles IS 'Which roles a member holds in a tenant, and until when.';
CREATE INDEX user_roles_role_id_idx ON auth.user_roles (role_id);

CREATE TABLE auth.authentication_sessions (
    tenant_id     uuid        NOT NULL,
    id            uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    last_used_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at    timestamptz,
    revoke_reason text,
    ip_address    text,
    user_agent    text,
    CONSTRAINT authentication_sessions_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT authentication_sessions_user_id_fkey
        FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
COMMENT ON TABLE auth.authentication_sessions IS 'One row per login, which every token of it names.';
CREATE INDEX authentication_sessions_user_id_idx ON auth.authentication_sessions (user_id);
CREATE INDEX authentication_sessions_expires_at_idx ON auth.authentication_sessions (expires_at);

CREATE TABLE auth.refresh_tokens (
    token_hash bytea       NOT NULL,
    tenant_id  uuid        NOT NULL,
    session_id uuid        NOT NULL,
    generation integer     NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    -- Does not lead with the tenant: the hash is all that a refresh request brings.
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (token_hash),
    CONSTRAINT refresh_tokens_tenant_id_session_id_fkey FOREIGN KEY (tenant_id, session_id)
        REFERENCES auth.authentication_sessions (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT refresh_tokens_token_hash_check CHECK (octet_length(token_hash) = 32),
    CONSTRAINT refresh_tokens_generation_check CHECK (generation >= 0)
);
COMMENT ON TABLE auth.refresh_tokens IS 'SHA-256 of each refresh token. A used one that comes again shows a theft and ends the session.';
CREATE INDEX refresh_tokens_tenant_id_session_id_idx ON auth.refresh_tokens (tenant_id, session_id);
CREATE INDEX refresh_tokens_expires_at_idx ON auth.refresh_tokens (expires_at);

CREATE TABLE auth.signing_keys (
    kid                 text        NOT NULL,
    algorithm           text        NOT NULL,
    public_key          bytea       NOT NULL,
    wrapped_private_key bytea       NOT NULL,
    root_key_id         bytea       NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    not_before          timestamptz NOT NULL DEFAULT now(),
    retired_at          timestamptz,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (kid),
    CONSTRAINT signing_keys_kid_check CHECK (char_length(kid) BETWEEN 1 AND 255),
    CONSTRAINT signing_keys_algorithm_check CHECK (algorithm = 'EdDSA')
);
COMMENT ON TABLE auth.signing_keys IS 'Keys that sign access tokens. The private half is wrapped, and only the enclave reads it.';

CREATE TABLE auth.login_attempts (
    id           uuid        NOT NULL,
    username     text        NOT NULL,
    user_id      uuid,
    ip_address   text,
    user_agent   text,
    success      boolean     NOT NULL,
    reason       text,
    attempted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT login_attempts_pkey PRIMARY KEY (id),
    CONSTRAINT login_attempts_username_check CHECK (char_length(username) <= 255)
);
COMMENT ON TABLE auth.login_attempts IS 'Every try to log in, also for names that do not exist; of no tenant, since none is known yet.';
CREATE INDEX login_attempts_username_attempted_at_idx ON auth.login_attempts (lower(username), attempted_at);
CREATE INDEX login_attempts_attempted_at_idx ON auth.login_attempts (attempted_at);

-- The built-in roles are the five of the legacy seed. Its permissions live on under the service's name:
-- storage:{read,write,delete} is sgx:*, voting:participate is voting:vote, monitoring:{view,alert} is
-- monitoring:{read,write}, admin:{users,roles} is auth:{users,roles}, admin:services is core:services.
-- compute:{execute,register} is dropped: there is no such service. New are auth:self (one's own account) and
-- eventsourcing:{read,append}. voting:create and auth:{users,roles} are the Administrator's, as before.
INSERT INTO auth.roles (id, name, description) VALUES
    ('00000000-0000-7000-8000-000000000101', 'Administrator', 'Everything'),
    ('00000000-0000-7000-8000-000000000102', 'User', 'Stores and reads sealed items, reads feeds, votes'),
    ('00000000-0000-7000-8000-000000000103', 'Developer', 'Builds on sealed items, feeds and events'),
    ('00000000-0000-7000-8000-000000000104', 'Auditor', 'Reads and changes nothing'),
    ('00000000-0000-7000-8000-000000000105', 'Operator', 'Watches and runs the services');

INSERT INTO auth.role_permissions (role_id, permission)
SELECT r.id, p.permission
FROM auth.roles AS r
JOIN (VALUES
    ('Administrator', ARRAY['*']),
    ('User', ARRAY['auth:self', 'sgx:read', 'sgx:write', 'oracle:read', 'voting:vote', 'monitoring:read',
                   'eventsourcing:read', 'eventsourcing:append']),
    ('Developer', ARRAY['auth:self', 'sgx:read', 'sgx:write', 'sgx:delete', 'oracle:read', 'oracle:submit',
                        'monitoring:read', 'eventsourcing:read', 'eventsourcing:append']),
    ('Auditor', ARRAY['auth:self', 'sgx:read', 'oracle:read', 'monitoring:read', 'eventsourcing:read']),
    ('Operator', ARRAY['auth:self', 'monitoring:read', 'monitoring:write', 'core:services', 'eventsourcing:read'])
) AS seed (role, permissions) ON seed.role = r.name
CROSS JOIN LATERAL unnest(seed.permissions) AS p (permission)
WHERE r.builtin;

CREATE FUNCTION auth.apply_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
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
END
$function$;
COMMENT ON FUNCTION auth.apply_grants IS 'The rights on schema auth.';
