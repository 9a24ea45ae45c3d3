//! The check of statements, and the statements of this crate.

use nsl_core::db::sql::check;
use nsl_core::db::{health, idempotency, lease, record, sequencer, tenants};
use nsl_core::ids::TenantId;
use nsl_testkit::TestDb;
use serde_json::Value;
use uuid::Uuid;

#[tokio::test]
async fn our_statements_fit_the_database() {
    let test = TestDb::new().await.unwrap();
    let client = test.client("neo_user").await.unwrap();
    for statements in [health::ALL, idempotency::ALL, lease::ALL, record::ALL, sequencer::ALL, tenants::ALL] {
        assert!(!statements.is_empty());
        assert_eq!(check(&client, statements).await, Vec::<String>::new());
    }
}

mod planted {
    use super::*;

    nsl_core::row! {
        pub struct Right { pub id: TenantId, pub name: String }
    }
    nsl_core::row! {
        pub struct WrongType { pub id: i64 }
    }
    nsl_core::row! {
        pub struct WrongName { pub identifier: Uuid }
    }
    nsl_core::row! {
        pub struct MayBeNull { pub actor: String, pub details: String, pub before_state: Option<Value> }
    }

    nsl_core::queries! {
        pub fn right(id: TenantId) -> opt<Right> = "SELECT id, name FROM core.tenants WHERE id = $1";
        pub fn no_table() -> exec = "DELETE FROM core.tenantz";
        pub fn no_column() -> exec = "UPDATE core.tenants SET nmae = ''";
        pub fn parameter_type(id: i64) -> opt<Right> = "SELECT id, name FROM core.tenants WHERE id = $1";
        pub fn too_few(id: Uuid) -> exec = "UPDATE core.tenants SET name = $2 WHERE id = $1";
        pub fn column_type() -> many<WrongType> = "SELECT id FROM core.tenants";
        pub fn column_name() -> many<WrongName> = "SELECT id FROM core.tenants";
        pub fn column_count() -> many<Right> = "SELECT id FROM core.tenants";
        pub fn nullable() -> many<MayBeNull> = "SELECT actor, details, before_state FROM monitoring.audit_logs";
    }
}

#[tokio::test]
async fn planted_errors_are_found() {
    let test = TestDb::new().await.unwrap();
    let client = test.client("neo_user").await.unwrap();
    let problems = check(&client, planted::ALL).await;
    let expected = [
        "no_table: relation \"core.tenantz\" does not exist",
        "no_column: column \"nmae\" of relation \"tenants\" does not exist",
        "parameter_type: parameter id is uuid",
        "too_few: takes 2 parameters, 1 are given",
        "column_type: column id is uuid",
        "column_name: column id is read as identifier",
        "column_count: answers 1 columns, 2 are read",
        "nullable: column details can be NULL",
    ];
    let found: Vec<&str> = problems.iter().filter_map(|text| text.split("planted::").nth(1)).collect();
    assert_eq!(found, expected);
}
