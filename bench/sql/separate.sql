\set key random(1, :keys)
BEGIN;
INSERT INTO bench.items AS i (tenant_id, service_name, key, version, sealed_data) VALUES ('0197a000-0000-7000-8000-000000000001', 'bench', 'key-' || :key::text, 1, :value::bytea) ON CONFLICT (tenant_id, service_name, key) DO UPDATE SET version = i.version + 1, sealed_data = excluded.sealed_data, updated_at = excluded.updated_at;
INSERT INTO bench.events (tenant_id, stream, type, data) VALUES ('0197a000-0000-7000-8000-000000000001', 'item/' || :key::text, 'item_put', jsonb_build_object('service', 'bench', 'key', 'key-' || :key::text));
INSERT INTO bench.audit_logs (tenant_id, action, resource_id, actor, result) VALUES ('0197a000-0000-7000-8000-000000000001', 'SEAL_ITEM', 'bench/key-' || :key::text, 'admin', 'Success');
COMMIT;
