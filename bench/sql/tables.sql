-- What pgbench writes to: an item, an event and an audit row, reduced to what any implementation needs.
CREATE SCHEMA bench;
CREATE TABLE bench.items (
    tenant_id    uuid        NOT NULL,
    service_name text        NOT NULL,
    key          text        NOT NULL,
    version      bigint      NOT NULL,
    sealed_data  bytea       NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT items_pkey PRIMARY KEY (tenant_id, service_name, key)
) WITH (fillfactor = 85);
ALTER TABLE bench.items ALTER COLUMN sealed_data SET STORAGE EXTERNAL;
CREATE TABLE bench.events (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    tenant_id   uuid        NOT NULL,
    stream      text        NOT NULL,
    type        text        NOT NULL,
    data        jsonb       NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (id)
);
CREATE TABLE bench.audit_logs (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    tenant_id   uuid        NOT NULL,
    action      text        NOT NULL,
    resource_id text        NOT NULL,
    actor       text        NOT NULL,
    result      text        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_logs_pkey PRIMARY KEY (id)
);
