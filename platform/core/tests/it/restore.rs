//! A dump of one cluster, restored into another: transaction ids start anew there, positions go on.

use std::process::{Command, Output};

use nsl_core::db::sequencer::{self, step};
use nsl_testkit::{Cluster, Durability};

use super::sequencer::leaves;
use super::*;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

async fn steps(db: &Db) {
    while step(db).await.unwrap() != sequencer::Step::default() {}
}

async fn next_xid(test: &TestDb) -> i64 {
    let owner = test.client("neo_user").await.unwrap();
    owner.query_one("SELECT pg_current_xact_id()::text::bigint", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn after_a_restore_elsewhere_every_event_keeps_or_gets_its_place() {
    let old = TestDb::on(&Cluster::own(Durability::Volatile).await.unwrap()).await.unwrap();
    if !old.cluster().has_client_tools() {
        return;
    }
    let tenant = old.tenant("acme").await.unwrap();
    let owner = old.client("neo_user").await.unwrap();
    // The old cluster's ids are far beyond those of a fresh one, so its cursor is too.
    let burn = "DO $$ BEGIN FOR n IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";
    owner.batch_execute(burn).await.unwrap();
    for number in 0..5 {
        append(&old.db(), tenant, &format!("stream {}", number % 2), "placed").await.unwrap();
    }
    steps(&old.db()).await;
    // Committed, and the sequencer did not come to them any more. One pair is inverted.
    let caller = caller(tenant);
    let mut late = old.db().begin(Login::Api, &caller).await.unwrap();
    late.query("SELECT pg_current_xact_id()", &[]).await.unwrap();
    append(&old.db(), tenant, "stream 0", "left over").await.unwrap();
    late.event("stream 0", &Happened { what: "left over".into() }).unwrap();
    late.commit().await.unwrap();
    append(&old.db(), tenant, "stream 2", "left over").await.unwrap();
    let (events, hashes) = (ordered(&old).await, leaves(&old).await);
    assert_eq!((events.len(), hashes.len()), (5, 5));

    let dump = tempfile::NamedTempFile::new().unwrap();
    run(old.cluster().program("pg_dump", old.name(), "postgres").unwrap().arg("-f").arg(dump.path()));
    let last_old_xid = next_xid(&old).await;
    drop(old);
    let new = TestDb::empty_on(&Cluster::own(Durability::Volatile).await.unwrap()).await.unwrap();
    let mut psql = new.cluster().program("psql", new.name(), "postgres").unwrap();
    run(psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(dump.path()));

    // New events before, between and after the first steps; all their ids are below the old cursor.
    let db = new.db();
    append(&db, tenant, "stream 0", "new").await.unwrap();
    steps(&db).await;
    append(&db, tenant, "stream 1", "new").await.unwrap();
    append(&db, tenant, "stream 3", "new").await.unwrap();
    steps(&db).await;
    assert!(next_xid(&new).await < last_old_xid);

    let after = ordered(&new).await;
    assert_eq!(after.len(), 5 + 3 + 3);
    assert_eq!(after[..5], events[..]);
    assert_versions_in_order(&after);
    let new_hashes = leaves(&new).await;
    // One audit row for each call of append; the late unit of work wrote none.
    assert_eq!(new_hashes.len(), 5 + 2 + 3);
    assert_eq!(new_hashes[..5], hashes[..]);

    // A reader from 0 sees all of it, in order.
    let mut read = Vec::new();
    loop {
        let position = read.last().map_or(0, |event: &sequencer::Positioned| event.position);
        let next = sequencer::read_events(&db.read(Login::Api, tenant), tenant, position, 4).await.unwrap();
        if next.is_empty() {
            break;
        }
        read.extend(next);
    }
    assert!(read.iter().map(|event| event.position).eq(1..=11));
    assert!(read.iter().map(|event| event.id).eq(after.iter().map(|(.., id)| *id)));
}
