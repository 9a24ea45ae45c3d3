-- The audit log and the leaves of its Merkle tree, security events, and the guide's three views on the server's
-- statistics.

CREATE TABLE monitoring.audit_logs (
    id            uuid         NOT NULL,
    tenant_id     uuid         NOT NULL,
    service_name  varchar(100) NOT NULL,
    action        varchar(100) NOT NULL,
    resource_type varchar(100),
    resource_id   text,
    user_id       uuid,
    actor         text         NOT NULL,
    session_id    text,
    ip_address    text,
    user_agent    text,
    request_id    text,
    "timestamp"   timestamptz  NOT NULL DEFAULT now(),
    result        text         NOT NULL,
    details       text,
    before_state  jsonb,
    after_state   jsonb,
    metadata      jsonb        NOT NULL DEFAULT '{}',
    xid           xid8         NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT audit_logs_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT audit_logs_result_check CHECK (result IN ('Success', 'Failure', 'Denied'))
) PARTITION BY RANGE (id);
COMMENT ON TABLE monitoring.audit_logs IS 'Who did what to what, append-only; monthly partitions by id, since ids are UUIDv7.';
COMMENT ON COLUMN monitoring.audit_logs.actor IS
    'The principal as it was then: a user, an API key, a job. The legacy model had user_id alone, which no job and no stranger has.';
COMMENT ON COLUMN monitoring.audit_logs.xid IS
    'The transaction that wrote the row. For the sequencer only: it means nothing after a restore into another cluster.';

-- Every write of every service pays for each index here, so there are two and no more. A range of time is also
-- a range of ids: with core.uuid_at the primary key serves it and partitions are pruned.
CREATE INDEX audit_logs_xid_id_idx ON monitoring.audit_logs (xid, id);
CREATE INDEX audit_logs_tenant_id_timestamp_idx ON monitoring.audit_logs (tenant_id, "timestamp");

CREATE TABLE monitoring.audit_logs_default PARTITION OF monitoring.audit_logs DEFAULT;
COMMENT ON TABLE monitoring.audit_logs_default IS 'Audit rows whose id is of no month that has a partition.';
SELECT core.ensure_partitions('monitoring.audit_logs', 3);

CREATE TABLE monitoring.audit_leaves (
    leaf_index bigint NOT NULL,
    audit_id   uuid   NOT NULL,
    tenant_id  uuid   NOT NULL,
    leaf_hash  bytea  NOT NULL,
    CONSTRAINT audit_leaves_pkey PRIMARY KEY (leaf_index),
    CONSTRAINT audit_leaves_audit_id_key UNIQUE (audit_id),
    CONSTRAINT audit_leaves_leaf_index_check CHECK (leaf_index >= 0),
    CONSTRAINT audit_leaves_leaf_hash_check CHECK (octet_length(leaf_hash) = 32)
);
COMMENT ON TABLE monitoring.audit_leaves IS
    'The leaves of the audit log''s Merkle tree (RFC 9162, section 2.1): dense indexes from 0, append-only. The legacy log could be changed without a trace.';
CREATE INDEX audit_leaves_tenant_id_leaf_index_idx ON monitoring.audit_leaves (tenant_id, leaf_index);

CREATE TABLE monitoring.audit_sequencer (
    singleton         boolean     NOT NULL DEFAULT true,
    next_leaf_index   bigint      NOT NULL DEFAULT 0,
    cursor            xid8        NOT NULL DEFAULT '0',
    system_identifier bigint,
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_sequencer_pkey PRIMARY KEY (singleton),
    CONSTRAINT audit_sequencer_singleton_check CHECK (singleton),
    CONSTRAINT audit_sequencer_next_leaf_index_check CHECK (next_leaf_index >= 0)
);
COMMENT ON TABLE monitoring.audit_sequencer IS 'The one row of the audit sequencer''s state.';
COMMENT ON COLUMN monitoring.audit_sequencer.cursor IS 'Rows of transactions below it have their leaf.';
COMMENT ON COLUMN monitoring.audit_sequencer.system_identifier IS
    'The cluster (pg_control_system) in which cursor was taken; in another one it means nothing.';
INSERT INTO monitoring.audit_sequencer DEFAULT VALUES;

CREATE TABLE monitoring.security_events (
    id          uuid         NOT NULL,
    tenant_id   uuid         NOT NULL,
    event_type  varchar(100) NOT NULL,
    severity    text         NOT NULL,
    source      varchar(100) NOT NULL,
    description text         NOT NULL,
    ip_address  text,
    user_id     uuid,
    session_id  text,
    "timestamp" timestamptz  NOT NULL DEFAULT now(),
    status      text         NOT NULL DEFAULT 'Open',
    resolved_at timestamptz,
    resolved_by uuid,
    resolution  text,
    event_data  jsonb        NOT NULL DEFAULT '{}',
    CONSTRAINT security_events_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT security_events_severity_check CHECK (severity IN ('Critical', 'High', 'Medium', 'Low', 'Info')),
    CONSTRAINT security_events_status_check CHECK (status IN ('Open', 'Investigating', 'Resolved', 'FalsePositive'))
);
COMMENT ON TABLE monitoring.security_events IS
    'What someone should look at, and what came of it. Events of no tenant (a stranger''s login) belong to the default one.';
CREATE INDEX security_events_tenant_id_severity_timestamp_idx
    ON monitoring.security_events (tenant_id, severity, "timestamp");

-- The legacy views failed: anyarray columns cannot be in a view, the block counters are in another catalog view,
-- and relname is what the guide calls tablename. They also left out keymanagement.
CREATE VIEW monitoring.database_performance AS
SELECT schemaname,
       tablename,
       attname,
       n_distinct,
       correlation,
       most_common_vals::text AS most_common_vals,
       most_common_freqs,
       histogram_bounds::text AS histogram_bounds
FROM pg_catalog.pg_stats
WHERE schemaname IN ('core', 'auth', 'sgx', 'keymanagement', 'oracle', 'voting', 'crosschain', 'monitoring',
                     'eventsourcing');
COMMENT ON VIEW monitoring.database_performance IS
    'What the planner knows of each column. pg_stats shows a reader only columns that it may select without row-level security; the owner sees all.';

CREATE VIEW monitoring.index_usage AS
SELECT u.schemaname,
       u.relname AS tablename,
       u.indexrelname AS indexname,
       u.idx_tup_read,
       u.idx_tup_fetch,
       u.idx_scan,
       io.idx_blks_read,
       io.idx_blks_hit
FROM pg_catalog.pg_stat_user_indexes AS u
JOIN pg_catalog.pg_statio_user_indexes AS io USING (indexrelid)
WHERE u.schemaname IN ('core', 'auth', 'sgx', 'keymanagement', 'oracle', 'voting', 'crosschain', 'monitoring',
                       'eventsourcing');
COMMENT ON VIEW monitoring.index_usage IS 'How often each index is used; idx_scan = 0 finds the ones that only cost.';

CREATE VIEW monitoring.table_usage AS
SELECT schemaname,
       relname AS tablename,
       seq_scan,
       seq_tup_read,
       idx_scan,
       idx_tup_fetch,
       n_tup_ins,
       n_tup_upd,
       n_tup_del,
       n_live_tup,
       n_dead_tup,
       last_vacuum,
       last_autovacuum,
       last_analyze,
       last_autoanalyze
FROM pg_catalog.pg_stat_user_tables
WHERE schemaname IN ('core', 'auth', 'sgx', 'keymanagement', 'oracle', 'voting', 'crosschain', 'monitoring',
                     'eventsourcing');
COMMENT ON VIEW monitoring.table_usage IS 'How each table is read and written, and when it was vacuumed and analysed.';

CREATE FUNCTION monitoring.apply_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs,neo_auditor}', 'USAGE', 'SCHEMA monitoring');

    -- Append-only: nobody but the owner can change or delete an audit row or its leaf.
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs}', 'SELECT, INSERT', 'monitoring.audit_logs');
    PERFORM core.grant_if('{neo_auditor}', 'SELECT', 'monitoring.audit_logs');
    PERFORM core.isolate(
        'monitoring.audit_logs', '{neo_api,neo_enclave,neo_jobs}', readers => '{neo_jobs,neo_auditor}');

    -- Every reader sees every leaf: a proof for one tenant's row is made of the hashes beside it, whosever they
    -- are, and the tree is public. A batch of the sequencer holds whatever tenants committed, hence unscoped.
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, INSERT', 'monitoring.audit_leaves');
    PERFORM core.grant_if('{neo_api,neo_auditor}', 'SELECT', 'monitoring.audit_leaves');
    PERFORM core.isolate(
        'monitoring.audit_leaves', '{}', readers => '{neo_api,neo_auditor}', unscoped => '{neo_jobs}');

    PERFORM core.grant_if('{neo_jobs}', 'SELECT, UPDATE', 'monitoring.audit_sequencer');
    PERFORM core.grant_if('{neo_api,neo_auditor}', 'SELECT', 'monitoring.audit_sequencer');

    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs}', 'INSERT', 'monitoring.security_events');
    PERFORM core.grant_if('{neo_api,neo_jobs,neo_auditor}', 'SELECT', 'monitoring.security_events');
    -- What happened stays; only what came of it is edited.
    PERFORM core.grant_if(
        '{neo_api}', 'UPDATE (status, resolved_at, resolved_by, resolution)', 'monitoring.security_events');
    PERFORM core.isolate(
        'monitoring.security_events', '{neo_api,neo_enclave,neo_jobs}', readers => '{neo_jobs,neo_auditor}');

    PERFORM core.grant_if('{neo_api,neo_jobs,neo_auditor}', 'SELECT', 'monitoring.database_performance');
    PERFORM core.grant_if('{neo_api,neo_jobs,neo_auditor}', 'SELECT', 'monitoring.index_usage');
    PERFORM core.grant_if('{neo_api,neo_jobs,neo_auditor}', 'SELECT', 'monitoring.table_usage');
END
$function$;
COMMENT ON FUNCTION monitoring.apply_grants IS 'The rights on schema monitoring.';
