//! Positions of events and leaves of audit rows. Each test that looks at the horizon has a server of its own, since
//! the horizon spans all databases of a server.

use std::collections::BTreeSet;

use futures::future::{join_all, try_join_all};
use nsl_core::db::sequencer::{self, step};
use nsl_core::jobs::{Jobs, drive};
use nsl_crypto::aad::Aad;
use nsl_crypto::merkle::leaf_hash;
use nsl_testkit::{Cluster, Durability, eventually, pools};
use tokio_postgres::Client;

use super::*;

/// With the first step behind it, which takes whatever is there: after it the horizon counts.
async fn own() -> TestDb {
    let test = TestDb::on(&Cluster::own(Durability::Volatile).await.unwrap()).await.unwrap();
    step(&test.db()).await.unwrap();
    test
}

/// A transaction that has its id and does nothing more.
async fn open_transaction(test: &TestDb) -> Client {
    let client = test.client("neo_user").await.unwrap();
    client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    client
}

/// Steps until nothing is taken any more; how many events were.
async fn settle(db: &Db) -> i64 {
    let mut events = 0;
    loop {
        let step = step(db).await.unwrap();
        if step == sequencer::Step::default() {
            return events;
        }
        events += step.events;
    }
}

fn shown(events: &[(String, i64, Uuid)]) -> Vec<(&str, i64)> {
    events.iter().map(|(stream, version, _)| (stream.as_str(), *version)).collect()
}

#[tokio::test]
async fn an_open_transaction_holds_back_what_came_after_it() {
    let test = own().await;
    let (db, tenant) = (test.db(), test.tenant("acme").await.unwrap());
    append(&db, tenant, "a", "before").await.unwrap();
    let open = open_transaction(&test).await;
    append(&db, tenant, "a", "after").await.unwrap();
    assert_eq!(settle(&db).await, 1);
    assert_eq!(sequencer::backlog(&db).await.unwrap(), 1);
    assert_eq!(shown(&ordered(&test).await), [("a", 1)]);
    open.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(settle(&db).await, 1);
    assert_eq!(sequencer::backlog(&db).await.unwrap(), 0);
    assert_eq!(shown(&ordered(&test).await), [("a", 1), ("a", 2)]);
}

#[tokio::test]
async fn what_was_rolled_back_leaves_no_gap() {
    let test = own().await;
    let (db, tenant) = (test.db(), test.tenant("acme").await.unwrap());
    for number in 0..6 {
        let caller = caller(tenant);
        let mut work = db.begin(Login::Api, &caller).await.unwrap();
        work.event("a", &Happened { what: number.to_string() }).unwrap();
        work.audit(audit("a"));
        if number % 2 == 0 {
            work.commit().await.unwrap();
        } else {
            // It gets as far as an id and a row, then not to its commit.
            work.query("SELECT pg_current_xact_id()", &[]).await.unwrap();
            work.rollback().await.unwrap();
        }
    }
    settle(&db).await;
    assert_eq!(shown(&ordered(&test).await), [("a", 1), ("a", 2), ("a", 3)]);
    assert_eq!(leaves(&test).await.len(), 3);
}

/// The one that waits for the head row can have the lower transaction id and the higher version.
#[tokio::test]
async fn versions_of_a_stream_keep_their_order_against_their_transactions() {
    let test = own().await;
    let (db, tenant) = (test.db(), test.tenant("acme").await.unwrap());
    let caller = caller(tenant);
    for held in [false, true] {
        let stream = format!("inverted, held: {held}");
        let mut late = db.begin(Login::Api, &caller).await.unwrap();
        late.query("SELECT pg_current_xact_id()", &[]).await.unwrap();
        append(&db, tenant, "another", "between").await.unwrap();
        let open = if held { Some(open_transaction(&test).await) } else { None };
        append(&db, tenant, &stream, "first").await.unwrap();
        late.event(&stream, &Happened { what: "second".into() }).unwrap();
        late.event(format!("{stream}, elsewhere"), &Happened { what: "second".into() }).unwrap();
        late.commit().await.unwrap();
        let owner = test.client("neo_user").await.unwrap();
        let inverted = "SELECT (SELECT xid FROM eventsourcing.events WHERE stream = $1 AND version = 2) \
                             < (SELECT xid FROM eventsourcing.events WHERE stream = $1 AND version = 1)";
        assert!(owner.query_one(inverted, &[&stream]).await.unwrap().get::<_, bool>(0));

        if let Some(open) = open {
            // The horizon stands between the two: what can have its place gets it, the second version waits.
            settle(&db).await;
            let events = ordered(&test).await;
            assert!(!events.iter().any(|(name, ..)| *name == stream));
            assert!(events.iter().any(|(name, ..)| *name == format!("{stream}, elsewhere")));
            open.batch_execute("COMMIT").await.unwrap();
        }
        settle(&db).await;
        let events = ordered(&test).await;
        assert_versions_in_order(&events);
        assert_eq!(events.iter().filter(|(name, ..)| *name == stream).count(), 2);
    }
}

/// Rows that wait for an earlier version must not fill the step for ever: neither many of them, nor many rows between
/// them and the version that they wait for.
#[tokio::test]
async fn a_step_full_of_waiting_rows_goes_on() {
    let test = own().await;
    let (db, tenant) = (test.db(), test.tenant("acme").await.unwrap());
    let insert = format!(
        "INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, data, actor) \
         SELECT gen_random_uuid(), '{tenant}', 'many', version, 'core.happened', '{{}}', 'test' \
         FROM generate_series(2, 5001) AS version"
    );
    let late = open_transaction(&test).await;
    append(&db, tenant, "many", "first").await.unwrap();
    late.batch_execute(&insert).await.unwrap();
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(settle(&db).await, 5001);

    let caller = caller(tenant);
    let mut late = db.begin(Login::Api, &caller).await.unwrap();
    late.query("SELECT pg_current_xact_id()", &[]).await.unwrap();
    let owner = test.client("neo_user").await.unwrap();
    let between = format!(
        "DO $$ BEGIN FOR number IN 1..4200 LOOP \
             INSERT INTO eventsourcing.events (id, tenant_id, stream, version, type, data, actor) \
             VALUES (gen_random_uuid(), '{tenant}', 'between', number, 'core.happened', '{{}}', 'test'); \
             COMMIT; END LOOP; END $$"
    );
    owner.batch_execute(&between).await.unwrap();
    append(&db, tenant, "few", "first").await.unwrap();
    late.event("few", &Happened { what: "second".into() }).unwrap();
    late.commit().await.unwrap();
    assert_eq!(settle(&db).await, 4202);
    assert_versions_in_order(&ordered(&test).await);
}

#[tokio::test]
async fn two_sequencers_at_once_do_not_take_a_row_twice() {
    let test = own().await;
    let (db, tenant) = (test.db(), test.tenant("acme").await.unwrap());
    let other = pools(test.endpoint()).unwrap();
    for _ in 0..5 {
        for number in 0..10 {
            append(&db, tenant, "a", &number.to_string()).await.unwrap();
        }
        let steps = try_join_all([&db, &other, &db, &other].map(step)).await.unwrap();
        assert_eq!(steps.iter().map(|step| step.events).sum::<i64>(), 10);
        assert_eq!(steps.iter().map(|step| step.audits).sum::<i64>(), 10);
    }
    let events = ordered(&test).await;
    assert_eq!(events.len(), 50);
    assert_versions_in_order(&events);
}

/// On the shared server, as in life: other databases' transactions hold the horizon back for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_get_dense_positions_that_never_change() {
    const WRITERS: i64 = 6;
    const EACH: i64 = 25;
    let test = TestDb::new().await.unwrap();
    let (db, tenant, other) =
        (test.db(), test.tenant("acme").await.unwrap(), test.tenant("other").await.unwrap());
    let jobs = Jobs::new();
    sequencer::start(&jobs, &db);
    sequencer::start(&jobs, &pools(test.endpoint()).unwrap());
    let writers = (0..WRITERS).map(|writer| {
        let db = db.clone();
        let tenant = if writer % 2 == 0 { tenant } else { other };
        drive(async move {
            for number in 0..EACH {
                append(&db, tenant, &format!("stream {}", (writer + number) % 3), "happened").await.unwrap();
            }
        })
    });
    // A reader that goes on from its last position sees everything: positions are given once and in order.
    let mut read: Vec<(TenantId, i64, Uuid)> = Vec::new();
    let reading = async {
        eventually(LIMIT, "the reader has everything", async || {
            for tenant in [tenant, other] {
                let after = read.iter().filter(|(t, ..)| *t == tenant).map(|(_, p, _)| *p).max().unwrap_or(0);
                let next =
                    sequencer::read_events(&db.read(Login::Api, tenant), tenant, after, 7).await.unwrap();
                read.extend(next.iter().map(|event| (tenant, event.position, event.id)));
            }
            read.len() == usize::try_from(WRITERS * EACH).unwrap()
        })
        .await;
    };
    let (written, ()) = tokio::join!(join_all(writers), reading);
    assert!(written.iter().all(Result::is_ok));
    jobs.shut_down(LIMIT).await;
    let events = ordered(&test).await;
    assert_eq!(events.len(), read.len());
    let positions: BTreeSet<i64> = read.iter().map(|(_, position, _)| *position).collect();
    assert_eq!(positions.len(), read.len());
    assert!(read.iter().all(|(_, position, id)| events[usize::try_from(position - 1).unwrap()].2 == *id));
    for of in [tenant, other] {
        let ids: BTreeSet<Uuid> =
            read.iter().filter(|(tenant, ..)| *tenant == of).map(|(.., id)| *id).collect();
        let own: Vec<_> = events.iter().filter(|(.., id)| ids.contains(id)).cloned().collect();
        assert_versions_in_order(&own);
    }
    eventually(LIMIT, "the audit rows have their leaves too", async || {
        settle(&db).await;
        leaves(&test).await.len() == events.len()
    })
    .await;
}

/// The leaves, each checked against the audit row that it stands for.
pub(super) async fn leaves(test: &TestDb) -> Vec<Vec<u8>> {
    let owner = test.client("neo_user").await.unwrap();
    let rows = owner
        .query(
            "SELECT l.leaf_index, l.leaf_hash, a.id, a.tenant_id, a.service_name, a.action, a.actor, a.result, \
                    (extract(epoch FROM a.\"timestamp\") * 1000000)::bigint AS at_us, \
                    ARRAY[a.resource_type, a.resource_id, a.user_id::text, a.session_id, a.ip_address, a.user_agent, \
                          a.request_id, a.details, a.before_state::text, a.after_state::text, a.metadata::text] AS others \
             FROM monitoring.audit_leaves l JOIN monitoring.audit_logs a ON a.id = l.audit_id AND a.tenant_id = l.tenant_id \
             ORDER BY l.leaf_index",
            &[],
        )
        .await
        .unwrap();
    rows.iter()
        .zip(0_i64..)
        .map(|(row, index)| {
            assert_eq!(row.get::<_, i64>("leaf_index"), index, "leaves are dense from 0");
            let mut leaf = Aad::new("nsl.audit-leaf.v1")
                .bytes(row.get::<_, Uuid>("id").as_bytes())
                .bytes(row.get::<_, Uuid>("tenant_id").as_bytes())
                .number(u64::try_from(row.get::<_, i64>("at_us")).unwrap());
            for name in ["service_name", "action", "actor", "result"] {
                leaf = leaf.text(row.get(name));
            }
            for other in row.get::<_, Vec<Option<&str>>>("others") {
                leaf = match other {
                    Some(text) => leaf.number(1).text(text),
                    None => leaf.number(0),
                };
            }
            let hash: Vec<u8> = row.get("leaf_hash");
            assert_eq!(hash, leaf_hash(leaf.encoded()));
            hash
        })
        .collect()
}

#[tokio::test]
async fn every_audit_row_has_the_leaf_of_its_columns() {
    let test = own().await;
    let (db, tenant) = (test.db(), test.tenant("acme").await.unwrap());
    append(&db, tenant, "a", "first").await.unwrap();
    // A row with every column filled.
    let owner = test.client("neo_user").await.unwrap();
    let full = "INSERT INTO monitoring.audit_logs (id, tenant_id, service_name, action, resource_type, resource_id, \
                    user_id, actor, session_id, ip_address, user_agent, request_id, result, details, before_state, \
                    after_state, metadata) \
                VALUES (gen_random_uuid(), $1, 'core', 'TEST', 'thing', 'é', gen_random_uuid(), 'me', 's', '::1', 'ua', \
                    'r', 'Denied', '', '{\"a\": [1, null]}', '{}', '{\"b\": 1.50}')";
    owner.execute(full, &[&tenant]).await.unwrap();
    let open = open_transaction(&test).await;
    append(&db, tenant, "a", "last").await.unwrap();
    settle(&db).await;
    assert_eq!(leaves(&test).await.len(), 2);
    open.batch_execute("ROLLBACK").await.unwrap();
    settle(&db).await;
    let all = leaves(&test).await;
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3);
}
