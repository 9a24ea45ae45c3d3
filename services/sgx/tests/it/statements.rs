//! The statements of the store.

use nsl_core::db::record::fills_record_columns;
use nsl_core::db::sql::check;
use nsl_sgx::store;
use nsl_testkit::TestDb;

#[tokio::test]
async fn each_statement_fits_the_database() {
    let test = TestDb::new().await.unwrap();
    let client = test.client("neo_user").await.unwrap();
    assert!(!store::ALL.is_empty());
    for statements in store::ALL {
        assert_eq!(check(&client, statements).await, Vec::<String>::new());
    }
}

#[test]
fn what_is_recorded_fills_the_record_s_columns() {
    let mut recording = 0;
    for statement in store::ALL.iter().copied().flatten() {
        assert!(fills_record_columns(statement.sql), "{}", statement.name);
        recording += usize::from(statement.sql.contains("monitoring.audit_logs"));
    }
    assert_eq!(recording, 5, "put, delete, and the purges of items, versions and attestations");
}
