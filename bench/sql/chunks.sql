-- The table of streamed values as the product has it, without row-level security.
CREATE TABLE bench.content_chunks (
    tenant_id  uuid        NOT NULL,
    content_id uuid        NOT NULL,
    number     integer     NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT content_chunks_pkey PRIMARY KEY (tenant_id, content_id, number),
    CONSTRAINT content_chunks_number_check CHECK (number >= 0)
);
ALTER TABLE bench.content_chunks ALTER COLUMN sealed SET STORAGE EXTERNAL;
