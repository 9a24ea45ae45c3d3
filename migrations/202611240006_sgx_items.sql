-- Sealed items, and per tenant the sealing keys that wrap the items' own keys. For neo_enclave alone: no other
-- serving process and neither group of readers has as much as USAGE on this schema.
--
-- The legacy table was unique by key alone, though two services may use one name, and stored plain text. Not
-- carried on: storage_id (the key is the address), sealing_policy (a second, numeric policy_type), last_accessed,
-- last_accessed_at and access_count (a write per read; reads are in the audit log), policy_id and service tables.

CREATE TABLE sgx.sealing_keys (
    tenant_id   uuid        NOT NULL,
    version     integer     NOT NULL,
    wrapped_key bytea       NOT NULL,
    root_key_id bytea       NOT NULL,
    wraps       bigint      NOT NULL DEFAULT 0,
    state       text        NOT NULL DEFAULT 'active',
    created_at  timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz,
    CONSTRAINT sealing_keys_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT sealing_keys_version_check CHECK (version > 0),
    CONSTRAINT sealing_keys_wraps_check CHECK (wraps >= 0),
    CONSTRAINT sealing_keys_state_check CHECK (state IN ('active', 'retired'))
);
COMMENT ON TABLE sgx.sealing_keys IS 'The key-encryption keys of each tenant, wrapped under the enclave''s root key.';
COMMENT ON COLUMN sgx.sealing_keys.wraps IS
    'How many data keys it has wrapped: random 96-bit nonces allow 2^32 under one key (NIST SP 800-38D, section 8.3).';
CREATE UNIQUE INDEX sealing_keys_active_key ON sgx.sealing_keys (tenant_id) WHERE state = 'active';

CREATE TABLE sgx.sealed_data_items (
    tenant_id           uuid         NOT NULL,
    service_name        varchar(100) COLLATE "C" NOT NULL,
    key                 varchar(255) COLLATE "C" NOT NULL,
    item_id             uuid         NOT NULL,
    version             bigint       NOT NULL,
    revision            bigint       NOT NULL,
    policy_type         varchar(50)  NOT NULL DEFAULT 'MRSIGNER',
    encryption          text         NOT NULL,
    sealing_key_version integer,
    wrapped_data_key    bytea,
    sealed_data         bytea,
    original_size       integer      NOT NULL,
    sealed_size         integer      NOT NULL,
    fingerprint         text         NOT NULL,
    metadata            jsonb,
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    created_by          text         NOT NULL,
    updated_by          text         NOT NULL,
    expires_at          timestamptz,
    deleted_at          timestamptz,
    -- "C": keys are paged and prefixes scanned in byte order, the same on every server.
    CONSTRAINT sealed_data_items_pkey PRIMARY KEY (tenant_id, service_name, key),
    CONSTRAINT sealed_data_items_service_name_check
        CHECK (service_name <> '' AND service_name !~ '[\u0001-\u001F\u007F-\u009F]'),
    CONSTRAINT sealed_data_items_key_check CHECK (key <> '' AND key !~ '[\u0001-\u001F\u007F-\u009F]'),
    CONSTRAINT sealed_data_items_version_check CHECK (version > 0),
    CONSTRAINT sealed_data_items_revision_check CHECK (revision >= version),
    CONSTRAINT sealed_data_items_policy_type_check CHECK (policy_type IN ('MRSIGNER', 'MRENCLAVE', 'CUSTOM')),
    CONSTRAINT sealed_data_items_encryption_check CHECK (
        CASE encryption
            WHEN 'aes-256-gcm' THEN
                sealed_data IS NULL OR (sealing_key_version IS NOT NULL AND wrapped_data_key IS NOT NULL)
            WHEN 'none' THEN sealing_key_version IS NULL AND wrapped_data_key IS NULL
            ELSE false
        END),
    CONSTRAINT sealed_data_items_sealed_data_check CHECK (sealed_data IS NOT NULL OR deleted_at IS NOT NULL),
    CONSTRAINT sealed_data_items_original_size_check CHECK (original_size >= 0),
    CONSTRAINT sealed_data_items_sealed_size_check CHECK (sealed_size >= 0),
    -- By length, not '^sha256:[0-9a-f]{64}$': the counted repeat costs 6 us a row, more than all else here.
    CONSTRAINT sealed_data_items_fingerprint_check
        CHECK (starts_with(fingerprint, 'sha256:') AND octet_length(fingerprint) = 71)
-- A put updates the row in place, mostly with no indexed column changed: room for HOT updates.
) WITH (fillfactor = 85);
-- Ciphertext does not compress; trying to costs time and hides that it did not.
ALTER TABLE sgx.sealed_data_items ALTER COLUMN sealed_data SET STORAGE EXTERNAL;

COMMENT ON TABLE sgx.sealed_data_items IS 'The current version of each sealed item.';
COMMENT ON COLUMN sgx.sealed_data_items.item_id IS 'This incarnation of the key: one that is destroyed and stored again is another item.';
COMMENT ON COLUMN sgx.sealed_data_items.version IS 'Rises with every put.';
COMMENT ON COLUMN sgx.sealed_data_items.revision IS 'Rises with every change, a delete and a restore too.';
COMMENT ON COLUMN sgx.sealed_data_items.sealing_key_version IS
    'Which of the tenant''s sealing keys wraps wrapped_data_key. No foreign key: it would lock that one row in every put of the tenant.';
COMMENT ON COLUMN sgx.sealed_data_items.sealed_data IS 'NULL only when the item is deleted or destroyed.';

-- For the purge.
CREATE INDEX sealed_data_items_expires_at_idx ON sgx.sealed_data_items (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX sealed_data_items_deleted_at_idx ON sgx.sealed_data_items (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE FUNCTION sgx.apply_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_enclave}', 'USAGE', 'SCHEMA sgx');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT, INSERT, UPDATE, DELETE', 'sgx.sealing_keys');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT, INSERT, UPDATE, DELETE', 'sgx.sealed_data_items');
    PERFORM core.isolate('sgx.sealing_keys', '{neo_enclave}');
    PERFORM core.isolate('sgx.sealed_data_items', '{neo_enclave}');
END
$function$;
COMMENT ON FUNCTION sgx.apply_grants IS 'The rights on schema sgx.';
