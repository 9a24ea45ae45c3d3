-- Wallets that log in, and the challenges that they have answered.
--
-- A challenge is not stored when it is given: its nonce is a MAC over what it binds. Only one that was answered is kept,
-- as a hash and until it expires, so that no answer counts twice.

CREATE TABLE auth.wallets (
    id           uuid        NOT NULL,
    chain        text        NOT NULL,
    address      text        NOT NULL,
    user_id      uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    CONSTRAINT wallets_pkey PRIMARY KEY (id),
    CONSTRAINT wallets_chain_address_key UNIQUE (chain, address),
    CONSTRAINT wallets_chain_check CHECK (chain IN ('n3', 'evm')),
    CONSTRAINT wallets_address_check CHECK (address ~ '^(N[1-9A-HJ-NP-Za-km-z]{33}|0x[0-9A-Fa-f]{40})$'),
    CONSTRAINT wallets_user_id_fkey FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE
);
COMMENT ON TABLE auth.wallets IS
    'The addresses whose holders log in as a user. Not owned by a tenant, as users are not: a wallet is looked up before a tenant is known.';
COMMENT ON COLUMN auth.wallets.address IS 'In its one canonical form: Base58Check on Neo N3, with the checksum of EIP-55 on an EVM.';
CREATE INDEX wallets_user_id_idx ON auth.wallets (user_id);

CREATE TABLE auth.wallet_nonces (
    nonce_hash bytea       NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT wallet_nonces_pkey PRIMARY KEY (nonce_hash),
    CONSTRAINT wallet_nonces_nonce_hash_check CHECK (octet_length(nonce_hash) = 32)
);
COMMENT ON TABLE auth.wallet_nonces IS 'SHA-256 of the challenges that were answered, until they expire.';
CREATE INDEX wallet_nonces_expires_at_idx ON auth.wallet_nonces (expires_at);

CREATE FUNCTION auth.apply_wallet_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT, UPDATE, DELETE', 'auth.wallets');
    PERFORM core.grant_if('{neo_readonly}', 'SELECT', 'auth.wallets');
    PERFORM core.grant_if('{neo_api}', 'SELECT, INSERT', 'auth.wallet_nonces');
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, DELETE', 'auth.wallet_nonces');
END
$function$;
COMMENT ON FUNCTION auth.apply_wallet_grants IS 'The rights on wallets; part of auth.apply_grants.';
