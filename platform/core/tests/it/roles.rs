//! What each role can and cannot do, by doing it: the boundaries of the threat model.

use super::*;

const ROLES: [&str; 6] = ["neo_api", "neo_enclave", "neo_jobs", "neo_readonly", "neo_auditor", "neo_backup"];

/// A statement, and the roles that may run it. Every other one is refused with 42501.
const MATRIX: &[(&str, &[&str])] = &[
    ("SELECT FROM core.tenants", &["neo_api", "neo_enclave", "neo_jobs", "neo_readonly", "neo_backup"]),
    ("INSERT INTO core.tenants (id, name, display_name) VALUES (gen_random_uuid(), 'x', 'x')", &["neo_api"]),
    ("UPDATE core.tenants SET status = 'suspended'", &["neo_api"]),
    ("UPDATE core.tenants SET name = 'x'", &[]),
    ("DELETE FROM core.tenants", &[]),
    ("SELECT FROM auth.revocations", &["neo_api", "neo_enclave", "neo_jobs", "neo_readonly", "neo_backup"]),
    ("UPDATE auth.revocations SET expires_at = now()", &[]),
    ("DELETE FROM auth.revocations", &["neo_jobs"]),
    ("DELETE FROM core.migrations", &[]),
    ("DELETE FROM core.leases", &["neo_api", "neo_enclave", "neo_jobs"]),
    (
        "SELECT key FROM core.idempotency_keys",
        &["neo_api", "neo_enclave", "neo_jobs", "neo_readonly", "neo_backup"],
    ),
    ("SELECT body FROM core.idempotency_keys", &["neo_api", "neo_enclave", "neo_jobs", "neo_backup"]),
    ("SELECT core.apply_grants()", &[]),
    ("SELECT core.ensure_partitions('eventsourcing.events', 1)", &["neo_jobs"]),
    ("CREATE TABLE core.own ()", &[]),
    ("CREATE SCHEMA own", &[]),
    // The enclave's.
    ("SELECT FROM sgx.sealed_data_items", &["neo_enclave", "neo_backup"]),
    ("DELETE FROM sgx.sealed_data_items", &["neo_enclave"]),
    ("SELECT FROM sgx.sealing_keys", &["neo_enclave", "neo_backup"]),
    ("SELECT wrapped_private_key FROM auth.signing_keys", &["neo_enclave", "neo_backup"]),
    ("DELETE FROM auth.signing_keys", &["neo_enclave"]),
    (
        "SELECT kid, public_key FROM auth.signing_keys",
        &["neo_api", "neo_enclave", "neo_jobs", "neo_readonly", "neo_backup"],
    ),
    // Hashes and tokens.
    ("SELECT username FROM auth.users", &["neo_api", "neo_enclave", "neo_readonly", "neo_backup"]),
    ("SELECT email FROM auth.users", &["neo_api", "neo_readonly", "neo_backup"]),
    ("SELECT password_hash FROM auth.users", &["neo_api", "neo_backup"]),
    ("SELECT token_hash FROM auth.refresh_tokens", &["neo_api", "neo_jobs", "neo_backup"]),
    ("UPDATE auth.users SET status = 'disabled'", &["neo_api"]),
    // What the enclave checks credentials by, and nothing beside it.
    ("SELECT key_hash FROM auth.api_keys", &["neo_api", "neo_enclave", "neo_backup"]),
    ("UPDATE auth.api_keys SET last_used_at = now()", &["neo_api", "neo_enclave"]),
    ("UPDATE auth.api_keys SET permissions = '{*}'", &["neo_api"]),
    ("SELECT confirmed_at FROM auth.totp_factors", &["neo_api", "neo_enclave", "neo_readonly", "neo_backup"]),
    ("SELECT wrapped_secret FROM auth.totp_factors", &["neo_api", "neo_backup"]),
    ("SELECT FROM auth.authentication_sessions", &["neo_api", "neo_jobs", "neo_readonly", "neo_backup"]),
    // Append-only for everybody but the owner.
    (
        "SELECT FROM eventsourcing.events",
        &["neo_api", "neo_enclave", "neo_jobs", "neo_auditor", "neo_backup"],
    ),
    ("UPDATE eventsourcing.events SET actor = 'x'", &[]),
    ("DELETE FROM eventsourcing.events", &[]),
    ("TRUNCATE eventsourcing.events", &[]),
    ("DELETE FROM eventsourcing.events_default", &[]),
    ("SELECT FROM eventsourcing.events_default", &["neo_backup"]),
    ("SELECT FROM eventsourcing.log", &["neo_api", "neo_jobs", "neo_auditor", "neo_backup"]),
    ("INSERT INTO eventsourcing.log VALUES (1, gen_random_uuid(), gen_random_uuid())", &["neo_jobs"]),
    ("UPDATE eventsourcing.log SET position = position + 1", &[]),
    ("DELETE FROM eventsourcing.log", &[]),
    ("UPDATE eventsourcing.sequencer SET updated_at = now()", &["neo_jobs"]),
    (
        "SELECT FROM monitoring.audit_logs",
        &["neo_api", "neo_enclave", "neo_jobs", "neo_auditor", "neo_backup"],
    ),
    ("UPDATE monitoring.audit_logs SET actor = 'x'", &[]),
    ("DELETE FROM monitoring.audit_logs", &[]),
    ("DELETE FROM monitoring.audit_logs_default", &[]),
    ("SELECT FROM monitoring.audit_leaves", &["neo_api", "neo_jobs", "neo_auditor", "neo_backup"]),
    (
        "INSERT INTO monitoring.audit_leaves VALUES (0, gen_random_uuid(), gen_random_uuid(), sha256(''))",
        &["neo_jobs"],
    ),
    ("UPDATE monitoring.audit_leaves SET leaf_index = leaf_index + 1", &[]),
    ("DELETE FROM monitoring.audit_leaves", &[]),
    ("UPDATE monitoring.security_events SET status = 'Resolved'", &["neo_api"]),
    ("UPDATE monitoring.security_events SET description = ''", &[]),
    ("DELETE FROM monitoring.security_events", &[]),
];

#[tokio::test]
async fn each_role_can_what_it_needs_and_no_more() {
    let test = TestDb::new().await.unwrap();
    let mut wrong = Vec::new();
    for role in ROLES {
        let client = test.client(role).await.unwrap();
        for (sql, allowed) in MATRIX {
            client.batch_execute("BEGIN").await.unwrap();
            let refused = client.batch_execute(sql).await.err();
            client.batch_execute("ROLLBACK").await.unwrap();
            match refused
                .as_ref()
                .and_then(tokio_postgres::Error::as_db_error)
                .map(|error| error.code().code())
            {
                None if refused.is_none() == allowed.contains(&role) => {}
                Some("42501") if !allowed.contains(&role) => {}
                code => wrong.push(format!("{role}: {sql}: {}", code.unwrap_or("allowed"))),
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn each_role_sees_the_tenants_that_it_is_for() {
    let test = TestDb::new().await.unwrap();
    let (acme, other) = (test.tenant("acme").await.unwrap(), test.tenant("other").await.unwrap());
    for tenant in [acme, other] {
        append(&test.db(), tenant, "things", "happened").await.unwrap();
    }
    let scoped = format!("SET nsl.tenants = '{{{acme}}}'");
    for (role, unset, set) in [
        ("neo_api", 0, 1),
        ("neo_enclave", 0, 1),
        ("neo_jobs", 2, 2),
        ("neo_auditor", 2, 2),
        ("neo_backup", 2, 2),
        ("neo_user", 2, 2),
    ] {
        let client = test.client(role).await.unwrap();
        for table in ["eventsourcing.events", "monitoring.audit_logs"] {
            let count = format!("SELECT count(*) FROM {table}");
            client.batch_execute("RESET nsl.tenants").await.unwrap();
            assert_eq!(
                client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0),
                unset,
                "{role} {table}"
            );
            client.batch_execute(&scoped).await.unwrap();
            assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), set, "{role} {table}");
        }
    }
    // Jobs read all tenants, and write for the one they name.
    let jobs = test.client("neo_jobs").await.unwrap();
    let insert = "INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, actor, result) \
                  VALUES (gen_random_uuid(), $1, 'core', 'TEST', 'test', 'Success')";
    jobs.batch_execute(&scoped).await.unwrap();
    assert_eq!(jobs.execute(insert, &[&acme]).await.unwrap(), 1);
    let refused = jobs.execute(insert, &[&other]).await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().code().code(), "42501");
}

#[tokio::test]
async fn roles_have_the_attributes_and_memberships_of_roles_sql() {
    let test = TestDb::new().await.unwrap();
    let admin = test.client("postgres").await.unwrap();
    let rows = admin
        .query(
            "SELECT rolname::text, rolcanlogin, rolbypassrls, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication \
             FROM pg_catalog.pg_roles WHERE rolname LIKE 'neo\\_%' ORDER BY rolname",
            &[],
        )
        .await
        .unwrap();
    let found: Vec<(&str, bool, bool, bool)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    assert_eq!(
        found,
        [
            ("neo_api", true, false, false),
            ("neo_auditor", false, false, false),
            ("neo_backup", false, true, false),
            ("neo_enclave", true, false, false),
            ("neo_jobs", true, false, false),
            ("neo_readonly", false, false, false),
            ("neo_user", true, false, false),
        ]
    );
    let rows = admin
        .query(
            "SELECT pg_get_userbyid(roleid)::text || ' to ' || pg_get_userbyid(member)::text AS given \
             FROM pg_catalog.pg_auth_members WHERE pg_get_userbyid(member) LIKE 'neo\\_%' ORDER BY given",
            &[],
        )
        .await
        .unwrap();
    let found: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        found,
        [
            "neo_api to neo_user",
            "neo_enclave to neo_user",
            "neo_jobs to neo_user",
            "pg_read_all_data to neo_backup",
            "pg_read_all_stats to neo_auditor",
            "pg_read_all_stats to neo_jobs",
            "pg_read_all_stats to neo_user",
        ]
    );
    let owners = "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_catalog.pg_class c \
                  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE nspname IN ('core', 'auth', 'sgx', 'keymanagement', 'monitoring', 'eventsourcing')";
    let owners = admin.query(owners, &[]).await.unwrap();
    assert!(owners.iter().map(|row| row.get::<_, &str>(0)).eq(["neo_user"]));
}
