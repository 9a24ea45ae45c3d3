-- Nobody looks for audit rows by their timestamp: ids are UUIDv7, so a range of time is a range of ids (core.uuid_at), and
-- every audit row, a read's too, paid for this index.
DROP INDEX monitoring.audit_logs_tenant_id_timestamp_idx;
