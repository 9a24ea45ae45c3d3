-- Sealed storage in depth: former versions, streamed values, policies, quotas and usage, the root key in slots, rotations,
-- scans with their findings, attestations. All of it for neo_enclave alone, as the tables before it.

-- What a value is bound to besides its address. All three are NULL in rows of the first build, whose seal (v1) does not
-- know them.
ALTER TABLE sgx.sealed_data_items
    ADD COLUMN policy_name  varchar(100),
    ADD COLUMN access       jsonb,
    ADD COLUMN content_id   uuid,
    ADD COLUMN reads        bigint NOT NULL DEFAULT 0,
    ADD COLUMN destroyed_at timestamptz,
    ADD CONSTRAINT sealed_data_items_reads_check CHECK (reads >= 0),
    ADD CONSTRAINT sealed_data_items_destroyed_at_check CHECK (destroyed_at IS NULL OR deleted_at IS NOT NULL);
COMMENT ON COLUMN sgx.sealed_data_items.policy_name IS 'The policy that the put named; NULL where it named none.';
COMMENT ON COLUMN sgx.sealed_data_items.access IS
    'The rules of that policy as they were at the put, bound to the value: no later change of the policy loosens them.';
COMMENT ON COLUMN sgx.sealed_data_items.content_id IS
    'A streamed value: its bytes are in sgx.content_chunks, and sealed_data holds the sealed summary of them.';
COMMENT ON COLUMN sgx.sealed_data_items.reads IS 'Reads of this version, counted where its policy limits them.';
COMMENT ON COLUMN sgx.sealed_data_items.destroyed_at IS 'When the wrapped data keys went; the row stays until the purge.';

-- A former version is the row as it stood, moved here when it was replaced; service and key are those that it was sealed
-- under.
CREATE TABLE sgx.item_versions (
    tenant_id           uuid         NOT NULL,
    item_id             uuid         NOT NULL,
    version             bigint       NOT NULL,
    service_name        varchar(100) COLLATE "C" NOT NULL,
    key                 varchar(255) COLLATE "C" NOT NULL,
    policy_type         varchar(50)  NOT NULL,
    policy_name         varchar(100),
    access              jsonb,
    encryption          text         NOT NULL,
    sealing_key_version integer,
    wrapped_data_key    bytea,
    sealed_data         bytea,
    content_id          uuid,
    original_size       integer      NOT NULL,
    sealed_size         integer      NOT NULL,
    fingerprint         text         NOT NULL,
    metadata            jsonb,
    created_at          timestamptz  NOT NULL,
    updated_at          timestamptz  NOT NULL,
    created_by          text         NOT NULL,
    updated_by          text         NOT NULL,
    expires_at          timestamptz,
    reads               bigint       NOT NULL DEFAULT 0,
    superseded_at       timestamptz  NOT NULL,
    destroyed_at        timestamptz,
    CONSTRAINT item_versions_pkey PRIMARY KEY (tenant_id, item_id, version),
    CONSTRAINT item_versions_version_check CHECK (version > 0),
    CONSTRAINT item_versions_sealed_data_check CHECK (sealed_data IS NOT NULL OR destroyed_at IS NOT NULL)
);
ALTER TABLE sgx.item_versions ALTER COLUMN sealed_data SET STORAGE EXTERNAL;
COMMENT ON TABLE sgx.item_versions IS 'Former versions of sealed items, the last few of each.';
-- For the purge; BRIN, since rows come in the order of time and a btree would cost every put.
CREATE INDEX item_versions_superseded_at_idx ON sgx.item_versions USING brin (superseded_at);

CREATE TABLE sgx.content_chunks (
    tenant_id  uuid        NOT NULL,
    content_id uuid        NOT NULL,
    number     integer     NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT content_chunks_pkey PRIMARY KEY (tenant_id, content_id, number),
    CONSTRAINT content_chunks_number_check CHECK (number >= 0)
);
ALTER TABLE sgx.content_chunks ALTER COLUMN sealed SET STORAGE EXTERNAL;
COMMENT ON TABLE sgx.content_chunks IS
    'Sealed pieces of streamed values. Content that no item or version names after a day is of an upload that broke off.';

-- Whether a content is still in use; no row of an inline value is in them.
CREATE INDEX sealed_data_items_content_id_idx ON sgx.sealed_data_items (tenant_id, content_id) WHERE content_id IS NOT NULL;
CREATE INDEX item_versions_content_id_idx ON sgx.item_versions (tenant_id, content_id) WHERE content_id IS NOT NULL;

CREATE TABLE sgx.policies (
    tenant_id           uuid         NOT NULL,
    name                varchar(100) COLLATE "C" NOT NULL,
    policy_type         varchar(50)  NOT NULL,
    description         varchar(500),
    expiration_hours    integer,
    allow_unseal        boolean      NOT NULL DEFAULT true,
    require_attestation boolean      NOT NULL DEFAULT false,
    allowed_roles       text[],
    max_reads           bigint,
    min_isv_svn         integer,
    is_active           boolean      NOT NULL DEFAULT true,
    version             bigint       NOT NULL DEFAULT 1,
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    created_by          text         NOT NULL,
    updated_by          text         NOT NULL,
    CONSTRAINT policies_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT policies_name_check CHECK (name ~ '^[A-Za-z][A-Za-z0-9._-]*$'),
    CONSTRAINT policies_policy_type_check CHECK (policy_type IN ('MRSIGNER', 'MRENCLAVE', 'CUSTOM')),
    CONSTRAINT policies_expiration_hours_check CHECK (expiration_hours > 0),
    CONSTRAINT policies_max_reads_check CHECK (max_reads > 0),
    CONSTRAINT policies_min_isv_svn_check CHECK (min_isv_svn >= 0),
    CONSTRAINT policies_version_check CHECK (version > 0)
);
COMMENT ON TABLE sgx.policies IS 'Sealing policies that tenants made; the built-in ones are part of the program.';

CREATE TABLE sgx.quotas (
    tenant_id    uuid         NOT NULL,
    service_name varchar(100) COLLATE "C" NOT NULL,
    max_bytes    bigint,
    max_items    bigint,
    updated_at   timestamptz  NOT NULL DEFAULT now(),
    updated_by   text         NOT NULL,
    CONSTRAINT quotas_pkey PRIMARY KEY (tenant_id, service_name),
    CONSTRAINT quotas_max_bytes_check CHECK (max_bytes >= 0),
    CONSTRAINT quotas_max_items_check CHECK (max_items >= 0)
);
COMMENT ON TABLE sgx.quotas IS 'How much a tenant may keep: a row per service, the empty name for the tenant as a whole.';

-- A row per commit and service, folded into `usage` by a job: one row that every put updates would make writers queue.
CREATE TABLE sgx.usage (
    tenant_id    uuid         NOT NULL,
    service_name varchar(100) COLLATE "C" NOT NULL,
    items        bigint       NOT NULL,
    versions     bigint       NOT NULL,
    bytes        bigint       NOT NULL,
    CONSTRAINT usage_pkey PRIMARY KEY (tenant_id, service_name)
);
COMMENT ON TABLE sgx.usage IS 'What is kept per service: items alive, versions of any kind, and their sealed bytes.';
CREATE TABLE sgx.usage_changes (
    tenant_id    uuid         NOT NULL,
    service_name varchar(100) COLLATE "C" NOT NULL,
    items        bigint       NOT NULL,
    versions     bigint       NOT NULL,
    bytes        bigint       NOT NULL
);
COMMENT ON TABLE sgx.usage_changes IS 'Changes of usage that are not folded into sgx.usage yet; the truth is the sum of both.';
CREATE INDEX usage_changes_tenant_id_service_name_idx ON sgx.usage_changes (tenant_id, service_name);

-- What the first build stored is counted once, here.
INSERT INTO sgx.usage (tenant_id, service_name, items, versions, bytes)
SELECT tenant_id, service_name, count(*) FILTER (WHERE deleted_at IS NULL), count(*), sum(sealed_size)
FROM sgx.sealed_data_items GROUP BY tenant_id, service_name;

CREATE TABLE sgx.root_keys (
    root_key_id bytea       NOT NULL,
    state       text        NOT NULL DEFAULT 'active',
    created_at  timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz,
    CONSTRAINT root_keys_pkey PRIMARY KEY (root_key_id),
    CONSTRAINT root_keys_state_check CHECK (state IN ('active', 'superseded', 'retired'))
);
COMMENT ON TABLE sgx.root_keys IS
    'The root keys of this database by their public ids. A superseded one still wraps something; of a retired one every slot is wiped.';
CREATE UNIQUE INDEX root_keys_active_key ON sgx.root_keys ((true)) WHERE state = 'active';

CREATE TABLE sgx.root_slots (
    slot_id      uuid        NOT NULL,
    root_key_id  bytea       NOT NULL,
    kind         text        NOT NULL,
    opener_id    bytea       NOT NULL,
    wrapped_root bytea,
    label        varchar(100),
    state        text        NOT NULL DEFAULT 'active',
    created_at   timestamptz NOT NULL DEFAULT now(),
    tested_at    timestamptz,
    retired_at   timestamptz,
    CONSTRAINT root_slots_pkey PRIMARY KEY (slot_id),
    CONSTRAINT root_slots_kind_check CHECK (kind IN ('configured', 'mrsigner', 'mrenclave')),
    CONSTRAINT root_slots_state_check CHECK (state IN ('active', 'retired')),
    CONSTRAINT root_slots_wrapped_root_check CHECK (wrapped_root IS NOT NULL OR state = 'retired')
);
COMMENT ON TABLE sgx.root_slots IS 'The root keys, each wrapped under every key that may open it; any one slot is enough.';
COMMENT ON COLUMN sgx.root_slots.opener_id IS 'The public id of the key that opens the slot.';

CREATE TABLE sgx.secret_keys (
    secret_key_id bytea       NOT NULL,
    wrapped_key   bytea       NOT NULL,
    root_key_id   bytea       NOT NULL,
    is_active     boolean     NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT secret_keys_pkey PRIMARY KEY (secret_key_id)
);
COMMENT ON TABLE sgx.secret_keys IS 'Keys that seal small secrets of other services, wrapped under a root key.';

-- Between active and retired: what the key has wrapped is being moved. A retired key is kept, so that a row which comes
-- back from an old backup is told from a damaged one; it seals nothing.
ALTER TABLE sgx.sealing_keys
    DROP CONSTRAINT sealing_keys_state_check,
    ADD CONSTRAINT sealing_keys_state_check CHECK (state IN ('active', 'superseded', 'retired'));
-- The first build called a key retired that still wrapped data keys.
UPDATE sgx.sealing_keys SET state = 'superseded', retired_at = NULL WHERE state = 'retired';
COMMENT ON COLUMN sgx.sealing_keys.state IS
    'active: new values go under it; superseded: another one follows; retired: a rotation''s statement says that nothing is under it.';

CREATE TABLE sgx.statement_keys (
    name          text        NOT NULL,
    public_key    bytea       NOT NULL,
    sealed_key    bytea       NOT NULL,
    secret_key_id bytea       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT statement_keys_pkey PRIMARY KEY (name),
    CONSTRAINT statement_keys_public_key_check CHECK (octet_length(public_key) = 32)
);
COMMENT ON TABLE sgx.statement_keys IS 'The Ed25519 key that signs completion statements, sealed under a key for secrets.';

CREATE TABLE sgx.rotations (
    rotation_id  uuid        NOT NULL,
    tenant_id    uuid        NOT NULL,
    kind         text        NOT NULL,
    from_key     text        NOT NULL,
    to_key       text        NOT NULL,
    state        text        NOT NULL DEFAULT 'running',
    total        bigint      NOT NULL,
    done         bigint      NOT NULL DEFAULT 0,
    place        jsonb,
    reason       varchar(500),
    failure      text,
    statement    text,
    requested_by text        NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    CONSTRAINT rotations_pkey PRIMARY KEY (tenant_id, rotation_id),
    CONSTRAINT rotations_kind_check CHECK (kind IN ('tenant', 'root', 'reseal')),
    CONSTRAINT rotations_state_check CHECK (state IN ('running', 'completed', 'failed'))
);
COMMENT ON TABLE sgx.rotations IS 'Rotations of sealing keys and of the root key, with how far they are and what they ended in.';
COMMENT ON COLUMN sgx.rotations.statement IS 'The signed completion statement, a C2SP signed note.';
COMMENT ON COLUMN sgx.rotations.place IS 'How far its walk over the rows is; another process goes on from here.';
-- One at a time: of the tenant's keys, and of the root key, which the tenant `default` stands for.
CREATE UNIQUE INDEX rotations_running_key ON sgx.rotations (tenant_id, (kind = 'root')) WHERE state = 'running';

CREATE TABLE sgx.scans (
    scan_id      uuid        NOT NULL,
    tenant_id    uuid        NOT NULL,
    state        text        NOT NULL DEFAULT 'running',
    total        bigint      NOT NULL,
    checked      bigint      NOT NULL DEFAULT 0,
    findings     bigint      NOT NULL DEFAULT 0,
    place        jsonb,
    failure      text,
    requested_by text        NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    CONSTRAINT scans_pkey PRIMARY KEY (tenant_id, scan_id),
    CONSTRAINT scans_state_check CHECK (state IN ('running', 'completed', 'failed'))
);
COMMENT ON TABLE sgx.scans IS 'Scans of everything a tenant has sealed against the seals and against the event log.';
COMMENT ON COLUMN sgx.scans.place IS 'How far its walk is; another process goes on from here.';
CREATE UNIQUE INDEX scans_running_key ON sgx.scans (tenant_id) WHERE state = 'running';
CREATE TABLE sgx.scan_findings (
    tenant_id    uuid         NOT NULL,
    scan_id      uuid         NOT NULL,
    number       integer      NOT NULL,
    kind         text         NOT NULL,
    service_name varchar(100) COLLATE "C",
    key          varchar(255) COLLATE "C",
    item_id      uuid,
    version      bigint,
    detail       text         NOT NULL,
    found_at     timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT scan_findings_pkey PRIMARY KEY (tenant_id, scan_id, number)
);
COMMENT ON TABLE sgx.scan_findings IS 'What a scan found: one row for each item or version that is not as it should be.';

CREATE TABLE sgx.attestations (
    attestation_id uuid        NOT NULL,
    tenant_id      uuid        NOT NULL,
    tee            text        NOT NULL,
    accepted       boolean     NOT NULL,
    tcb_status     text,
    report         jsonb       NOT NULL,
    reasons        text[]      NOT NULL DEFAULT '{}',
    quote_sha256   bytea       NOT NULL,
    report_data    bytea,
    verified_by    text        NOT NULL,
    verified_at    timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    CONSTRAINT attestations_pkey PRIMARY KEY (tenant_id, attestation_id),
    CONSTRAINT attestations_tee_check CHECK (tee IN ('sgx', 'tdx', 'unknown'))
);
COMMENT ON TABLE sgx.attestations IS 'Verdicts on quotes that were presented, with how long they count as fresh.';
CREATE INDEX attestations_expires_at_idx ON sgx.attestations (expires_at);

-- A batch is written whole or not at all: a statement says what it found, and this undoes it where that is not what it was
-- prepared for. The class of the error tells the group commit to prepare again.
CREATE FUNCTION sgx.as_prepared(ok boolean) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF ok THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'a row changed between preparation and statement' USING ERRCODE = 'serialization_failure';
END
$function$;
COMMENT ON FUNCTION sgx.as_prepared IS 'Undoes a statement whose rows are not what they were prepared for.';

-- One statement for each item, so that each finds its rows by the whole key: a join of all of them would be planned by how
-- many rows there were at that time, none at first, and walk through the table.
CREATE FUNCTION sgx.trim_versions(tenants uuid[], items uuid[], last_versions bigint[])
    RETURNS TABLE (tenant_id uuid, service_name text, sealed_size integer, destroyed_at timestamptz)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
    FOR i IN 1 .. cardinality(tenants) LOOP
        RETURN QUERY
            DELETE FROM sgx.item_versions v
            WHERE v.tenant_id = tenants[i] AND v.item_id = items[i] AND v.version <= last_versions[i]
            RETURNING v.tenant_id, v.service_name::text, v.sealed_size, v.destroyed_at;
    END LOOP;
END
$function$;
COMMENT ON FUNCTION sgx.trim_versions IS 'Removes each item''s versions up to one, and tells what went.';

CREATE OR REPLACE FUNCTION sgx.apply_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    own text;
BEGIN
    PERFORM core.grant_if('{neo_enclave}', 'USAGE', 'SCHEMA sgx');
    FOREACH own IN ARRAY ARRAY[
        'sgx.sealing_keys', 'sgx.sealed_data_items', 'sgx.item_versions', 'sgx.content_chunks', 'sgx.policies',
        'sgx.quotas', 'sgx.usage', 'sgx.usage_changes', 'sgx.rotations', 'sgx.scans', 'sgx.scan_findings',
        'sgx.attestations']
    LOOP
        PERFORM core.grant_if('{neo_enclave}', 'SELECT, INSERT, UPDATE, DELETE', own);
        PERFORM core.isolate(own::regclass, '{neo_enclave}');
    END LOOP;
    PERFORM core.grant_if('{neo_enclave}', 'EXECUTE', 'FUNCTION sgx.as_prepared(boolean)');
    PERFORM core.grant_if('{neo_enclave}', 'EXECUTE', 'FUNCTION sgx.trim_versions(uuid[], uuid[], bigint[])');
    -- The enclave's own, of no tenant.
    PERFORM core.grant_if('{neo_enclave}', 'SELECT, INSERT, UPDATE', 'sgx.root_keys');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT, INSERT, UPDATE', 'sgx.root_slots');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT, INSERT, UPDATE', 'sgx.secret_keys');
    PERFORM core.grant_if('{neo_enclave}', 'SELECT, INSERT', 'sgx.statement_keys');
END
$function$;
COMMENT ON FUNCTION sgx.apply_grants IS 'The rights on schema sgx.';
