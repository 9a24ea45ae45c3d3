-- The event log: what happened (events), how far each stream is (streams), and in which order everybody reads
-- it (log, written by the sequencer alone).
--
-- The legacy model had one global serial number, taken at insert. Numbers of transactions that commit later can
-- be lower than one that was already read, so a reader that goes on from its last number loses events. Here a
-- row carries its transaction id, and the sequencer gives dense positions to rows below the snapshot's horizon,
-- where no more rows can appear.

CREATE TABLE eventsourcing.events (
    id             uuid        NOT NULL,
    tenant_id      uuid        NOT NULL,
    stream         text        COLLATE "C" NOT NULL,
    version        bigint      NOT NULL,
    type           text        COLLATE "C" NOT NULL,
    type_version   integer     NOT NULL DEFAULT 1,
    data           jsonb       NOT NULL,
    metadata       jsonb       NOT NULL DEFAULT '{}',
    actor          text        NOT NULL,
    correlation_id text,
    causation_id   text,
    recorded_at    timestamptz NOT NULL DEFAULT now(),
    xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT events_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT events_stream_check CHECK (char_length(stream) BETWEEN 1 AND 255),
    CONSTRAINT events_version_check CHECK (version > 0),
    CONSTRAINT events_type_check CHECK (char_length(type) BETWEEN 1 AND 255),
    CONSTRAINT events_type_version_check CHECK (type_version > 0)
) PARTITION BY RANGE (id);
COMMENT ON TABLE eventsourcing.events IS 'Every event, append-only; monthly partitions by id, since ids are UUIDv7.';
COMMENT ON COLUMN eventsourcing.events.xid IS
    'The transaction that wrote the row. For the sequencer only: it means nothing after a restore into another cluster.';

-- For the sequencer.
CREATE INDEX events_xid_id_idx ON eventsourcing.events (xid, id);
-- For reading a stream. Not unique: a partitioned table can only carry unique keys that hold its partition key.
-- The head row in eventsourcing.streams is what makes a version unique.
CREATE INDEX events_tenant_id_stream_version_idx ON eventsourcing.events (tenant_id, stream, version);

CREATE TABLE eventsourcing.events_default PARTITION OF eventsourcing.events DEFAULT;
COMMENT ON TABLE eventsourcing.events_default IS 'Events whose id is of no month that has a partition.';
SELECT core.ensure_partitions('eventsourcing.events', 3);

CREATE TABLE eventsourcing.streams (
    tenant_id  uuid        NOT NULL,
    stream     text        COLLATE "C" NOT NULL,
    version    bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT streams_pkey PRIMARY KEY (tenant_id, stream),
    CONSTRAINT streams_stream_check
        CHECK (char_length(stream) BETWEEN 1 AND 255 AND stream !~ '[\u0001-\u001F\u007F-\u009F]'),
    CONSTRAINT streams_version_check CHECK (version >= 0)
-- Updated with every append, and no updated column is indexed: room for HOT updates on the same page.
) WITH (fillfactor = 80);
COMMENT ON TABLE eventsourcing.streams IS 'The head of each stream: its last version, under whose row lock appends take turns.';

CREATE TABLE eventsourcing.log (
    position  bigint NOT NULL,
    event_id  uuid   NOT NULL,
    tenant_id uuid   NOT NULL,
    CONSTRAINT log_pkey PRIMARY KEY (position),
    CONSTRAINT log_event_id_key UNIQUE (event_id),
    CONSTRAINT log_position_check CHECK (position > 0)
);
COMMENT ON TABLE eventsourcing.log IS 'The order of events: dense positions from 1, append-only, the same in every restore.';
CREATE INDEX log_tenant_id_position_idx ON eventsourcing.log (tenant_id, position);

CREATE TABLE eventsourcing.sequencer (
    singleton         boolean     NOT NULL DEFAULT true,
    next_position     bigint      NOT NULL DEFAULT 1,
    cursor            xid8        NOT NULL DEFAULT '0',
    system_identifier bigint,
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sequencer_pkey PRIMARY KEY (singleton),
    CONSTRAINT sequencer_singleton_check CHECK (singleton),
    CONSTRAINT sequencer_next_position_check CHECK (next_position > 0)
);
COMMENT ON TABLE eventsourcing.sequencer IS 'The one row of the sequencer''s state.';
COMMENT ON COLUMN eventsourcing.sequencer.cursor IS 'Rows of transactions below it have their position.';
COMMENT ON COLUMN eventsourcing.sequencer.system_identifier IS
    'The cluster (pg_control_system) in which cursor was taken; in another one it means nothing.';
INSERT INTO eventsourcing.sequencer DEFAULT VALUES;

CREATE FUNCTION eventsourcing.apply_grants() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs,neo_auditor}', 'USAGE', 'SCHEMA eventsourcing');

    -- Append-only: nobody but the owner can change or delete an event or its position.
    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs}', 'SELECT, INSERT', 'eventsourcing.events');
    PERFORM core.grant_if('{neo_auditor}', 'SELECT', 'eventsourcing.events');
    -- Jobs react to the events of all tenants, and write only those of the tenants they name.
    PERFORM core.isolate(
        'eventsourcing.events', '{neo_api,neo_enclave,neo_jobs}', readers => '{neo_jobs,neo_auditor}');

    PERFORM core.grant_if('{neo_api,neo_enclave,neo_jobs}', 'SELECT, INSERT, UPDATE', 'eventsourcing.streams');
    PERFORM core.grant_if('{neo_auditor}', 'SELECT', 'eventsourcing.streams');
    PERFORM core.isolate('eventsourcing.streams', '{neo_api,neo_enclave,neo_jobs}', readers => '{neo_auditor}');

    -- A batch of the sequencer holds whatever tenants committed, hence unscoped.
    PERFORM core.grant_if('{neo_jobs}', 'SELECT, INSERT', 'eventsourcing.log');
    PERFORM core.grant_if('{neo_api,neo_auditor}', 'SELECT', 'eventsourcing.log');
    PERFORM core.isolate(
        'eventsourcing.log', '{neo_api}', readers => '{neo_auditor}', unscoped => '{neo_jobs}');

    PERFORM core.grant_if('{neo_jobs}', 'SELECT, UPDATE', 'eventsourcing.sequencer');
    PERFORM core.grant_if('{neo_api,neo_auditor}', 'SELECT', 'eventsourcing.sequencer');
END
$function$;
COMMENT ON FUNCTION eventsourcing.apply_grants IS 'The rights on schema eventsourcing.';
