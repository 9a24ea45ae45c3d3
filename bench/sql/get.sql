\set key random(1, :keys)
SELECT version, sealed_data, updated_at FROM bench.items WHERE tenant_id = '0197a000-0000-7000-8000-000000000001' AND service_name = 'bench' AND key = 'key-' || :key::text;
