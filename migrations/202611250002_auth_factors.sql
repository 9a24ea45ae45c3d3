-- Second factors, API keys, mail with its one-time tokens, and the count of wrong passwords by place.

ALTER TABLE auth.users
    ADD COLUMN email_verified_at   timestamptz,
    ADD COLUMN password_changed_at timestamptz;
COMMENT ON COLUMN auth.users.password_hash IS
    'Argon2id in PHC form, or a legacy form until the next login: $pbkdf2-sha256$i=100000$salt$hash, base64 of salt and hash, or bcrypt. NULL for a user without a password, such as a wallet.';
COMMENT ON COLUMN auth.users.email_verified_at IS 'When the owner of the account showed that mail to this address reaches them.';

-- Each login does the work of every form that is still there, so that its time does not tell who has an old one.
CREATE INDEX users_legacy_password_hash_idx ON auth.users (id) WHERE password_hash NOT LIKE '$argon2id$%';

-- An API key is given at most what its maker has, so everyone may make some.
INSERT INTO auth.role_permissions (role_id, permission)
SELECT r.id, 'auth:api-keys'
FROM auth.roles AS r
WHERE r.builtin AND r.name IN ('User', 'Developer', 'Auditor', 'Operator');

CREATE TABLE auth.totp_factors (
    user_id        uuid        NOT NULL,
    wrapped_secret bytea       NOT NULL,
    root_key_id    bytea       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    confirmed_at   timestamptz,
    last_step      bigint,
    CONSTRAINT totp_factors_pkey PRIMARY KEY (user_id),
    CONSTRAINT totp_factors_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    -- A confirmed factor was confirmed by a code, and that code is spent.
    CONSTRAINT totp_factors_last_step_check CHECK (confirmed_at IS NULL OR last_step IS NOT NULL)
);
COMMENT ON TABLE auth.totp_factors IS 'The second factor of a user: a TOTP secret (RFC 6238), wrapped by the enclave.';
COMMENT ON COLUMN auth.totp_factors.last_step IS 'The time step of the last code used: one at or before it is refused.';

CREATE TABLE auth.backup_codes (
    user_id    uuid        NOT NULL,
    code_hash  bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz,
    CONSTRAINT backup_codes_pkey PRIMARY KEY (user_id, code_hash),
    CONSTRAINT backup_codes_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT backup_codes_code_hash_check CHECK (octet_length(code_hash) = 32)
);
COMMENT ON TABLE auth.backup_codes IS
    'Codes that stand in for a lost second factor, once each: HMAC-SHA256 under a key that is not in the database, since 50 bits could be found from a plain hash.';

CREATE TABLE auth.api_keys (
    tenant_id    uuid        NOT NULL,
    id           uuid        NOT NULL,
    user_id      uuid        NOT NULL,
    name         text        NOT NULL,
    format       text        NOT NULL DEFAULT 'nslk',
    prefix       text        NOT NULL,
    key_hash     bytea       NOT NULL,
    permissions  text[]      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (tenant_id, id),
    -- Does not lead with the tenant: the key is all that a request brings.
    CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash),
    CONSTRAINT api_keys_tenant_id_user_id_fkey
        FOREIGN KEY (tenant_id, user_id) REFERENCES auth.memberships (tenant_id, user_id) ON DELETE CASCADE,
    CONSTRAINT api_keys_name_check
        CHECK (char_length(name) BETWEEN 1 AND 100 AND name !~ '[\u0001-\u001F\u007F-\u009F]'),
    CONSTRAINT api_keys_format_check CHECK (format IN ('nslk', 'legacy-sha256')),
    CONSTRAINT api_keys_prefix_check CHECK (char_length(prefix) <= 12),
    CONSTRAINT api_keys_key_hash_check CHECK (octet_length(key_hash) = 32),
    CONSTRAINT api_keys_permissions_check CHECK (cardinality(permissions) BETWEEN 1 AND 64)
);
COMMENT ON TABLE auth.api_keys IS 'Keys by which programs act for a member: SHA-256 of each, which is enough for 256 random bits.';
COMMENT ON COLUMN auth.api_keys.format IS 'legacy-sha256: the hash of a key of the legacy system, which is good until it is rotated.';
CREATE INDEX api_keys_tenant_id_user_id_idx ON auth.api_keys (tenant_id, user_id);

CREATE TABLE auth.login_origins (
    user_id         uuid        NOT NULL,
    address_block   text        NOT NULL,
    failures        integer     NOT NULL DEFAULT 0,
    last_failed_at  timestamptz,
    locked_until    timestamptz,
    last_success_at timestamptz,
    CONSTRAINT login_origins_pkey PRIMARY KEY (user_id, address_block),
    CONSTRAINT login_origins_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT login_origins_failures_check CHECK (failures >= 0)
);
COMMENT ON TABLE auth.login_origins IS
    'Wrong passwords of an account by the block of addresses that they came from (/24, /64), so that guessing locks out the guesser and not the owner. The block * counts those from blocks where the owner never was.';

CREATE TABLE auth.one_time_tokens (
    token_hash bytea       NOT NULL,
    user_id    uuid        NOT NULL,
    purpose    text        NOT NULL,
    email      text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT one_time_tokens_pkey PRIMARY KEY (token_hash),
    CONSTRAINT one_time_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE,
    CONSTRAINT one_time_tokens_token_hash_check CHECK (octet_length(token_hash) = 32),
    CONSTRAINT one_time_tokens_purpose_check CHECK (purpose IN ('password-reset', 'email-verification'))
);
COMMENT ON TABLE auth.one_time_tokens IS 'SHA-256 of the tokens in our mail. The row goes with its use.';
COMMENT ON COLUMN auth.one_time_tokens.email IS 'Where it was sent: it shows nothing of an address that the user has changed to since.';
CREATE INDEX one_time_tokens_user_id_idx ON auth.one_time_tokens (user_id);
CREATE INDEX one_time_tokens_expires_at_idx ON auth.one_time_tokens (expires_at);

CREATE TABLE auth.outbox (
    id          uuid        NOT NULL,
    wrapped     bytea       NOT NULL,
    root_key_id bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    next_try_at timestamptz NOT NULL,
    tries       integer     NOT NULL DEFAULT 0,
    CONSTRAINT outbox_pkey PRIMARY KEY (id),
    CONSTRAINT outbox_tries_check CHECK (tries >= 0)
);
COMMENT ON TABLE auth.outbox IS
    'Mail to be sent, wrapped by the enclave, since it holds a token. The row goes when the server took the mail, or when the token has expired.';
CREATE INDEX outbox_next_try_at_idx ON auth.outbox (next_try_at);

CREATE FUNCTION auth.apply_factor_grants() RETURNS void
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
    PERFORM core.isolate('auth.api_keys', '{neo_api}', readers => '{neo_api,neo_readonly}');
END
$function$;
COMMENT ON FUNCTION auth.apply_factor_grants IS 'The rights on second factors, API keys, mail and counts of wrong passwords.';
